"""What a colour is in the planes of a video picture (ITU-R BT.601, BT.709, BT.2020)."""

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

# The part of (red, blue) in brightness, by the number of the matrix (ITU-T H.273, 8.3).
_BT709, _BT601, _BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)
_SHARES = {1: _BT709, 5: _BT601, 6: _BT601, 9: _BT2020, 10: _BT2020}
_HD_HEIGHT = 720  # from here on, players take a picture that does not say its matrix for BT.709
_LIMITED, _FULL = 1, 2


def parse_colour(text: str) -> tuple[int, int, int]:
    """(red, green, blue), 0..255, from "#ff00ff", "#f0f" or a name. Raises ValueError with one line."""
    name = text.strip().lower()
    if name in NAMES:
        return NAMES[name]
    if not re.fullmatch("#([0-9a-f]{3}){1,2}", name):
        raise ValueError(f"no colour is called {text!r}; say #rrggbb or one of {', '.join(NAMES)}")
    digits = name[1:] if len(name) == 7 else "".join(2 * digit for digit in name[1:])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def colour_planes(picture: av.VideoFrame) -> int:
    """How many planes come before the alpha plane, if there is one. ValueError: components share planes."""
    if not has_plain_planes(picture.format):
        raise ValueError(f"a {picture.format.name} picture has no plane for each component")
    return sum(not component.is_alpha for component in picture.format.components)


def fill_values(rgb: tuple[int, int, int], picture: av.VideoFrame) -> list[int]:
    """The sample of each colour plane that shows rgb (0..255 each), by the picture's matrix, range and depth.

    ValueError: components share planes.
    """
    count = colour_planes(picture)
    layout = picture.format
    bits = layout.components[0].bits
    top = (1 << bits) - 1
    red, green, blue = (part / 255 for part in rgb)
    if layout.name.startswith("gbr"):
        return [round(part * top) for part in (green, blue, red)]
    kr, kb = _shares(picture)
    bright = kr * red + (1 - kr - kb) * green + kb * blue
    colours = [(blue - bright) / (2 - 2 * kb), (red - bright) / (2 - 2 * kr)]  # -0.5..0.5
    if _is_full(picture):
        values = [bright * top] + [(1 << bits - 1) + colour * top for colour in colours]
    else:
        one = 1 << bits - 8
        values = [(16 + 219 * bright) * one] + [(128 + 224 * colour) * one for colour in colours]
    return [min(round(value), top) for value in values[:count]]


def matrix_of(picture: av.VideoFrame) -> int:
    """The number of its matrix (ITU-T H.273, 8.3), or where it says none that is known, of that which players take."""
    said = int(picture.colorspace)
    return said if said in _SHARES else 1 if picture.height >= _HD_HEIGHT else 6


def _shares(picture: av.VideoFrame) -> tuple[float, float]:
    return _SHARES[matrix_of(picture)]


def _is_full(picture: av.VideoFrame) -> bool:
    name = picture.format.name
    if name.startswith("gray"):  # players take grey for full unless it says otherwise
        return picture.color_range != _LIMITED
    return name.startswith("yuvj") or picture.color_range == _FULL
