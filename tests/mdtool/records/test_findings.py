"""Findings are written, read back, and enough to hide the same things again."""

import hashlib
import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import Outcome, redact, run
from make_media import SAMPLES, frames_of
from PIL import Image, ImageOps

from mdtool.errors import InputError
from mdtool.jobs.bench.recipe import loop_clip
from mdtool.pipeline.findings_file import ContentCheck, RecordedFindings, records, records_of
from mdtool.records.findings import MAX_OBJECTS, SCHEMA, FindingsWriter, FrameFindings, FrameInfo
from recipes.regions import GazeEstimate, Region

FRAMES = 40
SOLID = ("--style", "solid", "--color", "#ff00ff")
FIELDS = {
    *("schema", "source", "stream", "frame", "time", "duration", "size", "model", "prompts", "looked", "hidden", "cut"),
    "objects",
}
OBJECT_FIELDS = {"label", "track", "score", "seen", "x_min", "y_min", "x_max", "y_max"}
VERDICTS = [
    FrameFindings([Region(0.1, 0.2, 0.3, 0.4, "face", 1, 0.875, True)], analysed=True),
    FrameFindings([Region(0.1, 0.2, 0.3, 0.4, "人脸", 1, None, False), Region(-0.1, 0, 1, 1.5, "", 2, 0.5, False)]),
    FrameFindings(hidden=True),
    FrameFindings(),
]


def write(
    path: Path,
    verdicts: Sequence[FrameFindings] = VERDICTS,
    source: str = "in/clip.mp4",
    stream: int = 0,
    size: tuple[int, int] = (640, 360),
    sha256: str = "",
) -> Path:
    with path.open("a", encoding="utf-8") as file:
        findings = FindingsWriter(file, source, "centerface", ["face", "plate"], sha256=sha256)
        for number, frame_findings in enumerate(verdicts):
            findings.write(FrameInfo(stream, number, number / 30, 1 / 30, size), frame_findings)
    return path


def entry(**changes: Any) -> dict[str, Any]:
    file = io.StringIO()
    FindingsWriter(file, "clip.mp4", "centerface", ["face"]).write(FrameInfo(), VERDICTS[0])
    return {**json.loads(file.getvalue()), **changes}


def with_object(**changes: Any) -> dict[str, Any]:
    return entry(objects=[{**entry()["objects"][0], **changes}])


def read(path: Path, source: str = "in/clip.mp4", by_name: bool = False) -> RecordedFindings:
    return RecordedFindings(path, source, by_name)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    recorded = read(write(tmp_path / "f"))
    assert [recorded.for_frame(0, number) for number in range(len(VERDICTS))] == VERDICTS


def test_a_line_has_all_fields(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write(tmp_path / "f").read_text("utf-8").splitlines()]
    assert len(lines) == len(VERDICTS)
    for line in lines:
        assert set(line) == FIELDS
        assert all(set(found) == OBJECT_FIELDS for found in line["objects"])
    assert lines[0]["schema"] == SCHEMA
    assert lines[0]["source"] == "in/clip.mp4"
    assert lines[0]["prompts"] == ["face", "plate"]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert lines[1]["time"] == pytest.approx(1 / 30, abs=1e-6)
    assert lines[1]["objects"][0]["label"] == "人脸"
    assert "人脸" in (tmp_path / "f").read_text("utf-8")


def test_gazes_replies_and_cuts_are_read_again(tmp_path: Path) -> None:
    looks = [
        GazeEstimate((0.25, 1.5), True),
        GazeEstimate(None, False),
        GazeEstimate((0.5, 0.5), True, "head"),
        GazeEstimate(None, None, "head"),
    ]
    faces = [Region(0.1, 0.1, 0.3, 0.3, "face", n, None, True, look) for n, look in enumerate(looks)]
    frame_findings = FrameFindings(faces, analysed=True, cut=True, replies={"Is it raining?": "No, \n not at all"})
    assert read(write(tmp_path / "f", [frame_findings])).for_frame(0, 0) == frame_findings


def test_records_say_when_and_how_large(tmp_path: Path) -> None:
    read_again = list(records(write(tmp_path / "f", stream=2)))
    assert [record.info.frame for record in read_again] == [0, 1, 2, 3]
    second = read_again[1].info
    assert (second.time, second.duration) == pytest.approx((1 / 30, 1 / 30), abs=1e-6)
    assert second == FrameInfo(2, 1, second.time, second.duration, (640, 360))
    assert {(record.source, record.model, record.prompts) for record in read_again} == {
        ("in/clip.mp4", "centerface", ("face", "plate"))
    }


