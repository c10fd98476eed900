"""Trains `pocket`: `python -m engine.pocket.training`.

First the vision encoder alone learns to classify patches, then the whole model learns the tasks, and last the text
model alone learns captions of many objects. A run resumes from the last checkpoint in its folder. Each line of
log.jsonl, and of the output, has the mean losses since the last one, or the evaluation scores of the engine with the
current weights.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from engine.contract import LoadOptions
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import Config, read_config
from engine.moondream.model import Moondream
from engine.moondream.weights import open_weights
from engine.pocket.abilities import CONFIG
from engine.pocket.evaluation import evaluate_model
from engine.pocket.training.examples import SPARE_SEEDS, Batch, BatchBuilder
from engine.pocket.training.losses import CAPTION_WEIGHTS, WEIGHTS, PatchHead, answer_losses
from engine.pocket.training.optimizer import optimizers
from engine.pocket.training.trainable_model import TrainableModel
from engine.pocket.training.vocabulary import make_tokenizer

FIRST_SCENE = 1_000_000  # seeds below are for tests and evaluation
VALIDATION_SCENES = range(90_000, 90_040)


@dataclass(frozen=True)
class Plan:
    """Training hyperparameters.

    Attributes:
        steps: Of the first two phases.
        vision_steps: How many of these train only the vision encoder.
        images: Batch size.
        rate: Peak learning rate.
        warm_up: Steps of linear warm-up, in each of the first two phases.
        decay: Share of the first two phases over which the learning rate decays linearly to 0.
        weight_decay: Of Muon.
        caption_steps: Of the last phase, that trains only the text model and the projection into it.
        caption_images: Batch size of the last phase.
        caption_rate: Peak learning rate of the last phase.
        caption_warm_up: Steps of linear warm-up in the last phase.
        caption_decay: Share of the last phase over which the learning rate decays linearly to 0.
    """

    steps: int
    vision_steps: int
    images: int = 24
    rate: float = 2e-3
    warm_up: int = 200
    decay: float = 0.6
    weight_decay: float = 0.05
    caption_steps: int = 0
    caption_images: int = 16
    caption_rate: float = 6e-4
    caption_warm_up: int = 30
    caption_decay: float = 0.5

    @property
    def end(self) -> int:
        """The steps of all phases."""
        return self.steps + self.caption_steps

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        if step >= self.steps:
            rising = min(1.0, (step - self.steps + 1) / self.caption_warm_up)
            falling = min(1.0, (self.end - step) / (self.caption_decay * self.caption_steps))
            return self.caption_rate * rising * falling
        since = step if step < self.vision_steps else step - self.vision_steps
        rising = min(1.0, (since + 1) / self.warm_up)
        falling = min(1.0, (self.steps - step) / (self.decay * self.steps))
        return self.rate * rising * falling


@dataclass
class Trainer:
    """The state of a training run, and its checkpoints in a folder."""

    model: TrainableModel
    head: PatchHead
    plan: Plan
    folder: Path
    device: str
    step: int = 0

    def __post_init__(self) -> None:
        self.optimizers = optimizers([self.model, self.head], self.plan.rate, self.plan.weight_decay)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute all losses of a batch, by name."""
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            if self.step >= self.plan.steps:
                with torch.no_grad():
                    features = self.model.vision.features(batch.pixels, batch.tilings)
                return answer_losses(self.model, self.model(self.model.vision.proj_mlp(features), batch), batch)
            images = self.model.vision(batch.pixels, batch.tilings)
            losses: dict[str, Tensor] = self.head(images, batch)
            if self.step >= self.plan.vision_steps:
                losses |= answer_losses(self.model, self.model(images, batch), batch)
        return losses

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Run one optimizer step; return the losses and the gradient norm."""
        losses = self.losses(batch.to(self.device))
        weights = CAPTION_WEIGHTS if self.step >= self.plan.steps else WEIGHTS
        torch.autograd.backward(torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum())
        parameters = [*self.model.parameters(), *self.head.parameters()]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.rate_at(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return {name: value.item() for name, value in losses.items()} | {"gradient": norm.item()}

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "step": self.step,
            "student": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimisers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = self.folder / "checkpoint.pt.part"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Load the checkpoint of the folder, if there is one."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            self.step = state["step"]
            self.model.load_state_dict(state["student"])
            self.head.load_state_dict(state["head"])
            for optimizer, saved in zip(self.optimizers, state["optimisers"], strict=True):
                optimizer.load_state_dict(saved)

    def start_captions(self, path: Path) -> None:
        """Load weights, and start the last phase from them."""
        self.model.load_state_dict(load_file(path, self.device))
        self.step = self.plan.steps

    def write_weights(self, path: Path) -> None:
        """Write the weights as safetensors, in bfloat16."""
        state = {name: tensor.detach().bfloat16().contiguous() for name, tensor in self.model.state_dict().items()}
        save_file({name: tensor.cpu() for name, tensor in state.items()}, path)

    def evaluate(self, builder: BatchBuilder) -> dict[str, float]:
        """Evaluate the engine with the current weights, in bfloat16; return its scores."""
        path = self.folder / "model.safetensors"
        self.write_weights(path)
        weights = open_weights(path, builder.config)
        options = LoadOptions(self.device, "bfloat16")
        moondream = Moondream("pocket-training", builder.config, weights, builder.tokenizer, options=options)
        return evaluate_model(moondream, VALIDATION_SCENES).scores()


class BatchStream(IterableDataset[Batch]):
    """Builds batches in a worker process, from a step of the training on, to the end of its phase."""

    def __init__(self, config: Config, tokenizer: Path, plan: Plan, *, seed: int, step: int) -> None:
        self.create = partial(_batches, config, tokenizer, plan, seed=seed, step=step)

    def __iter__(self) -> Iterator[Batch]:
        return self.create()


def _batches(config: Config, tokenizer: Path, plan: Plan, *, seed: int, step: int) -> Iterator[Batch]:
    torch.set_num_threads(1)
    first, captions = FIRST_SCENE + seed * 1_000_000_000, step >= plan.steps
    builder = BatchBuilder(config, load_tokenizer(tokenizer, config.text.vocab_size), captions=captions)
    if not captions:
        return islice(builder.batches(first + step * plan.images, plan.images), plan.steps - step)
    # scenes of captions take SPARE_SEEDS seeds each, after all of the steps before
    first += plan.steps * plan.images + SPARE_SEEDS * (step - plan.steps) * plan.caption_images
    return islice(builder.caption_batches(first, plan.caption_images), plan.end - step)


def stream(config: Config, tokenizer: Path, plan: Plan, *, seed: int, step: int) -> Iterator[Batch]:
    """Yield the batches from a step to the end."""
    for start in (step, plan.steps) if step < plan.steps else (step,):
        batches = BatchStream(config, tokenizer, plan, seed=seed, step=start)
        yield from DataLoader(batches, batch_size=None, num_workers=1, multiprocessing_context="spawn")


def train(
    plan: Plan,
    folder: Path,
    seed: int,
    device: str,
    *,
    weights: Path | None = None,
    log_every: int = 50,
    save_every: int = 100,
    evaluate_every: int = 1000,
) -> None:
    """Train until plan.end, resuming from the checkpoint in the folder.

    Args:
        plan: Hyperparameters.
        folder: Of checkpoints, weights, tokenizer and log.
        seed: Of the initial weights and the scenes.
        device: To train on.
        weights: Of the package's architecture and tokenizer, to start the last phase from; None: run all phases.
        log_every: Steps between two lines of losses.
        save_every: Steps between two checkpoints.
        evaluate_every: Steps between two evaluations.
    """
    torch.set_flush_denormal(True)  # denormal attention weights would slow down the GEMMs
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG.name).write_text(CONFIG.read_text())  # makes the folder a loadable model
    config = read_config(CONFIG.name, json.loads(CONFIG.read_text()))
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        if weights:  # they belong to the tokenizer of the package
            tokenizer.write_bytes(CONFIG.with_name("tokenizer.json").read_bytes())
        else:
            make_tokenizer().save(str(tokenizer))
    builder = BatchBuilder(config, load_tokenizer(tokenizer, config.text.vocab_size))
    torch.manual_seed(seed)
    trainer = Trainer(TrainableModel(config).to(device), PatchHead(config.text.dim).to(device), plan, folder, device)
    if weights:
        trainer.start_captions(weights)
    trainer.resume()
    sums: dict[str, float] = defaultdict(float)
    start = time.monotonic()

    def log(line: dict[str, Any]) -> None:
        text = json.dumps({"step": trainer.step} | line)
        print(text, flush=True)
        with (folder / "log.jsonl").open("a") as file:
            file.write(text + "\n")

    for batch in stream(config, tokenizer, plan, seed=seed, step=trainer.step):
        for name, value in trainer.train_step(batch).items():
            sums[name] += value / log_every
        if trainer.step % log_every == 0:
            seconds = (time.monotonic() - start) / log_every
            losses = {name: round(value, 4) for name, value in sums.items()}
            log({"seconds_a_step": round(seconds, 3), "rate": plan.rate_at(trainer.step)} | losses)
            sums.clear()
            start = time.monotonic()
        if trainer.step % save_every == 0 or trainer.step == plan.end:
            trainer.save()
        if (trainer.step % evaluate_every == 0 or trainer.step == plan.end) and trainer.step > plan.vision_steps:
            log({"scores": {name: round(score, 3) for name, score in trainer.evaluate(builder).items()}})
            start = time.monotonic()
