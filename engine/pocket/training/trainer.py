"""Makes `pocket` from nothing: `python -m engine.pocket.training`.

First the vision encoder learns to tell what is in each patch; then the whole model learns its lessons. A run that was
stopped goes on from its last checkpoint when it is called again with the same folder. A line of log.jsonl, and of the
output, has the mean losses since the one before, or how well the engine answers with the weights so far.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from engine.contract import LoadOptions
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import Config, read_config
from engine.moondream.model import Moondream
from engine.moondream.weights import open_weights
from engine.pocket.abilities import CONFIG
from engine.pocket.evaluation import evaluate_model
from engine.pocket.training.examples import Batch, Teacher
from engine.pocket.training.losses import WEIGHTS, PatchHead, answer_losses
from engine.pocket.training.optimizer import optimisers
from engine.pocket.training.student import Student
from engine.pocket.training.vocabulary import make_tokenizer

FIRST_SCENE = 1_000_000  # seeds below are for tests and exams
TRIAL_SCENES = range(90_000, 90_040)  # asked about on the way


@dataclass(frozen=True)
class Plan:
    """steps: in all, of which vision_steps train vision alone. rate: of learning, at its highest."""

    steps: int
    vision_steps: int
    pictures: int = 24
    rate: float = 2e-3
    warm_up: int = 200
    decay: float = 0.6  # the share of the steps over which the rate falls to nothing
    weight_decay: float = 0.05

    def rate_at(self, step: int) -> float:
        since = step if step < self.vision_steps else step - self.vision_steps
        rising = min(1.0, (since + 1) / self.warm_up)
        falling = min(1.0, (self.steps - step) / (self.decay * self.steps))
        return self.rate * rising * falling


@dataclass
class Trainer:
    """A training under way, and its place on disk."""

    student: Student
    head: PatchHead
    plan: Plan
    folder: Path
    device: str
    step: int = 0

    def __post_init__(self) -> None:
        self.optimisers = optimisers([self.student, self.head], self.plan.rate, self.plan.weight_decay)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            pictures = self.student.vision(batch.pixels, batch.tilings)
            losses: dict[str, Tensor] = self.head(pictures, batch)
            if self.step >= self.plan.vision_steps:
                losses |= answer_losses(self.student, self.student(pictures, batch), batch)
        return losses

    def train_step(self, batch: Batch) -> dict[str, float]:
        losses = self.losses(batch.to(self.device))
        torch.stack([WEIGHTS.get(name, 1.0) * loss for name, loss in losses.items()]).sum().backward()
        parameters = [*self.student.parameters(), *self.head.parameters()]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.plan.rate_at(self.step)
            optimiser.step()
            optimiser.zero_grad()
        self.step += 1
        return {name: value.item() for name, value in losses.items()} | {"gradient": norm.item()}

    def save(self) -> None:
        """Whole or not at all."""
        state = {
            "step": self.step,
            "student": self.student.state_dict(),
            "head": self.head.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        beside = self.folder / "checkpoint.pt.part"
        torch.save(state, beside)
        os.replace(beside, self.folder / "checkpoint.pt")

    def resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if path.exists():
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            self.step = state["step"]
            self.student.load_state_dict(state["student"])
            self.head.load_state_dict(state["head"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)

    def write_weights(self, path: Path) -> None:
        """As a checkpoint in bfloat16."""
        state = {name: tensor.detach().bfloat16().contiguous() for name, tensor in self.student.state_dict().items()}
        save_file({name: tensor.cpu() for name, tensor in state.items()}, path)

    def evaluate(self, teacher: Teacher) -> dict[str, float]:
        """Scores of the engine with the weights so far, in bfloat16."""
        path = self.folder / "model.safetensors"
        self.write_weights(path)
        weights = open_weights(path, teacher.config)
        options = LoadOptions(self.device, "bfloat16")
        model = Moondream("student", teacher.config, weights, teacher.tokenizer, options=options)
        return evaluate_model(model, TRIAL_SCENES).scores()


class BatchStream(IterableDataset[Batch]):
    """A teacher's batches, made in a process of their own."""

    def __init__(self, config: Config, tokenizer: Path, first: int, size: int) -> None:
        self.make = partial(_batches, config, tokenizer, first, size)

    def __iter__(self) -> Iterator[Batch]:
        return self.make()


def _batches(config: Config, tokenizer: Path, first: int, size: int) -> Iterator[Batch]:
    torch.set_num_threads(1)
    return Teacher(config, load_tokenizer(tokenizer, config.text.vocab_size)).batches(first, size)


def train(
    plan: Plan,
    folder: Path,
    seed: int,
    device: str,
    *,
    log_every: int = 50,
    save_every: int = 500,
    evaluate_every: int = 1000,
) -> None:
    """Trains until plan.steps, from where a former run in the folder was stopped."""
    torch.set_flush_denormal(True)  # the small weights of a trained attention would slow the products down
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG.name).write_text(CONFIG.read_text())  # with which the folder is a model that can be loaded
    config = read_config(CONFIG.name, json.loads(CONFIG.read_text()))
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        make_tokenizer().save(str(tokenizer))
    teacher = Teacher(config, load_tokenizer(tokenizer, config.text.vocab_size))
    torch.manual_seed(seed)
    trainer = Trainer(Student(config).to(device), PatchHead(config.text.dim).to(device), plan, folder, device)
    trainer.resume()
    first = FIRST_SCENE + seed * 1_000_000_000 + trainer.step * plan.pictures
    stream = DataLoader(BatchStream(config, tokenizer, first, plan.pictures), batch_size=None, num_workers=1)
    sums: dict[str, float] = defaultdict(float)
    began = time.monotonic()

    def log(line: dict[str, Any]) -> None:
        text = json.dumps({"step": trainer.step} | line)
        print(text, flush=True)
        with (folder / "log.jsonl").open("a") as file:
            file.write(text + "\n")

    for batch in stream:
        if trainer.step >= plan.steps:
            break
        for name, value in trainer.train_step(batch).items():
            sums[name] += value / log_every
        if trainer.step % log_every == 0:
            seconds = (time.monotonic() - began) / log_every
            losses = {name: round(value, 4) for name, value in sums.items()}
            log({"seconds_a_step": round(seconds, 3), "rate": plan.rate_at(trainer.step)} | losses)
            sums.clear()
            began = time.monotonic()
        if trainer.step % save_every == 0 or trainer.step == plan.steps:
            trainer.save()
        if (trainer.step % evaluate_every == 0 or trainer.step == plan.steps) and trainer.step > plan.vision_steps:
            log({"scores": {name: round(score, 3) for name, score in trainer.evaluate(teacher).items()}})
            began = time.monotonic()
