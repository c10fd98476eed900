"""Evaluates a redaction against a ground truth: how much of the objects it leaves visible, and what else it masks."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract import normalize_prompt
from engine.generation.verbs import VisionModel
from mdtool.errors import InputError, record_fault
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.canvas import rgba_canvas
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.annotate import AnalysisRequest, annotate
from mdtool.pipeline.stages import Stopwatch
from mdtool.tracking.detector import object_detector
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

TIME_TOLERANCE = 0.02  # seconds
MAX_COORDINATE = 1e6
EXPOSED_FRACTION = 0.05  # visible part of an object's box above which it counts as exposed on that frame


@dataclass
class Exposure:
    """What a redaction left visible. Areas are in pixels of the displayed frame, summed over all frames.

    Attributes:
        clip: Name of the video.
        frames: Number of frames.
        keyframes: Number of frames that the model analysed.
        object_frames: Number of boxes in the ground truth.
        area: Area of the boxes.
        unmasked_area: The part of it that is not masked.
        extra_area: Masked area outside of the boxes.
        exposed: (object, frame, visible part of its box), where that part is above EXPOSED_FRACTION.
        longest_ms: Longest time for which one object was exposed without a break, in milliseconds.
        seconds: Time that decoding, detecting and tracking took.
        visible_parts: (frame, object) -> visible part of the object, 0..1; 1 where the ground truth does not say it.
    """

    clip: str
    frames: int = 0
    keyframes: int = 0
    object_frames: int = 0
    area: int = 0
    unmasked_area: int = 0
    extra_area: int = 0
    exposed: list[tuple[int, int, float]] = field(default_factory=list)
    longest_ms: float = 0.0
    seconds: float = 0.0
    visible_parts: dict[tuple[int, int], float] = field(default_factory=dict)

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
            "leak": round(self.leak, 6),
            "object_frames": self.object_frames,
            "exposed": [{"object": o, "frame": f, "bare": round(part, 4)} for o, f, part in self.exposed],
            "longest_exposure_ms": round(self.longest_ms, 1),
            "over_redaction": round(self.over_redaction, 4),
        }


def evaluate_redaction(
    clip: Path, truth: Path, model: VisionModel, *, request: AnalysisRequest, redaction: Redaction
) -> Exposure:
    """Redact a clip, without writing the output, and compare the mask with the boxes of the ground truth.

    Args:
        clip: Video file.
        truth: JSON file with "frames", one for each frame of the clip: "index", "time" in seconds, and "boxes" with
            "id" and "xyxy" in pixels of the displayed frame. A box may have a "label"; it is then to be hidden only if
            the label is one of the prompts. It may also have "visible", the part of the object that is not occluded.
        model: Detects the objects.
        request: What to detect, and on which frames.
        redaction: How detections are masked.

    Raises:
        InputError: The ground truth can't be read, is of another clip, or has labels of which none is a prompt.
    """
    truth_frames = _boxes_of_prompts(_read_truth(truth), request.prompts, truth)
    exposure, clock = Exposure(clip.name), Stopwatch()
    detect = object_detector(model, request.prompts, request.threshold)
    since: dict[int, float] = {}
    end = 0.0
    try:
        with VideoReader(clip) as reader:
            for annotated in clock.each("annotate", annotate(reader, detect, request, reader.rate, clock=clock)):
                if isinstance(annotated, AnnotatedFrame) and annotated.frame.stream == reader.videos[0].index:
                    if exposure.frames >= len(truth_frames):
                        raise InputError(f"has more frames than {truth}")
                    if abs(truth_frames[exposure.frames]["time"] - annotated.frame.time) > TIME_TOLERANCE:
                        raise InputError(f"frame {exposure.frames} has another timestamp than in {truth}")
                    _compare(annotated, truth_frames[exposure.frames], redaction, exposure=exposure, since=since)
                    end = annotated.frame.time + 1 / reader.rate(annotated.frame.stream)
    except InputError as error:
        raise InputError(f"{clip}: {error}") from error
    exposure.seconds = clock.seconds["annotate"]
    exposure.longest_ms = max([exposure.longest_ms, *(1000 * (end - begin) for begin in since.values())])
    if exposure.frames != len(truth_frames):
        raise InputError(f"{truth}: has {len(truth_frames)} frames, {clip} has {exposure.frames}")
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
    canvas = np.zeros((height, width, 4), np.uint8)
    redaction.paint(rgba_canvas(canvas), annotated.info, annotated.findings)
    masked = canvas[:, :, 3] > 0
    in_box = np.zeros_like(masked)
    exposed_now = set()
    for box in truth["boxes"]:
        x0, y0, x1, y1 = (max(0, round(side)) for side in box["xyxy"])
        in_box[y0:y1, x0:x1] = True
        inside = masked[y0:y1, x0:x1]
        if not inside.size:
            continue
        unmasked = int(inside.size - inside.sum())
        exposure.object_frames += 1
        exposure.visible_parts[annotated.frame.index, box["id"]] = float(box.get("visible", 1))
        exposure.area += inside.size
        exposure.unmasked_area += unmasked
        if unmasked > EXPOSED_FRACTION * inside.size:
            exposure.exposed.append((box["id"], annotated.frame.index, unmasked / inside.size))
            exposed_now.add(box["id"])
    for object_id in set(since) - exposed_now:
        exposure.longest_ms = max(exposure.longest_ms, 1000 * (annotated.frame.time - since.pop(object_id)))
    for object_id in exposed_now:
        since.setdefault(object_id, annotated.frame.time)
    exposure.extra_area += int((masked & ~in_box).sum())
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
                float(box.get("visible", 1))
                normalize_prompt(box.get("label", ""))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {(error.strerror or '').lower()}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a ground truth file ({record_fault(error)})") from error
    return frames


def _boxes_of_prompts(frames: list[dict[str, Any]], prompts: Sequence[str], path: Path) -> list[dict[str, Any]]:
    """Drop the boxes whose label is not one of the prompts."""
    prompt_labels = {normalize_prompt(prompt) for prompt in prompts}
    labels = {normalize_prompt(box["label"]) for frame in frames for box in frame["boxes"] if "label" in box}
    if labels and not labels & prompt_labels:
        raise InputError(
            f"{path}: has no box of {' or '.join(sorted(prompt_labels))}, only of {', '.join(sorted(labels))}"
        )
    return [
        {
            **frame,
            "boxes": [
                box for box in frame["boxes"] if "label" not in box or normalize_prompt(box["label"]) in prompt_labels
            ],
        }
        for frame in frames
    ]


def table(rows: list[Exposure]) -> Iterator[str]:
    """Yield the results as lines of a Markdown table."""
    yield "| clip | keyframes | leak | object-frames exposed | longest exposure | over-redaction |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row.clip} | {row.keyframes} of {row.frames} ({row.keyframes / max(1, row.frames):.1%}) "
            f"| {row.leak:.3%} | {len(row.exposed)} of {row.object_frames} "
            f"| {row.longest_ms:.0f} ms | {row.over_redaction:.2f}x |"
        )
