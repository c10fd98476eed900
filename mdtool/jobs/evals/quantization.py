"""How far a model in few bits answers as the same model does unquantised, on any pictures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.contract import Answer, Box, CaptionRequest, DetectRequest, Done, Failed, Generation, ObjectList
from engine.generation.verbs import VisionModel
from mdtool.errors import MdtoolError
from mdtool.model_selection import ComputeConfig, LoadCallbacks, load_language_model
from recipes.boxes import iou, match

SAME_BOX = 0.5  # from this intersection over union on
GREEDY = Generation(temperature=0)


@dataclass(frozen=True)
class Agreement:
    """quantize: what is compared with no quantising at all. All but the counts are shares, 0..1, None of nothing.

    captions: that are the same to the letter. words: of a caption, up to where the two part. boxes: that both find, of
    all that either does. overlap: intersection over union of the boxes that both find.
    """

    quantize: str
    captions: float
    words: float
    boxes: float | None
    overlap: float | None
    asked: int
    found: int


def compare_quantized(
    name: str,
    kinds: Sequence[str],
    images: Sequence[np.ndarray],
    prompts: Sequence[str],
    *,
    computing: ComputeConfig,
    callbacks: LoadCallbacks,
) -> Iterator[Agreement]:
    """For each kind. images: HxWx3 uint8 RGB, each captioned and searched for all the prompts.

    One model is in memory at a time. Raises what loading one does, and MdtoolError where one fails on a picture.
    """

    def answers(kind: str) -> tuple[list[str], list[np.ndarray]]:
        return _answers(load_language_model(name, replace(computing, quantize=kind), callbacks), images, prompts)

    captions, boxes = answers("none")
    for kind in kinds:
        other_captions, other_boxes = answers(kind)
        words = [_in_common(a.split(), b.split()) for a, b in zip(captions, other_captions, strict=True)]
        same, found = [], 0
        for a, b in zip(boxes, other_boxes, strict=True):
            overlaps, pairs = iou(a, b), match(a, b, SAME_BOX)
            same += [float(overlaps[pair]) for pair in pairs]
            found += len(a) + len(b) - len(pairs)
        yield Agreement(
            kind,
            sum(a == b for a, b in zip(captions, other_captions, strict=True)) / len(captions),
            sum(words) / len(words),
            len(same) / found if found else None,
            sum(same) / len(same) if same else None,
            len(captions),
            found,
        )


def table(agreements: Iterable[Agreement]) -> Iterator[str]:
    """Lines in Markdown."""
    yield "| quantized to | captions the same | words till they part | boxes that both find | their overlap | of |"
    yield "|---|---|---|---|---|---|"
    for one in agreements:
        boxes, overlap = ("" if share is None else f"{share:.1%}" for share in (one.boxes, one.overlap))
        of = f"{one.asked} captions, {one.found} boxes"
        yield f"| {one.quantize} | {one.captions:.1%} | {one.words:.1%} | {boxes} | {overlap} | {of} |"


def _answers(
    model: VisionModel, images: Sequence[np.ndarray], prompts: Sequence[str]
) -> tuple[list[str], list[np.ndarray]]:
    """Captions, and for each picture and prompt the boxes, (boxes, 4)."""

    def requests() -> Iterator[CaptionRequest | DetectRequest]:
        for image in images:
            [encoded] = model.encode([image])
            yield CaptionRequest(encoded, generation=GREEDY)
            yield from (DetectRequest(encoded, prompt) for prompt in prompts)

    results: dict[int, Any] = {}
    for event in model.run(requests()):
        if isinstance(event, Failed):
            raise MdtoolError(str(event.error))
        if isinstance(event, Done):
            results[event.index] = event.result
    in_order = [results[index] for index in range(len(results))]
    found = [[b for b in result.items if isinstance(b, Box)] for result in in_order if isinstance(result, ObjectList)]
    boxes = [np.array([[b.x_min, b.y_min, b.x_max, b.y_max] for b in items]).reshape(-1, 4) for items in found]
    return [result.text for result in in_order if isinstance(result, Answer)], boxes


def _in_common(a: Sequence[str], b: Sequence[str]) -> float:
    """How much of the longer of two texts is the same in both, from the start on."""
    same = next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return same / max(len(a), len(b), 1)
