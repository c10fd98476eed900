"""How the pictures of an output stream are stored: pixel format, matrix and range, and the conversion into it.

What a codec or container can't state is converted to what players assume there: limited range, and BT.601 or, from 720
lines on, BT.709.
"""

from dataclasses import dataclass
from typing import Any

import av

from mdtool.errors import UsageError
from mdtool.media.colour import matrix_of
from mdtool.media.video.alpha import composited, has_alpha, is_translucent, keeps_alpha, opaque_format
from mdtool.media.video.colour_codes import BT601, BT709, RGB, UNSPECIFIED
from mdtool.media.video.encoding import pixel_format
from mdtool.media.video.frame import has_plain_planes

LIMITED, FULL = 1, 2
_HD_HEIGHT = 720

_MATROSKA, _MP4 = ("matroska", "webm"), ("mp4", "mov", "3gp", "3g2")
# Codecs that state range and matrix in the bitstream, and codecs that state the matrix only.
_STATE_BOTH = ("h264", "hevc", "vp9", "av1", "dnxhd")
_STATE_MATRIX = (*_STATE_BOTH, "mpeg2video", "prores", "utvideo")
_FIXED_MATRIX = {"vp8": BT601, "mjpeg": BT601}  # whatever the container states
# For other codecs the containers that state both, except those whose decoders overrule them.
_RANGE_BY_CONTAINER = {"ffv1": _MATROSKA, "mpeg4": (*_MATROSKA, "mp4")}
_MATRIX_BY_CONTAINER = (*_MATROSKA, *_MP4)
# Colourspaces of the scaler by matrix code.
_SCALER = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# Encoders that take packed RGB only: what is painted on in planes, and the packed formats, the best first.
_PACKED = {"gbrap": ("rgba", "argb", "bgra", "abgr"), "gbrp": ("rgb24", "bgr24", "rgb0", "bgr0", "0rgb")}


@dataclass(frozen=True)
class PictureFormat:
    """How the pictures of an output stream are stored.

    Attributes:
        name: Pixel format, planar, that is painted on.
        encoded_as: Pixel format that the encoder takes.
        width: Pixels.
        height: Pixels.
        matrix: Matrix coefficients (ITU-T H.273, 8.3).
        colour_range: 0 not stated, 1 limited, 2 full.
        primaries: Colour primaries (H.273, 8.1).
        transfer: Transfer characteristics (H.273, 8.2).
        alpha: Whether alpha is kept.
        notes: Sentences for the person about what is not as in the source.
    """

    name: str
    encoded_as: str
    width: int
    height: int
    matrix: int
    colour_range: int
    primaries: int
    transfer: int
    alpha: bool
    notes: tuple[str, ...] = ()

    def can_code_fields(self, codec: str) -> bool:
        """Return whether an encoder can code interlaced pictures of this height as fields."""
        subsampled = av.VideoFormat(self.name, self.width, self.height).chroma_height() < self.height
        return codec != "libx264" or self.height % (4 if subsampled else 2) == 0

    def convert(self, image: av.VideoFrame) -> av.VideoFrame:
        """Return an image of the stream in this format and size: itself, if it is in it already."""
        if not self.alpha and is_translucent(image):
            image = composited(image)
        same = (image.format.name, image.width, image.height) == (self.name, self.width, self.height)
        if same and (self.name.startswith(("gbr", "gray")) or self._matches(image)):
            return image
        if image.format.is_rgb and image.format.components[0].bits < 8:  # whose white the scaler makes grey otherwise
            image = image.reformat(format="rgb24")
        return image.reformat(self.width, self.height, self.name, **self._colours(image))

    def _matches(self, image: av.VideoFrame) -> bool:
        """Return whether a YUV image has the range and matrix of the stream."""
        full = self.colour_range == FULL
        return _is_full(image) == full and (self.matrix == image.colorspace or not self._changes_matrix(image))

    def _changes_matrix(self, image: av.VideoFrame) -> bool:
        stated = self.matrix if self.matrix in _SCALER else matrix_of(image)
        return _SCALER[stated] != _SCALER.get(image.colorspace, _SCALER[matrix_of(image)])

    def _colours(self, image: av.VideoFrame) -> dict[str, Any]:
        """Return the scaler's arguments: range and matrix of the image, and of the stream."""
        if _is_rgb(image.format) and self.name.startswith("gbr"):
            return {}
        source_full = _is_rgb(image.format) or _is_full(image)
        ranges = {
            "src_color_range": FULL if source_full else LIMITED,
            "dst_color_range": FULL if self.colour_range == FULL else LIMITED,
        }
        if _is_rgb(image.format):
            return ranges | {"dst_colorspace": _SCALER.get(self.matrix, 5)}
        source = _SCALER.get(image.colorspace, _SCALER[matrix_of(image)])
        if self.name.startswith("gbr"):
            return ranges | {"src_colorspace": source}
        return ranges | ({"src_colorspace": source, "dst_colorspace": _SCALER.get(self.matrix, source)})


