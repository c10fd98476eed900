"""What differs between published files of Moondream 2: a copied block, exchanged names."""

from dataclasses import replace

import torch
from golden import GOLDEN

from engine.checkpoints.gguf import GgufFile
from engine.checkpoints.gguf_checkpoint import open_gguf_checkpoint
from engine.checkpoints.gguf_config import hub_config
from engine.checkpoints.gguf_files import open_gguf
from engine.checkpoints.gguf_names import distinct_blocks

FOLDER = GOLDEN / "moondream2-gguf"
TEXT, VISION = (open_gguf(FOLDER / f"{name}moondream2-tiny-F16.gguf") for name in ("", "mmproj-"))


def test_a_copy_of_the_last_block_is_left_out_and_a_last_block_of_its_own_is_not() -> None:
    assert distinct_blocks(VISION) == 27
    kept = {name: tensor for name, tensor in VISION.tensors.items() if "v.blk.27." not in name}
    without_copy = GgufFile(VISION.path, 3, {**VISION.metadata, "clip.vision.block_count": 27}, kept)
    assert distinct_blocks(without_copy) == 27
    assert hub_config(TEXT, without_copy)["vision"]["n_layers"] == 27


def test_names_of_the_feed_forward_layers_are_told_apart_by_shape() -> None:
    exchanged = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}

    def renamed(name: str) -> str:
        parts = name.split(".")
        return ".".join(exchanged.get(part, part) for part in parts)

    other = replace(VISION, tensors={renamed(name): tensor for name, tensor in VISION.tensors.items()})
    one, two = (open_gguf_checkpoint(TEXT, vision) for vision in (VISION, other))
    name = "vision.blocks.3.mlp.fc1.weight"
    assert one.shape(name) == two.shape(name) == (VISION.metadata["clip.vision.feed_forward_length"], 32)
    assert torch.equal(one.read(name), two.read(name))