@pytest.mark.parametrize(
    "gaze",
    [
        {"method": "model", "in_frame": True},
        {"method": "model", "in_frame": False, "x": 0.5, "y": 0.5},
        {"method": "guess", "in_frame": None},
        {"method": "model", "in_frame": True, "x": float("nan"), "y": 0.5},
        {"in_frame": False},
        {},
        7,
    ],
)
def test_a_gaze_that_can_not_be_is_refused(tmp_path: Path, gaze: object) -> None:
    line = entry()
    line["objects"][0]["gaze"] = gaze
    (tmp_path / "f").write_text(json.dumps(line))
    with pytest.raises(InputError, match="f:1: not a record of findings"):
        list(records(tmp_path / "f"))


@pytest.mark.parametrize("track", [1.5, "x", None, True, float("inf")])
def test_a_track_that_is_no_whole_number_is_said_plainly(tmp_path: Path, track: object) -> None:
    line = entry()
    line["objects"][0]["track"] = track
    (tmp_path / "f").write_text(json.dumps(line))
    with pytest.raises(InputError, match="a track has to be a whole number, not ") as caught:
        list(records(tmp_path / "f"))
    assert str(caught.value).endswith(f", not {json.dumps(track)})")


def test_frames_may_be_asked_for_in_another_order(tmp_path: Path) -> None:
    recorded = read(write(tmp_path / "f"))
    assert [recorded.for_frame(0, number) for number in (2, 0, 3, 1)] == [VERDICTS[n] for n in (2, 0, 3, 1)]


def test_two_runs_of_one_source_in_a_file_are_refused(tmp_path: Path) -> None:
    """One of them may have found less than the other, and what it lacks would stay visible."""
    write(tmp_path / "f", [VERDICTS[0]])
    write(tmp_path / "f", [VERDICTS[1]])
    recorded = read(tmp_path / "f")
    recorded.for_frame(0, 0)
    with pytest.raises(InputError, match="several records of frame 0"):
        recorded.check_end()


def test_streams_are_kept_apart(tmp_path: Path) -> None:
    write(tmp_path / "f", VERDICTS[:2], stream=0)
    write(tmp_path / "f", VERDICTS[2:], stream=3)
    recorded = read(tmp_path / "f")
    assert recorded.for_frame(3, 0) == VERDICTS[2]
    assert recorded.for_frame(0, 1) == VERDICTS[1]


def test_only_the_lines_of_its_source_count(tmp_path: Path) -> None:
    write(tmp_path / "f", [VERDICTS[3]], "other/clip.mp4")
    write(tmp_path / "f", [VERDICTS[0]], "in/clip.mp4")
    assert read(tmp_path / "f").for_frame(0, 0) == VERDICTS[0]


def test_by_name_the_folder_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "f", [VERDICTS[0]], "in/clip.mp4")
    assert read(tmp_path / "f", "moved/to/clip.mp4", by_name=True).for_frame(0, 0) == VERDICTS[0]
    with pytest.raises(InputError, match=r"are of in/clip\.mp4, not of this input"):
        read(tmp_path / "f", "moved/to/clip.mp4", by_name=False).for_frame(0, 0)
    with pytest.raises(InputError, match=r"are of in/clip\.mp4, not of this input"):
        read(tmp_path / "f", "in/other.mp4", by_name=True).for_frame(0, 0)


def test_of_a_copy_under_another_name_the_only_findings_are_used_and_the_source_is_named(tmp_path: Path) -> None:
    write(tmp_path / "f", [VERDICTS[0]], "in/clip.mp4", sha256="a" * 64)
    said: list[str] = []
    check = ContentCheck(lambda: "a" * 64, note=said.append)
    assert RecordedFindings(tmp_path / "f", "copy.mp4", True, check=check).for_frame(0, 0) == VERDICTS[0]
    assert said == ["the findings of in/clip.mp4 are used, which has the same content"]
    write(tmp_path / "f", [VERDICTS[3]], "in/other.mp4", sha256="b" * 64)
    with pytest.raises(InputError, match=r"the same content; give the input by that name"):
        RecordedFindings(tmp_path / "f", "copy.mp4", True, check=check).for_frame(0, 0)


def test_several_inputs_are_told_apart_by_name(tmp_path: Path) -> None:
    write(tmp_path / "f", [VERDICTS[0]], "in/clip.mp4", sha256="a" * 64)
    for check in (ContentCheck(lambda: "a" * 64), ContentCheck(any_source=True)):
        with pytest.raises(InputError, match=r"are of in/clip\.mp4"):
            RecordedFindings(tmp_path / "f", "copy.mp4", by_name=False, check=check).for_frame(0, 0)


@pytest.mark.parametrize("command", ["redact", "render"])
def test_an_empty_file_has_one_exit_code(clip: Path, tmp_path: Path, command: str) -> None:
    findings, target = tmp_path / "f", tmp_path / "out.mp4"
    findings.touch()
    inputs = [clip, "--from-findings", findings] if command == "redact" else [findings]
    outcome = run(command, *inputs, "-o", target, "-q")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert outcome.lines[0].endswith(
        f"{findings}: has no findings; write some with `mdtool detect INPUT PROMPT --jsonl FILE`"
    )
    assert not target.exists()


