"""What a model says of a picture: the things in it, and replies to questions about all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.contract import UNLIMITED, Box, Model
from mdtool.findings import Gazed


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
        encoded = model.encode(images)
        found = [model.detect(encoded, prompt, threshold, UNLIMITED) for prompt in prompts]
        return [Sight([Sighted(box) for boxes in of_one for box in boxes]) for of_one in zip(*found, strict=True)]

    return see
