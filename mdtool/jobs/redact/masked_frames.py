"""What a redaction masked and left visible on purpose, frame by frame, to compare its output with."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

from engine.contract import normalize_prompt
from mdtool.jobs.redact.effect import Redaction
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo
from recipes.boxes import iou
from recipes.redact import Style, redact
from recipes.regions import Region, select_regions

MASK_SIDE = 320  # pixels of the longer side of a mask
MASKED_SHARE = 0.5  # of an object's box: from here on it is in a mask
SAME_IOU = 0.3  # of the boxes of an object in two detections


@dataclass
class MaskedFrames:
    """The findings on the frames of one input, in a temporary file.

    Attributes:
        file: Where they are written.
        span: Start and end in seconds; frames outside are not redacted, so not verified either.
        streams: Indices of the video streams.
    """

    file: TextIO
    span: tuple[float | None, float | None] = (None, None)
    streams: set[int] = field(default_factory=set)
    _outside: dict[int, list[range]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._writer = FindingsWriter(self.file, "output", "", ())

    def add(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Add a frame; they come in the order of their stream."""
        self.streams.add(info.stream)
        start, end = self.span
        if (start is not None and info.time < start) or (end is not None and info.time >= end):
            ranges = self._outside.setdefault(info.stream, [])
            if ranges and ranges[-1].stop == info.frame:
                ranges[-1] = range(ranges[-1].start, info.frame + 1)
            else:
                ranges.append(range(info.frame, info.frame + 1))
        self._writer.write(info, findings)

    def recorded(self) -> RecordedFindings:
        """Return the findings, from the first frame on."""
        self.file.flush()
        return RecordedFindings(self.file, "output", by_name=False)

    def is_outside(self, stream: int, frame: int) -> bool:
        """Return whether a frame is outside of the span."""
        return any(frame in frames for frames in self._outside.get(stream, ()))


def unexpected(
    found: Iterable[Region],
    masked: Iterable[Region],
    left_out: Iterable[Region],
    *,
    redaction: Redaction,
    size: tuple[int, int],
) -> list[tuple[Region, bool]]:
    """Return the objects found on a redacted frame that should not be visible.

    What is left visible on purpose is not among them: objects that the redaction's `keep`, `only` and `min_size` leave
    out, or that were left out of recorded findings. Nor is what lies in a mask that hides all: it is the mask itself.

    Args:
        found: The objects found.
        masked: The objects in the findings of the frame.
        left_out: Objects in recorded findings that a person left out.
        redaction: How detections were masked.
        size: (width, height) of the displayed frame in pixels.

    Returns:
        The objects, and whether each lies in a mask.
    """
    selected = _selected(masked, redaction, size)
    chosen = set(map(id, selected))
    on_purpose = [*left_out, *(region for region in masked if id(region) not in chosen)]
    mask = _mask(selected, redaction.style, size)
    shares = [(region, _share(mask, region)) for region in _selected(found, redaction, size)]
    return [
        (region, share >= MASKED_SHARE)
        for region, share in shares
        if not _is_among(region, on_purpose)
        and not (share >= MASKED_SHARE and redaction.style.name in ("solid", "obfuscate"))
    ]


def _selected(regions: Iterable[Region], redaction: Redaction, size: tuple[int, int]) -> list[Region]:
    return select_regions(regions, *size, keep=redaction.keep, only=redaction.only, min_size=redaction.min_size)


def _mask(regions: list[Region], style: Style, size: tuple[int, int]) -> np.ndarray:
    """Return HxW float: 1 where regions are masked, of a small picture of the frame."""
    scale = min(1.0, MASK_SIDE / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    plane = np.zeros((height, width), np.uint8)
    redact([plane], regions, Style("solid", shape=style.shape, margin=style.margins), [1])
    return plane.astype(np.float32)


def _share(mask: np.ndarray, region: Region) -> float:
    """Return the masked share of the part of a region that lies in the frame."""
    height, width = mask.shape
    x0, x1 = (int(np.clip(side * width, 0, width - 1)) for side in (region.x_min, region.x_max))
    y0, y1 = (int(np.clip(side * height, 0, height - 1)) for side in (region.y_min, region.y_max))
    return float(mask[y0 : y1 + 1, x0 : x1 + 1].mean())


def _is_among(region: Region, others: list[Region]) -> bool:
    """Return whether an object is one of others of its label: their boxes overlap, or its centre lies in another."""
    others = [other for other in others if normalize_prompt(other.label) == normalize_prompt(region.label)]
    if not others:
        return False
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    boxes = np.array([other.sides for other in others])
    centred = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    return bool(centred.any() or iou(np.array([region.sides]), boxes).max() >= SAME_IOU)
