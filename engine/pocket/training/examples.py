"""Builds training batches from scenes and tasks.

The tasks of an image are packed into one sequence after it; each attends to the image and to itself only (see
`Batch.segment`). The image, which is most of the computation, is then processed once for all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
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
    caption_training_tasks,
    training_tasks,
)
from engine.resize import Resize, resizer

MAX_POSITIONS = 160  # for the tasks of an image
CAPTION_POSITIONS = 192  # the same where two of them are captions
MANY = 5  # objects; for captions fewer are rare
SPARE_SEEDS = 8  # for captions: seeds a scene, the first of which is taken however few objects it has
COORDINATE_NOISE = 0.003  # standard deviation added to input coordinates, as the model's own will be inexact
SIZE_NOISE_FACTOR = 4  # relative noise of input sizes, in multiples of COORDINATE_NOISE
SAMPLES = 4  # points along each side of a patch that decide which object it shows
MIN_SAMPLES = 2  # of these, for an object to count

_COLOURS = list(COLOURS)


@dataclass
class Batch:
    """B images with C crops in total, R positions after each image, P patches in a grid.

    Attributes:
        pixels: (C, S, S, 3) uint8, the crops of all images in order.
        tilings: Rows and columns of windows of each image.
        tokens: Input ids, (B, R).
        values: Input coordinates and sizes, (B, R, 2).
        kinds: Type of input, (B, R): TOKEN, COORDINATE or SIZE.
        segment: Number of the task, (B, R), from 1; 0: padding.
        position: Index within the task, (B, R).
        weight: Of the token loss, (B, R); more for short answers, so that long captions do not dominate.
        next_token: Target ids, (B, R); -1: none.
        next_coordinate: Targets, (B, R); -1: none.
        next_size: Targets, (B, R, 2); -1: none.
        patch_kind: Of the object in each patch, (B, P); 0: none.
        patch_colour: Of the object in each patch, (B, P); 0: none.
        patch_box: Centre and size of the object in each patch, (B, P, 4).
        patch_look: Gaze direction of the face in each patch, (B, P, 2), a unit vector; 0, 0: none.
        patch_digits: Of the sign in each patch, (B, P, 2); 0: none.
    """

    pixels: Tensor
    tilings: list[tuple[int, int]]
    tokens: Tensor
    values: Tensor
    kinds: Tensor
    segment: Tensor
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
        """Return the batch on a device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in tensors.items()}
        return replace(self, **moved)


TOKEN, COORDINATE, SIZE = 0, 1, 2
NONE = -1.0


@dataclass(frozen=True)
class Step:
    """One position of a sequence: its input and its targets; -1: no target."""

    token: int = 0
    value: Place = (0.0, 0.0)
    kind: int = TOKEN
    next_token: int = -1
    next_coordinate: float = NONE
    next_size: Place = (NONE, NONE)


