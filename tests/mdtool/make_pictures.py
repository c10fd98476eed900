"""Small videos with alpha, palettes, interlaced frames and side data, made by PyAV."""

import re
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from make_media import scenery, with_face

from mdtool.media.video.alpha import decoder_of
from mdtool.media.video.interlacing import FieldOrder
from mdtool.media.video.side_data import side_data_of, state_in_container

RATE = 25
SIZE = (160, 120)


def picture(number: int, size: tuple[int, int] = SIZE, alpha: bool = False, opaque: bool = False) -> np.ndarray:
    """Return a face before scenery, HxWx3; with alpha HxWx4, transparent at the left and half so beside it."""
    width, height = size
    image = with_face(scenery(number, width, height), number)
    if not alpha:
        return image
    plane = np.full((height, width, 1), 255, np.uint8)
    if not opaque:
        plane[:, : width // 4], plane[:, width // 4 : width // 3] = 0, 128
    return np.concatenate([image, plane], 2)


def write(
    path: Path,
    codec: str,
    pix_fmt: str,
    images: Sequence[np.ndarray],
    options: dict[str, str] | None = None,
    **tags: Any,
) -> Path:
    """Write images, HxWx3 or HxWx4, with an encoder; tags: attributes of its codec context."""
    height, width, channels = images[0].shape
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, RATE, options=options or {})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, pix_fmt
        for name, value in tags.items():
            setattr(context, name, value)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgba" if channels == 4 else "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_with_alpha(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = decoder_of(stream)
        packets: list[Any] = [packet for packet in container.demux(stream) if packet.size]
        return [frame for packet in [*packets, None] for frame in decoder.decode(packet)]


def rgba(frame: Any) -> np.ndarray:
    """Return what a player shows, HxWx4, by what the frame states."""
    if frame.format.is_rgb or frame.format.has_palette:
        shown = frame.reformat(format="rgba")
    else:
        full = frame.format.name.startswith(("yuvj", "gray", "ya")) or frame.color_range == 2
        stated = {1: 1, 5: 5, 6: 5, 7: 7, 9: 9}.get(int(frame.colorspace), 1 if frame.height >= 720 else 5)
        shown = frame.reformat(format="rgba", src_colorspace=stated, src_color_range=2 if full else 1)
    return np.asarray(shown.to_ndarray()).astype(int)


# -- interlaced frames


def write_fields(
    path: Path, kinds: str, size: tuple[int, int] = SIZE, codec: str = "ffv1", first: int = 0, rate: int = RATE
) -> Path:
    """Write a frame for each letter: p progressive, T top field first, B bottom field first; first: its number."""
    order = FieldOrder()
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate)
        context = stream.codec_context
        (context.width, context.height), context.pix_fmt = size, "yuv420p"
        if codec != "ffv1" and kinds.strip("p"):
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        for number, kind in enumerate(kinds, first):
            frame = av.VideoFrame.from_ndarray(picture(number, size), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame if kind == "p" else order.interlaced(frame, kind == "T")))
        container.mux(stream.encode(None))
    return path


def kinds_of(path: Path) -> str:
    """Return a letter for each frame, as `write_fields` takes them."""
    order = FieldOrder()
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return "".join(("T" if order.is_top_first(f) else "B") if f.interlaced_frame else "p" for f in frames)


# -- side data, as FFmpeg's structures


def mastering() -> bytes:
    """BT.2020 primaries, 0.005 to 1000 candela per square metre."""
    values = [(v, 50000) for v in (35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450)] + [(50, 10000), (10**7, 10**4)]
    return struct.pack("<22i", *(number for pair in values for number in pair), 1, 1)


def light(most: int, average: int) -> bytes:
    return struct.pack("<2I", most, average)


def stereo(kind: int, inverted: bool = False) -> bytes:
    return struct.pack("<4iI4i", kind, inverted, 0, 0, 0, 0, 1, 0, 1)


def spherical(
    kind: int, angles: tuple[int, int, int] = (0, 0, 0), bounds: Sequence[int] = (0,) * 4, pad: int = 0
) -> bytes:
    """angles: yaw, pitch and roll in degrees."""
    return struct.pack("<4i5I", kind, *(angle << 16 for angle in angles), *bounds, pad)


def write_side_data(
    path: Path,
    stated: dict[str, bytes],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    insert: Callable[[int], bytes] = lambda number: b"",
    count: int = 6,
) -> Path:
    """Write a face with side data that the container states, and NAL units to insert before each picture."""
    options = {"preset": "ultrafast"} | ({"x265-params": "log-level=none"} if codec == "libx265" else {})
    slice_unit = rb"\x00\x00\x01[\x00-\x3f]" if codec == "libx265" else rb"\x00\x00\x01[\x41\x61\x65\x01]"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, RATE, options=options)
        container.container_options.update(state_in_container(stated, codec, container.format.name, stream))
        context = stream.codec_context
        (context.width, context.height), context.pix_fmt, context.max_b_frames = SIZE, pix_fmt, 0
        packets = []
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number), "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += stream.encode(frame)
        for number, packet in enumerate([*packets, *stream.encode(None)]):
            data = bytes(packet)
            if unit := insert(number):
                begins = re.search(slice_unit, data)
                assert begins
                data = data[: begins.start()] + unit + data[begins.start() :]
            changed: Any = av.Packet(data)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.stream, changed.duration, changed.is_keyframe = stream, packet.duration, packet.is_keyframe
            container.mux(changed)
    return path


def sei(message: bytes, codec: str = "libx264") -> bytes:
    """Return a NAL unit with a message "user data registered by ITU-T T.35" (ITU-T H.264 and H.265, annex D)."""
    escaped = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", b"\x04" + bytes([len(message)]) + message)
    return b"\x00\x00\x01" + (b"\x4e\x01" if codec == "libx265" else b"\x06") + escaped + b"\x80"


def captions(text: bytes) -> bytes:
    """Return two letters of CEA-608 closed captions (ATSC A/53, part 4)."""
    letters = bytes(letter | (0x80 if letter.bit_count() % 2 == 0 else 0) for letter in text)
    return b"\xb5\x00\x31GA94\x03\xc1\xff\xfc" + letters + b"\xff"


def hdr10_plus() -> bytes:
    """Return dynamic HDR metadata of one window (SMPTE ST 2094-40, application 4)."""
    fields = [
        (4, 8),
        (1, 8),
        (1, 2),
        (1000, 27),
        (0, 1),
        (9000, 17),
        (9500, 17),
        (9900, 17),
        (4000, 17),
        (0, 4),
        (9, 10),
    ]
    bits = "".join(f"{value:0{count}b}" for value, count in fields) + "000"
    bits += "0" * (-len(bits) % 8)
    return b"\xb5\x00\x3c\x00\x01" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def stated_by(path: Path) -> dict[str, bytes]:
    """Return the first side data of each type."""
    found: dict[str, bytes] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found = side_data_of(frame) | found
    return found
