"""Moderation verdicts: which rules of a policy a clip or image breaks, when, for how long, and an example frame.

How a rule is evaluated:

1. A detection counts on a frame if any part of it is in the image. `recipes.policy.objects_of` has selected those of
   the rule by label, score and area.
2. A frame counts if any detection does, and all of them together cover min_share of the image, overlaps counted once;
   for a question, if the reply matches.
3. A frame that counts lasts for its duration, or until the next frame if that comes earlier. Successive frames are one
   span, and so are those with at most `bridge` seconds between the end of one and the start of the next.
4. A span of less than min_seconds from start to end, gaps included, is dropped with all its frames.
5. The rule is hit if frames are left, and the model itself detected it on min_times of them (on others it was tracked).

A clip of a single frame without a duration is an image: steps 4 and 5 do not apply.
Times are compared to the microsecond, so that 15 frames at 30 per second last 0.5 s.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recipes.policy import Policy, Rule
from recipes.regions import Region

SCHEMA = "mdtool.verdict/1"
BRIDGE = 0.5  # seconds: gaps up to this, as of a flickering detection, don't split a span


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a rule's question on a frame.

    Attributes:
        text: The reply.
        seen: Whether the model replied on this very frame, rather than on an earlier keyframe.
    """

    text: str
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """What makes a frame count for a rule.

    Attributes:
        area: Area of the detections together, as a fraction of the image; None for a question.
        seen: Whether the model itself detected or replied on this frame.
    """

    area: float | None
    seen: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A frame to review: its number, and its time in seconds."""

    frame: int
    time: float


@dataclass(frozen=True)
class Ruling:
    """The result of one rule; all fields are empty if it is not hit.

    Attributes:
        rule: The rule.
        spans: (start, end) in seconds, in order.
        frames: Number of frames that count.
        seen: Number of those on which the model itself detected it.
        area: Largest area on any frame, as a fraction of the image; None for a question.
        example: The first frame with that area.
    """

    rule: Rule
    spans: tuple[tuple[float, float], ...] = ()
    frames: int = 0
    seen: int = 0
    area: float | None = None
    example: Example | None = None

    @property
    def hit(self) -> bool:
        """Whether the rule is hit."""
        return bool(self.spans)

    @property
    def seconds(self) -> float:
        """Total duration of the spans."""
        return sum(end - start for start, end in self.spans)

    def as_dict(self) -> dict[str, Any]:
        """Return the ruling for JSON: seconds to the microsecond, areas as fractions of the image."""
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
    """The result of a policy on one clip or image.

    Attributes:
        rulings: One for each rule, in the policy's order.
        frames: Number of frames.
        unjudged: Number of frames that could not be analysed.
        seconds: From the first frame to the end of the last.
    """

    rulings: tuple[Ruling, ...]
    frames: int
    unjudged: int
    seconds: float

    @property
    def hit(self) -> bool:
        """Whether any rule is hit."""
        return any(ruling.hit for ruling in self.rulings)

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict for JSON: seconds to the microsecond, areas as fractions of the image."""
        return {
            "schema": SCHEMA,
            "hit": self.hit,
            "frames": self.frames,
            "unjudged": self.unjudged,
            "seconds": round(self.seconds, 6),
            "rules": [ruling.as_dict() for ruling in self.rulings],
        }


