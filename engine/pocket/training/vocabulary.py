"""The tokenizer of `pocket`: byte-level BPE (Sennrich et al. 2016), learnt from what is said in the lessons.

Every text can be written in it, and each English word of the lessons is one token. The tokenizer beside this file is
that of the weights: one made from another world would number its tokens otherwise.
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

# By id. The templates are made of them, as the larger models' are of theirs.
SPECIAL = (
    *("<|endoftext|>", "<|ask|>", "<|of|>", "<|answer|>", "<|unused|>", "<|coord|>", "<|size|>"),
    *("<|caption|>", "<|short|>", "<|normal|>", "<|long|>", "<|query|>", "<|detect|>", "<|point|>"),
)


def make_tokenizer() -> tokenizers.Tokenizer:
    """The same each time."""
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
    tokenizer.train_from_iterator(_said(), trainer)
    return tokenizer


def _said() -> Iterator[str]:
    for noun in OBJECT_NAMES:
        yield from (f" {noun.one}", f" {noun.many}", f"有几个{noun.chinese}？", f"图中有多少个{noun.chinese}？")
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