@pytest.mark.parametrize(("stream", "frame"), [(0, 4), (1, 0), (0, -1)])
def test_a_frame_that_is_missing_is_an_error(tmp_path: Path, stream: int, frame: int) -> None:
    with pytest.raises(InputError, match=f"stream {stream}, frame {frame}"):
        read(write(tmp_path / "f")).for_frame(stream, frame)


@pytest.mark.parametrize(
    ("frames", "missing"),
    [([0, 1, 3], 2), ([1, 2], 0), ([3, 0, 1], 2), ([10**12], 0), ([-1, 0, 1], 2), ([0, 2, 10**12], 1)],
)
def test_all_records_of_a_source_have_each_frame_from_0(tmp_path: Path, frames: list[int], missing: int) -> None:
    """Without one, what was found on it is not known, and nothing seems to be there."""
    path = write(tmp_path / "f", VERDICTS, "clip.mp4", stream=1)
    with path.open("a") as file:
        file.writelines(json.dumps(entry(frame=frame)) + "\n" for frame in frames)
    with pytest.raises(InputError, match=f"no record of its stream 0, frame {missing}: give the complete findings"):
        list(records_of(path, "clip.mp4", by_name=False))


def test_records_in_any_order_are_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "f", VERDICTS, "clip.mp4", stream=1)
    with path.open("a") as file:
        file.writelines(json.dumps(entry(frame=frame)) + "\n" for frame in (2, 0, 3, 1))
    assert len(list(records_of(path, "clip.mp4", by_name=False))) == 8


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: can't be read: No such file"):
        read(tmp_path / "nowhere").for_frame(0, 0)


@pytest.mark.parametrize("schema", ["mdtool.findings/2", "mdtool.records.findings", "", None, 1])
def test_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    path = tmp_path / "f"
    path.write_text(json.dumps(entry(schema=schema)) + "\n")
    with pytest.raises(InputError, match=rf"f:1: .*reads '{SCHEMA}'"):
        read(path, "clip.mp4").for_frame(0, 0)


BROKEN: dict[str, str | bytes] = {
    "cut short": json.dumps(entry())[:-9],
    "empty": "",
    "no JSON": "frame 0: nothing",
    "no object": "[]",
    "a number": "5",
    "null": "null",
    "no text": b"\xff\xfe",
    "deep": "[" * 100_000,
    "without objects": json.dumps({k: v for k, v in entry().items() if k != "objects"}),
    "without hidden": json.dumps({k: v for k, v in entry().items() if k != "hidden"}),
    "without schema": json.dumps({k: v for k, v in entry().items() if k != "schema"}),
    "objects null": json.dumps(entry(objects=None)),
    "object is no object": json.dumps(entry(objects=[3])),
    "frame is text": json.dumps(entry(frame="first")),
    "frame is endless": json.dumps(entry(frame=float("inf"))),
    "track is endless": json.dumps(entry(objects=[{**entry()["objects"][0], "track": float("inf")}])),
    "score is text": json.dumps(entry(objects=[{**entry()["objects"][0], "score": "high"}])),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_an_error_that_names_its_place(tmp_path: Path, name: str) -> None:
    path, broken = tmp_path / "f", BROKEN[name]
    good = json.dumps(entry(frame=7)).encode() + b"\n"
    path.write_bytes(good + (broken if isinstance(broken, bytes) else broken.encode()) + b"\n")
    with pytest.raises(InputError, match=r"f:2: ") as caught:
        read(path, "clip.mp4").for_frame(0, 0)
    assert "\n" not in str(caught.value)


FLAG: list[Any] = ["", "false", 0, 1, None, []]
OTHER_TYPES: dict[str, list[Any]] = {
    "objects": [{}, "", {"a": 1}, "face", False, 0],
    **dict.fromkeys(("looked", "hidden", "cut"), FLAG),
    **{name: [None, 7, [], {}] for name in ("source", "sha256", "model")},
    **{name: ["0", True, None, 0.5, []] for name in ("stream", "frame")},
    **{name: ["0", True, None, []] for name in ("time", "duration")},
    "size": ["64", {"640": 1, "360": 1}, ["640", "360"], [True, True], [64.5, 1], None],
    "prompts": ["face", {"face": 1}, [1], [None], None],
    "replies": [[], "", {"Is it raining?": 1}, None],
}
OBJECT_OTHER_TYPES: dict[str, list[Any]] = {
    "label": [None, 7, []],
    "seen": FLAG,
    "score": ["0.5", True, []],
    "x_min": ["0.1", False, None],
    "gaze": [
        *([], "", 0, False, None),
        *({"method": "model", "in_frame": value} for value in FLAG[:4]),
        {"method": "model", "in_frame": True, "x": "0.5", "y": 0.5},
    ],
}


@pytest.mark.parametrize(
    "line",
    [entry(**{name: value}) for name, values in OTHER_TYPES.items() for value in values]
    + [with_object(**{name: value}) for name, values in OBJECT_OTHER_TYPES.items() for value in values],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, line: dict[str, Any]) -> None:
    """Taken for no objects, it would leave visible what was found."""
    (tmp_path / "f").write_text(json.dumps(line))
    with pytest.raises(InputError, match=r"f:1: not a record of findings \(a value is of another type\)$"):
        list(records(tmp_path / "f"))


BATCH_ANSWER = {"prompt": "face", "complete": True, "objects": []}
BATCH = {"schema": "mdtool.batch/1", "input": "clip.mp4", "model": "m", "width": 64, "height": 36}


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({}, {"objects": {}}), ({}, {"objects": ""}), ({}, {"objects": None}),
        ({}, {"complete": "false"}), ({}, {"complete": 1}), ({}, {"complete": None}),
        ({}, {"prompt": 1}), ({"answers": {}}, {}), ({"answers": ""}, {}), ({"answers": []}, {}),
        ({"width": "64"}, {}), ({"input": None}, {}), ({"model": None}, {}), ({"sha256": None}, {}),
    ],
)  # fmt: skip
def test_a_value_of_another_type_in_a_batch_is_refused(
    tmp_path: Path, change: dict[str, Any], answer: dict[str, Any]
) -> None:
    good = {**BATCH, "answers": [BATCH_ANSWER]}
    (tmp_path / "f").write_text(json.dumps(good))
    assert len(list(records(tmp_path / "f"))) == 1
    (tmp_path / "f").write_text(json.dumps({**good, "answers": [{**BATCH_ANSWER, **answer}], **change}))
    with pytest.raises(InputError, match="f:1: not a record of findings"):
        list(records(tmp_path / "f"))


