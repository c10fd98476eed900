"""What a Matroska header states about the length of its file."""

from pathlib import Path

import pytest

from mdtool.media.video.matroska_segment import is_cut_off

EBML = bytes.fromhex("1a45dfa3 82 4286".replace(" ", ""))
SEGMENT = bytes.fromhex("18538067")
CASES = {
    "whole": (EBML + SEGMENT + b"\x83abc", False),
    "another segment behind it": (EBML + SEGMENT + b"\x83abc" + SEGMENT + b"\x83", False),
    "a byte is missing": (EBML + SEGMENT + b"\x83ab", True),
    "eight bytes of size": (EBML + SEGMENT + b"\x01" + b"\0" * 6 + b"\x05abcd", True),
    "unknown size": (EBML + SEGMENT + b"\xff", False),
    "unknown size in eight bytes": (EBML + SEGMENT + b"\x01" + b"\xff" * 7, False),
    "no valid size": (EBML + SEGMENT + b"\0", False),
    "ends before the segment": (EBML, False),
    "a header longer than the file": (EBML[:4] + b"\x10\xff\xff\xff" + SEGMENT + b"\x83", False),
    "another format": (b"RIFF....AVI ", False),
    "empty": (b"", False),
}


@pytest.mark.parametrize("name", CASES)
def test_cut_off(tmp_path: Path, name: str) -> None:
    data, expected = CASES[name]
    path = tmp_path / "a.mkv"
    path.write_bytes(data)
    assert is_cut_off(path) == expected
