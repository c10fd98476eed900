"""What a redaction leaves visible of the objects of a ground truth, counted in pixels."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from mdtool.jobs.evals.ground_truth.truth import TrueFrame, TrueObject

EXPOSED_FRACTION = 0.05  # visible part of an object's box above which it counts as exposed on that frame
HEIGHTS = (0, 10, 20, 50, 100, 300)  # pixels; WIDER FACE parts faces at 10, 50 and 300


@dataclass
class HiddenCount:
    """How many object-frames there are, and how many of them are hidden, which is to say not exposed."""

    object_frames: int = 0
    hidden: int = 0


@dataclass
class Exposure:
    """What a redaction left visible. Areas are in pixels of the displayed frame, summed over all frames.

    Attributes:
        clip: Name of the video.
        frames: Number of frames.
        keyframes: Number of frames that the model analysed.
        model_calls: Number of images that the model was run on; a frame that is analysed in parts or turned is several.
        object_frames: Number of boxes in the ground truth.
        area: Area of the boxes.
        unmasked_area: The part of it that is not masked.
        extra_area: Masked area outside of the boxes.
        exposed: (object, frame, visible part of its box), where that part is above EXPOSED_FRACTION.
        longest_ms: Longest time for which one object was exposed without a break, in milliseconds.
        seconds: Time that decoding, detecting and tracking took.
        visible_parts: (frame, object) -> visible part of the object, 0..1; 1 where the ground truth does not say it.
        recall: What is hidden of the objects of each height, ("height", "10 to 20") in pixels, and of each attribute.
    """

    clip: str
    frames: int = 0
    keyframes: int = 0
    model_calls: int = 0
    object_frames: int = 0
    area: int = 0
    unmasked_area: int = 0
    extra_area: int = 0
    exposed: list[tuple[int, int, float]] = field(default_factory=list)
    longest_ms: float = 0.0
    seconds: float = 0.0
    visible_parts: dict[tuple[int, int], float] = field(default_factory=dict)
    recall: dict[tuple[str, str], HiddenCount] = field(default_factory=dict)

    @property
    def exposed_object_frames(self) -> set[tuple[int, int]]:
        """The (frame, object) pairs in which the object is exposed."""
        return {(frame, number) for number, frame, _ in self.exposed}

    @property
    def leak(self) -> float:
        """Unmasked part of the ground-truth area, 0..1."""
        return self.unmasked_area / self.area if self.area else 0.0

    @property
    def over_redaction(self) -> float:
        """Masked area outside of the ground truth, in units of the ground truth's area."""
        return self.extra_area / self.area if self.area else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "clip": self.clip,
            "frames": self.frames,
            "looks": self.keyframes,
            "looks_share": round(self.keyframes / max(1, self.frames), 4),
            "model_calls": self.model_calls,
            "leak": round(self.leak, 6),
            "object_frames": self.object_frames,
            "exposed": [{"object": o, "frame": f, "bare": round(part, 4)} for o, f, part in self.exposed],
            "longest_exposure_ms": round(self.longest_ms, 1),
            "over_redaction": round(self.over_redaction, 4),
            "recall": self._recall_by_attribute(),
        }

    def total_as_dict(self, clips: int) -> dict[str, Any]:
        """Return the sum over so many clips for JSON: as a clip's, but only with the number of what is exposed.

        Of no clips there is no leak, rather than none of it.
        """
        result = {"clips": clips} | self.as_dict() | {"exposed": len(self.exposed)}
        if not clips:
            result |= {"leak": None, "over_redaction": None}
        return {name: value for name, value in result.items() if name != "clip"}

    def _recall_by_attribute(self) -> dict[str, dict[str, dict[str, int]]]:
        recall: dict[str, dict[str, dict[str, int]]] = {}
        for (name, value), count in sorted(self.recall.items(), key=_class_order):
            recall.setdefault(name, {})[value] = {"object_frames": count.object_frames, "hidden": count.hidden}
        return recall


