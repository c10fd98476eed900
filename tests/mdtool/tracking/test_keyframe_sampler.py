"""Every frame comes back once, in order, and with a box on whatever a perfect look would have seen there."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import cos, sin

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_video import (
    HEIGHT,
    RATE,
    VISIBLE,
    WIDTH,
    MovingObject,
    Path,
    Place,
    Scene,
    SyntheticVideo,
    annotate_video,
    exposed_fractions,
    frame_of,
    keyframe_indices,
    texture,
)

from mdtool.media.video.frame import Frame
from mdtool.tracking.detector import ImageFindings
from mdtool.tracking.keyframe_sampler import (
    MAX_WINDOW_FRAMES,
    WINDOW_FRAMES,
    AnnotatedFrame,
    CallBudget,
    KeyframeSampler,
)
from mdtool.tracking.sampling import Sampling
from mdtool.tracking.tracker import COAST_FRAMES, SETTLE_FRAMES
from recipes.regions import GazeEstimate, Region

EVERY = Sampling(stride=1)
LOOKS = 0.2  # most of the frames that the model may see
CUT_LOOKS = 3  # a cut may cost, beyond them


def line(x: float, y: float, dx: float = 0, dy: float = 0, start: int = 0, end: int = 10**9) -> Path:
    """There from frame `start` on, until before frame `end`."""

    def at(index: int) -> Place:
        return (x + dx * (index - start), y + dy * (index - start)) if start <= index < end else None

    return at


COLUMN = MovingObject(line(170, 90), size=(60, HEIGHT), seed=5, is_target=False)

ONE_SHOT = {
    "at an even pace": Scene(150, [MovingObject(line(30, 60, 1.6, 0.4))]),
    "quickly through": Scene(100, [MovingObject(line(-20, 90, 4))]),
    "dash": Scene(150, [MovingObject(lambda i: (60 + 12 * max(0, min(i - 70, 14)), 90))]),
    "round and round": Scene(150, [MovingObject(lambda i: (160 + 90 * sin(i / 12), 90 + 40 * cos(i / 9)))]),
    "appears in a gap": Scene(150, [MovingObject(line(100, 80, 1.2, 0.3, start=37))]),
    "appears at once after the first": Scene(150, [MovingObject(line(100, 80, 1.2, 0.3, start=1))]),
    "appears on the last frame": Scene(100, [MovingObject(line(100, 80, start=99))]),
    "vanishes": Scene(150, [MovingObject(line(100, 80, 1.2, 0.3, end=77))]),
    "walks in": Scene(150, [MovingObject(line(-20, 80, 2, start=20))]),
    "leaves": Scene(150, [MovingObject(line(200, 80, 2))]),
    "is elsewhere all at once": Scene(150, [MovingObject(lambda i: (80, 90) if i < 80 else (240, 90))]),
    "two pass each other": Scene(150, [MovingObject(line(40, 85, 1.6)), MovingObject(line(280, 95, -1.6), seed=4)]),
    "six frames": Scene(150, [MovingObject(line(120, 90, start=61, end=67))]),
    "six frames, twice": Scene(
        300, [MovingObject(line(120, 90, start=61, end=67)), MovingObject(line(220, 90, start=195, end=201), seed=9)]
    ),
}


def worst(synthetic: SyntheticVideo, annotated: list[AnnotatedFrame]) -> tuple[float, int]:
    """(largest bare part of an object, on which frame)"""
    return max(((bare, frame) for frame, bare in exposed_fractions(synthetic, annotated)), default=(0.0, -1))


def assert_whole(synthetic: SyntheticVideo, annotated: list[AnnotatedFrame]) -> None:
    assert [one.frame.index for one in annotated] == list(range(len(synthetic.frames)))
    assert all(one.frame is frame for one, frame in zip(annotated, synthetic.frames, strict=True))


@pytest.mark.parametrize("name", ONE_SHOT)
def test_what_shows_is_covered_on_every_frame(name: str) -> None:
    synthetic = SyntheticVideo(ONE_SHOT[name])
    annotated = annotate_video(synthetic)
    assert_whole(synthetic, annotated)
    bare, frame = worst(synthetic, annotated)
    assert bare == 0, f"bare on frame {frame}"
    assert not any(one.findings.hidden for one in annotated)
    assert len(keyframe_indices(annotated)) <= LOOKS * len(annotated)


@pytest.mark.parametrize("pace", [1.0, 1.5, 2.5])
def test_behind_a_column_is_covered_while_a_fifth_shows(pace: float) -> None:
    synthetic = SyntheticVideo(Scene(150, [MovingObject(line(60, 90, pace)), COLUMN]))
    annotated = annotate_video(synthetic)
    showing = {n for n, seen in enumerate(synthetic.truth) if any(share >= 0.2 for _, share in seen)}
    exposed = [(n, bare) for n, bare in exposed_fractions(synthetic, annotated) if bare > 0.05 and n in showing]
    assert exposed == []
    assert any(not seen for seen in synthetic.truth)
    assert len(keyframe_indices(annotated)) <= LOOKS * len(annotated)


def test_what_is_gone_is_not_covered_for_long() -> None:
    synthetic = SyntheticVideo(Scene(150, [MovingObject(line(100, 80, 1.2, end=77))]))
    covered = [n for n, one in enumerate(annotate_video(synthetic)) if one.findings.regions]
    assert covered == list(range(max(covered) + 1))
    assert 76 <= max(covered) <= 76 + 3


def test_what_comes_is_not_covered_long_before() -> None:
    synthetic = SyntheticVideo(Scene(150, [MovingObject(line(100, 80, 1.2, start=37))]))
    covered = [n for n, one in enumerate(annotate_video(synthetic)) if one.findings.regions]
    assert 37 - 3 <= min(covered) <= 37


def test_one_object_keeps_its_number() -> None:
    synthetic = SyntheticVideo(ONE_SHOT["at an even pace"])
    assert {r.track for one in annotate_video(synthetic) for r in one.findings.regions} == {1}


def test_two_objects_keep_theirs() -> None:
    synthetic = SyntheticVideo(Scene(150, [MovingObject(line(40, 60, 1.5)), MovingObject(line(40, 130, 1.5), seed=4)]))
    for one in annotate_video(synthetic):
        tracks = {r.track: r.y_min * HEIGHT for r in one.findings.regions}
        assert len(tracks) == 2
        upper, lower = sorted(tracks, key=lambda track: tracks[track])
        assert (upper, lower) == (1, 2)


def test_regions_say_which_were_seen() -> None:
    for one in annotate_video(SyntheticVideo(ONE_SHOT["at an even pace"])):
        assert {r.seen for r in one.findings.regions} == {one.findings.analysed}
        assert {r.label for r in one.findings.regions} == {"thing"}


def test_a_gaze_is_that_of_the_last_look_and_before_the_first_that_of_the_first() -> None:
    class Looking(SyntheticVideo):
        def _seen(self, index: int) -> list[Region]:
            """The gaze tells the frame on which it was seen."""
            return [replace(one, gaze=GazeEstimate((index / 100, 0.5), True)) for one in super()._seen(index)]

    annotated = annotate_video(Looking(Scene(100, [MovingObject(line(60, 80, 1.5, start=33))])), Sampling(stride=10))
    told = {n: region.gaze for n, one in enumerate(annotated) for region in one.findings.regions}
    assert set(range(33, 100)) <= set(told)
    looks = [n for n in keyframe_indices(annotated) if n >= 33]
    for n, gaze in told.items():
        assert gaze == GazeEstimate((max([looks[0], *(look for look in looks if look <= n)]) / 100, 0.5), True)


@pytest.mark.parametrize("swaps", [False, True])
def test_what_comes_and_goes_between_two_objects_is_seen_in_whatever_order_they_are_told(swaps: bool) -> None:
    class Reordering(SyntheticVideo):
        def _seen(self, index: int) -> list[Region]:
            """As a model tells the likelier one first, which may be another one on every frame."""
            seen = super()._seen(index)
            self.asked_before = not getattr(self, "asked_before", False)
            return seen[::-1] if swaps and self.asked_before else seen

    left, right = MovingObject(line(40, 90)), MovingObject(line(280, 90), seed=4)
    between = MovingObject(line(160, 90, start=26, end=32), seed=9)
    synthetic = Reordering(Scene(100, [left, right, between]))
    bare, frame = worst(synthetic, annotate_video(synthetic))
    assert bare == 0, f"bare on frame {frame}"


# -- shots


def test_a_cut_is_looked_at_on_both_sides_and_nothing_crosses_it() -> None:
    synthetic = SyntheticVideo(
        Scene(75, [MovingObject(line(60, 80, 1))]),
        Scene(80, [MovingObject(line(220, 100, -1), seed=3)], seed=11),
        Scene(70, seed=12),
    )
    annotated = annotate_video(synthetic)
    assert worst(synthetic, annotated)[0] == 0
    assert {0, 74, 75, 154, 155} <= set(keyframe_indices(annotated))
    shots_of: dict[int, set[int]] = {}
    for one, shot in zip(annotated, synthetic.shot_of, strict=True):
        for region in one.findings.regions:
            shots_of.setdefault(region.track, set()).add(shot)
    assert all(len(shots) == 1 for shots in shots_of.values())
    assert not any(one.findings.regions for one, shot in zip(annotated, synthetic.shot_of, strict=True) if shot == 2)
    assert len(keyframe_indices(annotated)) <= LOOKS * len(annotated) + 2 * CUT_LOOKS


def test_seen_only_on_the_last_frames_of_a_shot() -> None:
    synthetic = SyntheticVideo(Scene(50, [MovingObject(line(100, 80, 2, start=44))]), Scene(50, seed=11))
    annotated = annotate_video(synthetic)
    assert worst(synthetic, annotated)[0] == 0
    assert not any(one.findings.regions for one in annotated[50:])


@pytest.mark.parametrize("gone", [1, 2, 5])
def test_seen_only_on_the_first_frames_of_a_shot(gone: int) -> None:
    synthetic = SyntheticVideo(Scene(50, seed=11), Scene(50, [MovingObject(line(100, 80, 2, end=gone))]))
    annotated = annotate_video(synthetic)
    assert worst(synthetic, annotated)[0] == 0
    assert not any(one.findings.regions for one in annotated[:50])


@pytest.mark.parametrize("only", [19, 20])
def test_the_size_of_the_picture_may_change(only: int) -> None:
    """Something is seen only on the last frame of one size, or only on the first of the next."""
    synthetic = SyntheticVideo()
    pictures = [texture(7)] * 20 + [texture(8, size=(200, 300))] * 20
    synthetic.frames = [frame_of(picture, index) for index, picture in enumerate(pictures)]
    synthetic.truth = [[(np.array([82.0, 57.0, 118.0, 103.0]), 1.0)] if index == only else [] for index in range(40)]
    annotated = annotate_video(synthetic, EVERY)
    assert_whole(synthetic, annotated)
    assert annotated[only].findings.regions
    assert not any(one.findings.regions for one in (annotated[:20] if only == 20 else annotated[20:]))


# -- how often the model looks


def test_a_still_scene_takes_few_looks() -> None:
    synthetic = SyntheticVideo(Scene(300, [MovingObject(line(100, 90))]))
    annotated = annotate_video(synthetic)
    assert worst(synthetic, annotated)[0] == 0
    assert len(keyframe_indices(annotated)) <= 300 // WINDOW_FRAMES + 3


@pytest.mark.parametrize("count", [1, 2, 3, 47, 48, 49, 100])
def test_every_frame(count: int) -> None:
    synthetic = SyntheticVideo(Scene(count, [MovingObject(line(30, 60, 1.6))]))
    annotated = annotate_video(synthetic, EVERY)
    assert_whole(synthetic, annotated)
    assert keyframe_indices(annotated) == list(range(count))
    assert sorted(synthetic.asked) == list(range(count))


@pytest.mark.parametrize("stride", [2, 7, 10, 60, 500])
def test_one_in_n(stride: int) -> None:
    synthetic = SyntheticVideo(Scene(130, [MovingObject(line(30, 60, 1.6))]), Scene(33, seed=11))
    looks = keyframe_indices(annotate_video(synthetic, Sampling(stride=stride)))
    assert {0, 129, 130, 162} <= set(looks)
    assert max(b - a for a, b in pairwise(looks)) <= stride
    windows = 163 / min(max(stride, WINDOW_FRAMES), MAX_WINDOW_FRAMES)
    assert len(looks) <= 163 / stride + 2 * windows + 4


@pytest.mark.parametrize(("fps", "apart"), [(30, 1), (10, 3), (2, 15), (0.5, 60), (100, 1)])
def test_so_many_a_second(fps: float, apart: int) -> None:
    synthetic = SyntheticVideo(Scene(150, [MovingObject(line(30, 60, 1.6))]))
    looks = keyframe_indices(annotate_video(synthetic, Sampling(fps=fps)))
    assert {0, 149} <= set(looks)
    assert max(b - a for a, b in pairwise(looks)) <= apart


def test_an_object_between_far_looks_is_followed_back() -> None:
    synthetic = SyntheticVideo(Scene(100, [MovingObject(line(60, 80, 1.5, start=33))]))
    assert worst(synthetic, annotate_video(synthetic, Sampling(stride=10)))[0] == 0


# -- what the looks on both sides do not show


def strobe() -> SyntheticVideo:
    """Lights that are out on every other frame."""
    synthetic = SyntheticVideo(Scene(60, [MovingObject(line(100, 80, 0.5))]))
    for index in range(1, 60, 2):
        synthetic.frames[index] = frame_of(np.full((HEIGHT, WIDTH), 16, np.uint8), index)
        synthetic.truth[index] = []
    return synthetic


def whip_pan() -> SyntheticVideo:
    """To and fro over a scene three pictures wide, with a thing near its right end that shows for a few frames."""
    ground, thing = texture(7, size=(3 * WIDTH, HEIGHT)), MovingObject(lambda _: (750, 90), size=(60, 80))
    box = thing.box(0)
    assert box is not None
    x0, y0, x1, y1 = box.astype(int).tolist()
    ground[y0:y1, x0:x1] = thing.picture()
    synthetic = SyntheticVideo()
    for index in range(60):
        left = round(WIDTH * (1 - cos(index / 4)))
        synthetic.frames.append(frame_of(ground[:, left : left + WIDTH], index))
        low, high = (int(np.clip(x, left, left + WIDTH)) - left for x in (x0, x1))
        share = (high - low) / (x1 - x0)
        synthetic.truth.append([(np.array([low, y0, high, y1], float), share)] if share else [])
    synthetic.shot_of = [0] * 60
    return synthetic


@pytest.mark.parametrize("made", [strobe, whip_pan])
def test_frames_that_are_like_neither_look_beside_them_are_looked_at(made: Callable[[], SyntheticVideo]) -> None:
    synthetic = made()
    shown = {n for n, seen in enumerate(synthetic.truth) if any(share >= VISIBLE for _, share in seen)}
    annotated = annotate_video(synthetic)
    assert [(n, bare) for n, bare in exposed_fractions(synthetic, annotated) if bare and n in shown] == []
    assert not any(one.findings.hidden for one in annotated)


@pytest.mark.parametrize("moving", [36, 12])
def test_where_most_frames_are_untrackable_all_are_analysed(moving: int) -> None:
    synthetic = whip_pan()
    still = synthetic.frames[moving - 1].luma
    synthetic.frames[moving:] = [frame_of(still, index) for index in range(moving, WINDOW_FRAMES)]
    synthetic.truth[moving:] = [synthetic.truth[moving - 1]] * (WINDOW_FRAMES - moving)
    annotated = annotate_video(synthetic)
    assert_whole(synthetic, annotated)
    assert (len(keyframe_indices(annotated)) == WINDOW_FRAMES) == (moving == 36)


@pytest.mark.parametrize("made", [strobe, whip_pan])
@pytest.mark.parametrize("calls", [1, 3, 8, 20, 40])
def test_where_no_look_is_left_for_them_they_are_hidden(made: Callable[[], SyntheticVideo], calls: int) -> None:
    synthetic = made()
    shown = {n for n, seen in enumerate(synthetic.truth) if any(share >= VISIBLE for _, share in seen)}
    annotated = annotate_video(synthetic, Sampling().limited(calls, 60), calls)
    assert len(synthetic.asked) <= calls
    assert [(n, bare) for n, bare in exposed_fractions(synthetic, annotated) if bare and n in shown] == []
    assert any(one.findings.hidden for one in annotated)


def test_doubt_at_the_beginning_leaves_looks_for_the_rest() -> None:
    synthetic, rest = strobe(), SyntheticVideo(Scene(400, seed=11))
    synthetic.frames += [replace(frame, index=frame.index + 60, pts=frame.pts + 60) for frame in rest.frames]
    synthetic.truth += rest.truth
    annotated = annotate_video(synthetic, Sampling().limited(40, 460), 40)
    assert worst(synthetic, annotated)[0] == 0
    assert any(one.findings.hidden for one in annotated[:60])
    assert not any(one.findings.hidden for one in annotated[80:])  # after the first look at it


# -- when not all can be judged


@pytest.mark.parametrize("sampling", [Sampling(), EVERY, Sampling(stride=10)])
@pytest.mark.parametrize("calls", [1, 2, 3, 8, 20])
def test_no_more_looks_than_allowed(sampling: Sampling, calls: int) -> None:
    synthetic = SyntheticVideo(
        Scene(90, [MovingObject(line(30, 60, 1.6))]), Scene(60, [MovingObject(line(200, 60, -1), seed=3)], seed=11)
    )
    annotated = annotate_video(synthetic, sampling, calls)
    assert_whole(synthetic, annotated)
    assert len(synthetic.asked) <= calls
    assert_vouched(synthetic, annotated)
    assert worst(synthetic, annotated)[0] == 0


def test_a_number_of_looks_is_shared_by_all_samplers() -> None:
    synthetic, other = SyntheticVideo(Scene(30)), SyntheticVideo(Scene(30))
    budget = CallBudget(5)
    for one in synthetic, other:
        sampler = KeyframeSampler(one.model_call, EVERY, budget, RATE)
        for frame in one.frames:
            list(sampler.push(frame))
        list(sampler.finish())
    assert len(synthetic.asked) + len(other.asked) == 5


def test_a_failed_look_hides_its_frame_and_no_other() -> None:
    synthetic = SyntheticVideo(Scene(60, [MovingObject(line(30, 60, 1.6))]), failing={20, 21, 33})
    annotated = annotate_video(synthetic, EVERY)
    assert [n for n, one in enumerate(annotated) if one.findings.hidden] == [20, 21, 33]
    assert worst(synthetic, annotated)[0] == 0


def test_a_failed_look_among_few_hides_only_frames_beside_it() -> None:
    scene = Scene(60, [MovingObject(line(30, 60, 1.6))])
    sampling = Sampling(stride=10)
    looks = keyframe_indices(annotate_video(SyntheticVideo(scene), sampling))
    for failing in looks:
        synthetic = SyntheticVideo(scene, failing={failing})
        annotated = annotate_video(synthetic, sampling)
        hidden = [n for n, one in enumerate(annotated) if one.findings.hidden]
        before = max((n for n in looks if n < failing), default=-1)
        after = min((n for n in looks if n > failing), default=60)
        assert failing in hidden
        assert before < min(hidden) <= max(hidden) < after
        assert worst(synthetic, annotated)[0] == 0


def test_where_every_look_fails_all_is_hidden() -> None:
    synthetic = SyntheticVideo(Scene(100, [MovingObject(line(30, 60, 1.6))]), failing=range(100))
    annotated = annotate_video(synthetic)
    assert_whole(synthetic, annotated)
    assert all(one.findings.hidden for one in annotated)


@pytest.mark.parametrize("corrupt", [{0}, {40}, {40, 41, 42}, {47, 48}, {99}, set(range(100))])
def test_damaged_frames_are_hidden_and_no_others(corrupt: set[int]) -> None:
    synthetic = SyntheticVideo(Scene(100, [MovingObject(line(30, 60, 1.6))]), corrupt=corrupt)
    annotated = annotate_video(synthetic)
    assert_whole(synthetic, annotated)
    assert {n for n, one in enumerate(annotated) if one.findings.hidden} == corrupt
    assert not corrupt & set(synthetic.asked)
    assert worst(synthetic, annotated)[0] == 0


# -- whatever comes


def test_no_frames() -> None:
    assert list(KeyframeSampler(SyntheticVideo().model_call, Sampling(), CallBudget(), RATE).finish()) == []


@pytest.mark.parametrize("sampling", [Sampling(), EVERY, Sampling(stride=10), Sampling(fps=2)])
def test_few_frames_are_held_back(sampling: Sampling) -> None:
    synthetic = SyntheticVideo(Scene(200, [MovingObject(line(30, 60, 1))]))
    sampler = KeyframeSampler(synthetic.model_call, sampling, CallBudget(), RATE)
    held = given_back = 0
    for pushed, frame in enumerate(synthetic.frames, 1):
        given_back += len(list(sampler.push(frame)))
        held = max(held, pushed - given_back)
    assert held <= WINDOW_FRAMES + COAST_FRAMES[1] + SETTLE_FRAMES


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(stride=2000), Sampling().limited(4, 8000)])
def test_large_pictures_are_held_back_in_smaller_numbers(sampling: Sampling) -> None:
    synthetic = SyntheticVideo()
    synthetic.truth = [[] for _ in range(120)]
    big = av.VideoFrame(3840, 2160, "yuv420p")  # 12 MB, and all frames share it
    sampler = KeyframeSampler(synthetic.model_call, sampling, CallBudget(), RATE)
    held = given_back = 0
    for index in range(120):
        given_back += len(list(sampler.push(Frame(big, index, index, Fraction(1, RATE)))))
        held = max(held, index + 1 - given_back)
    assert held <= WINDOW_FRAMES


def assert_vouched(synthetic: SyntheticVideo, annotated: list[AnnotatedFrame]) -> None:
    """A frame is shown only where it was seen, or lies between two looks of its shot."""
    seen = {n for n in synthetic.asked if n not in synthetic.failing}
    for n, one in enumerate(annotated):
        if not one.findings.hidden:
            shot = [m for m in seen if synthetic.shot_of[m] == synthetic.shot_of[n]]
            assert n in seen or (min(shot, default=n) < n < max(shot, default=n)), n
            assert not one.frame.corrupt
            assert n in seen or n not in synthetic.asked


SAMPLINGS = st.one_of(
    st.just(Sampling()),
    st.builds(Sampling, stride=st.integers(1, 150)),
    st.builds(Sampling, fps=st.floats(0.1, 60)),
)
PLACES = st.one_of(
    st.none(),
    st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT), st.floats(-6, 6), st.floats(-4, 4), st.integers(0, 60)),
)
SHOTS = st.lists(st.tuples(st.integers(1, 120), PLACES), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(
    shots=SHOTS,
    sampling=SAMPLINGS,
    calls=st.one_of(st.none(), st.integers(0, 40)),
    corrupt=st.sets(st.integers(0, 200), max_size=4),
    failing=st.sets(st.integers(0, 200), max_size=20),
)
def test_each_frame_once_in_order_and_none_shown_that_nobody_vouches_for(
    shots: list[tuple[int, tuple[int, int, float, float, int] | None]],
    sampling: Sampling,
    calls: int | None,
    corrupt: set[int],
    failing: set[int],
) -> None:
    scenes = [
        Scene(count, [MovingObject(line(*place), seed=3 + n)] if place else [], seed=20 + n)
        for n, (count, place) in enumerate(shots)
    ]
    synthetic = SyntheticVideo(*scenes, corrupt=corrupt, failing=failing)
    annotated = annotate_video(synthetic, sampling, calls)
    assert_whole(synthetic, annotated)
    assert calls is None or len(synthetic.asked) <= calls
    assert set(keyframe_indices(annotated)) == set(synthetic.asked) - failing
    assert_vouched(synthetic, annotated)
    for one in annotated:
        for region in one.findings.regions:
            assert 0 <= region.x_min < region.x_max <= 1
            assert 0 <= region.y_min < region.y_max <= 1


def lost_and_found(light: float) -> tuple[int, list[AnnotatedFrame]]:
    """Annotate a still object that the model detects on one frame in three; return (model calls, frames)."""
    synthetic = SyntheticVideo(Scene(90, [MovingObject(line(100, 90))]))
    synthetic.frames = [frame_of((frame.luma * light).astype(np.uint8), frame.index) for frame in synthetic.frames]

    def unreliable(frames: Sequence[Frame]) -> list[ImageFindings | None]:
        found = synthetic.model_call(frames)
        return [one if frame.index % 3 == 0 else ImageFindings() for frame, one in zip(frames, found, strict=True)]

    sampler = KeyframeSampler(unreliable, Sampling(), CallBudget(), RATE)
    annotated = [one for frame in synthetic.frames for one in sampler.push(frame)]
    return len(synthetic.asked), [*annotated, *sampler.finish()]


def test_in_the_dark_a_model_that_loses_an_object_analyses_the_frames_around() -> None:
    looks, annotated = lost_and_found(0.15)
    assert all(one.findings.regions for one in annotated)
    assert looks > 1.5 * lost_and_found(1.0)[0]
