"""`redact --verify`: what a detector still finds in the output is listed, and the output gets another name."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cli_runner import FAST_ENCODING, Outcome, run, running_program, wait_until
from jsonschema import Draft202012Validator
from make_findings import region
from make_media import SAMPLES, make_video
from PIL import Image

import engine
from engine.contract import EngineError
from mdtool.jobs.redact.effect import Redaction
from mdtool.jobs.redact.masked_frames import MaskedFrames, unexpected
from mdtool.jobs.redact.verify import OutputVerification, SpanCollector, Verifier
from mdtool.media.video.frame import Frame
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.run_report import Report
from mdtool.records.schemas import RECORDS
from mdtool.records.verification import Verification
from mdtool.tracking.detector import Detector, ImageFindings, object_detector
from mdtool.tracking.sampling import Sampling
from mdtool.tracking.views import view_detector
from recipes.boxes import iou
from recipes.redact import Style
from recipes.regions import PictureArea, Region, Size

GROUP = SAMPLES / "group.png"
PORTRAIT = SAMPLES / "portrait.jpg"
SIZE = (640, 480)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(*arguments: str | Path, **how: Any) -> Outcome:
    return run("redact", *arguments, *(() if "--verify" in arguments else ("--verify", "every")), "--json", **how)


def verification(outcome: Outcome) -> dict[str, Any]:
    (report,) = outcome.json
    Draft202012Validator(RECORDS["run_report"]).validate(report)
    result: dict[str, Any] = report["verification"]
    return result


def findings_without(source: Path, track: int, file: Path, frames: range = range(10**6)) -> Path:
    """Findings of the source that lack a track on some frames."""
    outcome = run("redact", source, "-o", "found" + source.suffix, "--findings", "all.jsonl", *FAST_ENCODING)
    assert outcome.code == 0, outcome.err
    lines = []
    for line in Path("all.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["frame"] in frames:
            record["objects"] = [each for each in record["objects"] if each["track"] != track]
        lines.append(json.dumps(record) + "\n")
    file.write_text("".join(lines))
    return file


def test_a_photo_in_which_nothing_is_left(here: Path) -> None:
    outcome = verify(GROUP, "-o", "out.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json[0]["target"] == "out.png"
    assert verification(outcome) == {"verified": True, "model": "centerface", "frames": 1, "found": [], "failed": ""}
    assert [path.name for path in here.iterdir()] == ["out.png"]
    line = run("redact", GROUP, "-o", "other.png", "--verify", "every").lines[0]
    assert "4 objects, nothing left visible on 1 verified frame, " in line


def test_a_face_that_is_left_is_listed_and_the_photo_gets_another_name(here: Path) -> None:
    found = findings_without(GROUP, 1, here / "some.jsonl")
    outcome = verify(GROUP, "-o", "out.png", "--from-findings", found)
    assert outcome.code == 1
    assert not (here / "out.png").exists()
    assert Image.open("out.unverified.png").size == Image.open(GROUP).size
    assert outcome.json[0]["target"] == "out.unverified.png"
    (left,) = verification(outcome)["found"]
    line = run("redact", GROUP, "-o", "o.png", "--from-findings", found, "--verify", "every").lines[-3:]
    assert any("3 objects, verification failed: 1 left visible, " in each for each in line)
    (missing,) = [each for each in json.loads(Path("all.jsonl").read_text())["objects"] if each["track"] == 1]
    assert (left["label"], left["frames"], left["masked"]) == ("face", 1, False)
    assert abs(left["x_min"] - missing["x_min"]) < 0.03
    assert abs(left["y_max"] - missing["y_max"]) < 0.03
    first, last = outcome.lines
    assert first.startswith(f"mdtool: {GROUP}: face left visible, score 0.")
    assert last == f"mdtool: {GROUP}: something is left visible in the output, which is kept as out.unverified.png"


def test_the_listed_place_can_be_given_to_only(here: Path) -> None:
    found = findings_without(GROUP, 1, here / "some.jsonl")
    place = verify(GROUP, "-o", "out.png", "--from-findings", found).lines[0].rpartition(" at ")[2]
    outcome = verify(GROUP, "-o", "again.png", "--only", place)
    assert outcome.code == 0, outcome.err


def test_an_unverified_output_is_not_replaced_unawares(here: Path) -> None:
    found = findings_without(GROUP, 1, here / "some.jsonl")
    assert verify(GROUP, "-o", "out.png", "--from-findings", found).code == 1
    before = Path("out.unverified.png").read_bytes()
    outcome = verify(GROUP, "-o", "out.png")
    assert outcome.code == 74
    assert "out.unverified.png" in outcome.err
    assert "--overwrite" in outcome.err
    assert Path("out.unverified.png").read_bytes() == before
    assert verify(GROUP, "-o", "out.png", "--overwrite").code == 0
    assert (here / "out.png").exists()
    assert not (here / "out.unverified.png").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--keep", "0,0,0.5,1"], ["--only", "0.5,0,1,1"], ["--min-size", "70"], ["--min-size", "0.9"],
        ["--style", "solid"], ["--style", "pixelate"], ["--style", "obfuscate"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_left_on_purpose_is_no_finding(here: Path, options: list[str]) -> None:
    outcome = verify(GROUP, "-o", "out.png", *options)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("options", [["--drop-track", "1"], ["--keep-track", "2"]], ids=" ".join)
def test_a_track_that_was_dropped_is_no_finding(here: Path, options: list[str]) -> None:
    found = findings_without(GROUP, 0, here / "all-tracks.jsonl")
    assert verify(GROUP, "-o", "out.png", "--from-findings", found, *options).code == 0
    assert verify(GROUP, "-o", "out2.png", "--from-findings", "-", *options, stdin=found.read_bytes()).code == 0


def test_what_is_left_is_told_when_the_data_are_out_already(here: Path) -> None:
    found = findings_without(GROUP, 1, here / "some.jsonl")
    outcome = run("redact", GROUP, "-o", "-", "--from-findings", found, "--verify", "every")
    assert outcome.code == 1
    assert outcome.lines[-1].endswith("something is left visible in the output, which is written already")
    assert any("face left visible" in line for line in outcome.lines)
    Path("out.png").write_bytes(outcome.out)
    assert Image.open("out.png").size == Image.open(GROUP).size
    assert not list(here.glob("*unverified*"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a small video with a face, which is quick to verify."""
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 12, face=True, rate=12, size=(160, 128))


