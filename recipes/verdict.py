"""What a policy has against a clip or photo: which rules it breaks, when, how much, and where best to look.

What counts, step by step:

1. A finding counts on a frame if any part of it is in the picture. `recipes.policy.objects_of` has picked those that
   are of the rule, sure enough and in its regions.
2. A frame counts if a finding does and all of them together cover min_share of the picture; what several cover counts
   once. For a question, if the reply fits.
3. A frame that counts lasts from its time for its duration, or until the next frame, if that comes earlier. Frames in a
   row are one span; so are those with at most `bridge` seconds between the end of one and the start of the next.
4. A span under min_seconds from its start to its end, gaps in it included, is dropped with all its frames.
5. The rule is hit if frames are left, and the model itself has seen it on min_times of them (on others it was carried
   there from frames around).

A clip of a single frame that has no duration is a photo: steps 4 and 5 ask nothing of it but that the frame counts.
Seconds are compared to the microsecond, so that 15 frames at 30 a second last 0.5.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recipes.policy import Policy, Rule
from recipes.regions import Region

SCHEMA = "mdtool.verdict/1"
BRIDGE = 0.5  # seconds: a hit that flickers is one hit


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says to a rule's question on a frame; seen False: it was asked on another frame."""

    text: str
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """What makes a frame count for a rule. area: as a part of the picture; None for a question, which has no place."""

    area: float | None
    seen: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A frame to look at; time in seconds."""

    frame: int
    time: float


@dataclass(frozen=True)
class Ruling:
    """What became of one rule; if it is not hit, all is empty.

    spans: (start, end) in seconds, in order. frames: that count; seen: those of them on which the model saw it.
    area: the largest on any frame, as a part of the picture; None for a question. example: the first frame with it.
    """

    rule: Rule
    spans: tuple[tuple[float, float], ...] = ()
    frames: int = 0
    seen: int = 0
    area: float | None = None
    example: Example | None = None

    @property
    def hit(self) -> bool:
        return bool(self.spans)

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self.spans)

    def as_dict(self) -> dict[str, Any]:
        example = self.example and {"frame": self.example.frame, "time": round(self.example.time, 6)}
        return {
            "rule": self.rule.name,
            "action": self.rule.action,
            "hit": self.hit,
            "spans": [[round(start, 6), round(end, 6)] for start, end in self.spans],
            "seconds": round(self.seconds, 6),
            "frames": self.frames,
            "seen": self.seen,
            "largest_area": None if self.area is None else round(self.area, 5),
            "example": example,
        }


@dataclass(frozen=True)
class Verdict:
    """rulings: one a rule, in the policy's order. frames: all there were; unjudged: those that could not be judged.

    seconds: from the first frame to the end of the last.
    """

    rulings: tuple[Ruling, ...]
    frames: int
    unjudged: int
    seconds: float

    @property
    def hit(self) -> bool:
        return any(ruling.hit for ruling in self.rulings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: seconds to the microsecond, areas as parts of the picture."""
        return {
            "schema": SCHEMA,
            "hit": self.hit,
            "frames": self.frames,
            "unjudged": self.unjudged,
            "seconds": round(self.seconds, 6),
            "rules": [ruling.as_dict() for ruling in self.rulings],
        }


class VerdictBuilder:
    """Takes the frames of one clip as they come, and keeps the spans alone: memory does not grow with their length."""

    def __init__(self, policy: Policy, bridge: float = BRIDGE) -> None:
        """bridge: seconds."""
        self._cases = {rule.name: _Case(rule, bridge) for rule in policy.rules}
        self._frames = self._unjudged = 0
        self._start = self._duration = 0.0
        self._time = -math.inf
        self._index = -1

    def add(
        self, index: int, time: float, duration: float, found: Mapping[str, Sequence[Region] | Reply] | None
    ) -> None:
        """The next frame. time, duration: seconds; a photo has no duration.

        found: for each rule, by its name, its objects in fractions of the picture or the reply to its question;
        None where the frame could not be judged. ValueError for a frame out of order, a box that is none, or where
        nothing is said of a rule.
        """
        if index <= self._index or not time >= self._time or not duration >= 0:  # NaN too
            raise ValueError(f"frame {index}, at {time} s for {duration} s, does not come after the one before")
        if found is not None and found.keys() != self._cases.keys():
            names = ", ".join(sorted(found.keys() ^ self._cases.keys()))
            raise ValueError(f"frame {index}: findings and policy don't have the same rules: {names}")
        hits = {} if found is None else {name: hit(case.rule, found[name]) for name, case in self._cases.items()}
        for name, case in self._cases.items():
            case.add(index, time, duration, hits.get(name))
        if not self._frames:
            self._start = time
        self._index, self._time, self._duration = index, time, duration
        self._frames += 1
        self._unjudged += found is None

    def verdict(self) -> Verdict:
        """Of the frames so far."""
        still = self._frames == 1 and not self._duration
        rulings = tuple(case.ruling(still) for case in self._cases.values())
        seconds = self._time + self._duration - self._start if self._frames else 0.0
        return Verdict(rulings, self._frames, self._unjudged, seconds)


