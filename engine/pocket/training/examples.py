"""Scenes and lessons as the tensors that a training step takes.

A picture's lessons stand behind it in one row, each of which sees the picture and itself (see `Batch.lesson`): the
picture, which is most of the work, is then read once for all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from engine.generation.tokenizer import Tokenizer
from engine.moondream.config import Config
from engine.moondream.preprocess import make_crops
from engine.pocket.draw import Drawing, draw
from engine.pocket.scene import COLOURS, FACE, KINDS, SIGN, Scene, random_scene
from engine.pocket.tasks import (
    CaptionTask,
    DetectTask,
    GazeTask,
    Place,
    PointTask,
    QueryTask,
    SceneLayout,
    Task,
    training_tasks,
)
from engine.resize import Resize, resizer

MAX_POSITIONS = 160  # positions for the lessons of a picture
COORDINATE_NOISE = 0.003  # what is read back of a coordinate is so far off, as what the model finds itself will be
SIZES_OFF = 4  # times as far, as a share of the size
SAMPLES = 4  # a side, within a patch of the grid: how its owner is told
LEAST_SAMPLES = 2

_COLOURS = list(COLOURS)


@dataclass
class Batch:
    """B pictures with C crops in all, R = MAX_POSITIONS positions behind each picture, P patches in a grid.

    pixels: (C, S, S, 3) uint8, a picture's crops one after the other; tilings: of each picture.
    tokens: (B, R) ids; values: (B, R, 2), kinds: (B, R) what a position is: a token, a coordinate or a size.
    lesson: (B, R) from 1 on, 0 where there is nothing; position: (B, R) from 0 in each lesson.
    weight: (B, R) of what is told there, so that a short answer does not drown among long captions.
    next_token: (B, R) ids, or -1; next_coordinate: (B, R), or -1; next_size: (B, R, 2), or -1.
    patch_kind, patch_colour: (B, P) 0 for none; patch_box: (B, P, 4) middle and size; patch_look: (B, P, 2) a unit
    vector, or 0, 0; patch_digits: (B, P, 2) 0 for none. What the thing in each patch is.
    """

    pixels: Tensor
    tilings: list[tuple[int, int]]
    tokens: Tensor
    values: Tensor
    kinds: Tensor
    lesson: Tensor
    position: Tensor
    weight: Tensor
    next_token: Tensor
    next_coordinate: Tensor
    next_size: Tensor
    patch_kind: Tensor
    patch_colour: Tensor
    patch_box: Tensor
    patch_look: Tensor
    patch_digits: Tensor

    def to(self, device: str) -> "Batch":
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in tensors.items()}
        return replace(self, **moved)


TOKEN, COORDINATE, SIZE = 0, 1, 2
NONE = -1.0


@dataclass(frozen=True)
class Step:
    """One position of a lesson: what is read there and what must be told there."""

    token: int = 0
    value: Place = (0.0, 0.0)
    kind: int = TOKEN
    next_token: int = -1
    next_coordinate: float = NONE
    next_size: Place = (NONE, NONE)


class Teacher:
    """Makes batches of a model with this config and tokenizer."""

    def __init__(self, config: Config, tokenizer: Tokenizer, resize: Resize | None = None) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.resize = resize or resizer()
        self._known: dict[str, list[int]] = {}

    def batches(self, first: int, size: int) -> Iterator[Batch]:
        """Without end: scenes of the seeds from `first` on, `size` at a time."""
        while True:
            yield self.batch(range(first, first + size))
            first += size

    def batch(self, seeds: Sequence[int]) -> Batch:
        crops, rows, patches = [], [], []
        for seed in seeds:
            scene, rng = random_scene(seed), np.random.default_rng(seed)
            drawing = draw(scene)
            vision = self.config.vision
            crops.append(make_crops(drawing.pixels, vision, vision.max_crops, self.resize))
            lessons = training_tasks(SceneLayout.of(scene, drawing.boxes), rng)
            rows.append(self.row(lessons, rng.normal(0, COORDINATE_NOISE, (MAX_POSITIONS, 2))))
            patches.append(_patches(scene, drawing, vision.grid))
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        columns |= {name: np.stack([patch[name] for patch in patches]) for name in patches[0]}
        tensors: dict[str, Any] = {name: torch.from_numpy(column) for name, column in columns.items()}
        pixels = torch.from_numpy(np.concatenate([one.pixels for one in crops]))
        return Batch(pixels, [one.tiling for one in crops], **tensors)

    def row(self, lessons: Sequence[Task], off: np.ndarray | float = 0.0) -> dict[str, np.ndarray]:
        """As many of the lessons as there is room for. off: (MAX_POSITIONS, 2), how far what is read of a place is
        off."""
        taught: list[tuple[int, int, Step]] = []
        for number, steps in enumerate(map(self.steps, lessons), 1):
            if len(taught) + len(steps) <= MAX_POSITIONS:
                taught += [(number, position, step) for position, step in enumerate(steps)]
        taught += [(0, 0, Step())] * (MAX_POSITIONS - len(taught))
        kinds = np.array([step.kind for *_, step in taught])
        numbers = np.array([number for number, *_ in taught])
        tokens = np.array([step.next_token for *_, step in taught])
        told = np.bincount(numbers[tokens >= 0], minlength=len(taught) + 1)[numbers]
        values = np.array([step.value for *_, step in taught])
        values = np.where(kinds[:, None] == SIZE, values * (1 + SIZES_OFF * off), values + off)
        return {
            "tokens": np.array([step.token for *_, step in taught]),
            "values": values.clip(0, 1).astype(np.float32),
            "kinds": kinds,
            "lesson": numbers,
            "position": np.array([position for _, position, _ in taught]),
            "weight": (np.maximum(told, 1) ** -0.5).astype(np.float32),
            "next_token": tokens,
            "next_coordinate": np.array([step.next_coordinate for *_, step in taught], np.float32),
            "next_size": np.array([step.next_size for *_, step in taught], np.float32),
        }

    def steps(self, lesson: Task) -> list[Step]:
        """The lesson as `engine.moondream.flows` asks it."""
        ids = self.config.tokenizer
        templates = ids.templates
        if isinstance(lesson, CaptionTask):
            assert templates.caption
            return self._text(templates.caption[lesson.length], lesson.answer)
        if isinstance(lesson, QueryTask):
            assert templates.query
            end = templates.query.suffix * 2  # as the flow doubles it
            return self._text([*templates.query.prefix, *self._encode(lesson.question), *end], lesson.answer)
        if isinstance(lesson, GazeTask):
            x, y = lesson.eye
            eye = [Step(value=(place, 0.0), kind=COORDINATE) for place in (x, y)]
            prompt = [*map(Step, self._encode("\n\nPoint:")), *eye, *map(Step, self._encode(" gaze\n\n"))]
            return self._places(prompt, [] if lesson.answer is None else [(lesson.answer, None)], ends=False)
        template = templates.detect if isinstance(lesson, DetectTask) else templates.point
        assert template
        asked = [*template.prefix, *self._encode(f" {lesson.prompt}"), *template.suffix]
        prompt = [Step(token) for token in asked]
        if isinstance(lesson, PointTask):
            return self._places(prompt, [(middle, None) for middle in lesson.answer])
        return self._places(prompt, list(lesson.answer))

    def _encode(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self.tokenizer.encode(text)
        return self._known[text]

    def _text(self, prompt: Sequence[int], answer: str) -> list[Step]:
        said = [*self._encode(answer), self.config.tokenizer.eos_id]
        read = [*prompt, *said[:-1]]
        silent = len(prompt) - 1
        return [Step(token, next_token=-1 if i < silent else said[i - silent]) for i, token in enumerate(read)]

    def _places(
        self, prompt: Sequence[Step], places: Sequence[tuple[Place, Place | None]], ends: bool = True
    ) -> list[Step]:
        """places: middles, with sizes or None. ends: whether an end is told after the last."""
        ids = self.config.tokenizer
        assert ids.coord_id is not None
        steps = list(prompt)
        for (x, y), size in places:
            steps[-1] = replace(steps[-1], next_token=ids.coord_id, next_coordinate=x)
            steps.append(Step(value=(x, 0.0), kind=COORDINATE, next_coordinate=y))
            steps.append(Step(value=(y, 0.0), kind=COORDINATE, next_size=size or (NONE, NONE)))
            if size:
                steps.append(Step(value=size, kind=SIZE))
        if ends or not places:
            steps[-1] = replace(steps[-1], next_token=ids.eos_id)
        return steps


def _patches(scene: Scene, drawing: Drawing, grid: int) -> dict[str, np.ndarray]:
    """What there is in each patch: the thing that covers most of it, if it covers enough."""
    side = grid * SAMPLES
    owners = cv2.resize(drawing.owners, (side, side), interpolation=cv2.INTER_NEAREST)
    squares = owners.reshape(grid, SAMPLES, grid, SAMPLES).transpose(0, 2, 1, 3).reshape(grid * grid, -1)
    counts = np.stack([(squares == i + 1).sum(1) for i in range(len(scene.things))], axis=1)
    owner = np.where(counts.max(1) >= LEAST_SAMPLES, counts.argmax(1) + 1, 0)
    table: dict[str, list] = {"patch_kind": [0], "patch_colour": [0], "patch_box": [(0.0,) * 4]}
    table |= {"patch_look": [(0.0, 0.0)], "patch_digits": [(0, 0)]}
    for thing, (x0, y0, x1, y1) in zip(scene.things, drawing.boxes, strict=True):
        table["patch_kind"].append(1 + KINDS.index(thing.kind))
        table["patch_colour"].append(1 + _COLOURS.index(thing.colour) if thing.colour else 0)
        width, height = scene.width, scene.height
        box = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        table["patch_box"].append(box)
        look = (0.0, 0.0)
        if thing.kind == FACE and thing.looks_at is not None:
            other = scene.things[thing.looks_at]
            towards = np.array([other.x - thing.x, other.y - thing.y])
            look = tuple(towards / np.hypot(*towards))
        table["patch_look"].append(look)
        digits = [1 + int(digit) for digit in thing.digits] if thing.kind == SIGN else []
        table["patch_digits"].append((*digits, 0, 0)[:2])
    kinds = {"patch_kind": np.int64, "patch_colour": np.int64, "patch_digits": np.int64}
    return {name: np.array(rows, kinds.get(name, np.float32))[owner] for name, rows in table.items()}
