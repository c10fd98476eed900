"""Makes of the findings of one input its chapter in a report, with pictures where the input can still be read."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from engine.contract import EngineError
from mdtool.errors import MdtoolError
from mdtool.jobs.report.findings_summary import ExampleCandidate, FindingsSummary
from mdtool.media.image.image_file import pillow
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
EXAMPLE_SIDE, HEAT_SIDE = 480, 720  # pixels of the longer side, at most
QUALITY = 82
KINDS = {"elsewhere": "elsewhere in the picture", "out_of_frame": "out of the picture"}


def build_chapter(source: Input, findings: Path, model: str, verdict: Verdict | None = None) -> Chapter:
    """What a file of findings says of one input. verdict: of a policy on it.

    InputError for what is no findings. An input that can't be read any more gives a chapter without pictures.
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
    """model: empty for the one that the findings name. most: example frames."""
    notes = _notes(summary)
    examples, heat = [], None
    shows, heat_map = _heat_map(summary)
    colours = colours_of([*summary.prompts, *summary.label_statistics])
    try:
        for candidate, picture in _pictures(source, summary.candidates.best(max_examples), summary.sha256):
            examples.append(_example(candidate, picture, summary.still, colours))
            if heat is None and not summary.still and heat_map and heat_map.grid.any():
                heat = _jpeg(heat_map.blend_onto(_scaled(picture, HEAT_SIDE)))
    except (MdtoolError, EngineError, MemoryError) as error:
        reason = str(error) or "needs more memory than there is"
        notes.append(f"There are no pictures, for the input can't be read any more: {reason}.")
    else:
        if summary.label_statistics and max_examples and not examples:
            notes.append("There are no pictures, for the input does not have the frames that the findings are of.")
    return Chapter(
        source=source.name,
        model=model or summary.model,
        prompts=list(summary.prompts),
        start=summary.start if summary.frames else 0.0,
        duration=None if summary.still or not summary.frames else summary.end - summary.start,
        frames=summary.frames,
        keyframes=summary.keyframes,
        notes=notes,
        rows=_rows(summary),
        cuts=summary.cuts,
        examples=examples,
        heat=heat,
        heat_shows=shows,
        counts={one.name: len(one.tracks) for one in summary.label_statistics.values()},
        attention=_attention(summary),
    )


def _heat_map(summary: FindingsSummary) -> tuple[Literal["things", "looks"], HeatMap | None]:
    """Where people look if that is known, else where things are."""
    if summary.gaze_heatmap and summary.gaze_heatmap.grid.any():
        return "looks", summary.gaze_heatmap
    return "things", summary.heat


def _notes(summary: FindingsSummary) -> list[str]:
    notes = []
    if not summary.frames:
        notes.append("The findings say nothing of this input.")
    if summary.unjudged:
        them = "1 frame" if summary.unjudged == 1 else f"{summary.unjudged:,} frames"
        notes.append(f"{them} could not be judged.")
    if summary.from_head_pose:
        notes.append("Gazes are told by the direction of the head, not by that of the eyes.")
    return notes


def _rows(summary: FindingsSummary) -> list[Row]:
    if summary.verdict:
        return [Row(one.rule.name, one.hit, None, one.frames, one.spans, one.area) for one in summary.verdict.rulings]
    found = [
        Row(one.name, None, len(one.tracks), one.frames, [(start, end) for start, end in one.spans], one.largest)
        for one in summary.label_statistics.values()
    ]
    return found + [Row(prompt, None, 0) for prompt in summary.missing_prompts()]


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


def _pictures(
    source: Input, candidates: list[ExampleCandidate], sha256: str
) -> Iterator[tuple[ExampleCandidate, np.ndarray]]:
    """None if the source is not what the findings are of. sha256: of that, if it is known."""
    by_info = {candidate.info: candidate for candidate in candidates}
    if by_info and (not sha256 or content_digest(source) in ("", sha256)):
        for info, picture in grab_frames(source, list(by_info)):
            yield by_info[info], picture


def _example(candidate: ExampleCandidate, picture: np.ndarray, still: bool, colours: Mapping[str, Colour]) -> Example:
    """Where people look somewhere, it is drawn as `mdtool gaze` draws it: with the numbers that the tables have."""
    things = [region for region in candidate.regions if not region.gaze]
    people = who_looks_at([gaze_of(region) for region in candidate.regions if region.gaze], things)
    drawn = _scaled(picture, EXAMPLE_SIDE).copy()
    if people:
        draw_gaze(drawn, people, things)
    else:
        drawn = draw(drawn, things, colours)
    return Example(_jpeg(drawn), candidate.labels, None if still else candidate.info.time)


def _scaled(picture: np.ndarray, side: int) -> np.ndarray:
    """Not larger than `side`."""
    height, width = picture.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _jpeg(picture: np.ndarray) -> EmbeddedImage:
    file = io.BytesIO()
    pillow().fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)  # thin lines keep their colours
    return EmbeddedImage(file.getvalue())