class VerdictBuilder:
    """Evaluates a policy on the frames of one clip, one by one; only the spans are stored."""

    def __init__(self, policy: Policy, bridge: float = BRIDGE) -> None:
        """Begin a clip.

        Args:
            policy: The policy.
            bridge: Longest gap within a span, in seconds.
        """
        self._states = {rule.name: _RuleState(rule, bridge) for rule in policy.rules}
        self._frames = self._unjudged = 0
        self._start = self._duration = 0.0
        self._time = -math.inf
        self._index = -1

    def add(
        self, index: int, time: float, duration: float, found: Mapping[str, Sequence[Region] | Reply] | None
    ) -> None:
        """Add the next frame.

        Args:
            index: Number of the frame.
            time: Seconds.
            duration: Seconds; 0 for an image.
            found: For each rule, by name, its objects in fractions of the image, or the reply to its question; None if
                the frame could not be analysed.

        Raises:
            ValueError: The frame is out of order, a box is invalid, or the rules differ from the policy's.
        """
        if index <= self._index or not time >= self._time or not duration >= 0:  # NaN too
            raise ValueError(f"frame {index}, at {time} s for {duration} s, does not come after the one before")
        if found is not None and found.keys() != self._states.keys():
            names = ", ".join(sorted(found.keys() ^ self._states.keys()))
            raise ValueError(f"frame {index}: findings and policy don't have the same rules; only one has: {names}")
        hits = {} if found is None else {name: hit(state.rule, found[name]) for name, state in self._states.items()}
        for name, state in self._states.items():
            state.add(index, time, duration, hits.get(name))
        if not self._frames:
            self._start = time
        self._index, self._time, self._duration = index, time, duration
        self._frames += 1
        self._unjudged += found is None

    def verdict(self) -> Verdict:
        """Return the verdict on the frames so far."""
        is_image = self._frames == 1 and not self._duration
        rulings = tuple(state.ruling(is_image) for state in self._states.values())
        seconds = self._time + self._duration - self._start if self._frames else 0.0
        return Verdict(rulings, self._frames, self._unjudged, seconds)


def hit(rule: Rule, found: Sequence[Region] | Reply) -> Hit | None:
    """Evaluate a rule on one frame: steps 1 and 2 of the module's docstring.

    Args:
        rule: The rule.
        found: The objects of the rule in fractions of the image, or the reply to its question.

    Returns:
        The hit; None if the frame does not count.

    Raises:
        ValueError: A box is invalid, or a rule with a question has no reply.
    """
    if isinstance(found, Reply) != bool(rule.question):
        raise ValueError(f"the rule {rule.name!r} needs {'a reply' if rule.question else 'boxes'}")
    if isinstance(found, Reply):
        return Hit(None, found.seen) if rule.matches_reply(found.text) else None
    inside = [box for box in found if _is_inside(box)]
    area = round(share(inside), 9)  # so that equal boxes at different positions have equal areas
    if not inside or area < rule.thresholds.min_share:
        return None
    return Hit(area, any(box.seen for box in inside))


def share(boxes: Sequence[Region]) -> float:
    """Return the area of the union of boxes, 0..1; the boxes are in fractions of the image."""
    if not boxes:
        return 0.0
    sides = np.clip([(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes], 0, 1)
    x, y = np.unique(sides[:, 0::2]), np.unique(sides[:, 1::2])
    covered = np.zeros((len(y) - 1, len(x) - 1), bool)  # the grid of all edges
    columns, rows = np.searchsorted(x, sides[:, 0::2]), np.searchsorted(y, sides[:, 1::2])
    for (left, right), (top, bottom) in zip(columns, rows, strict=True):
        covered[top:bottom, left:right] = True
    return float(np.diff(y) @ covered @ np.diff(x))


def _is_inside(box: Region) -> bool:
    if not (box.x_min <= box.x_max and box.y_min <= box.y_max):  # NaN too
        raise ValueError(f"{box} is not a box: its sides are swapped or not numbers")
    return box.x_min < 1 and box.y_min < 1 and box.x_max > 0 and box.y_max > 0


@dataclass(slots=True)
class _Span:
    """A span of frames that count; `last` is the index of the last one, `area` and `example` are as in Ruling."""

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
class _RuleState:
    """Evaluates one rule on one clip; only the last span may still grow or be too short."""

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

    def ruling(self, is_image: bool) -> Ruling:
        """Return the result; is_image: steps 4 and 5 do not apply."""
        spans = [span for span in self.spans if is_image or self._is_long(span)]
        seen = sum(span.seen for span in spans)
        if not spans or (seen < self.rule.thresholds.min_times and not is_image):
            return Ruling(self.rule)
        largest = max(spans, key=lambda span: span.area or 0.0)  # the first of equals
        times = tuple((span.start, span.end) for span in spans)
        return Ruling(self.rule, times, sum(span.frames for span in spans), seen, largest.area, largest.example)

    def _is_long(self, span: _Span) -> bool:
        return span.seconds >= self.rule.thresholds.min_seconds
