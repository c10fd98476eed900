"""`mdtool eval redact` says how much a redaction leaves bare, and refuses what is no ground truth."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Outcome, run
from make_media import SAMPLES

from engine.pocket.draw import draw
from engine.pocket.scene import random_scene
from mdtool.jobs.bench.recipe import loop_clip
from mdtool.jobs.evals.exposure import Exposure, table
from mdtool.jobs.evals.quantization import compare_quantized
from mdtool.model_selection import ComputeConfig, LoadCallbacks

FRAMES = 29  # more would end between a frame and those that are shown before it


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About the first second of `busy.mp4`."""
    path = tmp_path_factory.mktemp("evaluate") / "clip.mp4"
    loop_clip(SAMPLES / "busy.mp4", path, FRAMES)
    return path


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((SAMPLES / "busy.mp4.gt.json").read_text())
    return {**whole, "frames": whole["frames"][:FRAMES]}


def evaluate(clip: Path, truth: object, *options: str) -> Outcome:
    path = clip.with_name("truth.json")
    path.write_text(truth if isinstance(truth, str) else json.dumps(truth))
    return run("eval", "redact", clip, path, "--json", *options)


def numbers(clip: Path, truth: object, *options: str) -> dict[str, Any]:
    outcome = evaluate(clip, truth, *options)
    assert outcome.code == 0, outcome.err
    return outcome.json[0]


def test_what_it_says(clip: Path, truth: dict[str, Any]) -> None:
    found = numbers(clip, truth)
    assert set(found) == {
        "clip", "frames", "looks", "looks_share", "model_calls", "leak", "object_frames", "exposed",
        "longest_exposure_ms", "over_redaction", "recall",
    }  # fmt: skip
    assert found["clip"] == "clip.mp4"
    assert found["frames"] == FRAMES
    assert found["object_frames"] == sum(len(frame["boxes"]) for frame in truth["frames"])
    assert found["looks_share"] == pytest.approx(found["looks"] / FRAMES, abs=1e-4)
    assert found["exposed"] == []
    assert found["leak"] < 0.001


def test_without_margin_some_is_bare(clip: Path, truth: dict[str, Any]) -> None:
    usual, tight = numbers(clip, truth), numbers(clip, truth, "--margin", "0")
    assert tight["leak"] > 0.005 > usual["leak"]
    assert tight["over_redaction"] < 0.6 * usual["over_redaction"]
    assert tight["exposed"]
    for one in tight["exposed"]:
        assert 0.05 < one["bare"] <= 1
        assert 0 <= one["frame"] < FRAMES
        assert one["object"] in {1, 2, 3, 4, 5}


def test_where_nothing_is_found_all_is_bare(clip: Path, truth: dict[str, Any]) -> None:
    found = numbers(clip, truth, "--threshold", "1")
    assert found["leak"] == 1
    assert len(found["exposed"]) == found["object_frames"]
    assert found["over_redaction"] == 0


def test_the_longest_exposure_counts_up_to_the_end(clip: Path, truth: dict[str, Any]) -> None:
    found = numbers(clip, truth, "--threshold", "1")
    assert (FRAMES - 1) * 1000 / 30 <= found["longest_exposure_ms"] + 0.1 <= FRAMES * 1000 / 30 + 0.2


def test_the_longest_exposure_of_what_is_there_for_a_while(clip: Path, truth: dict[str, Any]) -> None:
    """Two stretches of one object, of 4 and 9 frames; another is there in between."""
    boxes = {n: [{"id": 1, "xyxy": [10, 10, 50, 50]}] for n in [*range(2, 6), *range(12, 21)]}
    boxes |= {n: [{"id": 2, "xyxy": [10, 10, 50, 50]}] for n in range(6, 12)}
    frames = [{**frame, "boxes": boxes.get(n, [])} for n, frame in enumerate(truth["frames"])]
    found = numbers(clip, {"frames": frames}, "--threshold", "1")
    assert found["longest_exposure_ms"] == pytest.approx(9 * 1000 / 30, abs=0.2)
    assert [one["frame"] for one in found["exposed"]] == list(range(2, 21))


