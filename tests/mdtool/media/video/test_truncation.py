"""A video file that is shorter than its headers state is truncated."""

import random
import struct
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import av
import numpy as np
import pytest

from mdtool.errors import InputError
from mdtool.media.files.pipe import HEAD_BYTES, PipeReader
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


def flv(size: float, tags: int = 20) -> bytes:
    return b"FLV\x01\x05" + bytes(tags) + b"\x00\x08filesize\x00" + struct.pack(">d", size) + bytes(10)


def mxf(footer: int, length: bytes = b"\x78") -> bytes:
    return MXF_HEADER + length + bytes(24) + struct.pack(">Q", footer) + bytes(20)


def box(kind: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return (8 + len(content) if size is None else size).to_bytes(4, "big") + kind + content


def sidx(*sizes: int, version: int = 0, first_offset: int = 0) -> bytes:
    times = bytes(8 if version else 4) + first_offset.to_bytes(8 if version else 4, "big")
    references = b"".join(struct.pack(">III", size, 0, 0) for size in sizes)
    return box(b"sidx", bytes([version]) + bytes(11) + times + struct.pack(">HH", 0, len(sizes)) + references)


def page(content: bytes) -> bytes:
    lacing = bytes([255] * (len(content) // 255) + [len(content) % 255])
    return b"OggS\0" + bytes(21) + bytes([len(lacing)]) + lacing + content


FTYP = box(b"ftyp", b"mp42")
FRAGMENT = box(b"moof", b"ab") + box(b"mdat", b"abcd")  # 22 bytes
FRAGMENTED = FTYP + box(b"moov") + FRAGMENT
PAGES = page(bytes(700)) + page(bytes(90000 % 65025))
CASES = {
    "mp4: whole": (FTYP + box(b"mdat", b"abc") + box(b"moov", b"abc"), False),
    "mp4: a byte is missing": (FTYP + box(b"moov") + box(b"mdat", b"abc")[:-1], True),
    "mp4: 64-bit size": (FTYP + box(b"mdat", struct.pack(">Q", 19) + b"abc", size=1), False),
    "mp4: 64-bit size, a byte is missing": (FTYP + box(b"mdat", struct.pack(">Q", 19) + b"ab", size=1), True),
    "mp4: 64-bit size that is torn": (FTYP + box(b"mdat", bytes(7), size=1), True),
    "mp4: 64-bit size that can't be sought": (FTYP + box(b"mdat", b"\xff" * 8, size=1), True),
    "mp4: 64-bit size that is too small": (FTYP + box(b"mdat", struct.pack(">Q", 3), size=1) + box(b"moov")[:5], False),
    "mp4: up to the end": (FTYP + box(b"moov") + box(b"mdat", b"abc", size=0), False),
    "mp4: quicktime without ftyp": (box(b"wide") + box(b"mdat", b"abc")[:-1], True),
    "mp4: zeros behind it": (FTYP + box(b"moov") + box(b"mdat", b"abc") + bytes(99), False),
    "mp4: words behind it": (FTYP + box(b"mdat", b"abc") + box(b"moov") + b"SEFT" * 9, False),
    "mp4: a line feed behind it": (FTYP + box(b"moov") + box(b"mdat", b"abc") + b"\n", False),
    "mp4: a box of a camera behind it": (FTYP + box(b"moov") + box(b"sefd", b"abc") + box(b"mdat")[:-1], False),
    "mp4: a box of a camera before a torn one": (FTYP + box(b"inst") + box(b"mdat", b"ab")[:-1], True),
    "mp4: fragmented": (FRAGMENTED + FRAGMENT, False),
    "mp4: fragmented, a byte is missing": ((FRAGMENTED + FRAGMENT)[:-1], True),
    "mp4: fragmented, no media": (FRAGMENTED + FRAGMENT[:10], True),
    "mp4: fragmented, a torn header of media": (FRAGMENTED + FRAGMENT[:13], True),
    "mp4: fragmented, a torn header": (FRAGMENTED + FRAGMENT[:1], True),
    "mp4: fragmented, a torn index": (FRAGMENTED + box(b"mfra", b"abc")[:-1], True),
    "mp4: fragmented, a line feed behind the index": (FRAGMENTED + box(b"mfra", b"abc") + b"\n", False),
    "mp4: sidx": (FTYP + sidx(22, 22) + FRAGMENT * 2, False),
    "mp4: sidx, a fragment is missing": (FTYP + sidx(22, 22) + FRAGMENT, True),
    "mp4: sidx, 64-bit": (FTYP + sidx(22, 22, version=1, first_offset=8) + box(b"free") + FRAGMENT * 2, False),
    "mp4: sidx, 64-bit, too long": (FTYP + sidx(22, 22, version=1, first_offset=9) + box(b"free") + FRAGMENT * 2, True),
    "mp4: a torn sidx": (FTYP + sidx(22)[:15], True),
    "ogg: whole": (PAGES, False),
    "ogg: zeros behind it": (PAGES + bytes(9), False),
    "ogg: a byte is missing": (PAGES[:-1], True),
    "ogg: a torn header": (PAGES + page(b"ab")[:20], True),
    "ogg: a torn list of lengths": (PAGES + page(bytes(9000))[:40], True),
    "ogg: a torn mark": (PAGES + b"Og", True),
    "ogg: the whole mark": (PAGES + b"OggS", True),
    "ogg: no page at the end": (PAGES + bytes(1 << 17), False),
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
    "avi: the size of the file itself": (riff(b"AVI ", 16, b"abcd"), False),
    "avi: the size of the file itself, a byte is missing": (riff(b"AVI ", 16, b"abc"), True),
    "avi: the size of the file itself, a whole index": (riff(b"AVI ", 36, b"idx1\x10\0\0\0" + bytes(16)), False),
    "avi: 8 bytes of the index are missing": (riff(b"AVI ", 36, b"idx1\x18\0\0\0" + bytes(16)), True),
    "avi: a torn second chunk": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 6)[:1], True),
    "avi: a torn kind of a second chunk": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 6)[:11], True),
    "avi: a few bytes behind it": (riff(b"AVI ", 6, b"ab") + b"\0\n", False),
    "avi: not finished": (riff(b"AVI ", 0, b"ab"), False),
    "avi: streamed": (riff(b"AVI ", 0xFFFFFFFF, b"ab"), False),
    "avi: two chunks": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 6, b"ab"), False),
    "avi: two chunks, a byte is missing": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 6, b"a"), True),
    "avi: two chunks, the second not finished": (riff(b"AVI ", 6, b"ab") + riff(b"AVIX", 0, b"ab"), False),
    "another RIFF file": (riff(b"WAVE", 900), False),
    "flv: whole": (flv(len(flv(0))), False),
    "flv: a byte is missing": (flv(len(flv(0)) + 1), True),
    "flv: long tags, a byte is missing": (flv(60_001 + len(flv(0, 0)), 60_000), True),
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
    "mxf: a run-in": (bytes(65535) + mxf(40), False),
    "mxf: a run-in, no footer": (bytes(65535) + mxf(len(mxf(0))), True),
    "mxf: a run-in that is too long": (bytes(65536) + mxf(999), False),
    "mxf: open": (mxf(0), False),
    "mxf: ends within the header": (mxf(999)[:30], False),
    "a format that states none": (b"\x47\x40\0\x10" * 47, False),
    "empty": (b"", False),
}


