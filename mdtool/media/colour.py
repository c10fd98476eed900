"""RGB colours as sample values of YUV, grey and RGB video frames (ITU-R BT.601, BT.709, BT.2020)."""

import re

import av

from mdtool.media.video.frame import has_plain_planes

NAMES = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
}

# (Kr, Kb), the weights of red and blue in luma, by matrix coefficients code (ITU-T H.273, 8.3).
_BT709, _BT601, _BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)
_LUMA_WEIGHTS = {1: _BT709, 5: _BT601, 6: _BT601, 9: _BT2020}
_HD_HEIGHT = 720  # from this height on, players assume BT.709 where no matrix is stated
_LIMITED, _FULL = 1, 2


def parse_colour(text: str) -> tuple[int, int, int]:
    """Parse "#ff00ff", "#f0f" or a colour name into (red, green, blue), each 0..255.

    Raises:
        ValueError: Neither; with a one-line message.
    """
    name = text.strip().lower()
    if name in NAMES:
        return NAMES[name]
    if not re.fullmatch("#([0-9a-f]{3}){1,2}", name):
        raise ValueError(f"unknown colour {text!r}; use #rrggbb or one of {', '.join(NAMES)}")
    digits = name[1:] if len(name) == 7 else "".join(2 * digit for digit in name[1:])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def colour_planes(frame: av.VideoFrame) -> int:
    """Return the number of planes without alpha, which come first.

    Raises:
        ValueError: Components of its pixel format share a plane.
    """
    if not has_plain_planes(frame.format):
        raise ValueError(f"pixel format {frame.format.name} has no separate plane for each component")
    return sum(not component.is_alpha for component in frame.format.components)


def fill_values(rgb: tuple[int, int, int], frame: av.VideoFrame) -> list[int]:
    """Convert a colour into samples by the frame's matrix coefficients, colour range and bit depth.

    Args:
        rgb: Red, green, blue, each 0..255.
        frame: The frame to be painted; only its format and colour tags are read.

    Returns:
        One sample value for each colour plane.

    Raises:
        ValueError: Components of its pixel format share a plane.
    """
    count = colour_planes(frame)
    layout = frame.format
    bits = layout.components[0].bits
    top = (1 << bits) - 1
    red, green, blue = (part / 255 for part in rgb)
    if layout.name.startswith("gbr"):
        return [round(part * top) for part in (green, blue, red)]
    kr, kb = _LUMA_WEIGHTS[matrix_of(frame)]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = [(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)]  # -0.5..0.5
    if _is_full_range(frame):
        values = [luma * top] + [(1 << bits - 1) + part * top for part in chroma]
    else:
        scale = 1 << bits - 8
        values = [(16 + 219 * luma) * scale] + [(128 + 224 * part) * scale for part in chroma]
    return [min(round(value), top) for value in values[:count]]


def matrix_of(frame: av.VideoFrame) -> int:
    """Return the frame's matrix coefficients code (ITU-T H.273, 8.3), or the one players assume if none is stated."""
    stated = int(frame.colorspace)
    return stated if stated in _LUMA_WEIGHTS else 1 if frame.height >= _HD_HEIGHT else 6


def _is_full_range(frame: av.VideoFrame) -> bool:
    name = frame.format.name
    if name.startswith("gray"):  # players assume full range for grey unless it is tagged otherwise
        return frame.color_range != _LIMITED
    return name.startswith("yuvj") or frame.color_range == _FULL
