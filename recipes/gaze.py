"""Gaze analysis: who looks at whom or at what, smoothing over time, and attention in seconds."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from engine.contract import Point
from recipes.regions import Region, Sides

MARGIN = 0.15  # of a box's width and height, added on each side, since gaze targets are a little inexact

# See is_saccade. Of the synthetic gazes in tests/mdtool/tracking/test_interpolation.py 10 % are off by more than a
# tenth without detecting saccades, and 6 % with any JUMP from 0.03 to 0.15; a larger one smooths more slow movement
# and noise.
JUMP = 0.1  # of the image's width and height
FACE_JUMP = 0.5  # of the face's width and height, if that is more: in a close-up everything moves farther

MIN_CUTOFF, SLOPE = 0.5, 8.0  # see Smoother; at 30 frames per second noise falls to 0.4
SPEED_CUTOFF = 1.0  # hertz
LONGEST_GAP = 0.5  # seconds

IMAGE_SECONDS = 1.0  # attention that a still image counts for

NAMED_BY = {"person": "person", "target": "label"}  # kind of target -> key of its name
DIGITS = 4

Method = Literal["model", "head"]
Name = TypeVar("Name", bound=int | str)


@dataclass(frozen=True, slots=True)
class Gaze:
    """One person's gaze on one frame, in fractions of the image.

    Attributes:
        track: Track number of the person.
        face: Box of the face.
        eye: Origin of the gaze, usually the centre of the face.
        target: Point that the person looks at; None if it is outside of the image or unknown.
        in_frame: False if the person looks out of the image, None if that is unknown.
        method: "model", or "head" for a head pose, whose target is only the end of a line of sight.
        looks_at: Track of another person, label of a named target, or None.

    Raises:
        ValueError: The values contradict each other, or a coordinate is not finite.
    """

    track: int
    face: Region
    eye: Point
    target: Point | None
    in_frame: bool | None
    method: Method = "model"
    looks_at: int | str | None = None

    def __post_init__(self) -> None:
        if (self.target is not None) != (self.in_frame is True):
            raise ValueError(f"person {self.track}: a gaze has a target if it is in the image, and only then")
        if self.method not in get_args(Method):
            raise ValueError(f"unknown gaze method {self.method!r}; known: {', '.join(get_args(Method))}")
        coordinates = [*self.face.sides, *(c for p in (self.eye, self.target) if p for c in (p.x, p.y))]
        if not all(math.isfinite(coordinate) for coordinate in coordinates):
            raise ValueError(f"person {self.track}: a coordinate is not a finite number")


def gaze_of(region: Region) -> Gaze:
    """Return the gaze of a detected face; without a gaze estimate it has no target."""
    estimate = region.gaze
    target = Point(*estimate.target) if estimate and estimate.target else None
    in_frame, method = (estimate.in_frame, estimate.method) if estimate else (None, "model")
    return Gaze(region.track, region, Point(*_centre(region)), target, in_frame, method)


def who_looks_at(people: Sequence[Gaze], targets: Sequence[Region] = ()) -> list[Gaze]:
    """Match each gaze to the other person or named target that it hits.

    A target point hits the smallest box that contains it, among the other faces and the named targets, and the same
    boxes expanded by MARGIN; so a box that it hits goes before an equal one that it just misses. Faces go first among
    equals. The line of a head pose, whose length is unknown, hits the first box that it enters, but none in which it
    starts.

    Args:
        people: The gazes on one frame.
        targets: The named targets on that frame.

    Returns:
        The gazes with `looks_at`.
    """
    faces: list[tuple[int | str, Region]] = [(gaze.track, gaze.face) for gaze in people]
    named: list[tuple[int | str, Region]] = [(box.label, box) for box in targets]
    return [
        replace(gaze, looks_at=_looked_at(gaze, [*(face for face in faces if face[0] != gaze.track), *named]))
        for gaze in people
    ]


def mutual(people: Sequence[Gaze]) -> list[tuple[int, int]]:
    """Return the sorted pairs of tracks of people who look at each other, the lower number first."""
    pairs = {(gaze.track, gaze.looks_at) for gaze in people}
    return sorted((a, b) for a, b in pairs if isinstance(b, int) and a < b and (b, a) in pairs)


def tracks_looking_at(people: Sequence[Gaze], targets: Sequence[Region]) -> list[list[int]]:
    """Return, for each named target, the tracks of the people who look at it.

    Args:
        people: Gazes with `looks_at`, see `who_looks_at`.
        targets: The named targets on that frame; those with the same label are told apart.
    """
    found: list[list[int]] = [[] for _ in targets]
    for gaze in people:
        index = _looked_at(gaze, [(index, box) for index, box in enumerate(targets) if box.label == gaze.looks_at])
        if index is not None:
            found[index].append(gaze.track)
    return found


def is_saccade(method: Method, before: tuple[Region, Point], after: tuple[Region, Point]) -> bool:
    """Return whether a gaze jumped to another target, rather than followed one or trembled.

    A saccade takes less than a tenth of a second, so gazes in between are not interpolated. The target has to move by
    more than JUMP and FACE_JUMP, both in the image and relative to the face, which is unaffected by a camera pan.
    Heads turn slowly, so a head pose only jumps by a right angle or more: the head then turned past the camera.

    Args:
        method: Method of both gazes.
        before: Face and gaze target.
        after: Face and gaze target, later.
    """
    (face, target), (face_after, target_after) = before, after
    (x, y), (x_after, y_after) = _centre(face), _centre(face_after)
    offset_before, offset_after = (target.x - x, target.y - y), (target_after.x - x_after, target_after.y - y_after)
    if method == "head":
        return offset_before[0] * offset_after[0] + offset_before[1] * offset_after[1] <= 0
    reach_x = max(JUMP, FACE_JUMP * (face_after.x_max - face_after.x_min))
    reach_y = max(JUMP, FACE_JUMP * (face_after.y_max - face_after.y_min))
    moves = (
        (target_after.x - target.x, target_after.y - target.y),
        (
            offset_after[0] - offset_before[0],
            offset_after[1] - offset_before[1],
        ),
    )
    return all(math.hypot(across / reach_x, down / reach_y) > 1 for across, down in moves)


def _centre(box: Region) -> tuple[float, float]:
    return (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2


def _expanded(box: Region) -> Sides:
    x, y = MARGIN * (box.x_max - box.x_min), MARGIN * (box.y_max - box.y_min)
    return box.x_min - x, box.y_min - y, box.x_max + x, box.y_max + y


def _looked_at(gaze: Gaze, boxes: Sequence[tuple[Name, Region]]) -> Name | None:
    if gaze.target is None:
        return None
    found = []
    for name, sides in ((name, sides) for name, box in boxes for sides in (box.sides, _expanded(box))):
        if gaze.method == "head":
            distance = _entry(gaze.eye, gaze.target, sides)
        else:
            distance = 0.0 if _contains(sides, gaze.target) else None
        if distance is not None:
            found.append((distance, (sides[2] - sides[0]) * (sides[3] - sides[1]), name))
    return min(found, key=lambda each: each[:2])[2] if found else None


def _contains(sides: Sides, point: Point) -> bool:
    return sides[0] <= point.x <= sides[2] and sides[1] <= point.y <= sides[3]


def _entry(start: Point, end: Point, sides: Sides) -> float | None:
    """Return the fraction of a line at which it enters a box; None if it does not, or starts inside (slab method)."""
    if _contains(sides, start):
        return None
    enter, leave = 0.0, 1.0
    for at, to, low, high in ((start.x, end.x, sides[0], sides[2]), (start.y, end.y, sides[1], sides[3])):
        if at == to:
            if not low <= at <= high:
                return None
            continue
        first, last = sorted(((low - at) / (to - at), (high - at) / (to - at)))
        enter, leave = max(enter, first), min(leave, last)
    return enter if enter <= leave else None


class Smoother:
    """Smooths gaze targets over time with the One Euro filter (Casiez et al. 2012).

    A first-order low-pass filter whose cutoff frequency in hertz rises with the speed of the target, in image sides per
    second, so that it does not lag behind fast movement:

        cutoff = MIN_CUTOFF + SLOPE * speed     the speed itself is filtered at SPEED_CUTOFF

    It is causal and works at variable frame rates. It restarts at a saccade, a cut, a gap of more than LONGEST_GAP, a
    gaze out of the image, a change of method, and where time does not increase.
    """

    def __init__(self) -> None:
        self._states: dict[int, _TrackState] = {}

    def __call__(self, time: float, people: Sequence[Gaze]) -> list[Gaze]:
        """Smooth the gaze targets of the next frame.

        Args:
            time: Time of the frame in seconds.
            people: The gazes on the frame.

        Returns:
            The gazes with smoothed targets.
        """
        self._states = {track: state for track, state in self._states.items() if 0 < time - state.time <= LONGEST_GAP}
        return [self._smoothed(time, gaze) for gaze in people]

    def cut(self) -> None:
        """Restart: the next frame belongs to another shot."""
        self._states.clear()

    def _smoothed(self, time: float, gaze: Gaze) -> Gaze:
        state = self._states.get(gaze.track)
        if gaze.target is None:
            if gaze.in_frame is False:
                self._states.pop(gaze.track, None)
            return gaze
        target, speed = gaze.target, 0j
        if (
            state
            and state.method == gaze.method
            and not is_saccade(gaze.method, (state.face, state.target), (gaze.face, target))
        ):
            step, before = time - state.time, complex(state.target.x, state.target.y)
            moved = complex(target.x, target.y) - before
            speed = state.speed + _smoothing_factor(SPEED_CUTOFF, step) * (moved / step - state.speed)
            smoothed = before + _smoothing_factor(MIN_CUTOFF + SLOPE * abs(speed), step) * moved
            target = replace(target, x=smoothed.real, y=smoothed.imag)
        self._states[gaze.track] = _TrackState(time, gaze.method, gaze.face, target, speed)
        return replace(gaze, target=target)


@dataclass(frozen=True, slots=True)
class _TrackState:
    """State of the filter for one track; `target` is smoothed, `speed` is x + iy per second."""

    time: float
    method: Method
    face: Region
    target: Point
    speed: complex


def _smoothing_factor(cutoff: float, step: float) -> float:
    """Return the weight of a new value in a first-order low-pass filter; cutoff in hertz, step in seconds."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))


