"""What a model says of a picture: the things in it, and replies to questions about all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.contract import UNLIMITED, Box, Generation
from engine.generation.verbs import VisionModel
from mdtool.records.findings import Gazed

LIKELIEST = Generation(temperature=0)


@dataclass(frozen=True)
class Sighted:
    """One object, in fractions of the picture. gaze: where it looks, for a face of which that was asked."""

    box: Box
    gaze: Gazed | None = None


@dataclass(frozen=True)
class ImageFindings:
    """replies: by question; empty where none was asked."""

    objects: Sequence[Sighted] = ()
    replies: Mapping[str, str] = field(default_factory=dict)


# Of some pictures, HxWx3 uint8 RGB upright, what is seen on each. Raises EngineError where the model fails.
Detector = Callable[[Sequence[np.ndarray]], list[ImageFindings]]


def object_detector(model: VisionModel, prompts: Sequence[str], threshold: float | None = None) -> Detector:
    """Finds all that the prompts name."""

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        found = model.detect_each(model.encode(images), prompts, threshold, UNLIMITED)
        return [
            ImageFindings([Sighted(box) for boxes in of_one for box in boxes]) for of_one in zip(*found, strict=True)
        ]

    return see


def detector_with_questions(model: VisionModel, prompts: Sequence[str], questions: Sequence[str] = ()) -> Detector:
    """Finds all that the prompts name, each box under its prompt as asked, and puts the questions to each picture.

    Each picture is encoded once. Replies are the likeliest ones, so the same each time, and come without reasoning,
    which takes many times as long.
    """

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        encoded = model.encode(images)
        objects: list[list[Sighted]] = [[] for _ in images]
        for prompt, lists in zip(prompts, model.detect_each(encoded, prompts, None, UNLIMITED), strict=True):
            for found, boxes in zip(objects, lists, strict=True):
                found += [Sighted(replace(box, label=prompt)) for box in boxes]
        replies: list[dict[str, str]] = [{} for _ in images]
        for question in questions:
            answers = model.query(encoded, question, False, generation=LIKELIEST)
            for said, answer in zip(replies, answers, strict=True):
                said[question] = answer.text
        return [ImageFindings(*both) for both in zip(objects, replies, strict=True)]

    return see