def test_boxes_out_of_the_picture_count_as_far_as_they_are_in_it(clip: Path, truth: dict[str, Any]) -> None:
    boxes = [{"id": 1, "xyxy": [-30, -30, 10, 10]}, {"id": 2, "xyxy": [700, 10, 800, 50]}]
    frames = [{**frame, "boxes": boxes} for frame in truth["frames"]]
    found = numbers(clip, {"frames": frames}, "--threshold", "1")
    assert found["object_frames"] == FRAMES
    assert found["leak"] == 1


def labelled(truth: dict[str, Any], labels: dict[int, str]) -> dict[str, Any]:
    """The truth with a label on the boxes of some objects, by their id."""

    def with_label(box: dict[str, Any]) -> dict[str, Any]:
        return {**box, "label": labels[box["id"]]} if box["id"] in labels else box

    return {**truth, "frames": [{**f, "boxes": [with_label(box) for box in f["boxes"]]} for f in truth["frames"]]}


def boxes_of(truth: dict[str, Any], *ids: int) -> int:
    return sum(box["id"] in ids for frame in truth["frames"] for box in frame["boxes"])


def test_what_has_another_label_is_not_to_be_hidden(clip: Path, truth: dict[str, Any]) -> None:
    labels = {1: "face", 2: "Face ", 3: "badge", 4: "face of a badge", 5: ""}
    found = numbers(clip, labelled(truth, labels), "--margin", "0")
    assert found["object_frames"] == boxes_of(truth, 1, 2)
    assert {one["object"] for one in found["exposed"]} == {1, 2}
    assert found["over_redaction"] > 5 * numbers(clip, truth, "--margin", "0")["over_redaction"]


def test_labels_of_all_prompts_count_and_boxes_without_a_label(clip: Path, truth: dict[str, Any]) -> None:
    labels = {1: "human face", 2: "badge", 3: "faces", 4: "badge"}
    prompts = ("-p", "Human  Face", "-p", "faces")
    found = numbers(clip, labelled(truth, labels), *prompts, "--threshold", "1")
    assert found["object_frames"] == boxes_of(truth, 1, 3, 5)
    assert {one["object"] for one in found["exposed"]} == {1, 3, 5}


def test_labels_none_of_which_is_asked_for(clip: Path, truth: dict[str, Any]) -> None:
    outcome = evaluate(clip, labelled(truth, {1: "badge", 2: "Nose", 3: "badge"}), "-p", "face", "-p", "Visage")
    assert outcome.code == 1
    assert outcome.out == b""
    (line,) = outcome.lines
    assert line.endswith("truth.json: has no box of face or visage, only of badge, nose")


def test_every_frame_seen(clip: Path, truth: dict[str, Any]) -> None:
    assert numbers(clip, truth, "--sample", "every")["looks"] == FRAMES


def test_for_a_person_it_is_a_table(clip: Path, truth: dict[str, Any]) -> None:
    (clip.parent / "clip.mp4.gt.json").write_text(json.dumps(truth))
    outcome = run("eval", "redact", clip)
    assert outcome.code == 0
    head, rule, row = outcome.out.decode().splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| clip.mp4 | ")


def test_nothing_measured_divides_nothing() -> None:
    assert Exposure("empty").as_dict()["leak"] == 0
    assert len(list(table([Exposure("empty")]))) == 3


