"""What the header of a video states about the length of its file."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mdtool.media.video.reader import VideoReader
from mdtool.media.video.truncation import is_truncated

EBML = bytes.fromhex("1a45dfa3 82 4286".replace(" ", ""))
SEGMENT = bytes.fromhex("18538067")
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
MXF_HEADER = bytes.fromhex("060e2b34020501010d01020101020400")


def riff(kind: bytes, size: int, content: bytes = b"") -> bytes:
    return b"RIFF" + size.to_bytes(4, "little") + kind + content


def asf(size: int, flags: int = 2) -> bytes:
    properties = ASF_PROPERTIES + bytes(24) + struct.pack("<Q", size) + bytes(40) + struct.pack("<I", flags)
    return ASF_HEADER + bytes(14) + properties + bytes(12)


def flv(size: float) -> bytes:
    return b"FLV\x01\x05" + bytes(20) + b"\x00\x08filesize\x00" + struct.pack(">d", size) + bytes(10)


def mxf(footer: int, length: bytes = b"\x78") -> bytes:
    return MXF_HEADER + length + bytes(24) + struct.pack(">Q", footer) + bytes(20)


CASES = {
    "matroska: whole": (EBML + SEGMENT + b"\x83abc", False),
    "matroska: another segment behind it": (EBML + SEGMENT + b"\x83abc" + SEGMENT + b"\x83", False),
    "matroska: a byte is missing": (EBML + SEGMENT + b"\x83ab", True),
    "matroska: eight bytes of size": (EBML + SEGMENT + b"\x01" + b"\0" * 6 + b"\x05abcd", True),
    "matroska: unknown size": (EBML + SEGMENT + b"\xff", False),
    "matroska: unknown size in eight bytes": (EBML + SEGMENT + b"\x01" + b"\xff" * 7, False),
    "matroska: no valid size": (EBML + SEGMENT + b"\0", False),
    "matroska: ends before the segment": (EBML, False),
    "matroska: a header longer than the file": (EBML[:4] + b"\x10\xff\xff\xff" + SEGMENT + b"\x83", False),
    "avi: whole": (riff(b"AVI ", 6, b"ab"), False),
    "avi: more behind it": (riff(b"AVI ", 6, b"abcd"), False),
    "avi: a byte is missing": (riff(b"AVI ", 6, b"a"), True),
    "avi: not finished": (riff(b"AVI ", 0, b"ab"), False),
    "avi: streamed": (riff(b"AVI ", 0xFFFFFFFF, b"ab"), False),
    "avi: two chunks": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 6, b"ab"), False),
    "avi: two chunks, a byte is missing": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 6, b"a"), True),
    "avi: two chunks, the second not finished": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 0, b"ab"), False),
    "another RIFF file": (riff(b"WAVE", 900), False),
    "flv: whole": (flv(len(flv(0))), False),
    "flv: a byte is missing": (flv(len(flv(0)) + 1), True),
    "flv: not finished": (flv(0), False),
    "flv: no number": (flv(float("nan")), False),
    "flv: infinite": (flv(float("inf")), False),
    "flv: ends within the number": (flv(99)[:-12], False),
    "flv: without metadata": (b"FLV\x01\x05\0\0\0\x09", False),
    "asf: whole": (asf(len(asf(0))), False),
    "asf: a byte is missing": (asf(len(asf(0)) + 1), True),
    "asf: a broadcast, which has no length": (asf(999, flags=1), False),
    "asf: ends within the header": (asf(999)[:100], False),
    "mxf: whole": (mxf(40), False),
    "mxf: no footer": (mxf(len(mxf(0))), True),
    "mxf: a long form of the length": (mxf(999, b"\x83\0\0\x78"), True),
    "mxf: open": (mxf(0), False),
    "mxf: ends within the header": (mxf(999)[:30], False),
    "a format that states none": (b"\0\0\0\x18ftypmp42", False),
    "empty": (b"", False),
}


@pytest.mark.parametrize("name", CASES)
def test_truncated(tmp_path: Path, name: str) -> None:
    data, expected = CASES[name]
    path = tmp_path / "video"
    path.write_bytes(data)
    assert is_truncated(path) == expected


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".avi", "mpeg4"),
        (".flv", "libx264"),
        (".asf", "wmv2"),
        (".mxf", "mpeg2video"),
        (".nut", "mpeg4"),
        (".mkv", "libx264"),
    ],
)
def test_cut_between_two_packets(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"whole{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.pos]
    assert not damaged(path)
    cut = tmp_path / f"cut{suffix}"
    for place in places[5:]:
        cut.write_bytes(path.read_bytes()[:place])
        assert damaged(cut), place


def damaged(path: Path) -> str:
    reader = VideoReader(path)
    with reader.container:
        assert list(reader)
        return str(reader.damage)
