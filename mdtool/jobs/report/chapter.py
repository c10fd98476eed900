"""Makes of the findings of one input its chapter in a report, with pictures where the input can still be read."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from engine.contract import EngineError
from mdtool.errors import MdtoolError
from mdtool.jobs.report.gather import Candidate, Gathered
from mdtool.media.image.image_file import pillow
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.media.video.frame_grabber import pictures_at
from mdtool.pipeline.findings_file import records
from mdtool.report.contents import Attention, Chapter, Example, Picture, Row
from recipes.draw import colours_of, draw
from recipes.gaze import gaze_of, who_looks_at
from recipes.gaze_draw import draw_gaze
from recipes.heatmap import HeatMap
from recipes.text_labels import Colour
from recipes.verdict import Verdict

MOST_EXAMPLES = 12
EXAMPLE_SIDE, HEAT_SIDE = 480, 720  # pixels of the longer side, at most
QUALITY = 82
KINDS = {"elsewhere": "elsewhere in the picture", "out_of_frame": "out of the picture"}


def chapter(source: Input, findings: Path, model: str, verdict: Verdict | None = None) -> Chapter:
    """What a file of findings says of one input. verdict: of a policy on it.

    InputError for what is no findings. An input that can't be read any more gives a chapter without pictures.
    """
    gathered = Gathered(verdict)
    for record in records(findings):
        if record.source == source.name:
            gathered.add(record)
    gathered.finish()
    return chapter_of(source, gathered, model)


def chapter_of(source: Input, gathered: Gathered, model: str = "", most: int = MOST_EXAMPLES) -> Chapter:
    """model: empty for the one that the findings name. most: example frames."""
    notes = _notes(gathered)
    examples, heat = [], None
    shows, heat_map = _heat_map(gathered)
    colours = colours_of([*gathered.prompts, *gathered.presences])
    try:
        for candidate, picture in _pictures(source, gathered.candidates.best(most), gathered.sha256):
            examples.append(_example(candidate, picture, gathered.still, colours))
            if heat is None and not gathered.still and heat_map and heat_map.grid.any():
                heat = _jpeg(heat_map.over(_scaled(picture, HEAT_SIDE)))
    except (MdtoolError, EngineError, MemoryError) as error:
        reason = str(error) or "needs more memory than there is"
        notes.append(f"There are no pictures, for the input can't be read any more: {reason}.")
    else:
        if gathered.presences and most and not examples:
            notes.append("There are no pictures, for the input does not have the frames that the findings are of.")
    return Chapter(
        source=source.name,
        model=model or gathered.model,
        prompts=list(gathered.prompts),
        start=gathered.start if gathered.frames else 0.0,
        duration=None if gathered.still or not gathered.frames else gathered.end - gathered.start,
        frames=gathered.frames,
        looks=gathered.looks,
        notes=notes,
        rows=_rows(gathered),
        cuts=gathered.cuts,
        examples=examples,
        heat=heat,
        heat_shows=shows,
        counts={one.name: len(one.tracks) for one in gathered.presences.values()},
        attention=_attention(gathered),
    )


def _heat_map(gathered: Gathered) -> tuple[Literal["things", "looks"], HeatMap | None]:
    """Where people look if that is known, else where things are."""
    if gathered.looked_at and gathered.looked_at.grid.any():
        return "looks", gathered.looked_at
    return "things", gathered.heat


def _notes(gathered: Gathered) -> list[str]:
    notes = []
    if not gathered.frames:
        notes.append("The findings say nothing of this input.")
    if gathered.unjudged:
        them = "1 frame" if gathered.unjudged == 1 else f"{gathered.unjudged:,} frames"
        notes.append(f"{them} could not be judged.")
    if gathered.by_head:
        notes.append("Gazes are told by the direction of the head, not by that of the eyes.")
    return notes


def _rows(gathered: Gathered) -> list[Row]:
    if gathered.verdict:
        return [Row(one.rule.name, one.hit, None, one.frames, one.spans, one.area) for one in gathered.verdict.rulings]
    found = [
        Row(one.name, None, len(one.tracks), one.frames, [(start, end) for start, end in one.spans], one.largest)
        for one in gathered.presences.values()
    ]
    return found + [Row(prompt, None, 0) for prompt in gathered.missing()]


def _attention(gathered: Gathered) -> list[Attention]:
    several = len(gathered.attention) > 1
    return [
        Attention(
            f"person {person['track']}" + (f" in stream {stream}" if several else ""),
            {_target(target): target["seconds"] for target in person["targets"]},
        )
        for stream, attention in gathered.attention.items()
        for person in attention.as_dict()["people"]
    ]


def _target(target: dict[str, object]) -> str:
    if target["kind"] == "person":
        return f"person {target['person']}"
    return str(target["label"]) if target["kind"] == "target" else KINDS[str(target["kind"])]


def _pictures(source: Input, candidates: list[Candidate], sha256: str) -> Iterator[tuple[Candidate, np.ndarray]]:
    """None if the source is not what the findings are of. sha256: of that, if it is known."""
    by_moment = {candidate.moment: candidate for candidate in candidates}
    if by_moment and (not sha256 or content_digest(source) in ("", sha256)):
        for moment, picture in pictures_at(source, list(by_moment)):
            yield by_moment[moment], picture


def _example(candidate: Candidate, picture: np.ndarray, still: bool, colours: Mapping[str, Colour]) -> Example:
    """Where people look somewhere, it is drawn as `mdtool gaze` draws it: with the numbers that the tables have."""
    things = [region for region in candidate.regions if not region.gaze]
    people = who_looks_at([gaze_of(region) for region in candidate.regions if region.gaze], things)
    drawn = _scaled(picture, EXAMPLE_SIDE).copy()
    if people:
        draw_gaze(drawn, people, things)
    else:
        drawn = draw(drawn, things, colours)
    return Example(_jpeg(drawn), candidate.labels, None if still else candidate.moment.time)


def _scaled(picture: np.ndarray, side: int) -> np.ndarray:
    """Not larger than `side`."""
    height, width = picture.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _jpeg(picture: np.ndarray) -> Picture:
    file = io.BytesIO()
    pillow().fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)  # thin lines keep their colours
    return Picture(file.getvalue())