def test_of_a_video_times_are_listed(here: Path, clip: Path) -> None:
    found = findings_without(clip, 1, here / "some.jsonl", range(4, 7))
    outcome = verify(clip, "-o", "out.mp4", "--from-findings", found, *FAST_ENCODING)
    assert outcome.code == 1
    (left,) = verification(outcome)["found"]
    assert left["frames"] == 3
    times = [json.loads(line)["time"] for line in found.read_text().splitlines()]
    assert left["start"] == pytest.approx(times[4], abs=0.01)
    assert times[6] < left["end"] <= times[7] + 0.01
    assert (here / "out.unverified.mp4").exists()
    assert f"mdtool: {clip}: 0:00." in outcome.lines[0]


def test_some_frames_a_second(here: Path, clip: Path) -> None:
    result = verification(verify(clip, "-o", "out.mp4", "--verify", "fps=4", *FAST_ENCODING))
    assert result["verified"]
    assert 3 <= result["frames"] <= 5


def test_frames_outside_of_the_time_range_are_not_verified(here: Path, clip: Path) -> None:
    outcome = verify(clip, "-o", "out.mp4", "--to", "0.4", *FAST_ENCODING)
    assert outcome.code == 0, outcome.err
    assert verification(outcome)["frames"] == 5


def test_a_video_on_stdout_is_verified_too(here: Path, clip: Path) -> None:
    found = findings_without(clip, 1, here / "some.jsonl", range(4, 7))
    outcome = run(*("redact", clip, "-o", "-", "--from-findings", found, "--verify", "every", *FAST_ENCODING))
    assert outcome.code == 1
    assert outcome.out.startswith(b"\x1a\x45\xdf\xa3")  # Matroska
    assert any("face left visible" in line for line in outcome.lines)


def test_an_animation(here: Path) -> None:
    found = findings_without(SAMPLES / "animation.gif", 1, here / "some.jsonl", range(3))
    outcome = verify(SAMPLES / "animation.gif", "-o", "out.gif", "--from-findings", found, "--verify", "fps=1")
    assert outcome.code == 1
    assert verification(outcome)["found"][0]["start"] == 0.0


def test_in_a_folder_each_output_is_verified_alone(here: Path) -> None:
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(GROUP.read_bytes())
    found = findings_without(Path("a.png"), 1, here / "some.jsonl")
    whole = Path("all.jsonl").read_text().replace('"a.png"', '"b.png"')
    found.write_text(found.read_text() + whole)
    outcome = verify("a.png", "b.png", "-o", "out", "--from-findings", found)
    assert outcome.code == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.unverified.png", "b.png"]
    assert [report["verification"]["verified"] for report in outcome.json] == [False, True]
    again = verify("a.png", "b.png", "-o", "out", "--from-findings", found)
    assert again.code == 1  # as long as one of them is not verified
    assert "b.png already exists" in again.err


