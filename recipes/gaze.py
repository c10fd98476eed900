"""Where people look: at whom or at what, smoothly over time, and for how long."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from engine.contract import Point
from recipes.regions import Region, Sides

MARGIN = 0.15  # part of a face's or thing's width and height that is added on each side, since gazes miss a little

# See jumped. Of the made gazes in tests/mdtool/tracking/test_interpolation.py 10 % are off by more than a tenth if no
# jump is known, and 6 % with any JUMP from 0.03 to 0.15; the larger it is, the more slow movement
# and noise are smoothed.
JUMP = 0.1  # of the picture's width and height
FACE_JUMP = 0.5  # of the face's width and height, if that is more: where faces are large, all moves farther

REST, SLOPE = 0.5, 8.0  # see Smoother: at 30 frames a second noise falls to 0.4
SPEED_CUTOFF = 1.0  # hertz
LONGEST_GAP = 0.5  # seconds

IMAGE_SECONDS = 1.0  # seconds of attention that a photo counts for

NAMED_BY = {"person": "person", "target": "label"}  # kind of target -> key of its name
DIGITS = 4

Method = Literal["model", "head"]
Name = TypeVar("Name", bound=int | str)


@dataclass(frozen=True, slots=True)
class Gaze:
    """One person's gaze on one frame, in fractions of the picture.

    track: the person's number, the same on all frames. eye: the place that was asked about, the middle of the face as
    a rule. target: the point looked at, None where there is none in the picture. in_frame: False where the person looks
    out of the picture, None where that is not known. method: "model", or "head" for the direction of the head, whose
    target is only the end of a line that is looked along. looks_at: another person's track, the label of a named
    target, or None. Raises ValueError where a value can't be.
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
            raise ValueError(f"person {self.track}: a gaze has a target if it is in the picture, and only then")
        if self.method not in get_args(Method):
            raise ValueError(f"no gaze is told by {self.method!r}; there are {', '.join(get_args(Method))}")
        places = [self.face.sides, *((p.x, p.y) for p in (self.eye, self.target) if p)]
        if not all(math.isfinite(number) for place in places for number in place):
            raise ValueError(f"person {self.track}: a place in the picture that is no number")


def gaze_of(region: Region) -> Gaze:
    """Return the person that a face is, with where they look as far as it is known."""
    look = region.gaze
    target = Point(*look.target) if look and look.target else None
    in_frame, method = (look.in_frame, look.method) if look else (None, "model")
    return Gaze(region.track, region, Point(*_middle(region)), target, in_frame, method)


def who_looks_at(people: Sequence[Gaze], targets: Sequence[Region] = ()) -> list[Gaze]:
    """The same people, each with the person or named target looked at.

    A target point belongs to the smallest box that holds it, of those of the other faces and the named targets as they
    are, and of the same grown by MARGIN, so that what it hits goes before a neighbour as large that it just misses;
    where two are equally small, to a face. A head's line belongs to the first of these boxes that it meets, but to none
    that it starts in, since nothing tells how far it goes. Nobody looks at their own face.
    """
    faces: list[tuple[int | str, Region]] = [(one.track, one.face) for one in people]
    named: list[tuple[int | str, Region]] = [(box.label, box) for box in targets]
    return [
        replace(one, looks_at=_looked_at(one, [*(face for face in faces if face[0] != one.track), *named]))
        for one in people
    ]


def mutual(people: Sequence[Gaze]) -> list[tuple[int, int]]:
    """The tracks of those who look at each other, each pair once, the lower number first, in order."""
    looks = {(one.track, one.looks_at) for one in people}
    return sorted((a, b) for a, b in looks if isinstance(b, int) and a < b and (b, a) in looks)


def tracks_looking_at(people: Sequence[Gaze], targets: Sequence[Region]) -> list[list[int]]:
    """Of each named target the tracks of those who look at it, as `who_looks_at` says: of two cups at the very one."""
    found: list[list[int]] = [[] for _ in targets]
    for one in people:
        index = _looked_at(one, [(index, box) for index, box in enumerate(targets) if box.label == one.looks_at])
        if index is not None:
            found[index].append(one.track)
    return found


def is_saccade(method: Method, one: tuple[Region, Point], other: tuple[Region, Point]) -> bool:
    """Whether a gaze left one thing for another at once, rather than followed it or trembled.

    one, other: the face then, and the place that it looked at.

    Eyes jump in less than a tenth of a second, so nothing in between was looked at. What is farther than JUMP and
    FACE_JUMP, in the picture and as seen from the face too (when the camera pans, all moves but that), is another
    thing. Heads turn slowly, so a head's direction only jumps by a right angle or more: it then turned past the camera.
    """
    (face, target), (face_after, target_after) = one, other
    (x, y), (x_after, y_after) = _middle(face), _middle(face_after)
    before, after = (target.x - x, target.y - y), (target_after.x - x_after, target_after.y - y_after)
    if method == "head":
        return before[0] * after[0] + before[1] * after[1] <= 0
    reach_x = max(JUMP, FACE_JUMP * (face_after.x_max - face_after.x_min))
    reach_y = max(JUMP, FACE_JUMP * (face_after.y_max - face_after.y_min))
    moves = (target_after.x - target.x, target_after.y - target.y), (after[0] - before[0], after[1] - before[1])
    return all(math.hypot(across / reach_x, down / reach_y) > 1 for across, down in moves)


