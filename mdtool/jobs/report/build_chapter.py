"""Builds the chapter of one input in a report, with example frames and a heatmap if the input can still be read."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from mdtool.errors import library_faults
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import error_message
from mdtool.jobs.report.findings_summary import ExampleCandidate, FindingsSummary
from mdtool.media.image.pillow import pillow
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.media.video.frame_grabber import grab_frames
from mdtool.pipeline.findings_file import records
from mdtool.report.contents import Attention, Chapter, EmbeddedImage, Example, Row
from recipes.draw import colours_of, draw
from recipes.gaze import gaze_of, who_looks_at
from recipes.gaze_draw import draw_gaze
from recipes.heatmap import HeatMap
from recipes.text_labels import Colour
from recipes.verdict import Verdict

MAX_EXAMPLES = 12
EXAMPLE_SIDE, HEAT_SIDE = 480, 720  # maximum of the longer side, in pixels
QUALITY = 82  # JPEG quality
KINDS = {"elsewhere": "elsewhere in the frame", "out_of_frame": "out of frame"}


def build_chapter(source: Input, findings: Path, model: str, verdict: Verdict | None = None) -> Chapter:
    """Build the chapter of one input from a file of findings; without images if the input can't be read.

    Args:
        source: The input.
        findings: The file of its findings.
        model: Name of the model.
        verdict: Verdict of a policy on the input, if any.

    Raises:
        InputError: The findings can't be read.
    """
    summary = FindingsSummary(verdict)
    for record in records(findings):
        if record.source == source.name:
            summary.add(record)
    summary.finish()
    return chapter_from_summary(source, summary, model)


def chapter_from_summary(
    source: Input, summary: FindingsSummary, model: str = "", max_examples: int = MAX_EXAMPLES
) -> Chapter:
    """Build the chapter of one input.

    Args:
        source: The input.
        summary: Its findings, summarised.
        model: Name of the model; empty: the one in the findings.
        max_examples: Maximum number of example frames.
    """
    notes = _notes(summary)
    examples, heat, input_changed = [], None, False
    shows, heat_map = _heat_map(summary)
    colours = colours_of([*summary.prompts, *summary.label_statistics])
    try:
        with library_faults():
            for candidate, image in _frames(source, summary.candidates.best(max_examples), summary.sha256):
                examples.append(_example(candidate, image, summary.still, colours))
                if heat is None and not summary.still and heat_map and heat_map.grid.any():
                    heat = _jpeg(heat_map.blend_onto(_downscaled(image, HEAT_SIDE)))
    except Exception as error:  # whatever its cause, the report of the others is made
        raise_if_interrupted()
        notes.append(f"No images: the input can't be read any more: {error_message(error)}.")
    else:
        input_changed = bool(summary.label_statistics and max_examples and not examples)
        if input_changed:
            notes.append("No images: the input has changed; it does not have the frames that the findings are of.")
    return Chapter(
        source=source.name,
        model=model or summary.model,
        prompts=list(summary.prompts),
        start=summary.start if summary.frames else 0.0,
        duration=None if summary.still or not summary.frames else summary.end - summary.start,
        frames=summary.frames,
        keyframes=summary.keyframes,
        notes=notes,
        input_changed=input_changed,
        rows=_rows(summary),
        cuts=summary.cuts,
        examples=examples,
        heat=heat,
        heat_shows=shows,
        counts={label.name: len(label.tracks) for label in summary.label_statistics.values()},
        attention=_attention(summary),
    )


def _heat_map(summary: FindingsSummary) -> tuple[Literal["objects", "gaze"], HeatMap | None]:
    """Return the heatmap of gazes if there are any, else that of objects."""
    if summary.gaze_heatmap and summary.gaze_heatmap.grid.any():
        return "gaze", summary.gaze_heatmap
    return "objects", summary.object_heatmap


def _notes(summary: FindingsSummary) -> list[str]:
    notes = []
    if not summary.frames:
        notes.append("The findings have no records of this input.")
    if summary.unjudged:
        frames = "1 frame" if summary.unjudged == 1 else f"{summary.unjudged:,} frames"
        notes.append(f"{frames} could not be judged.")
    if summary.from_head_pose:
        notes.append("Gazes are estimated from the direction of the head, not of the eyes.")
    return notes


def _rows(summary: FindingsSummary) -> list[Row]:
    if summary.verdict:
        return [
            Row(ruling.rule.name, ruling.hit, None, ruling.frames, ruling.spans, ruling.area)
            for ruling in summary.verdict.rulings
        ]
    rows = [
        Row(
            label.name,
            None,
            len(label.tracks),
            label.frames,
            [(start, end) for start, end in label.spans],
            label.largest,
        )
        for label in summary.label_statistics.values()
    ]
    return rows + [Row(prompt, None, 0) for prompt in summary.missing_prompts()]


def _attention(summary: FindingsSummary) -> list[Attention]:
    several = len(summary.attention) > 1
    return [
        Attention(
            f"person {person['track']}" + (f" in stream {stream}" if several else ""),
            {_target(target): target["seconds"] for target in person["targets"]},
        )
        for stream, attention in summary.attention.items()
        for person in attention.as_dict()["people"]
    ]


def _target(target: dict[str, object]) -> str:
    if target["kind"] == "person":
        return f"person {target['person']}"
    return str(target["label"]) if target["kind"] == "target" else KINDS[str(target["kind"])]


def _frames(
    source: Input, candidates: list[ExampleCandidate], sha256: str
) -> Iterator[tuple[ExampleCandidate, np.ndarray]]:
    """Grab the candidates' frames; none if the content differs from `sha256`, that of the findings, if known."""
    by_info = {candidate.info: candidate for candidate in candidates}
    if by_info and (not sha256 or content_digest(source) in ("", sha256)):
        for info, image in grab_frames(source, list(by_info)):
            yield by_info[info], image


def _example(candidate: ExampleCandidate, image: np.ndarray, still: bool, colours: Mapping[str, Colour]) -> Example:
    """Draw an example: gazes as `mdtool gaze` draws them, with the track numbers of the tables, else boxes."""
    objects = [region for region in candidate.regions if not region.gaze]
    people = who_looks_at([gaze_of(region) for region in candidate.regions if region.gaze], objects)
    drawn = _downscaled(image, EXAMPLE_SIDE).copy()
    if people:
        draw_gaze(drawn, people, objects)
    else:
        drawn = draw(drawn, objects, colours)
    return Example(_jpeg(drawn), candidate.labels, None if still else candidate.info.time)


def _downscaled(image: np.ndarray, side: int) -> np.ndarray:
    """Downscale an image whose longer side is larger than `side` pixels."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _jpeg(image: np.ndarray) -> EmbeddedImage:
    file = io.BytesIO()
    pillow().fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=0)  # 4:4:4, for the colours of thin lines
    return EmbeddedImage(file.getvalue())