def test_more_objects_than_a_model_finds_are_refused(tmp_path: Path) -> None:
    found = entry()["objects"] * (MAX_OBJECTS + 1)
    answers = [{**BATCH_ANSWER, "objects": found[:6]}, {**BATCH_ANSWER, "objects": found[6:]}]
    for line in (entry(objects=found), {**BATCH, "answers": answers}):
        (tmp_path / "f").write_text(json.dumps(line))
        with pytest.raises(InputError, match=r"f:1: .*\(it has 10001 objects, of at most 10000 on a frame\)$"):
            list(records(tmp_path / "f"))
    (tmp_path / "f").write_text(json.dumps(entry(objects=found[:-1])))
    (record,) = records(tmp_path / "f")
    assert len(record.findings.regions) == MAX_OBJECTS


@pytest.mark.parametrize(
    "sides",
    [
        {"x_min": 0.5, "x_max": 0.4}, {"y_min": 0.5, "y_max": 0.4}, {"x_min": 0.3, "x_max": 0.3},
        {"x_min": float("nan")}, {"y_max": float("nan")}, {"x_max": float("inf")}, {"y_min": float("-inf")},
        {"x_max": 1e9}, {"x_min": -1e9}, {"x_max": 10**400}, {"x_max": "wide"}, {"x_max": None}, {"x_max": [1]},
    ],
)  # fmt: skip
def test_boxes_that_are_none_are_refused(tmp_path: Path, sides: dict[str, Any]) -> None:
    path = tmp_path / "f"
    path.write_text(json.dumps(entry(objects=[{**entry()["objects"][0], **sides}])) + "\n")
    with pytest.raises(InputError, match=r"f:1: "):
        read(path, "clip.mp4").for_frame(0, 0)


# -- through the program


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("findings") / "clip.mp4"
    loop_clip(SAMPLES / "busy.mp4", path, FRAMES)
    return path


@pytest.fixture(scope="module")
def first_run(clip: Path) -> tuple[Path, Path]:
    """(findings, output) of a run that looks."""
    findings, target = clip.with_name("findings.jsonl"), clip.with_name("first.mp4")
    assert redact(clip, "-o", target, "--findings", findings, *SOLID).code == 0
    return findings, target


def again(clip: Path, findings: Path, target: Path, *options: str) -> Outcome:
    return redact(clip, "-o", target, "--from-findings", findings, "--json", *options)


