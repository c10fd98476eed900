"""The tensors of an LFM2-VL checkpoint: names, shapes, and which are quantised.

Names are those of the hub releases without "model." and "vision_model.", which not all releases have.
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
from engine.lfm2vl.config import CONV, Config
from engine.quantization.plan import QuantizationPlan

# Names within a layer, in the checkpoint and in LoRA adapters.
FEED_FORWARD = ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2")
PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
HEAD_NORMS = ("self_attn.q_layernorm", "self_attn.k_layernorm")
VIT_BLOCK = VitBlockNames("layer_norm1", PROJECTIONS[:3], PROJECTIONS[3], "layer_norm2", "mlp.fc1", "mlp.fc2")
# The patch embedding, whose inputs are pixels, is not quantised.
QUANTIZATION_PLAN = QuantizationPlan(
    quantized=re.compile(
        r"(language_model\.(embed_tokens|lm_head|layers\.\d+\.(conv|self_attn|feed_forward)\.(\w+_proj|w[123]))"
        r"|vision_tower\.encoder\.layers\.\d+\.(self_attn\.\w+_proj|mlp\.fc[12])|multi_modal_projector\.linear_[12])"
        r"\.weight"
    ),
    int4_names=re.compile(r"language_model\.layers\..*"),
)


def shapes(config: Config) -> dict[str, Shape]:
    """Return the shape of every tensor of a model with tied embeddings, by name."""
    return dict(_tensors(config))


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
    expected = shapes(config)

    def canonical(stored: str) -> Iterator[tuple[str, TensorLocation]]:
        name = stored.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")
        name = f"language_model.{name}" if name.startswith("lm_head.") else name
        layer = re.match(r"vision_tower\.encoder\.layers\.(\d+)\.", name)
        unused_norm = not config.projector_use_layernorm and name.startswith("multi_modal_projector.layer_norm.")
        if not unused_norm and not (layer and int(layer[1]) >= config.vision_layers):
            yield name, TensorLocation(stored)

    locations = locate_tensors(checkpoint, canonical)
    if any(name.startswith("language_model.lm_head.") for name in locations):  # it is not tied to the embeddings
        expected["language_model.lm_head.weight"] = expected["language_model.embed_tokens.weight"]
    return map_tensors(checkpoint, locations, expected)


def _tensors(config: Config) -> Iterator[tuple[str, Shape]]:
    text, vision = config.text_config, config.vision_config
    size, kv = text.hidden_size, text.num_key_value_heads * text.head_dim
    yield "language_model.embed_tokens.weight", (text.vocab_size, size)
    yield "language_model.embedding_norm.weight", (size,)
    for i, kind in enumerate(text.kinds):
        layer = f"language_model.layers.{i}"
        yield f"{layer}.operator_norm.weight", (size,)
        yield f"{layer}.ffn_norm.weight", (size,)
        yield from swiglu_shapes([f"{layer}.{name}" for name in FEED_FORWARD], size, text.inner_dim)
        if kind == CONV:
            yield f"{layer}.conv.in_proj.weight", (3 * size, size)
            yield f"{layer}.conv.conv.weight", (size, 1, text.conv_L_cache)
            yield f"{layer}.conv.out_proj.weight", (size, size)
        else:
            yield from grouped_query_shapes([f"{layer}.{name}" for name in PROJECTIONS], size, size, kv)
            for name in HEAD_NORMS:
                yield f"{layer}.{name}.weight", (text.head_dim,)
    if not config.has_vision:
        return

    width = vision.hidden_size
    yield from linear_shapes("vision_tower.embeddings.patch_embedding", width, 3 * vision.patch_size**2)
    yield "vision_tower.embeddings.position_embedding.weight", (vision.num_patches, width)
    for i in range(config.vision_layers):
        yield from vit_block_shapes(f"vision_tower.encoder.layers.{i}", VIT_BLOCK, width, vision.intermediate_size)
    yield from norm_shapes("vision_tower.post_layernorm", width)

    inner, bias = config.downsample_factor**2 * width, config.projector_bias
    if config.projector_use_layernorm:
        yield from norm_shapes("multi_modal_projector.layer_norm", inner)
    yield from linear_shapes("multi_modal_projector.linear_1", config.projector_hidden_size, inner, bias)
    yield from linear_shapes("multi_modal_projector.linear_2", size, config.projector_hidden_size, bias)
