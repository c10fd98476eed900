"""`mdtool moderate`: what it says, what it writes, and how it ends."""

import io
import json
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import av
import numpy as np
import pytest
from cli_runner import FAST_ENCODING, run
from make_media import SAMPLES, add_video, constant_rate_times, frames_of, mux, psnr, times_of
from make_media import sound as tone
from PIL import Image

from engine.contract import Abilities, Answer, Box, EngineError
from engine.generation.verbs import VisionModel
from mdtool.cli.moderate import ActionName
from mdtool.console import Console
from mdtool.errors import ExitCode
from mdtool.jobs.moderate.find_policy import PRESETS, load_policy, presets
from mdtool.jobs.moderate.job import ModerateJob
from mdtool.media.sources.inputs import find_inputs
from mdtool.media.video.encoding import Encoding
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import ModelInference, OutputOptions
from mdtool.pipeline.targets import Targets
from mdtool.tracking.detector import detector_with_questions
from mdtool.tracking.sampling import parse_sampling
from recipes.policy import Action, Policy, policy_from_prompts
from recipes.policy_parser import parse_policy

ROOT = Path(__file__).parents[4]
GROUP, EMPTY = SAMPLES / "group.png", SAMPLES / "scenes" / "one.png"
SIZE = (64, 48)
RATE = 48000
RED, GREEN, BLUE = (220, 30, 30), (20, 160, 60), (20, 20, 230)
BOX = (24, 16, 40, 32)  # of what is seen, in pixels
SHARE = 16 * 16 / (64 * 48)


class Seer:
    """Sees red and green things, says whether it is dark, and fails on what is blue."""

    name = "seer"
    image_batch_size = 4
    abilities = Abilities({"detect": None, "query": None})

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        if any(_is(BLUE, image).mean() > 0.5 for image in images):
            raise EngineError("can't see through blue")
        self.encoded += len(images)
        return list(images)

    def detect_each(self, encoded: Sequence[np.ndarray], prompts: Sequence[str], *_: object) -> list[list[list[Box]]]:
        colours = [RED if "red" in prompt else GREEN for prompt in prompts]
        return [[_boxes(_is(colour, image)) for image in encoded] for colour in colours]

    def query(self, encoded: Sequence[np.ndarray], *_: object, **__: object) -> list[Answer]:
        return [Answer("Yes, very." if image.mean() < 60 else "No.") for image in encoded]


def _is(colour: tuple[int, int, int], image: np.ndarray) -> np.ndarray:
    near: np.ndarray = np.abs(image.astype(int) - colour).max(axis=2) < 60
    return near


def _boxes(there: np.ndarray) -> list[Box]:
    height, width = there.shape
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    if len(rows) < 4:
        return []
    x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return [Box(x0 / width, y0 / height, x1 / width, y1 / height, "a thing", 0.9)]


def picture(
    number: int,
    red: Collection[int] = (),
    green: Collection[int] = (),
    dark: Collection[int] = (),
    blue: Collection[int] = (),
) -> np.ndarray:
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    pixels = np.repeat((110 + (x * 5 + y * 7 + number) % 40)[:, :, None], 3, axis=2).astype(np.uint8)
    if number in dark:
        pixels //= 4
    x0, y0, x1, y1 = BOX
    for colour, where in ((RED, red), (GREEN, green)):
        if number in where:
            pixels[y0:y1, x0:x1] = colour
    if number in blue:
        pixels[:] = BLUE
    return pixels


def clip(
    path: Path,
    red: Collection[int] = (),
    green: Collection[int] = (),
    dark: Collection[int] = (),
    blue: Collection[int] = (),
    frames: int = 30,
) -> Path:
    """At 30 frames a second, with things on some frames, and a tone that no codec changes."""
    with av.open(str(path), "w") as container:
        video = add_video(container, size=SIZE, pix_fmt="yuv444p", options={"crf": "4"})
        sound: Any = container.add_stream("flac", RATE)
        sound.codec_context.layout = "mono"
        packets = []
        for number, time in enumerate(constant_rate_times(frames)):
            frame = av.VideoFrame.from_ndarray(picture(number, red, green, dark, blue), "rgb24").reformat(
                format="yuv444p"
            )
            frame.pts, frame.time_base = round(time * 90000), video.codec_context.time_base
            packets += video.encode(frame)
        mux(container, packets + video.encode(None) + tone(sound, frames / 30))
    return path


