"""`mdtool render`: findings drawn again, in any style, on what they are of."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, run
from make_findings import RATE, findings_jsonl, region
from make_media import SAMPLES, frames_of, make_video, packets_of, times_of
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from mdtool.records.findings import FrameFindings
from recipes.gaze_draw import colour_of_track
from recipes.regions import GazeEstimate

FRAMES = 12
BOX = region(0.25, 0.25, 0.75, 0.75)
TWO = [BOX, region(0.0, 0.8, 0.2, 1.0, "Licence  Plate", 2, None)]
GREY = 120
HIDING = ["blur", "pixelate", "solid", "obfuscate"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path: Path, size: tuple[int, int] = (320, 240)) -> Path:
    """Grey, with dots all over."""
    pixels = np.full((size[1], size[0], 3), GREY, np.uint8)
    pixels[::4, ::4] = 240
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write(path: Path, *sources: str, findings: FrameFindings | None = None) -> Path:
    """Findings of photos."""
    findings = findings or FrameFindings(TWO, analysed=True)
    path.write_text("".join(findings_jsonl(source, [findings], (320, 240), still=True) for source in sources))
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def changed(path: Path, target: Path) -> np.ndarray:
    """HxW: which pixels differ."""
    return np.asarray((pixels(path) != pixels(target)).any(axis=2))


def test_boxes_are_drawn_beside_the_file_that_the_findings_name(here: Path) -> None:
    photo(here / "a.png")
    outcome = run("render", write(here / "f.jsonl", "a.png"))
    assert outcome.code == 0, outcome.err
    assert outcome.out == b""
    assert outcome.lines[0].startswith("a.drawn.png: 1 image")
    picture = pixels(here / "a.drawn.png")
    assert tuple(picture[180, 160]) == colour_of_track(1)
    assert tuple(picture[239, 30]) == colour_of_track(2)
    assert not changed(here / "a.png", here / "a.drawn.png")[100:170, 90:230].any()  # nothing is hidden


def test_hitmarkers_are_in_the_middle_of_boxes(here: Path) -> None:
    photo(here / "a.png")
    assert run("render", write(here / "f.jsonl", "a.png"), "--style", "hitmarker", "--label", "face").code == 0
    rows, columns = np.nonzero(changed(here / "a.png", here / "a.drawn.png")[:140])
    assert abs(rows.mean() - 119.5) < 3
    assert abs(columns.mean() - 159.5) < 3


@pytest.mark.parametrize("style", HIDING)
def test_hiding_styles_hide_as_redact_does(here: Path, style: str) -> None:
    photo(here / "a.png")
    findings = write(here / "f.jsonl", "a.png")
    options = ["--style", style, "--color", "#ff00ff", "--margin", "0.2", "--shape", "ellipse", "--feather", "0.1"]
    assert run("render", findings, "-o", "rendered.png", *options).code == 0
    assert run("redact", "a.png", "-o", "redacted.png", "--from-findings", findings, *options).code == 0
    assert (here / "rendered.png").read_bytes() == (here / "redacted.png").read_bytes()
    assert (pixels(here / "rendered.png")[60:180, 80:240] < 230).any(axis=2).all()  # no dot is left


def test_redact_offers_no_style_that_hides_nothing(here: Path) -> None:
    photo(here / "a.png")
    for style in ("boxes", "hitmarker"):
        outcome = run("redact", "a.png", "--from-findings", write(here / "f.jsonl", "a.png"), "--style", style)
        assert outcome.code == 2
        assert style in outcome.err
    assert not (here / "a.redacted.png").exists()


def test_a_gaze_is_left_out_of_boxes(here: Path) -> None:
    photo(here / "a.png")
    for name, look in (("with", GazeEstimate((0.9, 0.1), True)), ("without", None)):
        findings = FrameFindings([region(0.25, 0.25, 0.75, 0.75, gaze=look)])
        assert run("render", write(here / "f.jsonl", "a.png", findings=findings), "-o", f"{name}.png").code == 0
    assert (here / "with.png").read_bytes() == (here / "without.png").read_bytes()


def test_what_is_drawn_can_be_chosen(here: Path) -> None:
    photo(here / "a.png")
    findings = write(here / "f.jsonl", "a.png")

    def tracks(*options: str) -> set[int]:
        assert run("render", findings, "-o", "out.png", "--overwrite", *options).code == 0
        picture = pixels(here / "out.png")
        return {n for n, (y, x) in {1: (180, 160), 2: (239, 30)}.items() if tuple(picture[y, x]) == colour_of_track(n)}

    assert tracks() == {1, 2}
    assert tracks("--label", "face") == {1}
    assert tracks("--label", "licence plate") == {2}
    assert tracks("--label", "FACE", "--label", " Licence Plate") == {1, 2}
    assert tracks("--keep", "0,0.7,0.3,1") == {1}
    assert tracks("--only", "0,0.9,0.1,1") == {2}
    assert tracks("--min-size", "100") == {1}


def test_a_label_hides_the_others_from_hiding_too(here: Path) -> None:
    photo(here / "a.png")
    options = ["--style", "solid", "--label", "licence plate", "--margin", "0"]
    assert run("render", write(here / "f.jsonl", "a.png"), *options).code == 0
    different = changed(here / "a.png", here / "a.drawn.png")
    assert different[192:, :64].all()
    assert not different[:192].any()


def test_a_label_that_nothing_has(here: Path) -> None:
    photo(here / "a.png")
    outcome = run("render", write(here / "f.jsonl", "a.png"), "a.png", "--label", "fcae", "--style", "solid")
    assert outcome.code == 2
    assert outcome.err == "mdtool: --label fcae: nothing has this label; the findings have Licence  Plate, face\n"
    assert not (here / "a.drawn.png").exists()


# -- which inputs, and where to


def test_all_files_that_are_here_are_drawn_and_the_others_named(here: Path) -> None:
    photo(here / "a.png")
    photo(here / "b" / "c.png")
    outcome = run("render", write(here / "f.jsonl", "a.png", "gone.png", "b/c.png", "-"))
    assert outcome.code == 0, outcome.err
    assert "mdtool: gone.png: is named in the findings, but does not exist" in outcome.lines
    assert {path.name for path in here.rglob("*.drawn.*")} == {"a.drawn.png", "c.drawn.png"}
    assert (here / "b" / "c.drawn.png").exists()


def test_an_output_folder_mirrors_the_tree(here: Path) -> None:
    sources = ["in/x/a.png", "in/y/a.png", str(photo(here / "in" / "b.png"))]
    for source in sources[:2]:
        photo(here / source)
    findings = write(here / "f.jsonl", *sources)
    assert run("render", findings, "-o", "out").code == 0
    assert {str(path.relative_to(here / "out")) for path in (here / "out").rglob("*.png")} == {
        "x/a.png", "y/a.png", "b.png",
    }  # fmt: skip
    before = (here / "out" / "b.png").stat().st_mtime_ns
    again = run("render", findings, "-o", "out", "--style", "solid")
    assert again.code == 0
    assert again.err.count("skipped") == 3
    assert (here / "out" / "b.png").stat().st_mtime_ns == before


def test_named_inputs_are_those_that_are_drawn(here: Path) -> None:
    for name in ("a.png", "b.png"):
        photo(here / name)
    findings = write(here / "f.jsonl", "a.png", "b.png")
    assert run("render", findings, "b.png").code == 0
    assert not (here / "a.drawn.png").exists()
    assert (here / "b.drawn.png").exists()


def test_a_file_that_was_moved_is_known_by_its_name(here: Path) -> None:
    photo(here / "moved" / "a.png")
    assert run("render", write(here / "f.jsonl", "in/a.png"), "moved/a.png", "-o", "out.png").code == 0
    assert changed(here / "moved" / "a.png", here / "out.png").any()


def test_outputs_are_no_inputs_of_the_next_run(here: Path) -> None:
    photo(here / "in" / "a.png")
    findings = write(here / "f.jsonl", "in/a.png")
    assert run("render", findings, "in").code == 0
    assert (here / "in" / "a.drawn.png").exists()
    assert run("render", findings, "in", "--overwrite").code == 0
    assert not (here / "in" / "a.drawn.drawn.png").exists()


def test_where_nothing_is_here(here: Path) -> None:
    outcome = run("render", write(here / "f.jsonl", "gone.png"))
    assert outcome.code == 3
    said = "mdtool: none of the files named in the findings exists; give the inputs after the findings"
    assert outcome.lines[-1] == said
    (here / "empty.jsonl").write_text("")
    assert run("render", "empty.jsonl").code == 1
    assert run("render", "f.jsonl", "nowhere/*.png").code == 3


@pytest.mark.parametrize("source", ["/", "//", ".", "..", "", "a/", "/..", "\0"])
def test_findings_of_what_is_no_file(source: str, here: Path) -> None:
    (here / "found.jsonl").write_text(findings_jsonl(source, [FrameFindings([BOX])], still=True))
    outcome = run("render", "found.jsonl")
    assert outcome.code in (1, 3)
    assert "is a folder" in outcome.err or "does not exist" in outcome.err
    assert "Path(" not in outcome.err
    assert [path.name for path in here.iterdir()] == ["found.jsonl"]


def test_nothing_is_replaced_that_was_not_to_be(here: Path) -> None:
    source = photo(here / "a.png")
    findings = write(here / "f.jsonl", "a.png")
    before = source.read_bytes()
    assert run("render", findings, "-o", "a.png", "--overwrite").code == 2
    (here / "a.drawn.png").write_bytes(b"mine")
    assert run("render", findings).code == 74
    assert (here / "a.drawn.png").read_bytes() == b"mine"
    assert source.read_bytes() == before
    assert run("render", findings, "--overwrite").code == 0
    assert changed(source, here / "a.drawn.png").any()


@pytest.mark.parametrize("broken", ["none", "half", "no findings", "other file"])
def test_findings_that_are_wrong_leave_no_output(here: Path, broken: str) -> None:
    photo(here / "a.png")
    findings = write(here / "f.jsonl", "other.png" if broken == "other file" else "a.png")
    if broken == "half":
        findings.write_text(findings.read_text()[:-20])
    elif broken == "no findings":
        findings.write_text("hello\n")
    elif broken == "none":
        findings.unlink()
    for inputs in ([], ["a.png"]):
        outcome = run("render", findings, *inputs)
        assert outcome.code == (3 if broken == "other file" and not inputs else 1)
        assert all(line.startswith("mdtool: ") for line in outcome.lines)
    assert not (here / "a.drawn.png").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--style", "swirl"], ["--color", "no colour"], ["--strength", "5"], ["--keep", "1,2"], ["--min-size", "x"],
        ["--margin", "-1"], ["--prompt", "face"], ["--sample", "2"], ["-o", "-", "--json"], ["-"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(here: Path, options: list[str]) -> None:
    photo(here / "a.png")
    findings = ["-"] if options == ["-"] else [str(write(here / "f.jsonl", "a.png"))]
    outcome = run("render", *findings, *options)
    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert not (here / "a.drawn.png").exists()


def test_summaries_and_silence(here: Path) -> None:
    photo(here / "a.png")
    findings = write(here / "f.jsonl", "a.png")
    outcome = run("render", findings, "--json")
    assert [(row["source"], row["target"], row["objects"]) for row in outcome.json] == [("a.png", "a.drawn.png", 2)]
    quiet = run("render", findings, "--overwrite", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, b"", "")


# -- through pipes


def test_findings_are_taken_from_a_pipe(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    data = write(tmp_path / "f.jsonl", "a.png", "b.png").read_bytes()
    both = run("render", "-", "-o", "out", stdin=data, cwd=tmp_path)
    assert both.code == 0, both.err
    one = run("render", "-", "b.png", "-o", "-", stdin=data, cwd=tmp_path)
    assert one.code == 0, one.err
    assert one.out == (tmp_path / "out" / "b.png").read_bytes()
    assert changed(tmp_path / "a.png", tmp_path / "out" / "a.png").any()


def test_findings_that_break_off_in_a_pipe(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    data = write(tmp_path / "f.jsonl", "a.png").read_bytes()
    for options in ([], ["a.png"]):
        outcome = run("render", "-", *options, stdin=data[:-30], cwd=tmp_path)
        assert outcome.code == 1
        assert "-:1: not a record of findings" in outcome.err
    assert not (tmp_path / "a.drawn.png").exists()


# -- videos


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    times = [Fraction(n * n, 900) + Fraction(n, RATE) for n in range(FRAMES)]  # at no steady rate
    path = tmp_path_factory.mktemp("render") / "clip.mp4"
    return make_video(path, times, with_sound=True, size=(320, 240))


def test_a_video_keeps_its_times_and_sound(clip: Path, tmp_path: Path) -> None:
    findings, target = tmp_path / "f.jsonl", tmp_path / "out.mp4"
    boxes = [FrameFindings([BOX] if n % 2 else [], analysed=True) for n in range(FRAMES)]
    findings.write_text(findings_jsonl(clip, boxes, (320, 240)))
    outcome = run("render", findings, "-o", target, *FAST_ENCODING, "--crf", "8", "--color", "#ff00ff", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json[0]["frames"] == FRAMES
    assert "model" not in outcome.json[0]["stages"]
    assert times_of(target) == times_of(clip)
    assert packets_of(target, "audio") == packets_of(clip, "audio")
    for number, frame in enumerate(frames_of(target)):
        red, green, blue = np.moveaxis(frame.to_ndarray(format="rgb24").astype(int), -1, 0)
        drawn = (red > 180) & (green < 90) & (blue > 180)
        assert drawn[180, 84:236].mean() == (1 if number % 2 else 0)
        assert not drawn[70:170, 90:230].any()


def test_what_could_not_be_judged_is_told_or_hidden(clip: Path, tmp_path: Path) -> None:
    findings = tmp_path / "f.jsonl"
    findings.write_text(findings_jsonl(clip, [FrameFindings(hidden=n == 3) for n in range(FRAMES)], (320, 240)))
    told, hidden = tmp_path / "told.mp4", tmp_path / "hidden.mp4"
    assert run("render", findings, "-o", told, *FAST_ENCODING).code == 0
    assert run("render", findings, "-o", hidden, *FAST_ENCODING, "--style", "blur").code == 0
    corners = [[frame.to_ndarray(format="gray")[:10, :40] for frame in frames_of(path)] for path in (clip, told)]
    written = [abs(a.astype(int) - b).max() > 90 for a, b in zip(*corners, strict=True)]
    assert [n for n, is_written in enumerate(written) if is_written] == [3]
    blank = [frame.to_ndarray(format="gray").max() < 40 for frame in frames_of(hidden)]
    assert [n for n, is_blank in enumerate(blank) if is_blank] == [3]


def test_an_animation_keeps_its_frames(here: Path) -> None:
    source = str(SAMPLES / "animation.gif")
    with Image.open(source) as animation:
        assert isinstance(animation, GifImageFile)
        count, size = animation.n_frames, animation.size
    (here / "f.jsonl").write_text(findings_jsonl(source, [FrameFindings([BOX])] * count, size))
    assert run("render", "f.jsonl", "-o", "out.gif", "--color", "#ff00ff").code == 0
    with Image.open(here / "out.gif") as drawn:
        assert isinstance(drawn, GifImageFile)
        assert drawn.n_frames == count
        for number in (0, count - 1):
            drawn.seek(number)
            frame = np.asarray(drawn.convert("RGB"))
            assert tuple(frame[round(size[1] * 0.75), size[0] // 2]) == (255, 0, 255)


def test_redact_hides_faces_in_this_style_too(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", 10, face=True, size=(192, 144))
    options: list[str | Path] = ["-o", tmp_path / "solid.mp4", *FAST_ENCODING, "--style", "solid", "--color", "#ff00ff"]
    assert run("redact", clip, *options).code == 0
    assert run("redact", clip, "-o", tmp_path / "out.mp4", *FAST_ENCODING, "--style", "obfuscate").code == 0
    files = (tmp_path / name for name in ("clip.mp4", "out.mp4", "solid.mp4"))
    for before, after, solid in zip(*map(frames_of, files), strict=True):
        red, green, blue = np.moveaxis(solid.to_ndarray(format="rgb24").astype(int), -1, 0)
        covered = (red > 220) & (green < 40) & (blue > 220)
        spread = [frame.to_ndarray(format="gray")[covered].astype(float).std() for frame in (before, after)]
        assert covered.sum() > 500
        assert spread[1] < spread[0] / 3


def test_help_says_which_styles_there_are() -> None:
    text = run("render", "--help").out.decode()
    for style in ("boxes", "hitmarker", *HIDING):
        assert style in text
