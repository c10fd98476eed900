"""One cell of the preview of a redaction: a frame as it would be masked, with boxes and scores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from mdtool.jobs.redact.effect import Redaction
from mdtool.media.canvas import rgba_canvas
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.report.times import format_clock
from recipes.draw import colours_of, draw
from recipes.regions import Region, select_regions
from recipes.text_labels import to_ascii

VISIBLE = (200, 200, 200)  # colour of what is left visible


@dataclass(frozen=True)
class Example:
    """One frame of an input.

    Attributes:
        source: Name of the input.
        stream: Index of the video stream; None if there is only one.
        time: In seconds; None for a still image.
        image: HxWx3 uint8 RGB, as displayed.
        size: (width, height) in pixels before correction of the pixel aspect ratio, to which pixel regions refer.
        findings: What was detected.
        left_out: Objects of recorded findings that the person left out.
    """

    source: str
    stream: int | None
    time: float | None
    image: np.ndarray
    size: tuple[int, int]
    findings: FrameFindings
    left_out: Sequence[Region] = ()


@dataclass(frozen=True)
class Cell:
    """A cell of the preview.

    Attributes:
        example: The frame, with its image masked and shrunk.
        masked: Objects that would be masked.
        visible: Objects that would be left visible.
    """

    example: Example
    masked: list[Region]
    visible: list[Region]

    def caption(self, is_named: bool) -> str:
        """Return its caption; is_named: with the file name."""
        example = self.example
        parts = [to_ascii(os.path.basename(example.source))] if is_named else []
        parts += [] if example.stream is None else [f"stream {example.stream}"]
        parts += [] if example.time is None else [format_clock(example.time)]
        visible = f", {len(self.visible)} visible" if self.visible else ""
        whole = example.findings.hidden
        return "   ".join([*parts, "masked whole: not judged" if whole else f"{len(self.masked)} masked{visible}"])

    def as_dict(self) -> dict[str, Any]:
        """Return its record, for JSON."""
        example = self.example
        return {
            "source": example.source,
            "stream": example.stream or 0,
            "time": None if example.time is None else round(example.time, 3),
            "masked": len(self.masked),
            "visible": len(self.visible),
            "hidden": example.findings.hidden,
        }

    def image(self, side: float) -> np.ndarray:
        """Return the masked frame with boxes, HxWx3 uint8 RGB, `side` pixels on its longer side."""
        masked = [_labelled(region) for region in self.masked]
        visible = [_labelled(region, " visible") for region in self.visible]
        colours = colours_of(region.label for region in self.masked)
        by_label = {new.label: colours[old.label] for new, old in zip(masked, self.masked, strict=True)}
        scaled = _scaled(self.example.image, self.example.image.shape, side)
        return draw(scaled, [*masked, *visible], by_label | {region.label: VISIBLE for region in visible})


def make_cell(example: Example, redaction: Redaction, max_side: int) -> Cell:
    """Return the cell of a frame; nothing is visible on one that is masked whole.

    Args:
        example: The frame.
        redaction: How it would be masked.
        max_side: Pixels on the longer side of its masked image, at most.
    """
    width, height = example.size
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[:, :, :3] = cv2.resize(example.image, example.size, interpolation=cv2.INTER_AREA)
    redaction.paint(rgba_canvas(pixels), FrameInfo(size=example.size), example.findings)
    shape = example.image.shape
    image = _scaled(pixels[:, :, :3], shape, min(max_side, max(shape)))
    regions = example.findings.regions
    if example.findings.hidden:
        return Cell(replace(example, image=image), [], [])
    masked = select_regions(
        regions, *example.size, keep=redaction.keep, only=redaction.only, min_size=redaction.min_size
    )
    chosen = set(map(id, masked))
    visible = [*(region for region in regions if id(region) not in chosen), *example.left_out]
    return Cell(replace(example, image=image), masked, visible)


def _scaled(image: np.ndarray, shape: Sequence[int], side: float) -> np.ndarray:
    """Return an image in the proportions of a shape, (height, width, ...), `side` pixels on its longer side."""
    scale = side / max(shape[:2])
    height, width = (max(1, round(length * scale)) for length in shape[:2])
    method = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method))


def _labelled(region: Region, state: str = "") -> Region:
    """Return a region whose label has its track, if it has one, and its state."""
    track = f" #{region.track}" if region.track else ""
    return replace(region, label=f"{region.label}{track}{state}")
