"""The table of docs/redaction.md: what each container keeps."""

from pathlib import Path

import av
import pytest
from make_media import mux, sound

from mdtool.media.video.stream_plan import CHAPTERS, Action, plan_stream
from mdtool.media.video.timecode import FILE_TIMECODE, STREAM_TIMECODE
from mdtool.media.video.writer import MUXERS, ROTATION

DOCS = Path(__file__).parents[4] / "docs" / "redaction.md"
CODECS = {  # row -> encoder, its container and sample rate
    "AAC": ("aac", ".m4a", 48000),
    "MP3": ("libmp3lame", ".mp3", 44100),
    "Opus": ("libopus", ".mkv", 48000),
    "Vorbis": ("vorbis", ".mkv", 48000),
    "AC-3": ("ac3", ".mkv", 48000),
    "FLAC": ("flac", ".mkv", 48000),
    "ALAC": ("alac", ".mkv", 48000),
}
NAMES = {"aac": "AAC", "libopus": "Opus", "mp2": "MP2", "pcm_s16le": "PCM"}


def table() -> dict[str, dict[str, str]]:
    """The cells by row and suffix."""
    text = DOCS.read_text().split("## What each container keeps")[1].split("\n## ")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("row", CODECS)
def test_audio(tmp_path: Path, row: str) -> None:
    codec, suffix, rate = CODECS[row]
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        mux(container, sound(container.add_stream(codec, rate, options={"strict": "experimental"}), 0.2))
    found = {}
    with av.open(str(path)) as container:
        for name in table()[row]:
            plan = plan_stream(container.streams.audio[0], MUXERS[name], keep_metadata=False)
            found[name] = "yes" if plan.action is Action.COPY else NAMES[plan.codec]
    assert found == table()[row]


def test_chapters_rotation_and_time_code() -> None:
    cells = table()
    assert {name: cell == "yes" for name, cell in cells["chapters"].items()} == {
        name: MUXERS[name] in CHAPTERS for name in cells["chapters"]
    }
    assert {name: cell == "yes" for name, cell in cells["rotation"].items()} == {
        name: MUXERS[name] in ROTATION for name in cells["rotation"]
    }
    assert {name: cell != "no" for name, cell in cells["time code¹"].items()} == {
        name: MUXERS[name] in (*STREAM_TIMECODE, *FILE_TIMECODE) for name in cells["time code¹"]
    }