def samples_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def changed(path: Path, source: Path) -> set[int]:
    """Frames that are not as they were."""
    pairs = zip(frames_of(path), frames_of(source), strict=True)
    return {number for number, (one, other) in enumerate(pairs) if psnr(one, other) < 30}


def covered(path: Path) -> set[int]:
    """Frames that are all of one colour."""
    grey = [frame.to_ndarray(format="gray") for frame in frames_of(path)]
    return {number for number, values in enumerate(grey) if values.std() < 2}


class Desk:
    """Someone who moderates in a folder, with the seer. Code and record of the last run are kept."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.seer = Seer()
        self._capture = capture

    def moderate(
        self,
        source: Path | Iterable[Path],
        policy: Policy,
        output: str | None = None,
        sample: str = "every",
        known: Path | None = None,
        blank_errors: bool = False,
        overwrite: bool = False,
        as_json: bool = True,
        **more: Any,
    ) -> ExitCode:
        named = [str(one) for one in ([source] if isinstance(source, Path) else source)]
        sources = find_inputs(named)
        request = AnalysisRequest(tuple(policy.prompts), sampling=parse_sampling(sample), blank_errors=blank_errors, **{
            key: more.pop(key) for key in ("start", "end", "max_calls") if key in more
        })  # fmt: skip
        inference = ModelInference(
            request,
            detector_with_questions(cast(VisionModel, self.seer), policy.prompts, policy.questions),
            self.seer.name,
        )
        targets = Targets(output, ".moderated", len(sources) > 1, overwrite)
        form = OutputOptions(Encoding(preset="ultrafast", crf=4))
        moderating = ModerateJob(policy, known or inference, form, targets, Console(as_json=as_json), **more)
        code = moderating.run(sources, "a title")
        out, self.err = self._capture.readouterr()
        self.records: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()] if as_json else []
        return code

    @property
    def record(self) -> dict[str, Any]:
        (one,) = self.records
        return one

    @property
    def rule(self) -> dict[str, Any]:
        (one,) = self.record["rules"]
        return dict(one)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def red(action: Action = "flag", **limits: Any) -> Policy:
    text = "".join(f"{key} = {value!r}\n" for key, value in limits.items())
    return parse_policy(f'[[rule]]\nname = "red things"\nprompt = "red thing"\naction = "{action}"\n{text}', "p")


def is_dark(action: Action = "flag") -> Policy:
    return parse_policy(f'[[rule]]\nname = "dark"\nquestion = "Is it dark?"\nanswer = "yes"\naction = "{action}"', "p")


# What is said


def test_a_verdict_as_json(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", red=range(10, 20))
    assert desk.moderate(source, red("blur")) == ExitCode.OK
    record = desk.record
    run = record.pop("run")
    rule = record["rules"][0]
    assert rule.pop("largest_area") == pytest.approx(SHARE, abs=0.01)
    assert rule.pop("example")["frame"] in range(10, 20)
    assert record == {
        "schema": "mdtool.verdict/1",
        "source": str(source),
        "target": str(desk.folder / "in.moderated.mkv"),
        "model": "seer",
        "hit": True,
        "frames": 30,
        "unjudged": 0,
        "seconds": 1.0,
        "rules": [
            {
                "rule": "red things",
                "action": "blur",
                "hit": True,
                "spans": [[0.333, 0.667]],  # Matroska counts milliseconds
                "seconds": 0.334,
                "frames": 10,
                "seen": 10,
            }
        ],
    }
    assert (run["frames"], run["looks"], run["hidden_frames"], run["objects"]) == (30, 30, 0, 1)
    assert set(run["stages"]) == {"decode", "model", "paint", "encode"}


def test_a_line_for_each_rule_that_is_hit(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", red=range(6))
    policy = policy_from_prompts(["red", "green"])
    desk.moderate(source, policy, as_json=False)
    hit, summary = desk.err.splitlines()
    assert hit.startswith(f"mdtool: {source}: red (flag): 0:00.0 to 0:00.2 6 frames, up to 8.")
    assert summary.startswith(f"{desk.folder}/in.moderated.mkv: 30 frames, 30 analysed by seer, 1 object, ")


def test_all_prompts_and_questions_are_asked_of_one_encoded_frame(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", red=range(6), green=range(20, 30), dark=range(12, 18))
    rules = [policy_from_prompts(["red", "A green  thing"]).rules, is_dark().rules]
    assert (
        desk.moderate(source, Policy(tuple(rule for some in rules for rule in some)), report_only=True) == ExitCode.OK
    )
    assert desk.seer.encoded == 30
    assert [rule["hit"] for rule in desk.record["rules"]] == [True, True, True]
    assert [rule["frames"] for rule in desk.record["rules"]] == [6, 10, 6]


# What is written


@pytest.mark.parametrize("action", ["blur", "pixelate", "solid", "obfuscate"])
def test_what_was_found_is_hidden_within_the_span_and_nothing_else(desk: Desk, action: Action) -> None:
    source, target = clip(desk.folder / "in.mkv", red=range(10, 20)), desk.folder / "out.mkv"
    desk.moderate(source, red(action), str(target))
    assert times_of(target) == times_of(source)
    x0, y0, x1, y1 = BOX
    for number, (after, before) in enumerate(zip(frames_of(target), frames_of(source), strict=True)):
        one, other = (frame.to_ndarray(format="rgb24").astype(int) for frame in (after, before))
        differs = np.abs(one - other).max(axis=2) > 40
        assert differs[y0 - 6 : y1 + 6, x0 - 6 : x1 + 6].any() == (number in range(10, 20))
        differs[y0 - 6 : y1 + 6, x0 - 6 : x1 + 6] = False
        assert not differs.any()
    assert np.array_equal(samples_of(target), samples_of(source))


def test_frames_are_covered_whole(desk: Desk) -> None:
    source, target = clip(desk.folder / "in.mkv", red=range(10, 20)), desk.folder / "in.moderated.mkv"
    desk.moderate(source, red("cover"))
    assert covered(target) == changed(target, source) == set(range(10, 20))


def test_flags_and_what_does_not_count_change_nothing(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", red=range(10, 20))
    for policy, hit in (
        (red("flag"), True),
        (red("cover", min_seconds=0.5), False),
        (red("cut", min_share=0.5), False),
    ):
        desk.moderate(source, policy, overwrite=True)
        assert desk.record["hit"] is hit
        target = desk.folder / "in.moderated.mkv"
        assert changed(target, source) == set()
        assert np.array_equal(samples_of(target), samples_of(source))


def test_muted_spans_are_silent_to_the_sample(desk: Desk) -> None:
    source, target = clip(desk.folder / "in.mkv", red=range(9, 18)), desk.folder / "in.moderated.mkv"
    desk.moderate(source, red("mute"))
    before, after = samples_of(source), samples_of(target)
    assert after[:, :14400].tobytes() == before[:, :14400].tobytes()
    assert not after[:, 14400:28800].any()
    assert after[:, 28800:].tobytes() == before[:, 28800:].tobytes()
    assert changed(target, source) == set()
    assert desk.record["run"]["notes"] == ["audio stream 1 re-encoded as flac: parts of it were muted or cut"]


def test_cut_spans_are_gone_from_pictures_and_sound(desk: Desk) -> None:
    source, target = clip(desk.folder / "in.mkv", red=range(9, 18)), desk.folder / "in.moderated.mkv"
    desk.moderate(source, red("cut"))
    before, after = samples_of(source), samples_of(target)
    assert len(frames_of(target)) == 21
    assert after.shape[1] == 33600
    assert after.tobytes() == np.concatenate([before[:, :14400], before[:, 28800:]], axis=1).tobytes()
    assert desk.record["run"]["frames"] == 30  # that were judged


def test_where_all_is_cut_there_is_no_output(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", red=range(30))
    assert desk.moderate(source, red("cut"), fail_on=["any"]) == ExitCode.FOUND
    assert desk.record["target"] is None
    assert desk.record["run"]["notes"] == ["every frame is cut: no output is written"]
    assert [path.name for path in desk.folder.iterdir()] == ["in.mkv"]


def test_photos(desk: Desk) -> None:
    photo = desk.folder / "in.png"
    Image.fromarray(picture(0, {0})).save(photo)
    desk.moderate(photo, red("cut"))
    assert desk.record["target"] is None
    desk.moderate(photo, red("cover", min_seconds=9.0, min_times=2))  # which ask nothing of a photo
    assert desk.rule["spans"] == [[0.0, 0.0]]
    assert not np.asarray(Image.open(desk.folder / "in.moderated.png")).any()
    desk.moderate(photo, red("mute"), overwrite=True)
    assert np.array_equal(np.asarray(Image.open(desk.folder / "in.moderated.png")), np.asarray(Image.open(photo)))


def test_frames_of_an_animation_are_cut(desk: Desk) -> None:
    source = desk.folder / "in.gif"
    images = [Image.fromarray(picture(number, {2, 3})) for number in range(6)]
    images[0].save(source, save_all=True, append_images=images[1:], duration=[100, 50, 70, 30, 200, 100], loop=0)
    desk.moderate(source, red("cut"))
    assert desk.rule["spans"] == [[0.15, 0.25]]
    with Image.open(desk.folder / "in.moderated.gif") as after:
        durations = []
        for number in range(4):
            after.seek(number)
            durations.append(after.info["duration"])
        assert after.n_frames == 4  # type: ignore[attr-defined]
    assert durations == [100, 50, 200, 100]


# What could not be judged


def test_frames_that_could_not_be_judged_are_covered_if_anything_is_hidden(desk: Desk) -> None:
    source, target = clip(desk.folder / "in.mkv", blue=range(12, 15)), desk.folder / "in.moderated.mkv"
    assert desk.moderate(source, red("blur"), blank_errors=True) == ExitCode.OK
    assert desk.record["unjudged"] == desk.record["run"]["hidden_frames"] == 3
    assert desk.record["run"]["notes"] == ["3 frames could not be judged, and are masked whole"]
    assert changed(target, source) == covered(target) == set(range(12, 15))
    assert frames_of(target)[13].to_ndarray(format="rgb24").max() < 20


def test_one_frame_that_could_not_be_judged_is_told_as_one(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", blue=range(12, 13))
    assert desk.moderate(source, red("blur"), blank_errors=True) == ExitCode.OK
    assert desk.record["run"]["notes"] == ["1 frame could not be judged, and is masked whole"]


def test_frames_that_could_not_be_judged_stay_where_nothing_is_hidden(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", blue=range(12, 15))
    assert desk.moderate(source, red("flag"), blank_errors=True) == ExitCode.OK
    assert desk.record["run"]["hidden_frames"] == 0
    assert desk.record["run"]["notes"] == ["3 frames could not be judged"]
    assert changed(desk.folder / "in.moderated.mkv", source) == set()


def test_what_could_not_be_judged_is_muted_if_anything_is(desk: Desk) -> None:
    source, target = clip(desk.folder / "in.mkv", blue=range(12, 15)), desk.folder / "in.moderated.mkv"
    desk.moderate(source, red("mute"), blank_errors=True)
    silent = np.flatnonzero((samples_of(target) != samples_of(source)).any(axis=0))
    assert silent.min() // 100 == 192
    assert silent.max() // 100 == 239


def test_what_could_not_be_judged_counts_as_found(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", blue=range(12, 15))
    for fail_on, code in (["any"], ExitCode.FOUND), (["red things"], ExitCode.OK), ([], ExitCode.OK):
        assert desk.moderate(source, red(), blank_errors=True, report_only=True, fail_on=fail_on) == code
        assert ("frames that could not be judged count as hits" in desk.err) is (code == ExitCode.FOUND)


def test_a_model_that_fails_ends_it_and_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(desk.folder / "tmp"))
    source = clip(desk.folder / "in.mkv", red=range(4), blue=range(12, 15))
    assert desk.moderate(source, red("blur")) == ExitCode.SOME_FAILED
    assert "can't see through blue" in desk.err
    assert sorted(path.name for path in desk.folder.rglob("*")) == ["in.mkv", "tmp"]


def test_a_damaged_video_is_no_success(desk: Desk) -> None:
    whole, source = clip(desk.folder / "whole.mkv", red=range(10, 60), frames=60), desk.folder / "in.mkv"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 5])
    assert desk.moderate(source, red("cover"), fail_on=["any"]) == ExitCode.SOME_FAILED
    assert "only what could be read was judged" in desk.err
    assert desk.record["hit"]
    assert covered(desk.folder / "in.moderated.incomplete.mkv") == set(range(10, desk.record["frames"]))


def test_frames_that_are_left_over_when_calls_run_out(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv")
    assert desk.moderate(source, red("cover"), sample="1", max_calls=1, fail_on=["any"]) == ExitCode.FOUND
    assert desk.record["unjudged"] >= 28


# Between looks


def test_a_reply_holds_up_to_the_looks_around(desk: Desk) -> None:
    """Twelve frames apart; a lasting change comes somewhere between two looks that differ."""
    source = clip(desk.folder / "in.mkv", dark=range(15, 60), frames=60)
    desk.moderate(source, is_dark("cover"), sample="12")
    (start, end), *rest = desk.rule["spans"]
    assert not rest
    assert start <= 0.5
    assert end == 2.0
    assert covered(desk.folder / "in.moderated.mkv") >= set(range(15, 60))


def test_outside_of_the_time_nothing_counts(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", dark=range(30), red=range(30))
    policy = Policy((*red("cover").rules, *is_dark().rules))
    desk.moderate(source, policy, sample="4", start=0.3, end=0.7)
    for rule in desk.record["rules"]:
        assert rule["spans"] == [[0.3, 0.7]]
    assert covered(desk.folder / "in.moderated.mkv") == set(range(9, 21))


def test_what_is_carried_to_frames_around_is_hidden_too(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv", red=range(8, 40), frames=48)
    desk.moderate(source, red("solid", margin=0.0), sample="16")
    x0, y0, x1, y1 = BOX
    for number, frame in enumerate(frames_of(desk.folder / "in.moderated.mkv")):
        inside = frame.to_ndarray(format="rgb24")[y0:y1, x0:x1]
        assert not _is(RED, inside).any(), number


# Findings and reports


def test_findings_give_the_same_verdict_and_output(desk: Desk) -> None:
    source, found = clip(desk.folder / "in.mkv", red=range(10, 20), dark=range(22, 26), blue={3}), desk.folder / "f"
    policy = Policy((*red("solid").rules, *is_dark("mute").rules))
    with found.open("w") as file:
        desk.moderate(source, policy, str(desk.folder / "a.mkv"), findings=file, blank_errors=True)
    direct = desk.record
    desk.moderate(source, policy, str(desk.folder / "b.mkv"), known=found)
    assert desk.record["model"] == "findings"
    for record in (direct, desk.record):
        record["model"] = record["target"] = record["run"] = None
    assert desk.record == direct
    assert changed(desk.folder / "a.mkv", desk.folder / "b.mkv") == set()
    assert np.array_equal(samples_of(desk.folder / "a.mkv"), samples_of(desk.folder / "b.mkv"))
    assert desk.seer.encoded == 29


def test_findings_of_other_things_are_refused(desk: Desk) -> None:
    source, found = clip(desk.folder / "in.mkv"), desk.folder / "f"
    with found.open("w") as file:
        desk.moderate(source, red(), report_only=True, findings=file)
    for policy, lacks in ((policy_from_prompts(["green"]), "'green'"), (is_dark(), "'Is it dark?'")):
        assert desk.moderate(source, policy, known=found, report_only=True) == ExitCode.USAGE
        assert desk.err == (
            f"mdtool: --from-findings: the findings of {source} lack {lacks}; "
            "run it without --from-findings, or detect with all prompts of the policy\n"
        )


def test_incomplete_findings_are_refused_where_only_the_verdict_is_wanted_too(desk: Desk) -> None:
    source, found = clip(desk.folder / "in.mkv", red=range(10, 20)), desk.folder / "f"
    with found.open("w") as file:
        desk.moderate(source, red(), report_only=True, findings=file)
    lines = found.read_text().splitlines(keepends=True)
    found.write_text("".join(lines[:10] + lines[20:]))
    assert desk.moderate(source, red(), known=found, report_only=True, fail_on=["any"]) == ExitCode.SOME_FAILED
    assert "the findings have no record of its stream 0, frame 10: give the complete findings of this file" in desk.err
    assert desk.records == []


def test_findings_of_another_input_are_refused(desk: Desk) -> None:
    source, other, found = clip(desk.folder / "in.mkv"), clip(desk.folder / "other.mkv"), desk.folder / "f"
    with found.open("w") as file:
        desk.moderate(source, red(), report_only=True, findings=file)
    assert desk.moderate(other, red(), known=found, report_only=True) == ExitCode.SOME_FAILED
    assert f"the findings are of {source}, not of this input" in desk.err


def test_the_report_is_a_page_with_a_chapter_for_each_input(desk: Desk) -> None:
    sources = [clip(desk.folder / "a.mkv", red=range(6)), desk.folder / "none.mkv", clip(desk.folder / "b.mkv")]
    page = desk.folder / "page.html"
    assert desk.moderate(sources, red(), report_only=True, page=page) == ExitCode.SOME_FAILED
    text = page.read_text("utf-8")
    assert "a title" in text
    assert text.index("a.mkv") < text.index("b.mkv")
    assert "none.mkv" not in text
    with pytest.raises(Exception, match=r"page\.html: exists already"):
        desk.moderate(sources, red(), report_only=True, page=page)


def test_temporary_files_are_gone_afterwards(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(desk.folder / "tmp"))
    desk.moderate(clip(desk.folder / "in.mkv", red={1}), red("blur"))
    assert list((desk.folder / "tmp").iterdir()) == []


# Several inputs


def test_an_output_that_is_there_is_refused_before_anything_is_looked_at(desk: Desk) -> None:
    source = clip(desk.folder / "in.mkv")
    (desk.folder / "in.moderated.mkv").write_bytes(b"old")
    assert desk.moderate(source, red()) == ExitCode.CANT_WRITE
    assert desk.moderate(source, red(), str(desk.folder / "in.xyz")) == ExitCode.USAGE
    assert desk.seer.encoded == 0


def test_an_input_whose_output_is_there_is_judged_all_the_same_where_that_matters(desk: Desk) -> None:
    sources = [clip(desk.folder / "a.mkv", red=range(6)), clip(desk.folder / "b.mkv")]
    assert desk.moderate(sources, red("blur"), str(desk.folder / "out"), as_json=False) == ExitCode.OK
    before = (desk.folder / "out" / "a.mkv").read_bytes()
    assert desk.moderate(sources, red("blur"), str(desk.folder / "out"), as_json=False) == ExitCode.OK
    assert desk.seer.encoded == 60
    code = desk.moderate(sources, red("blur"), str(desk.folder / "out"), fail_on=["any"], as_json=False)
    assert code == ExitCode.FOUND
    assert desk.seer.encoded == 120
    assert (desk.folder / "out" / "a.mkv").read_bytes() == before


# The program


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((GROUP, "--fail-on", "any"), ExitCode.FOUND),
        ((GROUP, "--fail-on", " Face"), ExitCode.FOUND),
        ((GROUP,), ExitCode.OK),
        ((EMPTY, "--fail-on", "any", "--fail-on", "face"), ExitCode.OK),
        ((GROUP, EMPTY, "--fail-on", "face"), ExitCode.FOUND),
        ((EMPTY, "nothing.png", GROUP, "--fail-on", "face"), ExitCode.SOME_FAILED),
        ((GROUP, "--fail-on", "any", "--min-share", "0.9"), ExitCode.OK),
        ((GROUP, "--fail-on", "any", "--threshold", "1"), ExitCode.OK),
        ((GROUP, "--fail-on", "any", "--only", "0,0,0.01,0.01"), ExitCode.OK),
        ((GROUP, "--fail-on", "any", "--keep", "0,0,1,1"), ExitCode.OK),
    ],
)
def test_how_it_ends(arguments: tuple[str | Path, ...], code: ExitCode) -> None:
    outcome = run("moderate", *arguments, "--prompt", "face", "--report-only", "--json")
    assert outcome.code == code
    assert len(outcome.json) == sum(isinstance(one, Path) for one in arguments)


def test_prompts_are_labels_whatever_the_model_calls_it() -> None:
    outcome = run("moderate", GROUP, "-p", "人脸", "-p", "Face", "--report-only", "--json")
    assert [(rule["rule"], rule["hit"]) for rule in outcome.json[0]["rules"]] == [("人脸", True), ("Face", True)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--policy or --prompt is missing"),
        (
            ("--policy", "family", "--prompt", "face"),
            "--prompt: can't be used with --policy; set it in the policy file",
        ),
        (
            ("--policy", "family", "--action", "cut", "--min-seconds", "1"),
            "--action, --min-seconds: can't be used with",
        ),
        pytest.param(
            ("--policy", "/dev/zero"), "/dev/zero: is larger than any policy", marks=pytest.mark.posix("devices")
        ),
        (("--policy", "familly"), "--policy familly: there is no such file or preset; did you mean 'family'?"),
        (("--policy", "zzz"), "presets: broadcast, family, workplace"),
        (("--policy", "."), "--policy .: can't be read: is a directory"),
        (("--policy", GROUP), "not UTF-8 text"),
        (("--prompt", "face", "--fail-on", "faces"), "--fail-on faces: there is no such rule; give one of any, face"),
        (("--prompt", "face", "--prompt", "FACE"), "two rules are named 'FACE'"),
        (("--prompt", "any"), "'any' stands for all rules and can't name one"),
        (("--prompt", " "), "a rule's name is one line of text"),
        (("--prompt", "face", "--action", "blur", "--strength", "7"), "strength goes from 0.15"),
        (("--prompt", "face", "--min-share", "7"), "min_share goes from 0 to 1"),
        (("--prompt", "face", "--keep", "7"), "--keep: a region is four numbers"),
        (("--prompt", "face", "--report-only", "-o", "x.png"), "-o x.png: --report-only writes no copy"),
        (("--prompt", "face", "--report", "-"), "--report -: a report can't go to stdout"),
        (("--prompt", "face", "--report", GROUP), "is an input of this command"),
        (("--prompt", "face", "--report", "x", "--findings", "./x"), "--report x: also another output"),
        (("--prompt", "face", "--from-findings", "x", "--findings", "y"), "--findings y: would only copy those"),
        (("--prompt", "face", "--from-findings", "x", "--from", "3"), "--from and --to: can't be used with"),
        (("--prompt", "face", "--json", "-o", "-"), "only one of them can write to stdout"),
    ],
)
def test_wrong_usage(arguments: tuple[str | Path, ...], told: str) -> None:
    outcome = run("moderate", GROUP, *arguments)
    assert outcome.code == ExitCode.USAGE
    (line,) = outcome.lines
    assert told in line


def test_an_action_that_does_not_exist() -> None:
    outcome = run("moderate", GROUP, "-p", "face", "--action", "explode")
    assert outcome.code == ExitCode.USAGE
    assert "explode" in outcome.err


def test_every_action_of_a_policy_is_one_of_the_command_line() -> None:
    assert {name.value for name in ActionName} == set(get_args(Action))


def test_without_a_model_that_knows_the_things(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    outcome = run("moderate", GROUP, "--policy", "family", "--report-only", "--fail-on", "any")
    assert outcome.code == ExitCode.MODEL
    assert "can detect 'naked person'" in outcome.err
    assert "and answer questions" in outcome.err


def test_a_policy_in_a_file(tmp_path: Path) -> None:
    policy = tmp_path / "my.toml"
    policy.write_text('[[rule]]\nname = "people"\nprompt = "face"\naction = "solid"\nmargin = 0.0\n', "utf-8-sig")
    outcome = run("moderate", GROUP, "--policy", policy, "-o", tmp_path / "out.png", "--json", "--color", "#ff0000")
    assert outcome.code == ExitCode.OK
    assert [rule["rule"] for rule in outcome.json[0]["rules"]] == ["people"]
    after, before = (np.asarray(Image.open(path).convert("RGB")) for path in (tmp_path / "out.png", GROUP))
    differs = (after != before).any(axis=2)
    assert differs.mean() == pytest.approx(outcome.json[0]["rules"][0]["largest_area"], abs=0.01)
    assert (after[differs] == (255, 0, 0)).all()


def test_a_pipeline(tmp_path: Path) -> None:
    """Both passes of a video from stdin, to stdout."""
    source = clip(tmp_path / "in.mkv", frames=12)
    options = ("-p", "face", "--action", "mute", "-o", "-", *FAST_ENCODING)
    outcome = run("moderate", "-", *options, stdin=source.read_bytes())
    assert (outcome.code, outcome.err.count("\n")) == (0, 1)
    with av.open(io.BytesIO(outcome.out), "r") as container:
        assert len(list(container.decode(video=0))) == 12


def test_findings_of_a_pipeline_go_to_the_next(tmp_path: Path) -> None:
    found = run("moderate", GROUP, "-p", "face", "--report-only", "-q", "--findings", "-")
    assert found.json[0]["prompts"] == ["face"]
    again = run("moderate", GROUP, "-p", "face", "--report-only", "--json", "--from-findings", "-", stdin=found.out)
    assert again.json[0]["rules"][0]["hit"]


# Presets


def test_presets_are_read_by_their_names() -> None:
    assert presets() == sorted(path.stem for path in PRESETS.glob("*.toml"))
    assert {"family", "workplace", "broadcast"} <= set(presets())
    for name in presets():
        assert load_policy(name).rules


def test_presets_are_in_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["configs"]
    packed = {path for pattern in patterns for path in (ROOT / "configs").glob(pattern)}
    assert packed >= set(PRESETS.glob("*.toml"))