def choose_picture_format(image: av.VideoFrame, codec: str, muxer: str, requested: str | None = None) -> PictureFormat:
    """Choose how the pictures of a stream are stored, from its first one.

    Args:
        image: The first picture of the source.
        codec: Name of the encoder.
        muxer: Name of the muxer.
        requested: Pixel format that the person wants; None for the one that loses least.

    Raises:
        UsageError: The encoder or the container can't hold the requested format.
    """
    wants_alpha, notes = has_alpha(image.format) or is_translucent(image), []
    holds_alpha = keeps_alpha(codec, muxer)
    if requested and requested.startswith(("yuva", "gbra", *_PACKED["gbrap"])):
        if not holds_alpha:
            raise UsageError(f"--pixel-format {requested}: {codec} in {muxer} can't hold alpha")
        if not wants_alpha:
            notes.append(f"no alpha in the source: encoded as {opaque_format(requested)}, not {requested}")
            requested = opaque_format(requested)
    name, encoded_as = _formats(image, codec, requested, alpha=wants_alpha and holds_alpha)
    alpha = has_alpha(av.VideoFormat(name))
    if wants_alpha and not alpha:
        why = f"{codec} in {muxer} can't hold it" if requested is None else f"{requested} has none"
        notes.append(f"alpha left out, composited on black: {why}; .webm and .mov can, and .mkv with VP9")
    matrix, colour_range = _matrix(image, name, codec, muxer), _range(image, name, codec, muxer)
    if colour_range != FULL and _is_full(image) and not _is_rgb(image.format):
        notes.append(f"full range converted to limited: {codec} in {muxer} can't state it")
    notes += _losses(image, codec, encoded_as)
    rgb_to_yuv = _is_rgb(image.format) and not name.startswith("gbr")
    primaries, transfer = int(image.color_primaries), int(image.color_trc)
    return PictureFormat(
        name,
        encoded_as,
        image.width,
        image.height,
        matrix,
        colour_range,
        BT709 if rgb_to_yuv and primaries == UNSPECIFIED else primaries,
        BT709 if rgb_to_yuv and transfer == UNSPECIFIED else transfer,
        alpha,
        tuple(notes),
    )


def _formats(image: av.VideoFrame, codec: str, requested: str | None, alpha: bool) -> tuple[str, str]:
    """Return the planar pixel format to paint on, and the one that the encoder takes."""
    supported = [layout.name for layout in av.Codec(codec, "w").video_formats or []]
    usable = [name for name in supported if has_plain_planes(av.VideoFormat(name))]
    if supported and all(name.startswith("gray") for name in usable) and image.format.name not in usable:
        planar = "gbrap" if alpha else "gbrp"
        packed = next((name for name in _PACKED[planar] if name in supported), None)
        if requested and requested not in _PACKED[planar]:
            raise UsageError(f"--pixel-format {requested}: {codec} takes {', '.join(supported)}")
        if packed:
            return planar, requested or packed
    name = pixel_format(image, codec, requested, alpha=alpha)
    return name, name


def _is_rgb(layout: av.VideoFormat) -> bool:
    return layout.is_rgb or layout.has_palette


def _is_full(image: av.VideoFrame) -> bool:
    """Return whether YUV or grey samples use the full range."""
    if image.format.name.startswith(("gray", "ya", "mono")):
        return image.color_range != LIMITED
    return image.format.name.startswith("yuvj") or image.color_range == FULL


def _range(image: av.VideoFrame, name: str, codec: str, muxer: str) -> int:
    kind = av.Codec(codec, "w").canonical_name
    if name.startswith("gbr") or kind == "mjpeg":
        return FULL
    if _is_rgb(image.format):
        return LIMITED
    if name.startswith("gray") or not _is_full(image):
        return int(image.color_range)
    return FULL if kind in _STATE_BOTH or muxer in _RANGE_BY_CONTAINER.get(kind, ()) else LIMITED


def _matrix(image: av.VideoFrame, name: str, codec: str, muxer: str) -> int:
    if name.startswith("gbr"):
        return RGB
    kind = av.Codec(codec, "w").canonical_name
    assumed = _FIXED_MATRIX.get(kind, BT709 if image.height >= _HD_HEIGHT else BT601)
    can_state = kind in _STATE_MATRIX or (kind not in _FIXED_MATRIX and muxer in _MATRIX_BY_CONTAINER)
    if _is_rgb(image.format):
        return BT709 if can_state else assumed
    stated = int(image.colorspace)
    if stated == RGB:  # of a grey picture
        return UNSPECIFIED
    if can_state or name.startswith("gray") or _SCALER[matrix_of(image)] == _SCALER[assumed]:
        return stated
    return assumed


def _losses(image: av.VideoFrame, codec: str, target: str) -> list[str]:
    to = av.VideoFormat(target)
    odd = image.width % 2 + image.height % 2
    if odd and to.chroma_width(4) == 4 and image.format.chroma_width(4) < 4:
        return [
            f"{image.width}x{image.height} has an odd width or height: encoded as {target}, which {codec} "
            "supports; --codec libvpx-vp9 keeps the pixel format"
        ]
    if to.components[0].bits < image.format.components[0].bits:
        return [f"{codec} does not support {image.format.name}: encoded as {target}"]
    return []