WRONG = {
    "no JSON": "frames",
    "a list": "[]",
    "empty": "",
    "no frames": "{}",
    "a frame without a time": '{"frames": [{"boxes": []}]}',
    "a frame without boxes": '{"frames": [{"time": 0}]}',
    "boxes without sides": '{"frames": [{"time": 0, "boxes": [{"id": 1}]}]}',
    "boxes without an id": '{"frames": [{"time": 0, "boxes": [{"xyxy": [1, 2, 3, 4]}]}]}',
    "boxes of three sides": '{"frames": [{"time": 0, "boxes": [{"id": 1, "xyxy": [1, 2, 3]}]}]}',
    "sides that are no number": '{"frames": [{"time": 0, "boxes": [{"id": 1, "xyxy": [1, 2, NaN, 4]}]}]}',
    "sides without end": '{"frames": [{"time": 0, "boxes": [{"id": 1, "xyxy": [1, 2, Infinity, 4]}]}]}',
    "sides in words": '{"frames": [{"time": 0, "boxes": [{"id": 1, "xyxy": ["a", 2, 3, 4]}]}]}',
    "a label that is no word": '{"frames": [{"time": 0, "boxes": [{"id": 1, "xyxy": [1, 2, 3, 4], "label": 7}]}]}',
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_ground_truth_is_told_in_a_line(clip: Path, name: str) -> None:
    outcome = evaluate(clip, WRONG[name])
    assert outcome.code == 1
    assert outcome.out == b""
    assert len(outcome.lines) == 1
    assert "truth.json: not a ground truth file" in outcome.err


def test_too_few_frames(clip: Path, truth: dict[str, Any]) -> None:
    outcome = evaluate(clip, {"frames": truth["frames"][:-1]})
    assert outcome.code == 1
    assert "clip.mp4: has more frames than" in outcome.err
    assert len(outcome.lines) == 1


def test_too_many_frames(clip: Path, truth: dict[str, Any]) -> None:
    frames = truth["frames"] + truth["frames"][-1:]
    outcome = evaluate(clip, {"frames": frames})
    assert outcome.code == 1
    assert f"has {FRAMES} frames, {clip.parent / 'truth.json'} has {FRAMES + 1}" in outcome.err
    assert len(outcome.lines) == 1


def test_another_clips_ground_truth() -> None:
    outcome = run("eval", "redact", SAMPLES / "phone.mp4", SAMPLES / "vfr.mp4.gt.json")
    assert outcome.code == 1
    assert len(outcome.lines) == 1


def test_times_of_another_clip(clip: Path, truth: dict[str, Any]) -> None:
    frames = [{**frame, "time": 2 * frame["time"] + 0.5} for frame in truth["frames"]]
    outcome = evaluate(clip, {**truth, "frames": frames})
    assert outcome.code == 1
    assert len(outcome.lines) == 1


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    outcome = run("eval", "redact", tmp_path / "nowhere.mp4", SAMPLES / "busy.mp4.gt.json")
    assert outcome.code == 1
    assert "nowhere.mp4" in outcome.err
    outcome = run("eval", "redact", SAMPLES / "busy.mp4", tmp_path / "nowhere.json")
    assert outcome.code == 1
    assert "nowhere.json" in outcome.err


def test_few_bits_change_little_and_none_change_nothing() -> None:
    pictures = [draw(random_scene(seed)).pixels for seed in range(3)]
    kinds, prompts = ["none", "int8"], ["face", "star"]
    same, few = compare_quantized(
        "pocket", kinds, pictures, prompts, computing=ComputeConfig("cpu"), callbacks=LoadCallbacks()
    )
    assert (same.captions, same.words) == (1, 1)
    assert same.boxes in (1, None)
    assert (few.quantize, few.asked) == ("int8", 3)
    assert few.words > 0.5


def test_what_few_bits_change_on_photos() -> None:
    scenes = [SAMPLES / "scenes" / name for name in ("tall.png", "many.png")]
    schemes = [word for kind in ("int8", "int4", "kv-int8") for word in ("--scheme", kind)]
    outcome = run("eval", "quantize", *scenes, "-p", "star", *schemes, "--json")
    assert outcome.code == 0, outcome.err
    assert [(one["model"], one["quantize"], one["asked"]) for one in outcome.json] == [
        ("pocket", "int8", 2), ("pocket", "int4", 2), ("pocket", "kv-int8", 2),
    ]  # fmt: skip
    eight, four, cache = outcome.json
    assert (eight["found"], eight["boxes"]) == (4, 1)
    assert min(eight["overlap"], four["overlap"]) > 0.75  # of four boxes: which is nearer is chance
    assert four["boxes"] >= 0.5
    assert cache["boxes"] == 1
    assert 0.95 < cache["overlap"] < 1


def test_few_bits_of_what_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    outcome = run("eval", "quantize", tmp_path / "words.png")
    assert outcome.code == 1
    assert outcome.err.startswith(f"mdtool: {tmp_path / 'words.png'}: ")
    assert len(outcome.err.splitlines()) == 1
    outcome = run("eval", "quantize", "--model", "centerface", SAMPLES / "portrait.jpg")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