class BatchBuilder:
    """Builds batches for a model with this config and tokenizer."""

    def __init__(
        self, config: Config, tokenizer: Tokenizer, resize: Resize | None = None, captions: bool = False
    ) -> None:
        """Remember for which part of the training the batches are.

        Args:
            config: Of the model.
            tokenizer: Of the model.
            resize: Of crops.
            captions: Whether most scenes have many objects, and each image two captions.
        """
        self.config = config
        self.tokenizer = tokenizer
        self.resize = resize or resizer()
        self.tasks = caption_training_tasks if captions else training_tasks
        self.positions = CAPTION_POSITIONS if captions else MAX_POSITIONS
        self._encoded: dict[str, list[int]] = {}

    def batches(self, first: int, size: int) -> Iterator[Batch]:
        """Yield batches of `size` scenes without end, with consecutive seeds from `first`."""
        while True:
            yield self.batch(range(first, first + size))
            first += size

    def caption_batches(self, first: int, size: int) -> Iterator[Batch]:
        """Yield batches of `size` scenes without end, most of many objects; each from SPARE_SEEDS * size seeds."""
        while True:
            seeds = range(first, first + SPARE_SEEDS * size)
            chosen = (s for s in seeds if s % SPARE_SEEDS == 0 or len(random_scene(s).objects) >= MANY)
            yield self.batch(list(islice(chosen, size)))
            first = seeds.stop

    def batch(self, seeds: Sequence[int]) -> Batch:
        """Build the batch of the scenes of these seeds."""
        crops, rows, patches = [], [], []
        for seed in seeds:
            scene, rng = random_scene(seed), np.random.default_rng(seed)
            drawing = draw(scene)
            vision = self.config.vision
            crops.append(make_crops(drawing.pixels, vision, vision.max_crops, self.resize))
            tasks = self.tasks(SceneLayout.of(scene, drawing.boxes), rng)
            rows.append(self.row(tasks, rng.normal(0, COORDINATE_NOISE, (self.positions, 2))))
            patches.append(_patches(scene, drawing, vision.grid))
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        columns |= {name: np.stack([patch[name] for patch in patches]) for name in patches[0]}
        tensors: dict[str, Any] = {name: torch.from_numpy(column) for name, column in columns.items()}
        pixels = torch.from_numpy(np.concatenate([image.pixels for image in crops]))
        return Batch(pixels, [image.tiling for image in crops], **tensors)

    def row(self, tasks: Sequence[Task], noise: np.ndarray | float = 0.0) -> dict[str, np.ndarray]:
        """Pack as many tasks as fit into one sequence.

        Args:
            tasks: In order of priority.
            noise: Added to input coordinates, (R, 2).

        Returns:
            The fields of `Batch` for one image, without those of crops and patches.
        """
        packed: list[tuple[int, int, Step]] = []
        for number, steps in enumerate(map(self.steps, tasks), 1):
            if len(packed) + len(steps) <= self.positions:
                packed += [(number, position, step) for position, step in enumerate(steps)]
        packed += [(0, 0, Step())] * (self.positions - len(packed))
        kinds = np.array([step.kind for *_, step in packed])
        numbers = np.array([number for number, *_ in packed])
        tokens = np.array([step.next_token for *_, step in packed])
        targets = np.bincount(numbers[tokens >= 0], minlength=len(packed) + 1)[numbers]
        values = np.array([step.value for *_, step in packed])
        values = np.where(kinds[:, None] == SIZE, values * (1 + SIZE_NOISE_FACTOR * noise), values + noise)
        return {
            "tokens": np.array([step.token for *_, step in packed]),
            "values": values.clip(0, 1).astype(np.float32),
            "kinds": kinds,
            "segment": numbers,
            "position": np.array([position for _, position, _ in packed]),
            "weight": (np.maximum(targets, 1) ** -0.5).astype(np.float32),
            "next_token": tokens,
            "next_coordinate": np.array([step.next_coordinate for *_, step in packed], np.float32),
            "next_size": np.array([step.next_size for *_, step in packed], np.float32),
        }

    def steps(self, task: Task) -> list[Step]:
        """Return the inputs and targets of a task, with the prompt of `engine.moondream.flows`."""
        ids = self.config.tokenizer
        templates = ids.templates
        if isinstance(task, CaptionTask):
            assert templates.caption
            return self._text(templates.caption[task.length], task.answer)
        if isinstance(task, QueryTask):
            assert templates.query
            end = templates.query.suffix * 2  # doubled, as in the flow
            return self._text([*templates.query.prefix, *self._encode(task.question), *end], task.answer)
        if isinstance(task, GazeTask):
            x, y = task.eye
            eye = [Step(value=(coordinate, 0.0), kind=COORDINATE) for coordinate in (x, y)]
            prompt = [*map(Step, self._encode("\n\nPoint:")), *eye, *map(Step, self._encode(" gaze\n\n"))]
            return self._places(prompt, [] if task.answer is None else [(task.answer, None)], ends=False)
        template = templates.detect if isinstance(task, DetectTask) else templates.point
        assert template
        tokens = [*template.prefix, *self._encode(f" {task.prompt}"), *template.suffix]
        prompt = [Step(token) for token in tokens]
        if isinstance(task, PointTask):
            return self._places(prompt, [(centre, None) for centre in task.answer])
        return self._places(prompt, list(task.answer))

    def _encode(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = self.tokenizer.encode(text)
        return self._encoded[text]

    def _text(self, prompt: Sequence[int], answer: str) -> list[Step]:
        targets = [*self._encode(answer), self.config.tokenizer.eos_id]
        inputs = [*prompt, *targets[:-1]]
        first = len(prompt) - 1
        return [Step(token, next_token=-1 if i < first else targets[i - first]) for i, token in enumerate(inputs)]

    def _places(
        self, prompt: Sequence[Step], places: Sequence[tuple[Place, Place | None]], ends: bool = True
    ) -> list[Step]:
        """Append objects to a prompt.

        Args:
            prompt: Without targets.
            places: Centre of each object, and its size or None.
            ends: Whether the end-of-text token is the target after the last.
        """
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
    """Return the attributes of the object that covers most of each patch, if it covers enough."""
    side = grid * SAMPLES
    owners = cv2.resize(drawing.owners, (side, side), interpolation=cv2.INTER_NEAREST)
    squares = owners.reshape(grid, SAMPLES, grid, SAMPLES).transpose(0, 2, 1, 3).reshape(grid * grid, -1)
    counts = np.stack([(squares == i + 1).sum(1) for i in range(len(scene.objects))], axis=1)
    owner = np.where(counts.max(1) >= MIN_SAMPLES, counts.argmax(1) + 1, 0)
    table: dict[str, list[Any]] = {"patch_kind": [0], "patch_colour": [0], "patch_box": [(0.0,) * 4]}
    table |= {"patch_look": [(0.0, 0.0)], "patch_digits": [(0, 0)]}
    for obj, (x0, y0, x1, y1) in zip(scene.objects, drawing.boxes, strict=True):
        table["patch_kind"].append(1 + KINDS.index(obj.kind))
        table["patch_colour"].append(1 + _COLOURS.index(obj.colour) if obj.colour else 0)
        width, height = scene.width, scene.height
        box = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        table["patch_box"].append(box)
        look = (0.0, 0.0)
        if obj.kind == FACE and obj.looks_at is not None:
            other = scene.objects[obj.looks_at]
            direction = np.array([other.x - obj.x, other.y - obj.y])
            look = tuple(direction / np.hypot(*direction))
        table["patch_look"].append(look)
        digits = [1 + int(digit) for digit in obj.digits] if obj.kind == SIGN else []
        table["patch_digits"].append((*digits, 0, 0)[:2])
    dtypes = {"patch_kind": np.int64, "patch_colour": np.int64, "patch_digits": np.int64}
    return {name: np.array(rows, dtypes.get(name, np.float32))[owner] for name, rows in table.items()}