def test_an_output_that_exists_is_not_taken_for_verified(here: Path) -> None:
    Path("in").mkdir()
    Path("in/a.png").write_bytes(GROUP.read_bytes())
    assert run("redact", "in", "-o", "out").code == 0
    outcome = run("redact", "in", "-o", "out", "--verify", "every")
    assert outcome.code == 1
    assert outcome.lines == [
        "mdtool: in/a.png: out/a.png already exists and was not verified in this run; use --overwrite or remove it"
    ]
    assert run("redact", "in", "-o", "out", "--verify", "every", "--overwrite").code == 0


def test_faces_that_a_high_threshold_leaves_are_found(here: Path) -> None:
    outcome = verify(GROUP, "-o", "out.png", "--threshold", "0.97")
    assert outcome.code == 1
    assert len(verification(outcome)["found"]) == 4


@pytest.mark.parametrize(("model", "code"), [("centerface", 1), ("another", 0), ("", 1)])
def test_another_model_than_the_recorded_one_looks_at_the_frame_as_it_is(here: Path, model: str, code: int) -> None:
    Image.open(PORTRAIT).resize((100, 80)).save("in.png")  # its face is found when it is enlarged
    assert run("redact", "in.png", "-o", "o.png", "--findings", "f.jsonl").code == 0
    record = {**json.loads(Path("f.jsonl").read_text()), "model": model, "objects": []}
    Path("f.jsonl").write_text(json.dumps(record) + "\n")
    outcome = verify("in.png", "-o", "out.png", "--from-findings", "f.jsonl", "--verify-model", "centerface")
    assert outcome.code == code, outcome.err


def test_what_cant_be_detected_again_is_not_verified(here: Path) -> None:
    """A model without this prompt is refused before anything is written."""
    found = findings_without(GROUP, 0, here / "f.jsonl")
    found.write_text(found.read_text().replace("face", "walrus"))
    outcome = verify(GROUP, "-o", "out.png", "--from-findings", found)
    assert outcome.code == 4
    assert not (here / "out.png").exists()


