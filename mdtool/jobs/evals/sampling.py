"""Evaluates automatic sampling: which objects it leaves exposed that a model call on every frame hides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from engine.generation.verbs import VisionModel
from mdtool.jobs.evals.exposure import Exposure
from mdtool.jobs.evals.ground_truth.clips import Clip
from mdtool.jobs.evals.redaction import evaluate_redaction
from mdtool.jobs.redact.effect import Redaction
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.tracking.sampling import Sampling

VISIBLE_PARTS = (0, 0.25, 0.5, 0.75, 1)  # limits of the classes in which objects are counted


@dataclass(frozen=True)
class SamplingComparison:
    """One clip redacted with `--sample auto` and with `--sample every`."""

    auto: Exposure
    every: Exposure

    @property
    def exposed_by_auto_only(self) -> list[tuple[int, int]]:
        """The (frame, object) pairs that only automatic sampling leaves exposed, in order."""
        return sorted(self.auto.exposed_object_frames - self.every.exposed_object_frames)

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "clip": self.auto.clip,
            "exposed_by_auto_only": [{"object": number, "frame": frame} for frame, number in self.exposed_by_auto_only],
            "auto": {**self.auto.as_dict(), "seconds": round(self.auto.seconds, 3)},
            "every": {**self.every.as_dict(), "seconds": round(self.every.seconds, 3)},
        }


def compare_sampling(
    clip: Clip, model: VisionModel, *, request: AnalysisRequest, redaction: Redaction
) -> SamplingComparison:
    """Evaluate the redaction of a clip with automatic sampling, and with a model call on every frame.

    Args:
        clip: See `evaluate_redaction`.
        model: Detects the objects.
        request: What to detect; its sampling is replaced.
        redaction: How detections are masked.

    Raises:
        InputError: See `evaluate_redaction`.
    """
    auto, every = (
        evaluate_redaction(clip, model, request=replace(request, sampling=sampling), redaction=redaction)
        for sampling in (Sampling(), Sampling(stride=1))
    )
    return SamplingComparison(auto, every)


def table(rows: Sequence[SamplingComparison]) -> Iterator[str]:
    """Yield the results as lines of Markdown tables: by clip, and by visible part where the ground truth has it.

    Then, if there is any, what only automatic sampling exposes.
    """
    yield (
        "| clip | frames | object-frames | model calls | exposed by every | exposed by auto only "
        "| over-redaction, auto (every) | seconds, auto (every) |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        auto, every = row.auto, row.every
        yield (
            f"| {auto.clip} | {auto.frames} | {auto.object_frames} | {auto.keyframes} | {len(every.exposed)} "
            f"| {len(row.exposed_by_auto_only)} | {auto.over_redaction:.2f}x ({every.over_redaction:.2f}x) "
            f"| {auto.seconds:.1f} ({every.seconds:.1f}) |"
        )
    if any(part < 1 for row in rows for part in row.every.visible_parts.values()):
        yield from _table_by_visible_part([row.every for row in rows])
    for row in rows:
        for number in sorted({number for _, number in row.exposed_by_auto_only}):
            frames = ", ".join(str(frame) for frame, other in row.exposed_by_auto_only if other == number)
            yield f"{row.auto.clip}: only auto leaves object {number} exposed on frames {frames}"


def _table_by_visible_part(exposures: Sequence[Exposure]) -> Iterator[str]:
    yield ""
    yield "| visible part | object-frames | exposed by every |"
    yield "|---|---|---|"
    for low, high in pairwise(VISIBLE_PARTS):
        found = [
            object_frame in exposure.exposed_object_frames
            for exposure in exposures
            for object_frame, part in exposure.visible_parts.items()
            if low <= part < high or part == high == 1
        ]
        if found:
            yield f"| {low:.0%} to {high:.0%} | {len(found)} | {sum(found)} ({sum(found) / len(found):.1%}) |"
    yield ""
