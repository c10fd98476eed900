"""Measures how far a quantised model agrees with the same model unquantised, on any images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.contract import Answer, Box, CaptionRequest, DetectRequest, Done, Failed, Generation, ObjectList
from engine.generation.verbs import VisionModel
from mdtool.errors import MdtoolError
from mdtool.model_selection import ComputeConfig, LoadCallbacks, load_language_model
from recipes.boxes import iou, match

SAME_BOX = 0.5  # intersection over union from which two boxes match
GREEDY = Generation(temperature=0)
KV_INT8 = "kv-int8"  # the KV cache in int8, and the weights as they are


@dataclass(frozen=True)
class Agreement:
    """Agreement of a quantised model with the unquantised one; shares are 0..1.

    Attributes:
        quantize: The quantisation.
        captions: Share of captions that are identical.
        words: Mean share of a caption before the first word that differs.
        boxes: Share of boxes that both detect, among those that either detects; None without boxes.
        overlap: Mean intersection over union of the boxes that both detect; None without such boxes.
        asked: Number of captions.
        found: Number of boxes that either detects.
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
    """Compare the unquantised model with each quantisation; one model is in memory at a time.

    Args:
        name: The model.
        kinds: Quantizations, as for `--quantize`, or KV_INT8.
        images: HxWx3 uint8 RGB; each is captioned, and each prompt is detected in it.
        prompts: What to detect.
        computing: How the models compute; its `quantize` is not used.
        callbacks: Receive messages and progress of loading.

    Raises:
        ModelNotFound: A model can't be loaded.
        MdtoolError: A request failed.
    """

    def answers(kind: str) -> tuple[list[str], list[np.ndarray]]:
        changed = replace(computing, kv="int8") if kind == KV_INT8 else replace(computing, quantize=kind)
        return _answers(load_language_model(name, changed, callbacks), images, prompts)

    captions, boxes = answers("none")
    for kind in kinds:
        other_captions, other_boxes = answers(kind)
        words = [_common_prefix(a.split(), b.split()) for a, b in zip(captions, other_captions, strict=True)]
        matched, found = [], 0  # overlaps of matching boxes; number of boxes
        for a, b in zip(boxes, other_boxes, strict=True):
            overlaps, pairs = iou(a, b), match(a, b, SAME_BOX)
            matched += [float(overlaps[pair]) for pair in pairs]
            found += len(a) + len(b) - len(pairs)
        yield Agreement(
            kind,
            sum(a == b for a, b in zip(captions, other_captions, strict=True)) / len(captions),
            sum(words) / len(words),
            len(matched) / found if found else None,
            sum(matched) / len(matched) if matched else None,
            len(captions),
            found,
        )


def table(agreements: Iterable[Agreement]) -> Iterator[str]:
    """Yield the agreements as lines of a Markdown table."""
    yield "| quantised to | identical captions | common prefix | boxes in both | their overlap (IoU) | among |"
    yield "|---|---|---|---|---|---|"
    for row in agreements:
        boxes, overlap = ("" if share is None else f"{share:.1%}" for share in (row.boxes, row.overlap))
        total = f"{row.asked} captions, {row.found} boxes"
        yield f"| {row.quantize} | {row.captions:.1%} | {row.words:.1%} | {boxes} | {overlap} | {total} |"


def _answers(
    model: VisionModel, images: Sequence[np.ndarray], prompts: Sequence[str]
) -> tuple[list[str], list[np.ndarray]]:
    """Return the captions, and the boxes of each image and prompt, (boxes, 4) as x_min, y_min, x_max, y_max, 0..1."""

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
    ordered = [results[index] for index in range(len(results))]
    found = [[b for b in result.items if isinstance(b, Box)] for result in ordered if isinstance(result, ObjectList)]
    boxes = [np.array([[b.x_min, b.y_min, b.x_max, b.y_max] for b in items]).reshape(-1, 4) for items in found]
    return [result.text for result in ordered if isinstance(result, Answer)], boxes


def _common_prefix(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the length of the common prefix, as a share of the longer text."""
    length = next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return length / max(len(a), len(b), 1)