class Attention:
    """Adds up the seconds that each person looks at other people, named targets, elsewhere, and out of the image."""

    def __init__(self) -> None:
        self._seconds: dict[int, dict[tuple[str, int | str | None], float]] = defaultdict(lambda: defaultdict(float))

    def add(self, people: Sequence[Gaze], seconds: float) -> None:
        """Add one frame; unknown gazes are not counted.

        Args:
            people: Gazes with `looks_at`, see `who_looks_at`.
            seconds: Duration of the frame.

        Raises:
            ValueError: The duration is negative or not finite.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"the duration of a frame is 0 seconds or more, not {seconds}")
        for gaze in people:
            if gaze.in_frame is not None:
                self._seconds[gaze.track][_kind(gaze), gaze.looks_at] += seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the totals for JSON: people by track, each with total seconds and targets, longest first.

        A target has a `kind` ("person", "target", "elsewhere", "out_of_frame"), its `person` (track) or `label`,
        `seconds`, and its `share` of the total, 0..1 (null where that is 0).
        """
        return {"people": [_summary(track, targets) for track, targets in sorted(self._seconds.items())]}


def _kind(gaze: Gaze) -> str:
    if gaze.looks_at is None:
        return "elsewhere" if gaze.in_frame else "out_of_frame"
    return "person" if isinstance(gaze.looks_at, int) else "target"


def _summary(track: int, targets: Mapping[tuple[str, int | str | None], float]) -> dict[str, Any]:
    total = sum(targets.values())
    return {
        "track": track,
        "seconds": round(total, DIGITS),
        "targets": [
            {
                "kind": kind,
                **({NAMED_BY[kind]: name} if kind in NAMED_BY else {}),
                "seconds": round(seconds, DIGITS),
                "share": round(seconds / total, DIGITS) if total else None,
            }
            for (kind, name), seconds in sorted(targets.items(), key=lambda each: (-each[1], str(each[0])))
        ],
    }