def test_another_model_verifies(here: Path) -> None:
    scene = SAMPLES / "scenes" / "one.png"
    outcome = verify(scene, "-o", "out.png", "--model", "pocket", "-p", "face", "--verify-model", "centerface")
    assert outcome.code == 0, outcome.err
    assert verification(outcome)["model"] == "centerface"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--verify", "auto"], "--verify: give every, or a number of frames a second such as fps=2, not 'auto'"),
        (["--verify", "fps=0"], "--verify: give every, or a number of frames a second such as fps=2, not 'fps=0'"),
        (["--verify-model", "pocket"], "--verify-model: needs --verify, every or fps=N"),
        (["--verify", "every", "-o", "udp://127.0.0.1:1"], "--verify: can't be used with a live source or target"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(here: Path, options: list[str], message: str) -> None:
    outcome = run("redact", GROUP, *options)
    assert outcome.code == 2
    assert outcome.lines[0].startswith(f"mdtool: {message}")
    assert len(outcome.lines) == 1


def test_a_run_that_is_killed_while_it_verifies_goes_on_there(here: Path) -> None:
    source = make_video(here / "long.mp4", 330, face=True, rate=5, size=(160, 128))  # over a minute, so that it resumes
    arguments = ("redact", source, "-o", "out.mp4", "--verify", "every", *FAST_ENCODING)
    log = here / ".out.mp4.work" / "verification.jsonl"
    with running_program(*arguments, cwd=here) as process:
        wait_until(lambda: log.exists() and log.read_bytes().count(b"\n") > 20, 100)
        process.kill()
        process.wait(20)
    assert not (here / "out.mp4").exists()
    assert not list(here.glob("*unverified*"))
    known = log.read_bytes().splitlines()
    with running_program(*arguments, cwd=here) as process:
        wait_until(lambda: log.read_bytes().count(b"\n") > len(known) + 5, 100)
        again = log.read_bytes().splitlines()
        _, err = process.communicate(timeout=100)
    assert b"resuming the previous run" in err
    assert b"nothing left visible on 330 verified frames" in err, err
    pictures = [json.loads(line)["picture"] for line in again[1:-1]]
    assert again[: len(known) - 1] == known[:-1]
    assert len(set(pictures)) == len(pictures)  # nothing is detected twice
    assert sorted(path.name for path in here.iterdir()) == ["long.mp4", "out.mp4"]


def checked(source: Path, output: Path, detect: Detector) -> Verification:
    """Verify one image as if it were the redaction of another."""
    with (output.parent / "masked.jsonl").open("w+") as file:
        masked = MaskedFrames(file)
        masked.add(FrameInfo(), FrameFindings())
        if source.suffix == ".gif":
            masked.add(FrameInfo(frame=1), FrameFindings())
        verifier = Verifier(Sampling(stride=1), detect, "a model", "")
        report = Report("in", "out")
        verification = OutputVerification(verifier, Redaction(), masked, None, None, lambda report, frames: None)
        assert not verification.check(output, report)
    assert report.verification
    return report.verification


def test_an_output_that_cant_be_verified_is_unverified(here: Path) -> None:
    def fails(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        raise EngineError("out of order")

    def finds_nothing(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [ImageFindings() for _ in images]

    fewer = "the output has fewer frames than the input"
    photo = here / "photo.png"
    photo.write_bytes(GROUP.read_bytes())
    assert checked(GROUP, photo, fails).failed == "out of order"
    assert checked(SAMPLES / "animation.gif", photo, finds_nothing).failed == fewer
    animation = here / "a.gif"
    animation.write_bytes((SAMPLES / "animation.gif").read_bytes())
    assert checked(GROUP, animation, finds_nothing).failed == "the output has other frames than the input"


# -- what counts


def left(found: Region, *masked: Region, left_out: tuple[Region, ...] = (), **redaction: Any) -> list[bool]:
    result = unexpected([found], masked, left_out, redaction=Redaction(**redaction), size=SIZE)
    return [in_mask for _, in_mask in result]


FACE = region(0.4, 0.4, 0.5, 0.55)


def test_what_lies_in_a_mask_counts_for_styles_that_show_something_only() -> None:
    assert left(FACE, FACE, style=Style("solid")) == []
    assert left(FACE, FACE, style=Style("obfuscate")) == []
    assert left(FACE, FACE, style=Style("blur")) == [True]
    assert left(FACE, FACE, style=Style("pixelate")) == [True]


def test_what_is_mostly_beside_a_mask_counts() -> None:
    beside = region(0.55, 0.4, 0.65, 0.55)
    assert left(beside, FACE, style=Style("solid", margin=0.1)) == [False]
    assert left(FACE, style=Style("solid")) == [False]


def test_what_the_person_left_out_does_not_count_unless_it_is_of_another_label() -> None:
    near = region(0.41, 0.41, 0.52, 0.57)
    assert left(near, left_out=(FACE,)) == []
    body = region(0.3, 0.3, 0.7, 1.0, "person")
    assert left(near, left_out=(body,)) == [False]
    assert left(near, FACE, keep=(PictureArea(0.4, 0.4, 0.5, 0.5),)) == []
    assert left(near, FACE, min_size=Size(73, True)) == []  # the detection is a bit larger than what was left out


def frame_at(time: float) -> Frame:
    return Frame(av.VideoFrame(16, 16, "gray"), 0, round(time * 1000), Fraction(1, 1000), 40)


def test_detections_of_an_object_that_moves_are_one_span() -> None:
    spans = SpanCollector(0.5)
    for number in range(10):
        time, x = number / 25, 0.05 * number
        spans.add(frame_at(time), region(x, 0.4, x + 0.1, 0.5, score=0.5 + number / 100), False)
        spans.add(frame_at(time), region(0.8, 0.8, 0.9, 0.9), False)
    spans.add(frame_at(2.0), region(0.45, 0.4, 0.55, 0.5), False)
    moving, still, later = spans.spans
    assert (moving.start, moving.frames) == (0.0, 10)
    assert moving.end == pytest.approx(0.4)
    assert moving.sides[0] == pytest.approx(0.45)
    assert still.frames == 10
    assert (later.start, later.frames) == (2.0, 1)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_face_is_found_where_it_is(quarters: int) -> None:
    upright = np.asarray(Image.open(PORTRAIT).convert("RGB"))
    detect = object_detector(engine.load("centerface"), ["face"])
    (face,) = [each for each in detect([upright])[0].regions if (each.score or 0) > 0.5]
    turned = np.ascontiguousarray(np.rot90(upright, quarters))
    (found,) = view_detector(detect)([turned])[0].regions
    x0, y0, x1, y1 = face.sides
    for _ in range(quarters):
        x0, y0, x1, y1 = y0, 1 - x1, y1, 1 - x0
    assert iou(np.array([found.sides]), np.array([(x0, y0, x1, y1)]))[0, 0] > 0.5