@pytest.mark.parametrize("name", CASES)
def test_truncated(tmp_path: Path, name: str) -> None:
    data, expected = CASES[name]
    path = tmp_path / "video"
    path.write_bytes(data)
    assert is_truncated(path) == expected
    with path.open("rb") as file:
        file.seek(3)
        assert is_truncated(file) == expected
        assert file.tell() == 3


@pytest.mark.parametrize("name", [name for name in CASES if len(CASES[name][0]) < HEAD_BYTES])
def test_truncated_pipe(tmp_path: Path, name: str) -> None:
    data, expected = CASES[name]
    assert is_pipe_truncated(tmp_path / "pipe", data, len(data)) == expected


def test_pipe_and_remote_file_whose_later_headers_are_not_known(tmp_path: Path) -> None:
    """They lie behind its first bytes."""
    long = bytes(HEAD_BYTES)
    mp4, avi = FTYP + box(b"moov") + box(b"mdat", long), riff(b"AVI ", 4 + HEAD_BYTES, long)
    for whole in (mp4, avi):
        for read in (500, len(whole) - 1):  # a demuxer may stop before the end
            assert not is_pipe_truncated(tmp_path / "pipe", whole, read)
            assert is_pipe_truncated(tmp_path / "pipe", whole[:-1], read)
        assert not is_truncated(remote(whole))
        assert is_truncated(remote(whole[:-1]))
    for torn in (mp4 + box(b"moof", b"ab")[:-1], avi + riff(b"AVIX", 6), page(b"ab") * 9999 + b"Ogg"):
        assert not is_pipe_truncated(tmp_path / "pipe", torn, len(torn))
        assert not is_truncated(remote(torn))
        assert is_truncated(BytesIO(torn))


def is_pipe_truncated(path: Path, data: bytes, read: int) -> bool:
    """Ask of a pipe of which so many bytes were read."""
    path.write_bytes(data)
    with path.open("rb") as file:
        reader = PipeReader(file.fileno())
        reader.peek(min(5, read))
        while reader.length < read:
            reader.read(min(5000, read - reader.length))
        return is_truncated(reader)


def remote(data: bytes) -> Any:
    """A file object of a store, as fsspec makes them: not one of `io`."""
    file = BytesIO(data)
    return SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)


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


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov+dash+global_sidx"}),
        (".mp4", "libx264", {"movflags": "faststart"}),
        (".mov", "libx264", {"movflags": "faststart"}),
        (".ogv", "libvpx", {}),
    ],
)
def test_cut_anywhere(tmp_path: Path, suffix: str, codec: str, options: dict[str, str]) -> None:
    """Also where only sound is missing: a second of pictures has two of sound."""
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write(whole, codec, options, sound="libopus" if suffix == ".ogv" else "aac")
    assert not damaged(whole)
    data = whole.read_bytes()
    borders = [at for at in range(len(data)) if data[at : at + 4] == b"OggS" or data[at + 4 : at + 8] == b"moof"]
    unnoticed = [] if b"sidx" in data else [*borders, data.find(b"mfra") - 4]
    pick = random.Random(1)
    places = {len(data) - 1, len(data) - 9, *borders[1:], *(pick.randrange(9, len(data)) for _ in range(20))}
    for length in places.difference(unnoticed):
        cut.write_bytes(data[:length])
        assert damaged(cut), length
    with cut.open("rb") as file:
        assert damaged(file)


def write(path: Path, codec: str, options: dict[str, str], sound: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (25, 48, 64, 3), np.uint8)
    with av.open(path, "w", options=options) as container:
        video: Any = container.add_stream(codec, 25)
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 5
        audio: Any = container.add_stream(sound, 48000)
        for pixels in noise:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
        samples = np.random.default_rng(1).integers(-9000, 9000, (1, 2 * 96000), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
        frame.sample_rate = 48000
        container.mux(audio.encode(frame))
        container.mux([*video.encode(None), *audio.encode(None)])


def damaged(source: Path | BinaryIO) -> str:
    try:
        with VideoReader(source) as reader:
            assert list(reader)
            return str(reader.damage)
    except InputError as error:
        return str(error)
