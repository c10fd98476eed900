"""`mdtool report`, and the chapter of one input: what findings say, in numbers and in pictures."""

import hashlib
import io
import re
import tracemalloc
from base64 import b64decode
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import run
from make_findings import RATE, findings_jsonl, region, with_sha256
from make_media import ROTATION_MATRICES, SAMPLES, constant_rate_times, make_video
from PIL import Image

from mdtool.jobs.report.build_chapter import EXAMPLE_SIDE, MAX_EXAMPLES, build_chapter
from mdtool.jobs.report.findings_summary import MAX_CANDIDATES, FindingsSummary
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.findings_file import records
from mdtool.records.findings import FrameFindings, FrameInfo, Record
from mdtool.report.contents import Chapter, EmbeddedImage
from recipes import verdict as rulings
from recipes.draw import colour_of, colours_of
from recipes.gaze_draw import colour_of_track
from recipes.policy import Policy, Rule, Thresholds
from recipes.regions import GazeEstimate, Region

SMALL, LARGE = region(0.1, 0.1, 0.2, 0.2, score=0.5), region(0.25, 0.25, 0.75, 0.75, track=2)
PLATE = region(0.6, 0.6, 0.9, 0.8, "plate", 3, None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(
    here: Path,
    verdicts: Sequence[FrameFindings],
    source: str = "clip.mp4",
    verdict: rulings.Verdict | None = None,
    sha256: str = "",
    **how: Any,
) -> Chapter:
    """The chapter of a clip of which this is known."""
    findings = here / "f.jsonl"
    lines = findings_jsonl(source, verdicts, **how)
    findings.write_text(
        findings_jsonl("other.mp4", [FrameFindings([PLATE])]) + (with_sha256(lines, sha256) if sha256 else lines)
    )
    return build_chapter(Input(Path(source), Path(source), source), findings, "moondream2", verdict)


def pixels(picture: EmbeddedImage | None) -> np.ndarray:
    assert picture
    assert picture.kind == "jpeg"
    with Image.open(io.BytesIO(picture.data)) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


# -- what findings say


def test_a_row_a_label(here: Path) -> None:
    verdicts = [
        FrameFindings([SMALL, PLATE]),
        FrameFindings([LARGE]),
        FrameFindings([SMALL, LARGE], analysed=True),
        *[FrameFindings()] * 7,
    ]
    made = told(here, verdicts)
    rows = {row.name: row for row in made.rows}
    assert {name: (row.hit, row.objects, row.frames) for name, row in rows.items()} == {
        "face": (None, 2, 3), "plate": (None, 1, 1),
    }  # fmt: skip
    assert rows["face"].largest == pytest.approx(0.26)  # both together
    assert rows["plate"].largest == pytest.approx(0.06)
    [(start, end)] = rows["face"].spans
    assert start == 0
    assert end == pytest.approx(0.1)
    assert made.counts == {"face": 2, "plate": 1}
    assert (made.source, made.model, made.prompts) == ("clip.mp4", "moondream2", ["face"])
    assert (made.frames, made.keyframes) == (10, 1)
    assert made.duration == pytest.approx(10 / RATE, abs=1e-4)


def test_spans_are_bridged_over_half_a_second_and_no_more(here: Path) -> None:
    there = {*range(10, 20), *range(34, 40), *range(60, 61)}  # 14 frames between the first two, 20 after
    made = told(here, [FrameFindings([SMALL] if n in there else []) for n in range(90)])
    spans = [(round(start * RATE), round(end * RATE)) for start, end in made.rows[0].spans]
    assert spans == [(10, 40), (60, 61)]


def test_frames_in_a_row_are_one_span_whatever_is_known_of_their_times(here: Path) -> None:
    """As of frames that last two seconds each, which they don't say."""
    made = told(here, [FrameFindings([SMALL])] * 5, rate=0.5, still=True)
    assert made.rows[0].spans == [(0, 8)]


def test_the_start_is_the_first_frames_time(here: Path) -> None:
    made = told(here, [FrameFindings([SMALL])] * 3, start=5.0)
    assert made.start == 5.0
    assert made.duration == pytest.approx(0.1, abs=1e-4)
    assert made.rows[0].spans[0][0] == 5.0


def test_cuts_are_those_after_the_first_frame(here: Path) -> None:
    made = told(here, [FrameFindings(cut=n in (0, 4, 7)) for n in range(10)])
    assert made.cuts == pytest.approx([4 / RATE, 7 / RATE], abs=1e-5)


def test_prompts_for_which_nothing_was_found_are_told_too(here: Path) -> None:
    made = told(here, [FrameFindings([SMALL])], prompts=["Face", "gun"])
    assert [(row.name, row.objects, row.frames) for row in made.rows] == [("face", 1, 1), ("gun", 0, 0)]


def test_frames_that_could_not_be_judged_are_told(here: Path) -> None:
    assert "1 frame could not be judged." in told(here, [FrameFindings(hidden=n == 2) for n in range(4)]).notes
    assert "3 frames could not be judged." in told(here, [FrameFindings(hidden=n > 0) for n in range(4)]).notes
    assert not any("judged" in note for note in told(here, [FrameFindings()] * 4).notes)


def test_an_input_of_which_nothing_is_said(here: Path) -> None:
    made = told(here, [])
    assert made.notes == ["The findings have no records of this input."]
    assert (made.rows, made.frames, made.duration, made.start) == ([], 0, None, 0.0)


def test_rows_of_a_policy(here: Path) -> None:
    rule = Rule("guns", "flag", ("face",), thresholds=Thresholds(min_share=0.1))
    calm = Rule("knives", "flag", ("knife",))
    tally = rulings.VerdictBuilder(Policy((rule, calm)))
    verdicts = [FrameFindings([LARGE] if 30 <= n < 60 else [SMALL]) for n in range(90)]
    for n, one in enumerate(verdicts):
        tally.add(n, n / RATE, 1 / RATE, {"guns": one.regions, "knives": []})
    make_video(here / "clip.mp4", 90, size=(64, 48))
    made = told(here, verdicts, verdict=tally.verdict())
    assert [(row.name, row.hit, row.objects, row.frames) for row in made.rows] == [
        ("guns", True, None, 30), ("knives", False, None, 0),
    ]  # fmt: skip
    [span] = made.rows[0].spans
    assert span == pytest.approx((1.0, 2.0))
    assert made.rows[0].largest == pytest.approx(0.25)
    assert 1 < len(made.examples) <= MAX_EXAMPLES
    assert all(example.labels == ["guns"] and 1 <= (example.time or 0) < 2 for example in made.examples)
    assert min(example.time or 0 for example in made.examples) == pytest.approx(1.0, abs=1e-3)  # that of the verdict


# -- gazes


def looking(track: int, left: float, look: GazeEstimate | None) -> Region:
    return region(left, 0.1, left + 0.2, 0.4, track=track, gaze=look)


def test_who_looks_at_whom_and_for_how_long(here: Path) -> None:
    screen = region(0.4, 0.7, 0.6, 0.9, "screen", 9, None)
    at_two, at_screen = GazeEstimate((0.8, 0.2), True), GazeEstimate((0.5, 0.8), True)
    verdicts = [FrameFindings([looking(1, 0.1, at_two), looking(2, 0.7, None), screen])] * 30
    verdicts += [FrameFindings([looking(1, 0.1, at_screen), looking(2, 0.7, GazeEstimate(None, False)), screen])] * 60
    verdicts += [FrameFindings([looking(1, 0.1, GazeEstimate((0.5, 0.5), True)), screen])] * 15
    made = told(here, verdicts)
    people = {one.person: dict(one.seconds) for one in made.attention}
    assert people == {
        "person 1": {
            "screen": pytest.approx(2, abs=0.01),
            "person 2": pytest.approx(1, abs=0.01),
            "elsewhere in the frame": pytest.approx(0.5, abs=0.01),
        },
        "person 2": {"out of frame": pytest.approx(2, abs=0.01)},
    }
    assert not any("head" in note for note in made.notes)


def test_the_direction_of_a_head_is_called_that(here: Path) -> None:
    made = told(
        here, [FrameFindings([looking(1, 0.1, GazeEstimate((0.8, 0.2), True, "head")), looking(2, 0.7, None)])] * 30
    )
    assert "Gazes are estimated from the direction of the head, not of the eyes." in made.notes
    assert made.attention[0].seconds == {"person 2": pytest.approx(1, abs=0.01)}


def test_frames_that_do_not_say_how_long_they_last_do_so_until_the_next(here: Path) -> None:
    made = told(here, [FrameFindings([looking(1, 0.1, GazeEstimate(None, False))])] * 5, rate=0.5, still=True)
    assert made.attention[0].seconds == {"out of frame": 8.0}


# -- pictures


def test_examples_are_spread_over_the_time_and_the_worthiest_of_theirs(here: Path) -> None:
    make_video(here / "clip.mp4", constant_rate_times(240, 10), size=(64, 48), rate=10)
    best = {*range(5, 240, 20)}
    verdicts = [FrameFindings([LARGE if n in best else SMALL]) for n in range(240)]
    times = [example.time for example in told(here, verdicts, rate=10).examples]
    assert times == pytest.approx([n / 10 for n in sorted(best)], abs=1e-3)


def test_what_the_model_saw_itself_goes_before_what_was_carried(here: Path) -> None:
    make_video(here / "clip.mp4", 12, size=(64, 48))
    carried = Region(0.1, 0.1, 0.9, 0.9, "face", 1, 0.9, seen=False)
    verdicts = [FrameFindings([SMALL if n == 5 else carried]) for n in range(12)]
    times = [round((example.time or 0) * RATE) for example in told(here, verdicts).examples]
    assert 5 in times
    assert len(times) == len({int(n / RATE / 0.25) for n in range(12)})  # two short slots


def test_an_example_shows_its_frame_with_boxes(here: Path) -> None:
    make_video(here / "clip.mp4", 40, size=(960, 720))
    made = told(here, [FrameFindings([LARGE] if n == 30 else []) for n in range(40)], size=(960, 720))
    (example,) = made.examples
    assert example.time == pytest.approx(30 / RATE, abs=1e-4)
    assert example.labels == ["face"]
    picture = pixels(example.image)
    assert picture.shape == (360, EXAMPLE_SIDE, 3)
    assert np.abs(picture[30, 30] - (30 * 160 // 480 + 3 * 30, 30 * 160 // 360 + 40, 60 * 160 // 840)).max() < 25
    assert np.abs(picture[270, 130:340] - colour_of("face")).mean() < 30


def test_labels_on_examples_have_colours_of_their_own(here: Path) -> None:
    make_video(here / "clip.mp4", 2, size=(480, 360))
    assert colour_of("red circle") == colour_of("star")
    found = [region(0.1, 0.3, 0.4, 0.9, "red circle"), region(0.6, 0.3, 0.9, 0.9, "star", 2)]
    made = told(here, [FrameFindings(found)] * 2, prompts=["red circle", "star"], size=(480, 360))
    picture = pixels(made.examples[0].image)
    assert np.abs(picture[323, 50:190] - colour_of("red circle")).mean() < 30
    assert np.abs(picture[323, 290:430] - colours_of(["red circle", "star"])["star"]).mean() < 30


def test_people_on_examples_are_drawn_with_their_gazes(here: Path) -> None:
    make_video(here / "clip.mp4", 2, size=(480, 360))
    both = [looking(1, 0.1, GazeEstimate((0.8, 0.8), True)), looking(2, 0.6, GazeEstimate(None, False))]
    picture = pixels(told(here, [FrameFindings(both)] * 2, size=(480, 360)).examples[0].image)
    assert picture[287:290, 383:386].min() > 150  # the white core of what is looked at
    assert np.abs(picture[50:130, 288] - colour_of_track(2)).mean() < 40


def test_what_people_on_examples_look_at_has_their_colour(here: Path) -> None:
    make_video(here / "clip.mp4", 2, size=(480, 360))
    screen = region(0.5, 0.5, 0.9, 0.9, "screen", 9, None)
    verdicts = [FrameFindings([looking(1, 0.1, GazeEstimate((0.8, 0.8), True)), screen])] * 2
    picture = pixels(told(here, verdicts, size=(480, 360)).examples[0].image)
    edge = np.abs(picture[185:319, 236:246] - colour_of_track(1)).sum(axis=2).min(axis=1)
    assert np.median(edge) < 90


def test_pictures_of_a_video_that_is_turned_are_upright(here: Path) -> None:
    make_video(here / "clip.mp4", 6, size=(64, 48), matrix=ROTATION_MATRICES["90"])
    made = told(here, [FrameFindings([LARGE])] * 6, size=(48, 64))
    assert pixels(made.examples[0].image).shape == (64, 48, 3)
    assert pixels(made.heat).shape == (64, 48, 3)


def test_only_frames_around_the_examples_are_decoded_again(here: Path) -> None:
    """The end of the file is damaged, where nobody looks."""
    clip = make_video(here / "clip.mkv", constant_rate_times(300, 10), size=(64, 48), rate=10, options={})
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    made = told(
        here, [FrameFindings([LARGE] if n in (20, 150) else []) for n in range(300)], source="clip.mkv", rate=10
    )
    assert [example.time for example in made.examples] == pytest.approx([2.0, 15.0], abs=1e-3)


def test_a_variable_rate_and_a_late_start(here: Path) -> None:
    times = [Fraction(5) + Fraction(n * n, 300) for n in range(20)]
    make_video(here / "clip.mkv", times, size=(64, 48))
    verdicts = [FrameFindings([LARGE] if n in (3, 19) else []) for n in range(20)]
    lines = findings_jsonl("clip.mkv", verdicts).splitlines()
    told_times = [  # from the start of the file
        re.sub(r'"time":[\d.]+', f'"time":{float(time - 5):.3f}', line) for line, time in zip(lines, times, strict=True)
    ]
    (here / "f.jsonl").write_text("\n".join(told_times) + "\n")
    made = build_chapter(Input(Path("clip.mkv"), Path("clip.mkv"), "clip.mkv"), here / "f.jsonl", "")
    assert [round(example.time or 0, 2) for example in made.examples] == [0.03, 1.2]
    assert made.start == 0


def test_a_photo(here: Path) -> None:
    source = str(SAMPLES / "group.png")
    made = told(
        here, [FrameFindings([SMALL, LARGE], analysed=True, cut=True)], source=source, size=(640, 400), still=True
    )
    (example,) = made.examples
    assert example.time is None
    assert pixels(example.image).shape == (300, 480, 3)
    assert (made.duration, made.heat, made.cuts) == (None, None, [])


def test_an_animation(here: Path) -> None:
    source = str(SAMPLES / "animation.gif")
    made = told(
        here,
        [FrameFindings([LARGE] if n in (2, 9) else []) for n in range(20)],
        source=source,
        rate=10,
        size=(240, 160),
    )
    assert [example.time for example in made.examples] == pytest.approx([0.2, 0.9])
    assert made.heat


def test_the_heat_is_where_things_were(here: Path) -> None:
    make_video(here / "clip.mp4", 30, size=(320, 240))
    made = told(here, [FrameFindings([region(0.7, 0.7, 0.9, 0.9)])] * 30, size=(320, 240))
    cold = told(here, [FrameFindings([region(0.1, 0.1, 0.3, 0.3)])] * 30, size=(320, 240))
    difference = np.abs(pixels(made.heat) - pixels(cold.heat)).sum(axis=2)
    assert difference[180:204, 240:272].mean() > 100
    assert difference[36:60, 48:80].mean() > 100
    assert difference[36:60, 240:272].mean() < 30


def test_of_gazes_the_heat_is_where_people_look(here: Path) -> None:
    make_video(here / "clip.mp4", 30, size=(320, 240))
    one = told(here, [FrameFindings([looking(1, 0.1, GazeEstimate((0.8, 0.8), True))])] * 30, size=(320, 240))
    other = told(here, [FrameFindings([looking(1, 0.1, GazeEstimate((0.8, 0.2), True))])] * 30, size=(320, 240))
    difference = np.abs(pixels(one.heat) - pixels(other.heat)).sum(axis=2)
    assert difference[186:198, 250:262].mean() > 100
    assert difference[48:72, 52:76].mean() < 30  # the face itself
    assert (one.heat_shows, told(here, [FrameFindings([LARGE])] * 30).heat_shows) == ("gaze", "objects")


def test_faces_on_frames_without_gazes_do_not_warm_what_people_look_at(here: Path) -> None:
    make_video(here / "clip.mp4", 30, size=(320, 240))
    gaze, bare = looking(1, 0.1, GazeEstimate((0.8, 0.8), True)), looking(1, 0.1, None)
    made = told(here, [FrameFindings([bare if n % 2 else gaze]) for n in range(30)], size=(320, 240))
    only = told(here, [FrameFindings([gaze])] * 30, size=(320, 240))
    assert np.abs(pixels(made.heat) - pixels(only.heat)).max() < 30


@pytest.mark.parametrize("gone", ["missing", "no video", "a pipe"])
def test_an_input_that_cant_be_read_any_more_has_no_pictures(here: Path, gone: str) -> None:
    source = "-" if gone == "a pipe" else "clip.mp4"
    if gone == "no video":
        (here / "clip.mp4").write_text("hello")
    findings = here / "f.jsonl"
    findings.write_text(findings_jsonl(source, [FrameFindings([LARGE])] * 9))
    made = build_chapter(Input(None if gone == "a pipe" else Path(source), Path("x"), source), findings, "")
    assert (made.examples, made.heat) == ([], None)
    assert any("No images" in note for note in made.notes)
    assert made.rows[0].frames == 9


def test_another_video_of_that_name_has_no_pictures(here: Path) -> None:
    make_video(here / "clip.mp4", 5, size=(64, 48))
    made = told(here, [FrameFindings([LARGE] if n > 60 else []) for n in range(90)])
    assert made.examples == []
    assert any("does not have the frames" in note for note in made.notes)


@pytest.mark.parametrize("changed", ["size", "bytes"])
def test_an_input_that_has_changed_has_no_pictures(here: Path, changed: str) -> None:
    clip = make_video(here / "clip.mp4", 5, size=(64, 48))
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    told_of: dict[str, Any] = {"sha256": digest}
    assert told(here, [FrameFindings([LARGE])] * 5, **told_of).examples
    if changed == "size":
        told_of = {"size": (48, 64)}
    else:
        make_video(here / "clip.mp4", 5, size=(64, 48), face=True)
    made = told(here, [FrameFindings([LARGE])] * 5, **told_of)
    assert (made.examples, made.heat) == ([], None)
    assert any("does not have the frames" in note for note in made.notes)
    assert made.rows[0].frames == 5


def test_memory_does_not_grow_with_the_findings() -> None:
    def most(frames: int) -> int:
        summary = FindingsSummary()
        tracemalloc.start()
        for n in range(frames):
            info = FrameInfo(0, n, n / RATE, 1 / RATE, (64, 48))
            summary.add(Record("clip.mp4", info, FrameFindings([LARGE, SMALL])))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(summary.candidates.best(MAX_CANDIDATES)) <= MAX_CANDIDATES
        return peak

    assert most(4000) < 1.5 * most(1000)


# -- the command


def images(html: str) -> list[bytes]:
    return [b64decode(data) for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)]


@pytest.fixture
def findings(here: Path) -> Path:
    """Of a video, a photo that was of another size, and a file that is gone."""
    make_video(here / "clip.mp4", 40, size=(64, 48))
    photo = str(SAMPLES / "group.png")
    path = here / "found.jsonl"
    path.write_text(
        findings_jsonl("clip.mp4", [FrameFindings([LARGE], cut=n == 20) for n in range(40)])
        + findings_jsonl(photo, [FrameFindings([SMALL, PLATE])], still=True)
        + findings_jsonl("gone <b>.mp4", [FrameFindings([PLATE])] * 5)
    )
    return path


def test_one_page_for_all_inputs_beside_the_findings(findings: Path) -> None:
    outcome = run("report", findings)
    assert (outcome.code, outcome.out) == (0, b"")
    warning, summary = outcome.lines
    assert warning.startswith(f"mdtool: {SAMPLES / 'group.png'}: has changed since the findings were made")
    assert re.fullmatch(r"mdtool: .*found\.html: 3 inputs, \d+ example frames", summary)
    html = findings.with_suffix(".html").read_text("utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.count("<article ") == 3
    assert "<h1><bdi>found.jsonl</bdi></h1>" in html
    assert "gone &lt;b&gt;.mp4" in html
    assert "No images" in html
    assert "scene cuts" in html
    pictures = images(html)
    assert len(pictures) >= 5 + 1 + 1
    assert all(data.startswith(b"\xff\xd8\xff") for data in pictures)
    assert not re.search(r"https?://", html)


def test_a_photo_has_a_table_of_who_looks_where(here: Path) -> None:
    three = [
        looking(1, 0.1, GazeEstimate((0.8, 0.2), True)),
        looking(2, 0.7, GazeEstimate(None, False)),
        looking(3, 0.4, None),
    ]
    (here / "f.jsonl").write_text(
        findings_jsonl(SAMPLES / "group.png", [FrameFindings(three)], size=(640, 400), still=True)
    )
    assert run("report", "f.jsonl", "-o", "r.html").code == 0
    html = (here / "r.html").read_text("utf-8")
    table = html.partition("<h3>Attention")[2]
    assert [re.findall("<bdi>([^<]+)", line) for line in table.splitlines() if "<bdi>" in line] == [
        ["person 1", "person 2"], ["person 2", "out of frame"],
    ]  # fmt: skip
    assert "Heatmap" not in html


def test_where_the_report_goes(findings: Path, here: Path) -> None:
    assert run("report", findings, "-o", "r.html").code == 0
    shown = run("report", findings, "-o", "-", "--quiet")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == (here / "r.html").read_bytes()
    assert not findings.with_suffix(".html").exists()


def test_findings_through_a_pipe(findings: Path, here: Path) -> None:
    outcome = run("report", "-", "-o", "r.html", stdin=findings.read_bytes(), cwd=here)
    assert outcome.code == 0, outcome.err
    assert (here / "r.html").read_text("utf-8").count("<article ") == 3
    assert run("report", "-", stdin=findings.read_bytes(), cwd=here).code == 2


def test_nothing_is_replaced_that_was_not_to_be(findings: Path, here: Path) -> None:
    (here / "found.html").write_text("mine")
    outcome = run("report", findings)
    assert outcome.code == 74
    assert outcome.err == f"mdtool: {here / 'found.html'}: exists already; --overwrite replaces it\n"
    assert (here / "found.html").read_text() == "mine"
    assert run("report", findings, "--overwrite").code == 0
    assert (here / "found.html").read_text("utf-8") != "mine"
    before = findings.read_bytes()
    assert run("report", findings, "-o", findings, "--overwrite").code == 2
    assert findings.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "code"), [(None, 1), ("", 1), ("hello\n", 1), ('{"schema": "mdtool.findings/9"}\n', 1)]
)
def test_what_is_no_findings(here: Path, text: str | None, code: int) -> None:
    if text is not None:
        (here / "f.jsonl").write_text(text)
    outcome = run("report", "f.jsonl")
    assert (outcome.code, outcome.out, len(outcome.lines)) == (code, b"", 1)
    assert not list(here.glob("*.html"))
    assert not list(here.glob(".*.part"))


@pytest.mark.posix("a lock on the file of records")
def test_what_redact_found_becomes_a_report(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", 20, face=True, size=(192, 144))
    assert run("detect", clip, "face", "--jsonl", tmp_path / "f.jsonl").code == 0
    assert all(record.findings.regions for record in records(tmp_path / "f.jsonl"))
    assert run("report", tmp_path / "f.jsonl").code == 0
    html = (tmp_path / "f.html").read_text("utf-8")
    assert "centerface" in html
    make_video(clip, 20, size=(192, 144))
    outcome = run("report", tmp_path / "f.jsonl", "--overwrite")
    assert outcome.lines[0] == (
        f"mdtool: {clip}: has changed since the findings were made, so it has no images; detect again"
    )
    assert (outcome.code, len(outcome.lines)) == (0, 2)
    assert 3 <= len(images(html)) <= MAX_EXAMPLES + 1