def hit(rule: Rule, found: Sequence[Region] | Reply) -> Hit | None:
    """What the rule's findings on a frame come to; None: the frame does not count. See steps 1 and 2 above.

    Raises ValueError for a box that is none.
    """
    if isinstance(found, Reply) != bool(rule.question):
        raise ValueError(f"the rule {rule.name!r} needs {'a reply' if rule.question else 'boxes'}")
    if isinstance(found, Reply):
        return Hit(None, found.seen) if rule.matches_reply(found.text) else None
    inside = [box for box in found if _is_inside(box)]
    area = round(share(inside), 9)  # so that boxes of one size at different places have the same
    if not inside or area < rule.thresholds.min_share:
        return None
    return Hit(area, any(box.seen for box in inside))


def share(boxes: Sequence[Region]) -> float:
    """The part of the picture that the boxes cover together, 0..1; they are in fractions of it."""
    if not boxes:
        return 0.0
    sides = np.clip([(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes], 0, 1)
    x, y = np.unique(sides[:, 0::2]), np.unique(sides[:, 1::2])
    covered = np.zeros((len(y) - 1, len(x) - 1), bool)  # a cell between each two edges that follow one another
    columns, rows = np.searchsorted(x, sides[:, 0::2]), np.searchsorted(y, sides[:, 1::2])
    for (left, right), (top, bottom) in zip(columns, rows, strict=True):
        covered[top:bottom, left:right] = True
    return float(np.diff(y) @ covered @ np.diff(x))


def _is_inside(box: Region) -> bool:
    if not (box.x_min <= box.x_max and box.y_min <= box.y_max):  # NaN too
        raise ValueError(f"{box} is no box")
    return box.x_min < 1 and box.y_min < 1 and box.x_max > 0 and box.y_max > 0


@dataclass(slots=True)
class _Span:
    """Frames that count, in a row or nearly. last: index of the last; area, example: as in Ruling."""

    start: float
    end: float
    last: int
    example: Example
    area: float | None
    frames: int = 1
    seen: int = 0

    @property
    def seconds(self) -> float:
        return round(self.end - self.start, 6)


@dataclass
class _Case:
    """One rule against one clip. Of the spans, only the last may still grow, or be too short."""

    rule: Rule
    bridge: float
    spans: list[_Span] = field(default_factory=list)

    def add(self, index: int, time: float, duration: float, found: Hit | None) -> None:
        last = self.spans[-1] if self.spans else None
        if last:
            last.end = min(last.end, time)
        if found is None:
            return
        if last and (index == last.last + 1 or round(time - last.end, 6) <= self.bridge):
            last.frames += 1
            if found.area is not None and last.area is not None and found.area > last.area:
                last.area, last.example = found.area, Example(index, time)
        else:
            if last and not self._is_long(last):
                self.spans.pop()
            last = _Span(time, time, index, Example(index, time), found.area)
            self.spans.append(last)
        last.end, last.last = time + duration, index
        last.seen += found.seen

    def ruling(self, still: bool) -> Ruling:
        """still: the clip is a photo."""
        spans = [span for span in self.spans if still or self._is_long(span)]
        seen = sum(span.seen for span in spans)
        if not spans or (seen < self.rule.thresholds.min_times and not still):
            return Ruling(self.rule)
        largest = max(spans, key=lambda span: span.area or 0.0)  # the first of equals
        times = tuple((span.start, span.end) for span in spans)
        return Ruling(self.rule, times, sum(span.frames for span in spans), seen, largest.area, largest.example)

    def _is_long(self, span: _Span) -> bool:
        return span.seconds >= self.rule.thresholds.min_seconds
