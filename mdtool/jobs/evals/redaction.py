"""How well a redaction covers what a ground truth says is there, and how much else."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract import normalize_prompt
from engine.generation.verbs import VisionModel
from mdtool.errors import InputError
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.canvas import rgba_canvas
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.annotate import AnalysisRequest, annotate
from mdtool.pipeline.stages import Stopwatch
from mdtool.tracking.detector import object_detector
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

TIME_TOLERANCE = 0.02  # seconds
MAX_COORDINATE = 1e6
EXPOSED_FRACTION = 0.05  # part of an object's box; above it the object counts as exposed on that frame


@dataclass
class Exposure:
    """What a redaction left open. Areas are in pixels of the displayed picture, summed over all frames.

    exposed: (object, frame, part of its box that is bare) where that is above EXPOSED_FRACTION; longest:
    milliseconds for which
    one object was exposed without a break.
    """

    clip: str
    frames: int = 0
    keyframes: int = 0
    object_frames: int = 0
    area: int = 0
    bare: int = 0
    extra_area: int = 0
    exposed: list[tuple[int, int, float]] = field(default_factory=list)
    longest_ms: float = 0.0

    @property
    def leak(self) -> float:
        """Part of the ground-truth area that is not covered."""
        return self.bare / self.area if self.area else 0.0

    @property
    def over_redaction(self) -> float:
        """Covered area outside of the ground truth, in units of the ground truth's area."""
        return self.extra_area / self.area if self.area else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "clip": self.clip,
            "frames": self.frames,
            "looks": self.keyframes,
            "looks_share": round(self.keyframes / max(1, self.frames), 4),
            "leak": round(self.leak, 6),
            "object_frames": self.object_frames,
            "exposed": [{"object": o, "frame": f, "bare": round(part, 4)} for o, f, part in self.exposed],
            "longest_exposure_ms": round(self.longest_ms, 1),
            "over_redaction": round(self.over_redaction, 4),
        }


def evaluate_redaction(
    clip: Path, truth: Path, model: VisionModel, *, request: AnalysisRequest, redaction: Redaction
) -> Exposure:
    """Redacts the clip, without writing it, and compares what is painted with the boxes of the truth.

    truth: JSON with "frames", one a frame of the clip: "index", "time" in seconds, and "boxes" with "id" and "xyxy" in
    pixels of the displayed picture. A box may have a "label", and is to be hidden only if that is one of the prompts.
    InputError where it is not that, or not of this clip, or where there are labels and none is a prompt.
    """
    wanted = _boxes_of_prompts(_read_truth(truth), request.prompts, truth)
    exposure = Exposure(clip.name)
    detect = object_detector(model, request.prompts, request.threshold)
    since: dict[int, float] = {}
    end = 0.0
    try:
        with VideoReader(clip) as reader:
            for annotated in annotate(reader, detect, request, reader.rate, clock=Stopwatch()):
                if isinstance(annotated, AnnotatedFrame) and annotated.frame.stream == reader.videos[0].index:
                    if exposure.frames >= len(wanted):
                        raise InputError(f"has more frames than {truth}")
                    if abs(wanted[exposure.frames]["time"] - annotated.frame.time) > TIME_TOLERANCE:
                        raise InputError(f"its frame {exposure.frames} is at another time than in {truth}")
                    _compare(annotated, wanted[exposure.frames], redaction, exposure=exposure, since=since)
                    end = annotated.frame.time + 1 / reader.rate(annotated.frame.stream)
    except InputError as error:
        raise InputError(f"{clip}: {error}") from error
    exposure.longest_ms = max([exposure.longest_ms, *(1000 * (end - begin) for begin in since.values())])
    if exposure.frames != len(wanted):
        raise InputError(f"{truth}: has {len(wanted)} frames, {clip} has {exposure.frames}")
    return exposure


def _compare(
    annotated: AnnotatedFrame,
    truth: dict[str, Any],
    redaction: Redaction,
    *,
    exposure: Exposure,
    since: dict[int, float],
) -> None:
    width, height = annotated.frame.display_size
    painted = np.zeros((height, width, 4), np.uint8)
    redaction.paint(rgba_canvas(painted), annotated.info, annotated.findings)
    painted = painted[:, :, 3]
    covered = painted > 0
    true = np.zeros_like(covered)
    exposed_now = set()
    for box in truth["boxes"]:
        x0, y0, x1, y1 = (max(0, round(side)) for side in box["xyxy"])
        true[y0:y1, x0:x1] = True
        inside = covered[y0:y1, x0:x1]
        if not inside.size:
            continue
        bare = int(inside.size - inside.sum())
        exposure.object_frames += 1
        exposure.area += inside.size
        exposure.bare += bare
        if bare > EXPOSED_FRACTION * inside.size:
            exposure.exposed.append((box["id"], annotated.frame.index, bare / inside.size))
            exposed_now.add(box["id"])
    for known in set(since) - exposed_now:
        exposure.longest_ms = max(exposure.longest_ms, 1000 * (annotated.frame.time - since.pop(known)))
    for one in exposed_now:
        since.setdefault(one, annotated.frame.time)
    exposure.extra_area += int((covered & ~true).sum())
    exposure.frames += 1
    exposure.keyframes += annotated.findings.analysed


def _read_truth(path: Path) -> list[dict[str, Any]]:
    try:
        frames: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["frames"]
        for frame in frames:
            frame["time"] = float(frame["time"])
            for box in frame["boxes"]:
                x0, y0, x1, y1 = (float(side) for side in box["xyxy"])
                if not (x0 < x1 < MAX_COORDINATE and y0 < y1 < MAX_COORDINATE):
                    raise ValueError(f"a box can't be {box['xyxy']}")
                int(box["id"])
                normalize_prompt(box.get("label", ""))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {(error.strerror or '').lower()}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: is no ground truth ({type(error).__name__}: {error})") from error
    return frames


def _boxes_of_prompts(frames: list[dict[str, Any]], prompts: Sequence[str], path: Path) -> list[dict[str, Any]]:
    """The frames with those boxes alone that have a prompt as their label, or no label."""
    wanted_labels = {normalize_prompt(prompt) for prompt in prompts}
    labels = {normalize_prompt(box["label"]) for frame in frames for box in frame["boxes"] if "label" in box}
    if labels and not labels & wanted_labels:
        raise InputError(
            f"{path}: has no box of {' or '.join(sorted(wanted_labels))}, only of {', '.join(sorted(labels))}"
        )
    return [
        {
            **frame,
            "boxes": [
                box for box in frame["boxes"] if "label" not in box or normalize_prompt(box["label"]) in wanted_labels
            ],
        }
        for frame in frames
    ]


def table(rows: list[Exposure]) -> Iterator[str]:
    """Lines of a table in Markdown."""
    yield "| clip | frames seen by the model | leak | object-frames exposed | longest exposure | over-redaction |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row.clip} | {row.keyframes} of {row.frames} ({row.keyframes / max(1, row.frames):.1%}) "
            f"| {row.leak:.3%} | {len(row.exposed)} of {row.object_frames} "
            f"| {row.longest_ms:.0f} ms | {row.over_redaction:.2f}x |"
        )
