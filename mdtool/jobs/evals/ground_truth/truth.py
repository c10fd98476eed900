"""The true boxes of a clip, whatever format they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.contract import normalize_prompt
from mdtool.errors import InputError

MAX_COORDINATE = 1e6


@dataclass(frozen=True)
class TrueObject:
    """An object on one frame.

    Attributes:
        number: The object's number, the same on all frames.
        box: x_min, y_min, x_max, y_max in pixels of the displayed frame; it may reach beyond the frame.
        label: What it is; None: it is to be hidden whatever the prompts.
        visible: The part of it that nothing occludes, 0..1.
        attributes: What else is known, such as its pose, by name.
        ignored: It neither has to be hidden, nor counts as other area if it is.
    """

    number: int
    box: tuple[float, float, float, float]
    label: str | None = None
    visible: float = 1.0
    attributes: Mapping[str, str] = field(default_factory=dict)
    ignored: bool = False


@dataclass(frozen=True)
class TrueFrame:
    """The objects on one frame; `time` is its timestamp in seconds, None if the format has none."""

    objects: tuple[TrueObject, ...] = ()
    time: float | None = None


@dataclass(frozen=True)
class GroundTruth:
    """The true boxes of a clip.

    Attributes:
        path: The file they come from.
        frames: The frames of the clip, in order.
        complete: Whether these are all of its frames; else there is nothing on later ones.
        size: Width and height in pixels of the frames that the boxes were drawn on; None: it is not stated.
    """

    path: Path
    frames: tuple[TrueFrame, ...]
    complete: bool = True
    size: tuple[int, int] | None = None

    def of_prompts(self, prompts: Sequence[str]) -> "GroundTruth":
        """Return the ground truth without the objects whose label is not one of the prompts.

        Raises:
            InputError: Objects have labels, and none is a prompt.
        """
        wanted = {normalize_prompt(prompt) for prompt in prompts}
        labels = {
            normalize_prompt(one.label) for frame in self.frames for one in frame.objects if one.label is not None
        }
        if labels and not labels & wanted:
            raise InputError(
                f"{self.path}: has no box of {' or '.join(sorted(wanted))}, only of {', '.join(sorted(labels))}"
            )
        frames = (
            replace(
                frame,
                objects=tuple(
                    one for one in frame.objects if one.label is None or normalize_prompt(one.label) in wanted
                ),
            )
            for frame in self.frames
        )
        return replace(self, frames=tuple(frames))


def checked_part(value: float) -> float:
    """Return a part of something, 0..1. Raises ValueError for another number."""
    if not 0 <= value <= 1:
        raise ValueError(f"the visible part can't be {value}")
    return value


def checked_box(x_min: float, y_min: float, x_max: float, y_max: float) -> tuple[float, float, float, float]:
    """Return the sides of a box.

    Raises:
        ValueError: They are those of no box: not finite, empty, or too large.
    """
    if not (-MAX_COORDINATE < x_min < x_max < MAX_COORDINATE and -MAX_COORDINATE < y_min < y_max < MAX_COORDINATE):
        raise ValueError(f"a box can't be {[x_min, y_min, x_max, y_max]}")
    return x_min, y_min, x_max, y_max


def stated_size(width: str | None, height: str | None) -> tuple[int, int] | None:
    """Return the width and height that a file states in pixels; None where it states none, or 0 for not known.

    Raises:
        ValueError: One is no whole number.
    """
    size = int(width or 0), int(height or 0)
    return size if min(size) > 0 else None
