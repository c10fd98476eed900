"""What a model finds in pictures: the objects in each, and replies to questions about all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.contract import UNLIMITED, Box, Generation
from engine.generation.verbs import VisionModel
from recipes.regions import GazeEstimate, Region

GREEDY = Generation(temperature=0)


@dataclass(frozen=True)
class ImageFindings:
    """regions: in fractions of the picture, not tracked yet. replies: by question; empty where none was asked."""

    regions: Sequence[Region] = ()
    replies: Mapping[str, str] = field(default_factory=dict)


# Of some pictures, HxWx3 uint8 RGB upright, what is found in each. Raises EngineError where the model fails.
Detector = Callable[[Sequence[np.ndarray]], list[ImageFindings]]


def object_detector(model: VisionModel, prompts: Sequence[str], threshold: float | None = None) -> Detector:
    """Finds all that the prompts name."""

    def detect(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        found = model.detect_each(model.encode(images), prompts, threshold, UNLIMITED)
        return [
            ImageFindings([region(box, box.label) for boxes in of_one for box in boxes])
            for of_one in zip(*found, strict=True)
        ]

    return detect


def detector_with_questions(model: VisionModel, prompts: Sequence[str], questions: Sequence[str] = ()) -> Detector:
    """Finds all that the prompts name, each box under its prompt as asked, and puts the questions to each picture.

    Each picture is encoded once. Replies are the likeliest ones, so the same each time, and come without reasoning,
    which takes many times as long.
    """

    def detect(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        encoded = model.encode(images)
        regions: list[list[Region]] = [[] for _ in images]
        for prompt, lists in zip(prompts, model.detect_each(encoded, prompts, None, UNLIMITED), strict=True):
            for found, boxes in zip(regions, lists, strict=True):
                found += [region(box, prompt) for box in boxes]
        replies: list[dict[str, str]] = [{} for _ in images]
        for question in questions:
            answers = model.query(encoded, question, False, generation=GREEDY)
            for reply, answer in zip(replies, answers, strict=True):
                reply[question] = answer.text
        return [ImageFindings(*both) for both in zip(regions, replies, strict=True)]

    return detect


def region(box: Box, label: str, gaze: GazeEstimate | None = None) -> Region:
    """Return the model's box as a region of the picture."""
    return Region(box.x_min, box.y_min, box.x_max, box.y_max, label, score=box.score, gaze=gaze)
