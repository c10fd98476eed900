"""A wrong byte in the header of a block or tag is told, as what follows it may be lost without an error."""

import io
from pathlib import Path

import av
import pytest
from cli_runner import FAST_ENCODING, redact
from make_media import make_video, packets_of

from mdtool.media.video.container_structure import is_broken
from mdtool.media.video.reader import VideoReader

CODECS = {".mkv": "libx264", ".webm": "libvpx-vp9", ".flv": "libx264"}


def with_wrong_header(path: Path, number: int) -> Path:
    """Overwrite three bytes before the content of a packet."""
    data = packets_of(path, "video")[0][number][1]
    content = bytearray(path.read_bytes())
    at = content.index(data)
    before = (
        20 if path.suffix == ".flv" else 8
    )  # in which FLV has the time, the codec and a part of the stream's number
    content[at - before : at - before + 3] = b"\x7f\x7f\x7f"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", CODECS)
def test_it_is_told(tmp_path: Path, suffix: str) -> None:
    intact = make_video(tmp_path / f"a{suffix}", 40, codec=CODECS[suffix], with_sound=suffix == ".mkv")
    assert not is_broken(intact)
    source = with_wrong_header(intact, 20)
    assert is_broken(source)
    outcome = redact(source, "-o", tmp_path / f"out{suffix}", *FAST_ENCODING)
    assert outcome.code == 1
    assert "its structure is broken" in outcome.err
    assert (tmp_path / f"out.incomplete{suffix}").exists()


class Unseekable(io.RawIOBase):
    """A file that a muxer can't go back in, so that sizes stay unknown."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.content += bytes(data)
        return len(data)


@pytest.mark.parametrize("muxer", ["matroska", "webm", "flv"])
def test_a_recording_without_sizes_is_whole(tmp_path: Path, muxer: str) -> None:
    source = make_video(tmp_path / "a.mkv", 60, codec="libvpx-vp9" if muxer == "webm" else "libx264")
    out = Unseekable()
    with av.open(str(source)) as container, av.open(out, "w", muxer) as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    assert not is_broken(io.BytesIO(out.content))
    with VideoReader(io.BytesIO(out.content)) as reader:
        assert sum(1 for _ in reader) == 60
        assert not reader.damage
