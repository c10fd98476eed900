"""`mdtool gaze` from end to end: what is drawn, the data, the heatmap, the shares, and how it fails."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, Outcome, run
from fake_gaze_model import SIZE, FakeGazeModel, GazeFunction, numbered_clip
from make_media import SAMPLES, frames_of, make_video, packets_of, times_of
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from engine.contract import Box, Point
from engine.generation.verbs import VisionModel
from mdtool.console import Console
from mdtool.errors import ExitCode
from mdtool.jobs.gaze.detector import FACE, gaze_detector
from mdtool.jobs.gaze.job import GazeJob
from mdtool.media.sources.inputs import Input
from mdtool.media.video.encoding import Encoding
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.findings_file import records
from mdtool.pipeline.run import ModelInference, OutputOptions
from mdtool.pipeline.targets import Targets
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo
from mdtool.tracking.interpolation import interpolate_keyframes
from mdtool.tracking.sampling import parse_sampling
from recipes.regions import GazeEstimate, Region

FIELDS = {"schema", "source", "stream", "frame", "time", "hidden", "people", "mutual"}
PERSON = {"track", "face", "eye", "method", "in_frame", "target", "looks_at"}
SCENES = SAMPLES / "scenes"
COUNT = 24
Run = Callable[..., Outcome]


@pytest.fixture
def mdtool(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Run:
    """With nothing pulled, and a folder for temporary files that is empty afterwards."""
    spare = tmp_path_factory.mktemp("spare")
    monkeypatch.setenv("HF_HUB_CACHE", str(spare / "hub"))
    monkeypatch.setattr("tempfile.tempdir", str(spare))

    def gaze(*arguments: str | Path) -> Outcome:
        outcome = run("gaze", *arguments)
        assert list(spare.iterdir()) == []
        return outcome

    return gaze


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("gaze") / "clip.mp4", 10, face=True, with_sound=True)


def findings_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


# -- with the embedded face model


def test_a_photo_with_the_direction_of_the_heads(mdtool: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    outcome = mdtool(SAMPLES / "group.png", "-o", target, "--jsonl", "-")
    assert outcome.code == 0, outcome.err
    [entry] = outcome.json
    assert set(entry) == FIELDS
    assert (entry["schema"], entry["source"], entry["frame"]) == ("mdtool.gaze/1", str(SAMPLES / "group.png"), 0)
    assert [set(one) for one in entry["people"]] == [PERSON] * 4
    assert {one["method"] for one in entry["people"]} == {"head"}
    assert sum("direction of the head" in line for line in outcome.lines) == 1
    assert sum(line.startswith("  P") for line in outcome.lines) == 4
    before, after = pixels_of(SAMPLES / "group.png"), pixels_of(target)
    assert before.shape == after.shape
    changed = (before != after).any(axis=2)
    assert 0.002 < changed.mean() < 0.2
    for one in entry["people"]:
        middle = int(one["face"]["y_min"] * changed.shape[0]), int(one["eye"]["x"] * changed.shape[1])
        assert changed[middle[0] - 2 : middle[0] + 3, middle[1]].any()


def test_a_video_keeps_all_but_what_is_drawn(mdtool: Run, clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    outcome = mdtool(clip, "-o", target, "--json", *FAST_ENCODING)
    assert outcome.code == 0, outcome.err
    assert times_of(target) == times_of(clip)
    assert packets_of(target, "audio") == packets_of(clip, "audio")
    before, after = frames_of(clip), frames_of(target)
    assert {(frame.width, frame.height) for frame in after} == {(128, 96)}
    drawn = [
        np.abs(a.to_ndarray(format="gray").astype(int) - b.to_ndarray(format="gray")) > 40
        for a, b in zip(before, after, strict=True)
    ]
    assert all(0.01 < one.mean() < 0.4 for one in drawn)
    [summary] = outcome.json
    assert summary["model"] == "centerface"
    assert (summary["frames"], summary["objects"]) == (10, 1)
    assert 2 <= summary["looks"] <= 4
    assert {"decode", "model", "paint", "encode"} <= set(summary["stages"])
    [person] = summary["attention"]["people"]
    assert (person["stream"], person["track"]) == (0, 1)
    assert person["seconds"] == pytest.approx(10 / 30, abs=0.01)


def test_from_findings_the_same_is_drawn_and_told(mdtool: Run, clip: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.jsonl"
    names = [(tmp_path / f"{n}.mp4", tmp_path / f"{n}.jsonl", tmp_path / f"{n}.png") for n in range(2)]
    known: list[list[str | Path]] = [["--findings", found], ["--from-findings", found]]
    for (target, lines, heat), how in zip(names, known, strict=True):
        assert mdtool(clip, "-o", target, "--jsonl", lines, "--heatmap", heat, *how, *FAST_ENCODING).code == 0
    one, other = ([frame.to_ndarray() for frame in frames_of(target)] for target, *_ in names)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert names[0][1].read_bytes() == names[1][1].read_bytes()
    assert names[0][2].read_bytes() == names[1][2].read_bytes()
    assert all(region.gaze for record in records(found) for region in record.findings.regions)
    assert sum(record.findings.analysed for record in records(found)) < 10


def test_data_alone_needs_no_video(mdtool: Run, clip: Path, tmp_path: Path) -> None:
    found, lines = tmp_path / "found.jsonl", tmp_path / "lines.jsonl"
    assert mdtool(clip, "--report-only", "--findings", found, "--jsonl", lines, "--json").code == 0
    assert sorted(tmp_path.iterdir()) == [found, lines]
    assert len(findings_jsonl(lines)) == 10
    gone = tmp_path / "gone" / "clip.mp4"
    outcome = mdtool(gone, "--report-only", "--from-findings", found, "--jsonl", "-")
    assert outcome.code == 0, outcome.err
    assert [{**entry, "source": str(clip)} for entry in outcome.json] == [
        {**entry, "source": str(clip)} for entry in findings_jsonl(lines)
    ]


def test_an_animation(mdtool: Run, tmp_path: Path) -> None:
    outcome = mdtool(SAMPLES / "animation.gif", "-o", tmp_path / "out.gif", "--json", "--sample", "10")
    assert outcome.code == 0, outcome.err
    assert (outcome.json[0]["frames"], outcome.json[0]["objects"]) == (20, 1)
    with Image.open(tmp_path / "out.gif") as one, Image.open(SAMPLES / "animation.gif") as other:
        assert isinstance(one, GifImageFile)
        assert isinstance(other, GifImageFile)
        assert (one.n_frames, one.size) == (other.n_frames, other.size)


def test_a_folder_of_pictures_and_once_more(mdtool: Run, tmp_path: Path) -> None:
    folder, out, heat = tmp_path / "in", tmp_path / "out", tmp_path / "heat"
    (folder / "below").mkdir(parents=True)
    shutil.copy(SAMPLES / "portrait.jpg", folder / "below" / "a.jpg")
    shutil.copy(SCENES / "one.png", folder)
    (folder / "broken.png").write_bytes((SCENES / "one.png").read_bytes()[:300])
    outcome = mdtool(folder, "-o", out, "--heatmap", heat)
    assert outcome.code == ExitCode.SOME_FAILED
    assert sum("broken.png" in line for line in outcome.lines) == 1
    made = {path.relative_to(tmp_path).as_posix() for path in (*out.rglob("*.*"), *heat.rglob("*.*"))}
    assert made == {"heat/below/a.jpg.png", "heat/one.png.png", "out/below/a.jpg", "out/one.png"}
    again = mdtool(folder, "-o", out)
    assert sum("skipped" in line for line in again.lines) == 2


def test_records_of_outputs_that_exist_are_written_too(mdtool: Run, tmp_path: Path) -> None:
    folder, out, found, gazes = (tmp_path / name for name in ("in", "out", "found.jsonl", "gazes.jsonl"))
    folder.mkdir()
    shutil.copy(SAMPLES / "portrait.jpg", folder / "a.jpg")
    shutil.copy(SCENES / "one.png", folder)
    for option, file in (("--findings", found), ("--jsonl", gazes)):
        assert mdtool(folder, "-o", out, option, file, "--overwrite").code == 0
        expected = file.read_text("utf-8")
        assert len(expected.splitlines()) == 2
        file.unlink()
        stamps = [path.stat().st_mtime_ns for path in sorted(out.iterdir())]
        again = mdtool(folder, "-o", out, option, file)
        assert again.code == 0, again.err
        assert again.err.count("only its records are written: ") == 2
        assert file.read_text("utf-8") == expected
        assert [path.stat().st_mtime_ns for path in sorted(out.iterdir())] == stamps


def test_outputs_lie_beside_their_inputs_and_are_no_inputs(mdtool: Run, tmp_path: Path) -> None:
    shutil.copy(SCENES / "one.png", tmp_path / "a.png")
    for _ in range(2):
        assert mdtool(tmp_path, "--overwrite", "-q").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gaze.png", "a.png"]


def test_through_a_pipe(clip: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    outcome = run("gaze", "-", "-o", "-", "--jsonl", lines, *FAST_ENCODING, stdin=clip.read_bytes())
    assert outcome.code == 0, outcome.err
    (tmp_path / "out.mkv").write_bytes(outcome.out)
    assert len(frames_of(tmp_path / "out.mkv")) == 10
    assert {entry["source"] for entry in findings_jsonl(lines)} == {"-"}


def test_an_empty_pipe() -> None:
    outcome = run("gaze", "-", "-o", "-", "-q", stdin=b"")
    assert (outcome.code, outcome.lines, outcome.out) == (1, ["mdtool: -: empty"], b"")


# -- with a model that knows drawn eyes


def test_a_drawn_face_looks_at_what_was_named(mdtool: Run, tmp_path: Path) -> None:
    heat = tmp_path / "heat.png"
    outcome = mdtool(
        SCENES / "tall.png", "--model", "pocket", "-t", "star", "-o", tmp_path / "out.png", "--heatmap", heat, "--json"
    )
    assert outcome.code == 0, outcome.err
    people = outcome.json[0]["attention"]["people"]
    assert [one["targets"] for one in people] == [
        [{"kind": "target", "label": "star", "seconds": 1.0, "share": 1.0}]
    ] * 2
    truth = json.loads((SCENES / "scenes.gt.json").read_text())["scenes"]
    x, y = next(
        thing["looks_at"]
        for one in truth
        if one["file"] == "tall.png"
        for thing in one["things"]
        if "looks_at" in thing
    )
    warmer = np.abs(pixels_of(heat) - pixels_of(SCENES / "tall.png")).sum(axis=2)
    row, column = np.unravel_index(warmer.argmax(), warmer.shape)
    assert abs(column - x) < 20
    assert abs(row - y) < 20
    assert warmer[-20:].max() == 0


def test_what_was_named_is_drawn_even_where_nobody_is(mdtool: Run, tmp_path: Path) -> None:
    drawn = {}
    for name in ("tall.png", "many.png"):
        assert mdtool(SCENES / name, "--model", "pocket", "-t", "star", "-o", tmp_path / name, "-q").code == 0
        drawn[name] = (pixels_of(tmp_path / name) != pixels_of(SCENES / name)).any(axis=2)
    stars = [
        (Path(one["input"]).name, one["width"], one["height"], found)
        for one in run("detect", *(SCENES / name for name in drawn), "star", "--model", "pocket", "--json").json
        for found in one["objects"]
    ]
    assert len(stars) == 4
    for name, width, height, found in stars:
        x0, x1 = (round(found[side] * width) for side in ("x_min", "x_max"))
        y0, y1 = (round(found[side] * height) for side in ("y_min", "y_max"))
        assert drawn[name][max(0, y0 - 5) : y0 + 5, x0:x1].any(axis=0).mean() > 0.8
        assert drawn[name][y0:y1, max(0, x0 - 5) : x0 + 5].any(axis=1).mean() > 0.8


def test_accurately_the_same_seed_gives_the_same(mdtool: Run) -> None:
    found = [
        mdtool(
            SCENES / "look.png", "--model", "pocket", "--report-only", "--accurate", "--seed", seed, "--jsonl", "-"
        ).json
        for seed in ("1", "1", "2")
    ]
    targets = [entry["people"][0]["target"] for [entry] in found]
    assert targets[0] == targets[1] != targets[2]
    assert found[0][0]["people"][0]["method"] == "model"


# -- with planned answers

HERE, THERE = Box(0.25, 0.2, 0.45, 0.6), Box(0.65, 0.3, 0.85, 0.7)


def told(
    tmp_path: Path,
    gaze: GazeFunction,
    boxes: dict[str, list[Box]],
    sample: str = "fps=5",
    shots: Sequence[int] = (),
) -> tuple[list[dict[str, Any]], list[FrameFindings], FakeGazeModel]:
    """The lines of a numbered clip, its findings evened out, and the model."""
    clip, model = numbered_clip(tmp_path / "clip.mp4", COUNT, shots=shots), FakeGazeModel(boxes, gaze)
    inference = ModelInference(
        AnalysisRequest(tuple(boxes), sampling=parse_sampling(sample)),
        gaze_detector(cast(VisionModel, model), [*boxes][1:]),
        "planned",
    )
    targets = Targets(str(tmp_path / "out.mp4"), ".gaze", many=False)
    form = OutputOptions(Encoding(preset="ultrafast"))
    with (tmp_path / "found").open("w") as found, (tmp_path / "lines").open("w") as lines:
        job = GazeJob(inference, [*boxes], form, targets, False, None, Console(quiet=True), findings=found, gazes=lines)
        assert job.run([Input(clip, Path(clip.name))]) == ExitCode.OK
    even = [record.findings for record in interpolate_keyframes(records(tmp_path / "found"))]
    return findings_jsonl(tmp_path / "lines"), even, model


def targets_of(lines: Sequence[dict[str, Any]]) -> list[float | None]:
    people = [entry["people"] for entry in lines]
    assert [len(one) for one in people] == [1] * COUNT
    return [one["target"] and one["target"]["x"] for [one] in people]


def test_between_looks_a_gaze_goes_evenly_and_is_steadied(tmp_path: Path) -> None:
    lines, even, model = told(tmp_path, lambda number, eye: Point(0.4 + 0.01 * number, 0.5), {FACE: [HERE]})
    assert len(model.asked) < COUNT / 3
    raw = [verdict.regions[0].gaze for verdict in even]
    wanted = [0.4 + 0.01 * number for number in range(COUNT)]
    assert [gaze.target[0] if gaze and gaze.target else None for gaze in raw] == pytest.approx(wanted, abs=1e-4)
    assert targets_of(lines) == pytest.approx(wanted, abs=0.02)
    assert {one["track"] for entry in lines for one in entry["people"]} == {1}
    assert {frozenset(entry) for entry in lines} == {frozenset(FIELDS)}
    assert [entry["time"] for entry in lines] == pytest.approx([n / 30 for n in range(COUNT)], abs=1e-5)


def test_a_jump_between_two_looks_is_midway_and_counts_for_no_other_place(tmp_path: Path) -> None:
    """From one cup to the other, over a plate that nobody looks at."""
    left, right, plate = Box(0.0, 0.8, 0.1, 1.0), Box(0.9, 0.8, 1.0, 1.0), Box(0.2, 0.7, 0.8, 1.0)
    lines, even, _ = told(
        tmp_path,
        lambda number, eye: Point(0.05 if number < 13 else 0.95, 0.9),
        {FACE: [HERE], "cup": [left, right], "plate": [plate]},
    )
    analysed = [number for number, verdict in enumerate(even) if verdict.analysed]
    before, after = max(n for n in analysed if n < 13), min(n for n in analysed if n >= 13)
    jump = (before + after + 1) // 2
    assert after - before > 2
    assert targets_of(lines) == pytest.approx([0.05] * jump + [0.95] * (COUNT - jump), abs=1e-4)
    assert [entry["people"][0]["looks_at"] for entry in lines] == [{"target": "cup"}] * COUNT


def test_what_trembles_is_steadied(tmp_path: Path) -> None:
    lines, *_ = told(
        tmp_path, lambda number, eye: Point(0.5 + 0.02 * (-1) ** number, 0.5), {FACE: [HERE]}, sample="every"
    )
    found = np.array(targets_of(lines), float)[8:]
    assert np.abs(np.diff(found)).mean() < 0.5 * 0.04


def test_a_look_out_of_the_picture_is_told_and_drawn_without_a_target(tmp_path: Path) -> None:
    lines, *_ = told(tmp_path, lambda number, eye: None, {FACE: [HERE]})
    assert targets_of(lines) == [None] * COUNT
    assert {entry["people"][0]["in_frame"] for entry in lines} == {False}
    assert {entry["people"][0]["method"] for entry in lines} == {"model"}


def test_a_cut_begins_anew(tmp_path: Path) -> None:
    lines, even, _ = told(
        tmp_path, lambda number, eye: Point(0.3 if number < 12 else 0.7, 0.5), {FACE: [HERE]}, shots=[12]
    )
    assert [verdict.cut for verdict in even] == [number in (0, 12) for number in range(COUNT)]
    assert targets_of(lines) == pytest.approx([0.3] * 12 + [0.7] * 12)
    assert [entry["people"][0]["track"] for entry in lines] == [1] * 12 + [2] * 12


def test_who_looks_at_whom_and_at_what(tmp_path: Path) -> None:
    cup = Box(0.0, 0.8, 0.2, 1.0)

    def each_other(number: int, eye: tuple[float, float]) -> Point:
        if eye[0] < 0.5:
            return Point(0.75, 0.5)
        return Point(0.35, 0.4) if number < 12 else Point(0.1, 0.9)

    lines, *_ = told(tmp_path, each_other, {FACE: [HERE, THERE], "cup": [cup]}, sample="every")
    looks = [{one["track"]: one["looks_at"] for one in entry["people"]} for entry in lines]
    assert looks[0] == {1: {"person": 2}, 2: {"person": 1}}
    assert looks[-1] == {1: {"person": 2}, 2: {"target": "cup"}}
    assert [entry["mutual"] for entry in (lines[0], lines[-1])] == [[[1, 2]], []]


# -- findings that are read


def recorded(path: Path, source: str, verdicts: Sequence[FrameFindings], size: tuple[int, int] = SIZE) -> Path:
    with path.open("w") as file:
        findings = FindingsWriter(file, source, "planned", [FACE])
        for number, verdict in enumerate(verdicts):
            findings.write(FrameInfo(0, number, number / 30, 1 / 30, size), verdict)
    return path


def test_a_frame_that_could_not_be_judged_is_left_as_it_is(mdtool: Run, tmp_path: Path) -> None:
    clip = numbered_clip(tmp_path / "clip.mp4", 4)
    face = Region(0.3, 0.3, 0.7, 0.7, FACE, 1, None, True, GazeEstimate((0.9, 0.9), True))
    found = recorded(tmp_path / "f", str(clip), [FrameFindings([face], hidden=number == 2) for number in range(4)])
    outcome = mdtool(
        clip, "-o", tmp_path / "out.mp4", "--from-findings", found, "--jsonl", "-", "--preset", "ultrafast"
    )
    assert outcome.code == 0, outcome.err
    assert [(entry["hidden"], len(entry["people"])) for entry in outcome.json] == [
        (number == 2, number != 2) for number in range(4)
    ]
    assert "1 frame could not be judged" in outcome.err
    pairs = zip(frames_of(clip), frames_of(tmp_path / "out.mp4"), strict=True)
    changed = [
        (np.abs(a.to_ndarray(format="gray").astype(int) - b.to_ndarray(format="gray")) > 60).mean() for a, b in pairs
    ]
    assert [share > 0.02 for share in changed] == [True, True, False, True]


def test_shares_are_those_of_the_time(mdtool: Run, tmp_path: Path) -> None:
    looks = [GazeEstimate((0.9, 0.9), True)] * 6 + [GazeEstimate(None, False)] * 2 + [GazeEstimate(None, None)] * 5
    faces = [Region(0.3, 0.3, 0.7, 0.7, FACE, 7, None, False, look) for look in looks]
    found = recorded(tmp_path / "f", "clip.mp4", [FrameFindings([face]) for face in faces])
    outcome = mdtool("clip.mp4", "--report-only", "--from-findings", found)
    assert outcome.code == 0, outcome.err
    assert outcome.lines[-1] == "  P7, 0.3 s: elsewhere in the frame 75%, out of frame 25%"


def test_people_of_several_video_streams_are_kept_apart(mdtool: Run, tmp_path: Path) -> None:
    found, looks = tmp_path / "f", {0: GazeEstimate((0.9, 0.9), True), 2: GazeEstimate(None, False)}
    with found.open("w") as file:
        findings = FindingsWriter(file, "clip.mp4", "planned", [FACE])
        for number in range(4):
            for stream, look in looks.items():
                face = Region(0.3, 0.3, 0.7, 0.7, FACE, 1, None, True, look)
                findings.write(FrameInfo(stream, number, number / 30, 1 / 30, SIZE), FrameFindings([face]))
    outcome = mdtool("clip.mp4", "--report-only", "--from-findings", found, "--json")
    people = outcome.json[0]["attention"]["people"]
    assert [(one["stream"], one["track"], one["targets"][0]["kind"]) for one in people] == [
        (0, 1, "elsewhere"),
        (2, 1, "out_of_frame"),
    ]


def test_frames_that_do_not_say_how_long_they_last(mdtool: Run, tmp_path: Path) -> None:
    found, times = tmp_path / "f", [0.0, 0.1, 0.5, 0.75]
    with found.open("w") as file:
        findings = FindingsWriter(file, "clip.mp4", "planned", [FACE])
        for number, time in enumerate(times):
            face = Region(0.3, 0.3, 0.7, 0.7, FACE, 1, None, True, GazeEstimate(None, False))
            findings.write(FrameInfo(0, number, time, 0.0, SIZE), FrameFindings([face]))
    outcome = mdtool("clip.mp4", "--report-only", "--from-findings", found, "--json")
    assert outcome.json[0]["attention"]["people"][0]["seconds"] == pytest.approx(0.75 + 0.25)


def test_findings_without_gazes_are_refused(mdtool: Run, tmp_path: Path) -> None:
    face = Region(0.3, 0.3, 0.7, 0.7, FACE, 1, None, True)
    found = recorded(tmp_path / "f", str(SCENES / "one.png"), [FrameFindings([face])], size=(117, 96))
    outcome = mdtool(SCENES / "one.png", "-o", tmp_path / "out.png", "--from-findings", found)
    assert outcome.code == 1
    assert "hold faces without gazes" in outcome.lines[0]
    assert list(tmp_path.iterdir()) == [found]


def test_incomplete_findings_are_refused(mdtool: Run, tmp_path: Path) -> None:
    found = recorded(tmp_path / "f", "clip.mp4", [FrameFindings() for _ in range(4)])
    lines = found.read_text().splitlines(keepends=True)
    found.write_text("".join(lines[:1] + lines[2:]))
    outcome = mdtool("clip.mp4", "--report-only", "--from-findings", found)
    said = "the findings have no record of its stream 0, frame 1: give the complete findings of this file"
    assert (outcome.code, outcome.lines) == (1, [f"mdtool: clip.mp4: {said}"])


def test_findings_of_something_else_are_refused(mdtool: Run, tmp_path: Path) -> None:
    found = recorded(tmp_path / "f", "other.mp4", [FrameFindings()])
    outcome = mdtool("clip.mp4", "--report-only", "--from-findings", found)
    said = (
        "mdtool: clip.mp4: the findings are of other.mp4, not of this input; detect in it, or give one of them; "
        "--force-findings uses them all the same"
    )
    assert (outcome.code, outcome.lines) == (1, [said])


# -- what can't be

PICTURE = SCENES / "one.png"


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["-t", " "], 2, "--target: empty"),
        (["-t", "face"], 2, "faces are always detected"),
        (["--report-only", "-o", "x.png"], 2, "-o x.png: --report-only writes no copy"),
        (["--findings", "a", "--from-findings", "b"], 2, "--from-findings"),
        (["--jsonl", "-", "--json"], 2, "--jsonl - and --json"),
        (["--jsonl", "-", "--findings", "-"], 2, "--findings - and --jsonl -"),
        (["--jsonl", "a", "--findings", "a"], 2, "--jsonl a: the same path as --findings"),
        (["-o", "a.png", "--heatmap", "a.png"], 2, "--heatmap a.png: the same path as the output"),
        (["--heatmap", "a.jpg"], 2, "end the name in .png"),
        (["--sample", "often"], 2, "--sample"),
        (["--from", "9", "--to", "3"], 2, "--to"),
        (["--accurate"], 4, "accurately"),
        (["--accurate", "--model", "centerface"], 2, "centerface can't gaze"),
        (["-t", "cup"], 4, "'cup'"),
        (["-t", "cup", "--model", "centerface"], 2, "can't detect 'cup'"),
        (["--threshold", "7"], 2, "threshold"),
        (["--model", "pocket", "--threshold", "0.5"], 2, "no scores"),
        (["-o", "x.mp4"], 2, "keep their format"),
        (["-o", "nowhere/x.png"], 74, "folder does not exist"),
    ],
)  # fmt: skip
def test_what_cant_be_is_told_in_a_line(
    mdtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mdtool(PICTURE, "-q", *options)
    assert outcome.code == code
    assert len(outcome.lines) == 1
    assert told in outcome.lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["-o", "--heatmap", "--jsonl", "--findings"])
def test_nothing_is_replaced_unasked(mdtool: Run, tmp_path: Path, option: str) -> None:
    there = tmp_path / "there.png"
    there.write_text("mine")
    options = [] if option == "-o" else ["--report-only"]
    outcome = mdtool(PICTURE, option, there, "-q", *options)
    assert outcome.code == ExitCode.CANT_WRITE
    assert "--overwrite" in outcome.lines[0]
    assert there.read_text() == "mine"
    assert mdtool(PICTURE, option, there, "-q", "--overwrite", *options).code == 0
    assert there.read_bytes()[:4] in (b"\x89PNG", b'{"sc')


@pytest.mark.parametrize("option", ["-o", "--heatmap", "--jsonl", "--findings"])
def test_no_output_replaces_its_input(mdtool: Run, tmp_path: Path, option: str) -> None:
    picture = Path(shutil.copy(PICTURE, tmp_path))
    outcome = mdtool(picture, option, picture, "-q", "--overwrite", *([] if option == "-o" else ["--report-only"]))
    assert outcome.code == ExitCode.USAGE
    assert picture.read_bytes() == PICTURE.read_bytes()


def test_what_cant_be_written_is_told_before_the_model_looks(mdtool: Run, clip: Path, tmp_path: Path) -> None:
    found = tmp_path / "f"
    outcome = mdtool(clip, "-o", tmp_path / "out.mp4", "--codec", "nonsense", "--findings", found, "-q")
    assert outcome.code == 2
    assert "nonsense" in outcome.lines[0]
    assert not list(tmp_path.iterdir())
