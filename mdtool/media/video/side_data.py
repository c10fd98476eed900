"""Side data of pictures: HDR metadata, 3D and 360 degree flags, closed captions. What is kept, and how.

Encoders take closed captions from the frames, and the static HDR metadata as options. What containers state themselves,
PyAV can only copy from a stream that has it; so such a stream is made: a Matroska header without any frame (RFC 9559).
"""

import io
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.sidedata.sidedata import SideDataContainer, Type

MASTERING, LIGHT, STEREO, SPHERICAL = (
    "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "STEREO3D", "SPHERICAL",
)  # fmt: skip
CAPTIONS = "A53_CC"
# What is told to be lost, by FFmpeg's names. Other side data is of no use in another encoding, or kept elsewhere.
_NAMES = {
    MASTERING: "mastering display",
    LIGHT: "content light level",
    STEREO: "3D flag",
    SPHERICAL: "360 degree projection",
    CAPTIONS: "closed captions",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
    "ICC_PROFILE": "ICC profile",
    "AFD": "active format description",
}
_MATROSKA = ("matroska", "webm")
# Muxers that state HDR metadata, and those that state 3D and 360 degrees.
_STATE_HDR, _STATE_VIEWS = (*_MATROSKA, "mp4", "mov"), (*_MATROSKA, "mp4")
# Matroska's ids of the codecs that can stand in a header without frames.
_CODEC_IDS = {
    "h264": "V_MPEG4/ISO/AVC", "hevc": "V_MPEGH/ISO/HEVC", "vp8": "V_VP8", "vp9": "V_VP9", "av1": "V_AV1",
    "mpeg4": "V_MPEG4/ISO/ASP", "mpeg2video": "V_MPEG2", "ffv1": "V_FFV1", "prores": "V_PRORES",
}  # fmt: skip
# Encoders that take the static HDR metadata: the option, its keys for the two, and units per candela and chromaticity.
_HDR_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
# FFmpeg's (type, is inverted) of 3D -> StereoMode of Matroska.
_STEREO_MODES = {
    (0, 0): 0, (1, 0): 1, (2, 1): 2, (2, 0): 3, (4, 1): 4, (4, 0): 5, (6, 1): 6, (6, 0): 7, (7, 1): 8, (7, 0): 9,
    (1, 1): 11, (3, 0): 13, (3, 1): 14,
}  # fmt: skip
# (Type, is inverted) of 3D that encoders state in the bitstream, and MP4 in its box.
_STEREO_BY_ENCODER = {"libx264": (1, 2, 3, 4, 6, 7), "mpeg2video": (1, 2, 5)}
_STEREO_IN_MP4 = (0, 1, 2)
_EQUIRECTANGULAR, _CUBEMAP, _TILE = 0, 1, 2  # FFmpeg's projections

SideData = Mapping[str, bytes]
_side_data: Any = SideDataContainer  # whose arguments PyAV's stubs lack


def _unnamed_type(cls: type[Type], value: object) -> Type:
    """Name a type that PyAV doesn't know, such as the Exif of a JPEG frame: it would raise for all side data."""
    added: Any = object.__new__(cls)
    added._name_, added._value_ = f"TYPE_{value}", value
    return added  # type: ignore[no-any-return]


Type._missing_ = classmethod(_unnamed_type)  # type: ignore[method-assign, assignment]


def side_data_of(frame: av.VideoFrame) -> dict[str, bytes]:
    """Return the side data of a frame as FFmpeg's structures, by the names of their types."""
    # Not `frame.side_data`: the frame would refer to what refers to it, and only the garbage collector would free it.
    return {data.type.name: bytes(data) for data in _side_data(frame)}


def display_matrix(frame: av.VideoFrame) -> bytes | None:
    """Return the frame's display matrix (nine little-endian int32), or None."""
    return side_data_of(frame).get("DISPLAYMATRIX")


def encoder_options(side_data: SideData, codec: str) -> dict[str, str]:
    """Return the options with which an encoder writes the HDR metadata and closed captions of a stream.

    Args:
        side_data: That of its first frame.
        codec: Name of the encoder.

    Returns:
        Options of the encoder; those named "...-params" are added to others of that name.
    """
    options = {"a53cc": "1"} if _writes_captions(codec) else {}
    if codec in _HDR_OPTIONS:
        name, mastering_key, light_key = _HDR_OPTIONS[codec]
        mastering = _mastering_text(side_data, decimal=codec == "libsvtav1")
        params = [f"{mastering_key}={mastering}"] if mastering else []
        if LIGHT in side_data:
            params.append("{}={},{}".format(light_key, *struct.unpack("<2I", side_data[LIGHT])))
        if params:
            options[name] = ":".join(params)
    return options