def _middle(box: Region) -> tuple[float, float]:
    return (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2


def _grown(box: Region) -> Sides:
    x, y = MARGIN * (box.x_max - box.x_min), MARGIN * (box.y_max - box.y_min)
    return box.x_min - x, box.y_min - y, box.x_max + x, box.y_max + y


def _looked_at(one: Gaze, boxes: Sequence[tuple[Name, Region]]) -> Name | None:
    if one.target is None:
        return None
    found = []
    for name, sides in ((name, sides) for name, box in boxes for sides in (box.sides, _grown(box))):
        met = _along(one.eye, one.target, sides) if one.method == "head" else _held(one.target, sides)
        if met is not None:
            found.append((met, (sides[2] - sides[0]) * (sides[3] - sides[1]), name))
    return min(found, key=lambda each: each[:2])[2] if found else None


def _held(point: Point, sides: Sides) -> float | None:
    """0 if the box holds the point, else None."""
    return 0.0 if sides[0] <= point.x <= sides[2] and sides[1] <= point.y <= sides[3] else None


def _along(start: Point, end: Point, sides: Sides) -> float | None:
    """The part of the line after which it enters the box; None where it does not, or starts in it (slab method)."""
    if _held(start, sides) is not None:
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
    """Steadies each person's target over time without lagging on movement: One Euro filter (Casiez et al. 2012).

    A low-pass filter of first order, whose cutoff in hertz rises with the speed of what it follows, in pictures a
    second:

        cutoff = REST + SLOPE * speed     the speed itself is filtered at SPEED_CUTOFF

    It begins anew where the gaze jumped, at a cut, after a gap of more than LONGEST_GAP, after a look out of the
    picture, where the method changes and where time does not go on. Only the past counts, at any frame rate, a variable
    one too.
    """

    def __init__(self) -> None:
        self._past: dict[int, _Past] = {}

    def __call__(self, time: float, people: Sequence[Gaze]) -> list[Gaze]:
        """The people of the next frame, at `time` in seconds, with their targets smoothed."""
        self._past = {track: past for track, past in self._past.items() if 0 < time - past.time <= LONGEST_GAP}
        return [self._smoothed(time, one) for one in people]

    def cut(self) -> None:
        """The next frame is of another scene."""
        self._past.clear()

    def _smoothed(self, time: float, one: Gaze) -> Gaze:
        past = self._past.get(one.track)
        if one.target is None:
            if one.in_frame is False:
                self._past.pop(one.track, None)
            return one
        target, speed = one.target, 0j
        if (
            past
            and past.method == one.method
            and not is_saccade(one.method, (past.face, past.target), (one.face, target))
        ):
            step, before = time - past.time, complex(past.target.x, past.target.y)
            moved = complex(target.x, target.y) - before
            speed = past.speed + _weight(SPEED_CUTOFF, step) * (moved / step - past.speed)
            at = before + _weight(REST + SLOPE * abs(speed), step) * moved
            target = replace(target, x=at.real, y=at.imag)
        self._past[one.track] = _Past(time, one.method, one.face, target, speed)
        return replace(one, target=target)


@dataclass(frozen=True, slots=True)
class _Past:
    """What the filter knows of one person. target: smoothed; speed: a second, x + iy."""

    time: float
    method: Method
    face: Region
    target: Point
    speed: complex


def _weight(cutoff: float, step: float) -> float:
    """Of what is new, in a low-pass filter of first order. cutoff: hertz. step: seconds."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))


class Attention:
    """Seconds that each person looked at each other person, at each named target, elsewhere in the picture, and out."""

    def __init__(self) -> None:
        self._seconds: dict[int, dict[tuple[str, int | str | None], float]] = defaultdict(lambda: defaultdict(float))

    def add(self, people: Sequence[Gaze], seconds: float) -> None:
        """One frame, shown for so long, with `looks_at` known. Time in which a gaze is not known counts for nothing."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"a frame is shown for 0 seconds or more, not {seconds}")
        for one in people:
            if one.in_frame is not None:
                self._seconds[one.track][_kind(one), one.looks_at] += seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the people by track; for each the seconds known, and the targets, longest first.

        A target has a `kind` ("person", "target", "elsewhere", "out_of_frame"), the `person` (track) or `label` that
        it is, `seconds`, and its `share` of the seconds known, 0..1 (null where those are none).
        """
        return {"people": [_summary(track, targets) for track, targets in sorted(self._seconds.items())]}


def _kind(one: Gaze) -> str:
    if one.looks_at is None:
        return "elsewhere" if one.in_frame else "out_of_frame"
    return "person" if isinstance(one.looks_at, int) else "target"


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
