"""Option values: what they may be, and that they do what they say."""

from pathlib import Path

import numpy as np
import pytest
from cli_runner import redact
from make_media import SAMPLES, frames_of, psnr
from PIL import Image

from mdtool.cli import run
from mdtool.cli.values import parsed, seconds, size_in_bytes
from mdtool.errors import UsageError
from mdtool.jobs.bench.recipe import loop_clip

GROUP = SAMPLES / "group.png"
FACES = {1: (226, 138, 270, 194), 2: (493, 118, 547, 186), 3: (99, 101, 161, 179), 4: (330, 185, 410, 287)}  # by size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90), ("90.5", 90.5), ("0", 0), ("1:30", 90), ("01:30", 90), ("0:01:30.5", 90.5), ("2:00:00", 7200),
        ("100:00:00", 360_000), ("59:59", 3599), ("0:0", 0), ("007", 7),
    ],
)  # fmt: skip
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+1", "1:", ":30", "1:-3", "90x", "1hm", "1:60:00", "1:2:3:4", "1e3", "nan", "inf", ".5", "5.",
     "1,5", "1 30"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a time; give seconds, or 1:30, or 0:01:30\.5"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10GB", 10**10), ("1.5 TB", 15 * 10**11), ("500mb", 5 * 10**8), ("2k", 2000), (" 0.001KB ", 1)],
)
def test_sizes(text: str, value: int) -> None:
    assert size_in_bytes(text) == value


@pytest.mark.parametrize(
    "text", ["", "GB", "10", "10B", "-1GB", "1e3GB", "1,5GB", "10GBs", "10 G B", "٣GB", "9" * 99 + "GB"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a size; give a number and KB, MB, GB or TB, such as 10GB"):
        size_in_bytes(text)


def test_a_size_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"'0GB' is zero; give a size"):
        size_in_bytes("0GB")


def test_an_option_that_was_not_given() -> None:
    assert parsed("--from", seconds, None) is None


def test_an_option_that_is_wrong_is_named() -> None:
    assert parsed("--from", seconds, "1:30") == 90
    with pytest.raises(UsageError, match=r"^--from: 'soon' is not a time"):
        parsed("--from", seconds, "soon")


@pytest.mark.parametrize(
    "options",
    [
        ["--from", "soon"], ["--to", "1:2:3:4"], ["--sample", "0"], ["--sample", "fps=0"], ["--color", "no colour"],
        ["--keep", "0.1,0.2"], ["--keep", "0.5,0.5,0.1,0.1"], ["--only", "a,b,c,d"], ["--min-size", "-3"],
        ["--max-calls", "0"], ["--strength", "0.01"], ["--strength", "5"], ["--feather", "2"], ["--margin", "-1"],
        ["--margin", "nan"], ["--margin", "inf"], ["--style", "invisible"], ["--shape", "star"], ["--on-error", "hope"],
        ["--from", "3", "--to", "1"], ["--from", "2", "--to", "2"], ["--nonsense"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_values_are_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert run(["redact", str(GROUP), "-o", str(tmp_path / "out.png"), *options]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("mdtool: ")
    assert err.count("\n") == 1
    assert "unexpected" not in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_told_in_the_words_of_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["redact", str(GROUP), "--style", "foo"]) == 2
    assert capfd.readouterr().err == (
        "mdtool: Invalid value for '--style': 'foo' is not one of 'blur', 'pixelate', 'solid', 'obfuscate'"
        "; see `mdtool redact --help`\n"
    )


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def hidden_faces(tmp_path: Path, *options: str) -> set[int]:
    """Those that are painted over; a face that is not must not have changed in any pixel."""
    target = tmp_path / "out.png"
    assert run(["redact", str(GROUP), "-o", str(target), "--style", "solid", "--color", "#ff00ff", *options]) == 0
    before, after = pixels(GROUP), pixels(target)
    painted = (after == (255, 0, 255)).all(-1)
    assert (before == after).all(-1)[~painted].all()
    found = set()
    for face, (x0, y0, x1, y1) in FACES.items():
        share = painted[y0:y1, x0:x1].mean()
        assert share in (0, 1)
        found |= {face} if share == 1 else set()
    assert painted.any() == bool(found)
    return found


def region(face: int) -> str:
    return ",".join(map(str, FACES[face]))


def test_all_faces_are_hidden(tmp_path: Path) -> None:
    assert hidden_faces(tmp_path) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "hidden"),
    [
        (["--keep", region(3)], {1, 2, 4}),
        (["--keep", region(3), "--keep", region(1)], {2, 4}),
        (["--keep", "0,0,0.5,1"], {2, 4}),
        (["--keep", "0,0,1,1"], set()),
        (["--keep", "0,0,50,50"], {1, 2, 3, 4}),
        (["--only", region(2)], {2}),
        (["--only", region(2), "--only", region(4)], {2, 4}),
        (["--only", "0.5,0,1,1"], {2, 4}),
        (["--only", "0.5,0,1,1", "--keep", region(2)], {4}),
        (["--min-size", "52"], {2, 3, 4}),
        (["--min-size", "75"], {4}),
        (["--min-size", "0.19"], {4}),
        (["--min-size", "400"], set()),
        (["--min-size", "1"], {1, 2, 3, 4}),
        (["--threshold", "1"], set()),
        (["--threshold", "0.1"], {1, 2, 3, 4}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_which_faces_are_hidden(tmp_path: Path, options: list[str], hidden: set[int]) -> None:
    assert hidden_faces(tmp_path, *options) == hidden


def test_a_region_that_the_picture_has_nothing_of(tmp_path: Path) -> None:
    outcome = redact(GROUP, "-o", tmp_path / "out.png", "--keep", "2000,10,2100,50")
    assert outcome.code in (1, 2)
    assert "lies outside of an image of 640x400" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_from_and_to_leave_the_frames_around_as_they_are(tmp_path: Path) -> None:
    clip, target = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    loop_clip(SAMPLES / "busy.mp4", clip, 40)
    options = ["--from", "0.5", "--to", "0:01", "--style", "solid", "--crf", "10"]
    assert redact(clip, "-o", target, *options).code == 0
    before, after = frames_of(clip), frames_of(target)
    changed = [n for n, pair in enumerate(zip(before, after, strict=True)) if psnr(*pair) < 30]
    assert changed == [n for n, frame in enumerate(before) if 0.5 <= frame.pts * frame.time_base < 1]