def magenta(picture: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    mask: np.ndarray = (red > 180) & (green < 80) & (blue > 180)
    return mask


def test_a_run_writes_a_line_for_each_frame(clip: Path, first_run: tuple[Path, Path]) -> None:
    lines = [json.loads(line) for line in first_run[0].read_text().splitlines()]
    frames = frames_of(clip)
    assert [line["frame"] for line in lines] == list(range(len(frames)))
    assert [line["time"] for line in lines] == pytest.approx([f.pts * f.time_base for f in frames], abs=1e-5)
    assert {line["source"] for line in lines} == {str(clip)}
    assert {line["model"] for line in lines} == {"centerface"}
    assert 2 <= sum(line["looked"] for line in lines) < len(lines) / 2
    assert all(line["objects"] for line in lines)
    assert {found["seen"] for line in lines if not line["looked"] for found in line["objects"]} == {False}


def test_from_findings_the_same_is_hidden(clip: Path, first_run: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = again(clip, first_run[0], tmp_path / "out.mp4", *SOLID)
    assert outcome.code == 0, outcome.err
    summary = outcome.json[0]
    assert summary["model"] == "findings"
    assert "model" not in summary["stages"]
    for one, other in zip(frames_of(first_run[1]), frames_of(tmp_path / "out.mp4"), strict=True):
        pictures = [magenta(frame.to_ndarray(format="rgb24")) for frame in (one, other)]
        assert pictures[0].mean() > 0.02
        assert (pictures[0] != pictures[1]).mean() < 0.002


def test_findings_decide_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    path, box = tmp_path / "f", Region(0.25, 0.5, 0.5, 0.75, "nothing", 1, None, False)
    write(path, [FrameFindings([box] if n % 2 else []) for n in range(FRAMES)], str(clip))
    assert again(clip, path, tmp_path / "out.mp4", *SOLID, "--margin", "0", "--crf", "10").code == 0
    wanted = np.zeros((360, 640), bool)
    wanted[180:270, 160:320] = True
    for number, frame in enumerate(frames_of(tmp_path / "out.mp4")):
        painted = magenta(frame.to_ndarray(format="rgb24"))
        if number % 2:
            assert painted[wanted].mean() > 0.97
            assert painted[~wanted].mean() < 0.01
        else:
            assert not painted.any()


def test_hidden_frames_stay_hidden(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "f"
    write(path, [FrameFindings(hidden=n == 3) for n in range(FRAMES)], str(clip))
    outcome = again(clip, path, tmp_path / "out.mp4")
    assert outcome.json[0]["hidden_frames"] == 1
    levels = [frame.to_ndarray(format="gray").max() for frame in frames_of(tmp_path / "out.mp4")]
    assert levels[3] < 40
    assert min(levels[:3] + levels[4:]) > 100


@pytest.mark.parametrize("cut", ["a line", "half a line", "all"])
def test_findings_cut_short_leave_no_output(clip: Path, first_run: tuple[Path, Path], tmp_path: Path, cut: str) -> None:
    path, whole = tmp_path / "f", first_run[0].read_bytes()
    shorter = {"a line": whole[: whole[:-1].rindex(b"\n") + 1], "half a line": whole[:-40], "all": b""}[cut]
    path.write_bytes(shorter)
    outcome = again(clip, path, tmp_path / "out.mp4")
    assert outcome.code == 1
    assert len(outcome.lines) == 1
    assert outcome.out == b""
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_findings_of_another_video_leave_no_output(first_run: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = again(SAMPLES / "blink.mp4", first_run[0], tmp_path / "out.mp4")
    assert outcome.code == 1
    assert "blink.mp4" in outcome.lines[0]
    assert list(tmp_path.iterdir()) == []


OTHER_SIZE = "does not match the findings: they are for {} pixels, and it has 640x360; detect again"


def refused(outcome: Outcome, said: str) -> None:
    assert (outcome.code, outcome.out, len(outcome.lines)) == (1, b"", 1), outcome.err
    assert said in outcome.err


@pytest.mark.parametrize("command", ["redact", "render", "moderate", "gaze", "moderate --report-only"])
def test_a_video_that_has_changed_is_refused(clip: Path, tmp_path: Path, command: str) -> None:
    """Its bytes are others, and all else that findings say of it is as it was."""
    findings, video, target = tmp_path / "f", tmp_path / "clip.mp4", tmp_path / "out.mp4"
    video.write_bytes(clip.read_bytes())
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    face = Region(0.1, 0.1, 0.5, 0.5, "face", 1, None, False, GazeEstimate((0.8, 0.8), True))
    write(findings, [FrameFindings([face])] * FRAMES, "clip.mp4", sha256=digest)
    commands: dict[str, list[str | Path]] = {
        "redact": ["redact", video, "--from-findings", findings, "-o", target],
        "render": ["render", findings, video, "-o", target],
        "moderate": ["moderate", video, "-p", "face", "--action", "blur", "--from-findings", findings, "-o", target],
        "moderate --report-only": ["moderate", video, "-p", "face", "--report-only", "--from-findings", findings],
        "gaze": ["gaze", video, "--from-findings", findings, "-o", target],
    }
    arguments = commands[command]
    assert run(*arguments, "-q").code == 0
    target.unlink(missing_ok=True)
    with video.open("ab") as file:
        file.write(b"\0\0\0\x08free")
    said = f"{video}: does not match the findings: they are for SHA-256 {digest[:12]}..., and it has "
    refused(run(*arguments, "-q"), said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "f"]


@pytest.mark.parametrize(
    ("count", "size", "said"),
    [
        (FRAMES, (640, 480), OTHER_SIZE.format("640x480")),
        (FRAMES, (360, 640), OTHER_SIZE.format("360x640")),
        (FRAMES + 1, (640, 360), f"they are for {FRAMES + 1} or more frames, and it has {FRAMES}; detect again"),
        (FRAMES - 1, (640, 360), f"have no record of its stream 0, frame {FRAMES - 1}: "),
    ],
)
def test_findings_without_a_digest_must_fit(
    clip: Path, tmp_path: Path, count: int, size: tuple[int, int], said: str
) -> None:
    write(tmp_path / "f", [FrameFindings()] * count, str(clip), size=size)
    refused(again(clip, tmp_path / "f", tmp_path / "out.mp4"), said)
    piped = tmp_path / "of-a-pipe"
    piped.write_bytes((tmp_path / "f").read_bytes().replace(str(clip).encode(), b"-"))
    outcome = redact("-", "-o", tmp_path / "out.mp4", "--from-findings", piped, stdin=clip.read_bytes())
    refused(outcome, said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "of-a-pipe"]


def test_findings_of_a_stream_that_is_not_there(clip: Path, tmp_path: Path) -> None:
    write(tmp_path / "f", [FrameFindings()] * FRAMES, str(clip))
    write(tmp_path / "f", [FrameFindings()], str(clip), stream=3)
    refused(
        again(clip, tmp_path / "f", tmp_path / "out.mp4"), "they are for 1 or more frames in stream 3, and it has 0"
    )


@pytest.mark.parametrize("name", ["group.png", "animation.gif"])
def test_a_picture_that_has_changed_is_refused(tmp_path: Path, name: str) -> None:
    picture, findings, target = tmp_path / name, tmp_path / "f", tmp_path / f"out-{name}"
    picture.write_bytes((SAMPLES / name).read_bytes())
    assert run("detect", picture, "face", "--jsonl", findings).code == 0
    assert redact(picture, "--from-findings", findings, "-o", target).code == 0
    target.unlink()
    picture.write_bytes(picture.read_bytes() + b"\0")
    refused(redact(picture, "--from-findings", findings, "-o", target), "they are for SHA-256")
    assert not target.exists()


@pytest.fixture
def other_bytes(tmp_path: Path) -> tuple[Path, Path]:
    """A picture that was mirrored after the detection, so that its faces are elsewhere; and the findings."""
    picture, findings = tmp_path / "a.png", tmp_path / "f"
    picture.write_bytes((SAMPLES / "group.png").read_bytes())
    assert run("gaze", picture, "--report-only", "--findings", findings).code == 0
    with Image.open(picture) as image:
        mirrored = ImageOps.mirror(image)
    mirrored.save(picture)
    return picture, findings


@pytest.mark.parametrize("command", ["redact", "render", "moderate", "gaze"])
def test_findings_of_other_bytes_of_the_same_size_are_used_only_by_force(
    other_bytes: tuple[Path, Path], command: str, tmp_path: Path
) -> None:
    picture, findings = other_bytes
    commands: dict[str, list[str | Path]] = {
        "redact": ["redact", picture, "--from-findings", findings, "-o", tmp_path / "o.png"],
        "render": ["render", findings, picture, "-o", tmp_path / "o.png"],
        "moderate": ["moderate", picture, "-p", "face", "--report-only", "--from-findings", findings],
        "gaze": ["gaze", picture, "--from-findings", findings, "-o", tmp_path / "o.png"],
    }
    outcome = run(*commands[command])
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert outcome.err.endswith("; --force-findings uses them all the same\n")
    assert not (tmp_path / "o.png").exists()
    outcome = run(*commands[command], "--force-findings")
    assert outcome.code == 0, outcome.err
    assert (
        f"mdtool: {picture}: --force-findings: it is not checked that the findings are of this content" in outcome.lines
    )


def test_findings_of_a_renamed_file(tmp_path: Path) -> None:
    picture, copy, other, findings, target = (tmp_path / name for name in ("a.png", "b.png", "c.png", "f", "o.png"))
    picture.write_bytes((SAMPLES / "group.png").read_bytes())
    assert redact(picture, "-o", target, "--findings", findings).code == 0
    with Image.open(picture) as image:
        ImageOps.mirror(image).save(other)
    masked = target.read_bytes()
    picture.rename(copy)
    again: list[str | Path] = ["--from-findings", findings, "-o", target, "-f", "--json"]
    outcome = redact(copy, *again)
    assert outcome.code == 0, outcome.err
    assert outcome.lines == [f"mdtool: {copy}: the findings of {picture} are used, which has the same content"]
    assert target.read_bytes() == masked
    assert "1 of 4 tracks is left out" in redact(copy, *again, "--drop-track", "1").err
    assert redact(copy, *again, "--drop-track", "9").code == 2
    refused(redact(other, *again), f"the findings are of {picture}, not of this input; ")
    unchecked = "--force-findings: it is not checked that the findings are of this content"
    used = f"--force-findings: the findings of {picture} are used"
    for given in (findings, "-"):
        options: list[str | Path] = ["--from-findings", given, "-o", target, "-f", "--json", "--force-findings"]
        outcome = redact(other, *options, stdin=findings.read_bytes())
        assert (outcome.code, outcome.lines) == (0, [f"mdtool: {other}: {used}", f"mdtool: {other}: {unchecked}"])
    with Image.open(copy) as image:
        image.resize((64, 40)).save(other)
    outcome = redact(other, *again, "--force-findings")
    assert (outcome.code, "they are for 640x400 pixels, and it has 64x40" in outcome.err) == (1, True)


def test_findings_of_a_file_for_stdin_are_refused_in_one_line_or_forced(tmp_path: Path) -> None:
    picture, findings = tmp_path / "a.png", tmp_path / "f"
    picture.write_bytes((SAMPLES / "group.png").read_bytes())
    assert redact(picture, "-o", tmp_path / "o.png", "--findings", findings).code == 0
    outcome = redact("-", "-o", "-", "--from-findings", findings, stdin=picture.read_bytes())
    assert (outcome.code, outcome.out, len(outcome.lines)) == (1, b"", 1)
    assert outcome.err.endswith("; --force-findings uses them all the same\n")
    outcome = redact("-", "-o", "-", "--from-findings", findings, "--force-findings", stdin=picture.read_bytes())
    assert outcome.code == 0, outcome.err
    assert outcome.out == (tmp_path / "o.png").read_bytes()


def test_force_without_findings_is_refused() -> None:
    outcome = redact(SAMPLES / "group.png", "--force-findings", "-o", "never.png")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert "only with --from-findings" in outcome.err


def test_where_the_content_cant_be_compared_it_is_said(tmp_path: Path) -> None:
    findings, content = tmp_path / "f", (SAMPLES / "group.png").read_bytes()
    assert run("detect", "-", "face", "--jsonl", findings, stdin=content).code == 0
    outcome = redact("-", "--from-findings", findings, "-o", tmp_path / "o.png", stdin=content)
    assert outcome.code == 0, outcome.err
    assert ("it is not checked that the findings are of this content" in outcome.err) == (
        b'"sha256":"' in findings.read_bytes()
    )


def test_a_picture_of_another_size_is_refused_by_old_findings(tmp_path: Path) -> None:
    write(tmp_path / "f", [FrameFindings()], "group.png", size=(400, 640))
    outcome = redact(SAMPLES / "group.png", "--from-findings", tmp_path / "f", "-o", tmp_path / "out.png")
    refused(outcome, "they are for 400x640 pixels, and it has 640x400; detect again")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_one_that_has_changed_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    one, other = tmp_path / "in" / "one.png", tmp_path / "in" / "other.png"
    one.parent.mkdir()
    for path in (one, other):
        path.write_bytes((SAMPLES / "group.png").read_bytes())
    assert run("detect", one.parent, "face", "--jsonl", tmp_path / "f").code == 0
    one.write_bytes((SAMPLES / "group.png").read_bytes() + b"\0")
    refused_one = redact(one.parent, "--from-findings", tmp_path / "f", "-o", tmp_path / "out", "-q")
    refused(refused_one, f"{one}: does not match the findings")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["other.png"]


def test_findings_that_were_changed_by_hand_hold(clip: Path, first_run: tuple[Path, Path], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in first_run[0].read_text().splitlines()]
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    assert {line["sha256"] for line in lines} == {digest}
    box = {"label": "face", "track": 9, "score": None, "seen": False}
    for line in lines:
        line["objects"] = [{**box, "x_min": 0.25, "y_min": 0.5, "x_max": 0.5, "y_max": 0.75}]
    (tmp_path / "f").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert again(clip, tmp_path / "f", tmp_path / "out.mp4", *SOLID, "--margin", "0").code == 0
    painted = magenta(frames_of(tmp_path / "out.mp4")[20].to_ndarray(format="rgb24"))
    assert painted[180:270, 160:320].mean() > 0.97
    assert painted.mean() < 0.08


def test_of_findings_of_two_versions_those_of_this_one_are_used(clip: Path, tmp_path: Path) -> None:
    digest, box = hashlib.sha256(clip.read_bytes()).hexdigest(), Region(0.1, 0.1, 0.5, 0.5, "face", 1, None, False)
    write(tmp_path / "f", [FrameFindings([box])] * (FRAMES + 9), str(clip), size=(64, 48), sha256="0" * 64)
    write(tmp_path / "f", [FrameFindings()] * FRAMES, str(clip), sha256=digest)
    outcome = again(clip, tmp_path / "f", tmp_path / "out.mp4")
    assert outcome.code == 0, outcome.err
    assert outcome.json[0]["objects"] == 0


def test_findings_on_stdout(tmp_path: Path) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", "--findings", "-")
    assert outcome.code == 0
    (line,) = outcome.json
    assert set(line) == FIELDS | {"sha256"}
    assert line["schema"] == SCHEMA
    assert line["sha256"] == hashlib.sha256((SAMPLES / "group.png").read_bytes()).hexdigest()
    assert len(line["objects"]) == 4


def test_findings_of_many_inputs_in_one_file(tmp_path: Path) -> None:
    inputs = [SAMPLES / "group.png", SAMPLES / "portrait.jpg", SAMPLES / "animation.gif"]
    findings, again_in = tmp_path / "f.jsonl", tmp_path / "again"
    assert redact(*inputs, "-o", tmp_path / "out", "--findings", findings).code == 0
    lines = [json.loads(line) for line in findings.read_text().splitlines()]
    assert {line["source"] for line in lines} == {str(path) for path in inputs}
    outcome = redact(*inputs, "-o", again_in, "--from-findings", findings, "--json")
    assert outcome.code == 0, outcome.err
    assert [summary["model"] for summary in outcome.json] == ["findings"] * 3
    assert {path.name for path in again_in.iterdir()} == {path.name for path in inputs}
    for name in ("group.png", "animation.gif"):
        assert (tmp_path / "out" / name).read_bytes() == (again_in / name).read_bytes()


@pytest.mark.parametrize("where", ["nowhere/f.jsonl", "."])
def test_findings_that_cant_be_written(tmp_path: Path, where: str) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", "--findings", tmp_path / where)
    assert outcome.code == 74
    assert len(outcome.lines) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["input", "output", "findings that are read"])
def test_findings_are_not_written_over_other_parts_of_the_run(tmp_path: Path, role: str) -> None:
    picture, target, known = tmp_path / "a.png", tmp_path / "out.png", tmp_path / "f.jsonl"
    picture.write_bytes((SAMPLES / "group.png").read_bytes())
    write(known, [FrameFindings()], "a.png")
    files = {"input": picture, "output": target, "findings that are read": known}
    before = {file: file.read_bytes() for file in (picture, known)}
    options: list[str | Path] = ["--from-findings", known] if role == "findings that are read" else []
    outcome = redact(picture, "-o", target, "--findings", files[role], *options)
    assert outcome.code != 0
    assert len(outcome.lines) == 1
    assert {file: file.read_bytes() for file in (picture, known)} == before
    assert not target.exists()


def test_findings_and_picture_cant_both_go_to_stdout() -> None:
    outcome = redact(SAMPLES / "group.png", "-o", "-", "--findings", "-")
    assert outcome.code == 2
    assert outcome.out == b""


def test_times_are_exact_where_frames_last_unevenly(tmp_path: Path) -> None:
    findings = tmp_path / "f.jsonl"
    assert redact(SAMPLES / "vfr.mp4", "-o", tmp_path / "out.mp4", "--findings", findings, "--sample", "60").code == 0
    times = [json.loads(line)["time"] for line in findings.read_text().splitlines()]
    truth = json.loads((SAMPLES / "vfr.mp4.gt.json").read_text())["frames"]
    assert times == pytest.approx([frame["time"] for frame in truth], abs=1e-5)
    assert times[0] == pytest.approx(float(Fraction(1, 5)))


def test_from_findings_turned_videos_stay_turned(tmp_path: Path) -> None:
    clip, findings = SAMPLES / "phone.mp4", tmp_path / "f.jsonl"
    box = Region(0.25, 0.25, 0.75, 0.5, "face", 1, None, False)
    write(findings, [FrameFindings([box])] * len(frames_of(clip)), str(clip), size=(360, 640))
    outcome = again(clip, findings, tmp_path / "out.mp4", *SOLID, "--margin", "0")
    assert outcome.code == 0, outcome.err
    first = frames_of(tmp_path / "out.mp4")[0]
    assert first.rotation == frames_of(clip)[0].rotation == -90
    painted = magenta(np.rot90(first.to_ndarray(format="rgb24"), first.rotation // 90))
    wanted = np.zeros((640, 360), bool)
    wanted[160:320, 90:270] = True
    assert painted[wanted].mean() > 0.97
    assert painted[~wanted].mean() < 0.01
