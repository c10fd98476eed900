"""What a model says of a picture: the things in it, and replies to questions about all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from engine.contract import UNLIMITED, Answer, Box, EncodedImage, Generation, LanguageModel, ManyPrompts, Model
from mdtool.records.findings import Gazed

LIKELIEST = Generation(temperature=0)


@dataclass(frozen=True)
class Sighted:
    """One object, in fractions of the picture. gaze: where it looks, for a face of which that was asked."""

    box: Box
    gaze: Gazed | None = None


@dataclass(frozen=True)
class Sight:
    """replies: by question; empty where none was asked."""

    objects: Sequence[Sighted] = ()
    replies: Mapping[str, str] = field(default_factory=dict)


# Of some pictures, HxWx3 uint8 RGB upright, what is seen on each. Raises EngineError where the model fails.
See = Callable[[Sequence[np.ndarray]], list[Sight]]


def finding(model: Model, prompts: Sequence[str], threshold: float | None = None) -> See:
    """Finds all that the prompts name."""

    def see(images: Sequence[np.ndarray]) -> list[Sight]:
        found = _detected(model, model.encode(images), prompts, threshold)
        return [Sight([Sighted(box) for boxes in of_one for box in boxes]) for of_one in zip(*found, strict=True)]

    return see


def asking(model: Model, prompts: Sequence[str], questions: Sequence[str] = ()) -> See:
    """Finds all that the prompts name, each box under its prompt as asked, and puts the questions to each picture.

    Each picture is encoded once. Replies are the likeliest ones, so the same each time, and come without reasoning,
    which takes many times as long.
    """

    def see(images: Sequence[np.ndarray]) -> list[Sight]:
        encoded = model.encode(images)
        objects: list[list[Sighted]] = [[] for _ in images]
        for prompt, lists in zip(prompts, _detected(model, encoded, prompts, None), strict=True):
            for found, boxes in zip(objects, lists, strict=True):
                found += [Sighted(replace(box, label=prompt)) for box in boxes]
        replies: list[dict[str, str]] = [{} for _ in images]
        for question in questions:
            answers = cast(LanguageModel, model).query(encoded, question, False, generation=LIKELIEST)
            for said, answer in zip(replies, cast(list[Answer], answers), strict=True):
                said[question] = answer.text
        return [Sight(*both) for both in zip(objects, replies, strict=True)]

    return see


def _detected(
    model: Model, encoded: Sequence[EncodedImage], prompts: Sequence[str], threshold: float | None
) -> list[list[list[Box]]]:
    """For each prompt the boxes on each picture."""
    if isinstance(model, ManyPrompts):
        return model.detect_each(encoded, prompts, threshold, UNLIMITED)
    return [model.detect(encoded, prompt, threshold, UNLIMITED) for prompt in prompts]
