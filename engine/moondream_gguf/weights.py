"""The tensors of a Moondream 2 in GGUF, by the names of Moondream's hub releases, and which are quantised."""

import re
from collections.abc import Iterator
from pathlib import Path

from engine.checkpoints.layer_shapes import VitBlockNames, linear_shapes, norm_shapes, vit_block_shapes
from engine.checkpoints.opening import open_tensors
from engine.checkpoints.reader import Shape
from engine.checkpoints.tensor_map import TensorLocation, TensorMap, locate_tensors, map_tensors
from engine.moondream_gguf.config import Config, TextConfig, VisionConfig
from engine.quantization.plan import QuantizationPlan

VIT_BLOCK = VitBlockNames("ln1", ("attn.qkv",), "attn.proj", "ln2", "mlp.fc1", "mlp.fc2")
QUANTIZATION_PLAN = QuantizationPlan(
    quantized=re.compile(
        r"((text|vision)\.blocks\.\d+\.(attn|mlp)\.(qkv|proj|fc1|fc2)|text\.lm_head|text\.wte|vision\.proj_mlp\.fc[12])"
        r"\.weight"
    ),
    int4_names=re.compile(r"text\.blocks\..*"),
)


def open_weights(path: Path, config: Config, mmproj: Path | None = None) -> TensorMap:
    """Open the weights of a model and check them against the config.

    Args:
        path: The text file.
        config: Of the model.
        mmproj: The vision file.

    Raises:
        ModelUnavailable: Tensors are missing, unknown, or of another shape.
    """
    checkpoint = open_tensors(path, mmproj)
    layers = config.vision.n_layers if config.vision else 0

    def canonical(name: str) -> Iterator[tuple[str, TensorLocation]]:
        block = re.match(r"vision\.blocks\.(\d+)\.", name)
        if not (block and int(block[1]) >= layers):
            yield name, TensorLocation(name)

    vision = _vision_tensors(config.vision, config.text.dim) if config.vision else ()
    shapes = dict([*_text_tensors(config.text), *vision])
    return map_tensors(checkpoint, locate_tensors(checkpoint, canonical), shapes)


def _text_tensors(text: TextConfig) -> Iterator[tuple[str, Shape]]:
    yield "text.wte.weight", (text.vocab_size, text.dim)
    for layer in range(text.n_layers):
        yield from norm_shapes(f"text.blocks.{layer}.ln", text.dim)
        yield from linear_shapes(f"text.blocks.{layer}.attn.qkv", 3 * text.dim, text.dim)
        yield from linear_shapes(f"text.blocks.{layer}.attn.proj", text.dim, text.dim)
        yield from linear_shapes(f"text.blocks.{layer}.mlp.fc1", text.ff_dim, text.dim)
        yield from linear_shapes(f"text.blocks.{layer}.mlp.fc2", text.dim, text.ff_dim)
    yield from norm_shapes("text.post_ln", text.dim)
    yield from linear_shapes("text.lm_head", text.vocab_size, text.dim)


def _vision_tensors(vision: VisionConfig, text_dim: int) -> Iterator[tuple[str, Shape]]:
    yield from linear_shapes("vision.patch_emb", vision.dim, 3 * vision.patch_size**2)
    yield "vision.pos_emb.weight", (1, vision.grid**2, vision.dim)
    for layer in range(vision.n_layers):
        yield from vit_block_shapes(f"vision.blocks.{layer}", VIT_BLOCK, vision.dim, vision.ff_dim)
    yield from norm_shapes("vision.post_ln", vision.dim)
    yield from linear_shapes("vision.proj_mlp.fc1", vision.inner_dim, vision.dim)
    yield from linear_shapes("vision.proj_mlp.fc2", text_dim, vision.inner_dim)
