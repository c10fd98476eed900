"""Run a vision model on images: detected objects, and replies to questions about the whole image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.contract import UNLIMITED, Box, Generation
from engine.generation.verbs import VisionModel
from recipes.regions import GazeEstimate, Region

GREEDY = Generation(temperature=0)


@dataclass(frozen=True)
class ImageFindings:
    """The findings on one image.

    Attributes:
        regions: Detected objects in fractions of the image, without track numbers.
        replies: Replies by question; empty without questions.
    """

    regions: Sequence[Region] = ()
    replies: Mapping[str, str] = field(default_factory=dict)


# A batch of upright RGB images (HxWx3, uint8) -> the findings on each. Raises EngineError where the model fails.
Detector = Callable[[Sequence[np.ndarray]], list[ImageFindings]]


def object_detector(model: VisionModel, prompts: Sequence[str], threshold: float | None = None) -> Detector:
    """Return a detector of the objects that the prompts name.

    Args:
        model: The vision model.
        prompts: Names of objects; each box is labelled as the model returns it.
        threshold: Least score of a detection, 0..1; None for the model's own.
    """

    def detect(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        found = model.detect_each(model.encode(images), prompts, threshold, UNLIMITED)
        return [
            ImageFindings([region(box, box.label) for boxes in per_image for box in boxes])
            for per_image in zip(*found, strict=True)
        ]

    return detect


def detector_with_questions(model: VisionModel, prompts: Sequence[str], questions: Sequence[str] = ()) -> Detector:
    """Return a detector of the objects that the prompts name, which also answers questions about each image.

    Each image is encoded once. Replies are decoded greedily, so they are reproducible, and without reasoning, which
    takes many times as long.

    Args:
        model: The vision model.
        prompts: Names of objects; each box is labelled with its prompt, unchanged.
        questions: Questions about the whole image.
    """

    def detect(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        encoded = model.encode(images)
        regions: list[list[Region]] = [[] for _ in images]
        for prompt, per_image in zip(prompts, model.detect_each(encoded, prompts, None, UNLIMITED), strict=True):
            for found, boxes in zip(regions, per_image, strict=True):
                found += [region(box, prompt) for box in boxes]
        replies: list[dict[str, str]] = [{} for _ in images]
        for question in questions:
            answers = model.query(encoded, question, False, generation=GREEDY)
            for reply, answer in zip(replies, answers, strict=True):
                reply[question] = answer.text
        return [ImageFindings(*pair) for pair in zip(regions, replies, strict=True)]

    return detect


def region(box: Box, label: str, gaze: GazeEstimate | None = None) -> Region:
    """Return a box of the model as a region with this label and gaze."""
    return Region(box.x_min, box.y_min, box.x_max, box.y_max, label, score=box.score, gaze=gaze)
