"""Each frame stays interlaced or progressive, and its fields stay in their order."""

from pathlib import Path

import av
import pytest
from cli_runner import redact
from make_media import frames_of, psnr
from make_pictures import kinds_of, write_fields

from mdtool.media.video.encoded_segments import EncodedSegments
from mdtool.media.video.encoding import Encoding
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter

MIXED = ["ppppTTTT", "TTTTpppp", "TTTTBBBBppTT", "ppBBBBppTTpp", "pTpTpTpT", "BBBBBB"]


@pytest.mark.parametrize("target", ["out.mkv", "out.mp4", "out.mov", "out.ts"])
@pytest.mark.parametrize("kinds", MIXED)
def test_each_frame_keeps_its_kind(tmp_path: Path, kinds: str, target: str) -> None:
    source = write_fields(tmp_path / "in.mkv", kinds)
    assert kinds_of(source) == kinds
    outcome = redact(source, "-o", tmp_path / target, "--only", "0,0,0.01,0.01")
    assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err
    assert kinds_of(tmp_path / target) == kinds
    pairs = zip(frames_of(source), frames_of(tmp_path / target), strict=True)
    assert min(psnr(one, other) for one, other in pairs) > 33


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_with_frames_that_refer_ahead(tmp_path: Path, preset: str) -> None:
    source = write_fields(tmp_path / "in.mkv", "p" * 20 + "TTpB" * 10)
    assert redact(source, "-o", tmp_path / "out.mkv", "--preset", preset).code == 0
    assert kinds_of(tmp_path / "out.mkv") == "p" * 20 + "TTpB" * 10


def joined(stream: bytes) -> bytes:
    """Let the continuity counters of a transport stream (ISO/IEC 13818-1, 2.4.3.2) go on without a gap."""
    packets, counters = [bytearray(stream[at : at + 188]) for at in range(0, len(stream), 188)], dict[int, int]()
    for packet in packets:
        identifier = (packet[1] & 31) << 8 | packet[2]
        counters[identifier] = (counters.get(identifier, 15) + bool(packet[3] & 16)) % 16
        packet[3] = packet[3] & 0xF0 | counters[identifier]
    return b"".join(packets)


@pytest.mark.parametrize("target", ["out.ts", "out.mkv", "out.mp4"])
def test_a_transport_stream_that_changes(tmp_path: Path, target: str) -> None:
    """As broadcasts do: the parameter sets change on the way."""
    one = write_fields(tmp_path / "a.ts", "p" * 10, codec="libx264")
    other = write_fields(tmp_path / "b.ts", "T" * 10, codec="libx264", first=10)
    source = tmp_path / "in.ts"
    source.write_bytes(joined(one.read_bytes() + other.read_bytes()))
    assert kinds_of(source) == "p" * 10 + "T" * 10
    outcome = redact(source, "-o", tmp_path / target)
    assert outcome.code == 0, outcome.err
    assert kinds_of(tmp_path / target) == "p" * 10 + "T" * 10


def test_seeking_to_either_part(tmp_path: Path) -> None:
    """Each finds its parameter sets, whichever was decoded before."""
    source, target = write_fields(tmp_path / "in.mkv", "p" * 10 + "T" * 10), tmp_path / "out.mp4"
    assert redact(source, "-o", target).code == 0
    with av.open(str(target)) as container:
        for seconds in (0.6, 0.0, 0.6):
            container.seek(round(seconds * av.time_base))
            frame = next(container.decode(video=0))
            assert not frame.is_corrupt
            assert frame.interlaced_frame == (seconds > 0.4)


@pytest.mark.parametrize(("kinds", "size"), [("TTTTTT", (160, 118)), ("BBBB", (160, 122)), ("TTTT", (160, 242))])
def test_heights_that_h264_can_not_code_as_fields(tmp_path: Path, kinds: str, size: tuple[int, int]) -> None:
    source = write_fields(tmp_path / "in.mpg", kinds, size, codec="mpeg2video")
    assert kinds_of(source) == kinds
    outcome = redact(source, "-o", tmp_path / "out.mkv")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(f"libx264 can't code {size[1]} lines as fields") == 1
    assert kinds_of(tmp_path / "out.mkv") == kinds
    assert frames_of(tmp_path / "out.mkv")[0].height == size[1]


@pytest.mark.parametrize("codec", ["mpeg2video", "ffv1"])
def test_other_codecs_that_mark_each_frame(tmp_path: Path, codec: str) -> None:
    source = write_fields(tmp_path / "in.mkv", "TTppBBTT")
    outcome = redact(source, "-o", tmp_path / "out.mkv", "--codec", codec)
    assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err
    assert kinds_of(tmp_path / "out.mkv") == "TTppBBTT"


@pytest.mark.parametrize(
    ("codec", "kinds", "said"),
    [
        ("libx265", "TTTT", "interlacing left out: libx265"),
        ("libvpx-vp9", "ppTT", "interlacing left out: libvpx-vp9"),
        ("mpeg4", "TTTT", ""),
        ("mpeg4", "TTpp", "all frames marked as interlaced: mpeg4"),
        ("mpeg2video", "ppTT", "all frames marked as progressive: mpeg2video"),
        ("libx265", "pppp", ""),
    ],
)
def test_what_a_codec_can_not_mark_is_told(tmp_path: Path, codec: str, kinds: str, said: str) -> None:
    source = write_fields(tmp_path / "in.mkv", kinds)
    outcome = redact(source, "-o", tmp_path / "out.mkv", "--codec", codec)
    assert (outcome.code, len(outcome.lines)) == (0, 1 + bool(said)), outcome.err
    assert said in outcome.err
    assert len(frames_of(tmp_path / "out.mkv")) == len(kinds)


def test_segments_may_begin_with_either_kind(tmp_path: Path) -> None:
    """A segment that a resumed run encodes is that of an uninterrupted one."""
    kinds = "p" * 15 + "T" * 30 + "p" * 5 + "B" * 20
    source = write_fields(tmp_path / "in.mkv", kinds, rate=1)
    outputs = []
    for name in ("a.mp4", "b.mp4"):
        with VideoReader(source) as reader:
            writer = VideoWriter(
                tmp_path / name, "mp4", reader, encoding=Encoding(preset="ultrafast"), keep_metadata=False,
                segments=EncodedSegments(tmp_path),
            )  # fmt: skip
            for event in reader:
                writer.write(event)
            writer.close()
        outputs.append((tmp_path / name).read_bytes())
    assert kinds_of(tmp_path / "a.mp4") == kinds
    assert [path.name for path in sorted(tmp_path.glob("*.packets"))] == [f"0-00000{n}.packets" for n in range(3)]
    assert outputs[0] == outputs[1]