class ExposureMeter:
    """Measures the masks of one clip, frame by frame.

    Attributes:
        exposure: The result so far.
    """

    def __init__(self, clip: str) -> None:
        self.exposure = Exposure(clip)
        self._since: dict[int, float] = {}  # since when an object has been exposed, in seconds
        self._end = 0.0

    def add(self, masked: np.ndarray, truth: TrueFrame, time: float, duration: float, *, analysed: bool) -> None:
        """Measure the next frame.

        Args:
            masked: (height, width) bool, as displayed.
            truth: Its objects.
            time: Its timestamp, in seconds.
            duration: For how long it is shown, in seconds.
            analysed: Whether the model analysed it.
        """
        exposure, index = self.exposure, self.exposure.frames
        in_box = np.zeros_like(masked)
        exposed_now = set()
        for one in truth.objects:
            x0, y0, x1, y1 = (max(0, round(side)) for side in one.box)
            in_box[y0:y1, x0:x1] = True
            inside = masked[y0:y1, x0:x1]
            if one.ignored or not inside.size:
                continue
            unmasked = int(inside.size - inside.sum())
            is_exposed = unmasked > EXPOSED_FRACTION * inside.size
            exposure.object_frames += 1
            exposure.visible_parts[index, one.number] = one.visible
            exposure.area += inside.size
            exposure.unmasked_area += unmasked
            for name in _classes(one):
                count = exposure.recall.setdefault(name, HiddenCount())
                count.object_frames += 1
                count.hidden += not is_exposed
            if is_exposed:
                exposure.exposed.append((one.number, index, unmasked / inside.size))
                exposed_now.add(one.number)
        for number in set(self._since) - exposed_now:
            exposure.longest_ms = max(exposure.longest_ms, 1000 * (time - self._since.pop(number)))
        for number in exposed_now:
            self._since.setdefault(number, time)
        exposure.extra_area += int((masked & ~in_box).sum())
        exposure.frames += 1
        exposure.keyframes += analysed
        self._end = time + duration

    def finish(self) -> Exposure:
        """Return the result, at the end of the clip."""
        longest = [1000 * (self._end - begin) for begin in self._since.values()]
        self.exposure.longest_ms = max([self.exposure.longest_ms, *longest])
        return self.exposure


def _classes(one: TrueObject) -> Iterator[tuple[str, str]]:
    """Yield the classes in which an object is counted."""
    height = one.box[3] - one.box[1]
    for low, high in pairwise(HEIGHTS):
        if low <= height < high:
            yield "height", f"{low} to {high}"
    if height >= HEIGHTS[-1]:
        yield "height", f"from {HEIGHTS[-1]}"
    yield from one.attributes.items()


def _class_order(item: tuple[tuple[str, str], HiddenCount]) -> tuple[bool, str, int, str]:
    """Sort heights first and by their pixels, then attributes by name and value."""
    (name, value), _ = item
    number = re.search(r"\d+", value)
    return name != "height", name, int(number[0]) if number and name == "height" else 0, value


def total(exposures: Iterable[Exposure]) -> Exposure:
    """Return the sum over several clips; of the longest exposures the longest. Objects are not told apart by clip."""
    result = Exposure("all")
    for one in exposures:
        for name in ("frames", "keyframes", "model_calls", "object_frames", "area", "unmasked_area", "extra_area"):
            setattr(result, name, getattr(result, name) + getattr(one, name))
        result.exposed += one.exposed
        result.longest_ms = max(result.longest_ms, one.longest_ms)
        result.seconds += one.seconds
        for key, count in one.recall.items():
            whole = result.recall.setdefault(key, HiddenCount())
            whole.object_frames += count.object_frames
            whole.hidden += count.hidden
    return result


def table(rows: Sequence[Exposure]) -> Iterator[str]:
    """Yield the results as lines of a Markdown table."""
    yield "| clip | keyframes | model calls | leak | object-frames exposed | longest exposure | over-redaction |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row.clip} | {row.keyframes} of {row.frames} ({row.keyframes / max(1, row.frames):.1%}) "
            f"| {row.model_calls} | {row.leak:.3%} | {len(row.exposed)} of {row.object_frames} "
            f"| {row.longest_ms:.0f} ms | {row.over_redaction:.2f}x |"
        )


def recall_table(exposure: Exposure) -> Iterator[str]:
    """Yield what is hidden of which objects as lines of a Markdown table."""
    yield "| objects | object-frames | hidden |"
    yield "|---|---|---|"
    hidden = exposure.object_frames - len(exposure.exposed)
    counts = [("all", HiddenCount(exposure.object_frames, hidden))]
    for (name, value), count in sorted(exposure.recall.items(), key=_class_order):
        counts.append((f"{name} {value}" + (" px" if name == "height" else ""), count))
    for words, count in counts:
        if count.object_frames:
            yield f"| {words} | {count.object_frames} | {count.hidden / count.object_frames:.1%} |"