def joined(options: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return the options of both; lists of parameters that both have are joined."""
    return {**options, **{name: f"{options[name]}:{text}" if name in options else text for name, text in more.items()}}


@cache
def _writes_captions(codec: str) -> bool:
    return any(option.name == "a53cc" for option in av.CodecContext.create(codec, "w").supported_options.private)


def lost(side_data: SideData, codec: str, muxer: str) -> list[str]:
    """Return a sentence for each side data of a frame that the output can't hold.

    Args:
        side_data: That of the frame.
        codec: Name of the encoder.
        muxer: Name of the muxer.
    """
    return [
        f"{_NAMES[kind]} left out: {_obstacle(kind, side_data[kind], codec, muxer)}"
        for kind in side_data
        if kind in _NAMES and not _is_kept(kind, side_data, codec, muxer)
    ]


def _is_kept(kind: str, side_data: SideData, codec: str, muxer: str) -> bool:
    if kind == CAPTIONS:
        return _writes_captions(codec)
    if kind == "ICC_PROFILE":
        return codec in ("png", "apng", "mjpeg")
    if kind == STEREO and _stereo(side_data[kind])[0] == 0:  # it says that there is no 3D
        return True
    if kind == STEREO and _stereo(side_data[kind]) in {(n, 0) for n in _STEREO_BY_ENCODER.get(codec, ())}:
        return True
    if kind in (MASTERING, LIGHT) and codec in _HDR_OPTIONS and (kind == LIGHT or _mastering_text(side_data)):
        return True
    return _codec_id(codec) is not None and _element(kind, side_data[kind], muxer) is not None


def _obstacle(kind: str, data: bytes, codec: str, muxer: str) -> str:
    if kind in (STEREO, SPHERICAL):
        others = {".mp4": "mp4", ".mkv": "matroska"}
        holders = [suffix for suffix, name in others.items() if name != muxer and _element(kind, data, name)]
        return f"{muxer} with {codec} can't hold it" + (f"; {' and '.join(holders)} can" if holders else "")
    if kind in (MASTERING, LIGHT):
        return f"{codec} in {muxer} can't hold it; libx264, libx265 and .mkv can"
    if kind == CAPTIONS:
        return f"{codec} can't hold them; libx264 and libx265 can"
    return f"{codec} can't write it"


# -- what encoders take


def _mastering(data: bytes) -> list[Fraction] | None:
    """Return x and y of red, green, blue and white, and least and greatest candela per square metre; None if unknown.

    Args:
        data: FFmpeg's AVMasteringDisplayMetadata.
    """
    *numbers, has_primaries, has_luminance = struct.unpack("<22i", data)
    if not (has_primaries and has_luminance) or not all(numbers[1::2]):
        return None
    return [Fraction(numerator, denominator) for numerator, denominator in zip(*[iter(numbers)] * 2, strict=True)]


def _mastering_text(side_data: SideData, decimal: bool = False) -> str | None:
    values = _mastering(side_data[MASTERING]) if MASTERING in side_data else None
    if values is None:
        return None

    def text(value: Fraction, units: int) -> str:
        return f"{float(value):.6f}" if decimal else str(round(value * units))

    *chromaticity, least, most = values
    red, green, blue, white = (
        f"({text(x, 50000)},{text(y, 50000)})" for x, y in zip(*[iter(chromaticity)] * 2, strict=True)
    )
    return f"G{green}B{blue}R{red}WP{white}L({text(most, 10000)},{text(least, 10000)})"


def _stereo(data: bytes) -> tuple[int, int]:
    """Return type and flag "inverted" of FFmpeg's AVStereo3D."""
    kind, flags = struct.unpack_from("<2i", data)
    return kind, flags & 1


# -- what containers state


def state_in_container(side_data: SideData, codec: str, muxer: str, stream: Any) -> dict[str, str]:
    """Let the container state what it can of the side data of a stream.

    It must be called before the stream's encoder is configured, which it resets.

    Args:
        side_data: That of the first frame.
        codec: Name of the encoder.
        muxer: Name of the muxer.
        stream: The output stream.

    Returns:
        Options of the muxer.
    """
    stated = [kind for kind in (MASTERING, LIGHT, STEREO, SPHERICAL) if kind in side_data]
    parts = [element for kind in stated if (element := _element(kind, side_data[kind], muxer))]
    codec_id = _codec_id(codec)
    if codec_id is None or not parts:
        return {}
    rate = stream.codec_context.framerate
    with av.open(io.BytesIO(_matroska_header(codec_id, parts)), "r", format="matroska") as header:
        BitStreamFilterContext("null", header.streams.video[0], stream)
    stream.codec_context.framerate = rate
    stream.codec_context.codec_tag = "\0\0\0\0"
    # MP4's boxes of 3D and 360 degrees are those of Google's specification, not of ISO.
    return {"strict": "unofficial"} if muxer == "mp4" and {STEREO, SPHERICAL} & side_data.keys() else {}


def has_vexu(side_data: SideData, muxer: str) -> bool:
    """Return whether the muxer writes a box "vexu" besides "st3d" and "sv3d".

    It lacks how views are packed and where the middle of a projection is, but readers that know both kinds believe it.
    """
    views = [kind for kind in (STEREO, SPHERICAL) if kind in side_data]
    return muxer == "mp4" and any(_element(kind, side_data[kind], muxer) is not None for kind in views)


def _codec_id(codec: str) -> str | None:
    return _CODEC_IDS.get(av.Codec(codec, "w").canonical_name)


def _matroska_header(codec_id: str, parts: Sequence[tuple[bool, bytes]]) -> bytes:
    colour = b"".join(part for in_colour, part in parts if in_colour)
    others = b"".join(part for in_colour, part in parts if not in_colour)
    video = _ebml(0xB0, _uint(16)) + _ebml(0xBA, _uint(16)) + others + (_ebml(0x55B0, colour) if colour else b"")
    track = (
        _ebml(0xD7, _uint(1)) + _ebml(0x73C5, _uint(1)) + _ebml(0x83, _uint(1)) + _ebml(0x86, codec_id.encode())
        + _ebml(0xE0, video)
    )  # fmt: skip
    info = _ebml(0x2AD7B1, _uint(1_000_000)) + _ebml(0x4D80, b"mdtool") + _ebml(0x5741, b"mdtool")
    cluster = _ebml(0x1F43B675, _ebml(0xE7, _uint(0)))  # an empty one, up to which the header is read
    segment = _ebml(0x1549A966, info) + _ebml(0x1654AE6B, _ebml(0xAE, track)) + cluster
    document = _ebml(0x4282, b"matroska") + _ebml(0x4287, _uint(4)) + _ebml(0x4285, _uint(2))
    return _ebml(0x1A45DFA3, document) + _ebml(0x18538067, segment)


def _element(kind: str, data: bytes, muxer: str) -> tuple[bool, bytes] | None:
    """Return Matroska's element for a side data, and whether it is part of Colour; None if the muxer can't hold it."""
    if muxer not in (_STATE_HDR if kind in (MASTERING, LIGHT) else _STATE_VIEWS):
        return None
    if kind == LIGHT:
        most, average = struct.unpack("<2I", data)
        return True, _ebml(0x55BC, _uint(most)) + _ebml(0x55BD, _uint(average))
    if kind == MASTERING:
        values = _mastering(data)
        if values is None:
            return None
        *chromaticity, least, most_light = values
        floats = [*chromaticity, most_light, least]
        return True, _ebml(0x55D0, b"".join(_ebml(0x55D1 + n, _float(value)) for n, value in enumerate(floats)))
    if kind == STEREO:
        mode = _STEREO_MODES.get(_stereo(data))
        if muxer == "mp4" and _stereo(data) not in {(n, 0) for n in _STEREO_IN_MP4}:
            mode = None
        return None if mode is None else (False, _ebml(0x53B8, _uint(mode)))
    projection = _projection(data) if kind == SPHERICAL else None
    return None if projection is None else (False, projection)


def _projection(data: bytes) -> bytes | None:
    """Return the Projection element for FFmpeg's AVSphericalMapping."""
    kind, yaw, pitch, roll, left, top, right, bottom, padding = struct.unpack("<4i5I", data)
    if kind in (_EQUIRECTANGULAR, _TILE):
        number, private = 1, struct.pack(">5I", 0, top, bottom, left, right)
    elif kind == _CUBEMAP:
        number, private = 2, struct.pack(">3I", 0, 0, padding)
    else:
        return None
    angles = b"".join(_ebml(0x7673 + n, _float(Fraction(angle, 1 << 16))) for n, angle in enumerate((yaw, pitch, roll)))
    return _ebml(0x7670, _ebml(0x7671, _uint(number)) + _ebml(0x7672, private) + angles)


def _ebml(number: int, payload: bytes) -> bytes:
    """Return an EBML element (RFC 8794), its size in eight bytes."""
    identifier = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return identifier + (1 << 56 | len(payload)).to_bytes(8, "big") + payload


def _uint(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _float(value: Fraction) -> bytes:
    return struct.pack(">d", float(value))
