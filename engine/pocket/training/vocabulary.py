"""Trains the tokenizer of `pocket`: byte-level BPE (Sennrich et al. 2016), from the texts of the tasks.

It can encode any text, and each English word of the tasks is one token. The tokenizer.json of the package belongs to
its weights: one trained on other scenes would assign other ids.
"""

from collections.abc import Iterator

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from engine.pocket.draw import draw
from engine.pocket.naming import OBJECT_NAMES
from engine.pocket.scene import random_scene
from engine.pocket.tasks import CaptionTask, DetectTask, PointTask, QueryTask, SceneLayout, training_tasks

SIZE = 480
SCENES = 2000

# In the order of their ids. The prompt templates consist of them, as in the larger models.
SPECIAL = (
    *("<|endoftext|>", "<|ask|>", "<|of|>", "<|answer|>", "<|unused|>", "<|coord|>", "<|size|>"),
    *("<|caption|>", "<|short|>", "<|normal|>", "<|long|>", "<|query|>", "<|detect|>", "<|point|>"),
)


def make_tokenizer() -> tokenizers.Tokenizer:
    """Train the tokenizer; the result is deterministic."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _texts() -> Iterator[str]:
    for noun in OBJECT_NAMES:
        yield from (f" {noun.singular}", f" {noun.plural}", f"有几个{noun.chinese}？", f"图中有多少个{noun.chinese}？")
    for seed in range(SCENES):
        scene = random_scene(seed)
        for task in training_tasks(SceneLayout.of(scene, draw(scene).boxes), np.random.default_rng(seed)):
            if isinstance(task, CaptionTask):
                yield task.answer
            elif isinstance(task, QueryTask):
                yield task.question
                yield task.answer
            elif isinstance(task, DetectTask | PointTask):
                yield f" {task.prompt}"
            else:
                yield from ("\n\nPoint:", " gaze\n\n")
