"""The tensors of a Qwen3-VL checkpoint: names, shapes, and which are quantised.

Names are those of the hub releases without their "model." prefix; the output head belongs to "language_model".
"""

import re
from collections.abc import Iterator
from pathlib import Path

from engine.checkpoints.layer_shapes import (
    VitBlockNames,
    grouped_query_shapes,
    linear_shapes,
    norm_shapes,
    swiglu_shapes,
    vit_block_shapes,
)
from engine.checkpoints.opening import open_tensors
from engine.checkpoints.reader import Shape
from engine.checkpoints.tensor_map import TensorLocation, TensorMap, locate_tensors, map_tensors
from engine.quantization.plan import QuantizationPlan
from engine.qwen3vl.config import Config, VisionConfig

HEAD = "language_model.lm_head.weight"
VIT_BLOCK = VitBlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.linear_fc1", "mlp.linear_fc2")
QUANTIZATION_PLAN = QuantizationPlan(
    quantized=re.compile(
        r"(language_model\.(layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)|embed_tokens|lm_head)"
        r"|visual\.(blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])"
        r"|(merger|deepstack_merger_list\.\d+)\.linear_fc[12]))\.weight"
    ),
    int4_names=re.compile(r"language_model\.layers\..*"),
)


def shapes(config: Config) -> dict[str, Shape]:
    """Return the shape of every tensor of a model, by name."""
    return dict([*_text_tensors(config), *(_vision_tensors(config.vision) if config.vision else ())])


def open_weights(path: Path, config: Config, mmproj: Path | None = None) -> TensorMap:
    """Open the weights of a model and check them against the config.

    Args:
        path: A file, or the index of a sharded checkpoint.
        config: Of the model.
        mmproj: The vision part of a GGUF file.

    Raises:
        ModelUnavailable: Tensors are missing, unknown, or of another shape or type.
    """
    checkpoint = open_tensors(path, mmproj)
    locations = locate_tensors(checkpoint, _canonical)
    if config.text.tie_word_embeddings:
        locations.pop(HEAD, None)  # some files repeat the embeddings there
    return map_tensors(checkpoint, locations, shapes(config))


def _canonical(name: str) -> Iterator[tuple[str, TensorLocation]]:
    renamed = name.removeprefix("model.")
    yield (f"language_model.{renamed}" if renamed.startswith("lm_head.") else renamed), TensorLocation(name)


def _text_tensors(config: Config) -> Iterator[tuple[str, Shape]]:
    text, part = config.text, "language_model"
    size, inner, head = text.hidden_size, text.intermediate_size, text.head_dim
    q, kv = head * text.num_attention_heads, head * text.num_key_value_heads
    yield f"{part}.embed_tokens.weight", (text.vocab_size, size)
    if not text.tie_word_embeddings:
        yield HEAD, (text.vocab_size, size)
    yield f"{part}.norm.weight", (size,)
    for layer in range(text.num_hidden_layers):
        block = f"{part}.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{block}.{norm}.weight", (size,)
        yield from grouped_query_shapes([f"{block}.self_attn.{name}_proj" for name in "qkvo"], size, q, kv)
        for name in ("q", "k"):
            yield f"{block}.self_attn.{name}_norm.weight", (head,)
        yield from swiglu_shapes([f"{block}.mlp.{name}_proj" for name in ("gate", "up", "down")], size, inner)


def _vision_tensors(vision: VisionConfig) -> Iterator[tuple[str, Shape]]:
    part = "visual"
    size, inner, patch = vision.hidden_size, vision.intermediate_size, vision.patch_size
    joined = size * vision.spatial_merge_size**2
    yield f"{part}.patch_embed.proj.weight", (size, vision.in_channels, vision.temporal_patch_size, patch, patch)
    yield f"{part}.patch_embed.proj.bias", (size,)
    yield f"{part}.pos_embed.weight", (vision.num_position_embeddings, size)
    for layer in range(vision.depth):
        yield from vit_block_shapes(f"{part}.blocks.{layer}", VIT_BLOCK, size, inner)
    mergers = [f"deepstack_merger_list.{i}" for i in range(len(vision.deepstack_visual_indexes))]
    for merger, norm in (("merger", size), *((name, joined) for name in mergers)):
        yield from norm_shapes(f"{part}.{merger}.norm", norm)
        yield from linear_shapes(f"{part}.{merger}.linear_fc1", joined, joined)
        yield from linear_shapes(f"{part}.{merger}.linear_fc2", vision.out_hidden_size, joined)
