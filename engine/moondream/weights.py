"""The tensors of a Moondream checkpoint: names, shapes, the names in older releases, and which are quantised.

Names are those of the hub releases without their "model." prefix, such as "text.blocks.0.attn.qkv.weight". Older
releases use other names, and the int4 release packs some tensors.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from engine.checkpoints.reader import Shape, open_checkpoint
from engine.checkpoints.tensor_map import TensorLocation, TensorMap, locate_tensors, map_tensors
from engine.contract import ModelUnavailable
from engine.moondream.config import Config
from engine.moondream.int4_release import INT4_RELEASE, packed_shapes
from engine.quantization.plan import QuantizationPlan

# Experts, the patch embedding and the region encoders are not quantised.
QUANTIZATION_PLAN = QuantizationPlan(
    quantized=re.compile(
        r"((text|vision)\.blocks\.\d+\.(attn|mlp)\.(qkv|proj|fc1|fc2)|text\.lm_head|vision\.proj_mlp\.fc[12]"
        r"|region\.(coord|size)_decoder\.fc[12])\.weight|text\.wte"
    ),
    int4_names=re.compile(r"text\.blocks\..*"),
)
_IN_INT4_RELEASE = re.compile(r"text\.blocks\.\d+\.(attn|mlp)\.(qkv|proj|fc1|fc2)\.weight|region\..*\.weight")


def shapes(config: Config, int4: bool = False) -> dict[str, Shape]:
    """Return the shape of every tensor of a model, by name.

    The layer norm before the region decoders, which only later checkpoints of Moondream 3 have, is left out.

    Args:
        config: Of the model.
        int4: With the packed tensors of the int4 release.
    """
    by_name: dict[str, Shape] = {}
    for name, shape in _tensors(config):
        if int4 and len(shape) == 2 and _IN_INT4_RELEASE.fullmatch(name):
            by_name |= {f"{name}.{part}": packed for part, packed in packed_shapes(shape).items()}
        else:
            by_name[name] = shape
    return by_name


def open_weights(path: Path, config: Config) -> TensorMap:
    """Open the weights of a model and check them against the config.

    Args:
        path: A file, or the index of a sharded checkpoint.
        config: Of the model.

    Raises:
        ModelUnavailable: Tensors are missing, unknown, of another shape or type, or in FP8.
    """
    checkpoint = open_checkpoint(path)
    if any("moe_quant" in name.split(".") for name in checkpoint.names):
        raise ModelUnavailable(f"{path}: FP8 experts are not supported; use the bfloat16 release")
    locations, expected = locate_tensors(checkpoint, _canonical), shapes(config)
    norm = {f"region.ln.{part}": (config.region.dim,) for part in ("weight", "bias")} if config.is_moondream3 else {}
    if norm.keys() & locations.keys():
        expected |= norm
    return map_tensors(checkpoint, locations, expected, (INT4_RELEASE,))


def _tensors(config: Config) -> Iterator[tuple[str, Shape]]:
    text, vision, region = config.text, config.vision, config.region

    def linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Shape]]:
        yield f"{name}.weight", (rows, columns)
        yield f"{name}.bias", (rows,)

    def norm(name: str, size: int) -> Iterator[tuple[str, Shape]]:
        yield f"{name}.weight", (size,)
        yield f"{name}.bias", (size,)

    size = vision.enc_dim
    yield from linear("vision.patch_emb", size, vision.in_channels * vision.enc_patch_size**2)
    yield "vision.pos_emb", (1, vision.grid**2, size)
    for i in range(vision.enc_n_layers):
        block = f"vision.blocks.{i}"
        yield from norm(f"{block}.ln1", size)
        yield from linear(f"{block}.attn.qkv", 3 * size, size)
        yield from linear(f"{block}.attn.proj", size, size)
        yield from norm(f"{block}.ln2", size)
        yield from linear(f"{block}.mlp.fc1", vision.enc_ff_dim, size)
        yield from linear(f"{block}.mlp.fc2", size, vision.enc_ff_dim)
    yield from norm("vision.post_ln", size)
    yield from linear("vision.proj_mlp.fc1", vision.proj_inner_dim, 2 * size)
    yield from linear("vision.proj_mlp.fc2", vision.proj_out_dim, vision.proj_inner_dim)

    size, heads = text.dim, text.n_heads
    qkv = (heads + 2 * text.n_kv_heads) * text.head_dim
    yield "text.wte", (text.vocab_size, size)
    for i in range(text.n_layers):
        block = f"text.blocks.{i}"
        yield from norm(f"{block}.ln", size)
        yield from linear(f"{block}.attn.qkv", qkv, size)
        yield from linear(f"{block}.attn.proj", size, size)
        if text.tau:
            yield f"{block}.attn.tau.wq", (heads, qkv)
            yield f"{block}.attn.tau.wv", (heads, qkv)
            yield f"{block}.attn.tau.alpha", (heads,)
        if text.moe and i >= text.moe.start_layer:
            experts, inner = text.moe.num_experts, text.moe.expert_inner_dim
            yield from linear(f"{block}.mlp.router", experts, size)
            yield f"{block}.mlp.fc1.weight", (experts, 2 * inner, size)
            yield f"{block}.mlp.fc2.weight", (experts, size, inner)
        else:
            yield from linear(f"{block}.mlp.fc1", text.ff_dim, size)
            yield from linear(f"{block}.mlp.fc2", size, text.ff_dim)
    yield from norm("text.post_ln", size)
    yield from linear("text.lm_head", text.vocab_size, size)

    for name, features, inputs, outputs in (
        ("coord", region.coord_feat_dim, 1, region.coord_out_dim),
        ("size", region.size_feat_dim, 2, region.size_out_dim),
    ):
        yield f"region.{name}_features", (inputs, features // 2)
        yield from linear(f"region.{name}_encoder", region.dim, features)
        if region.inner_dim is None:
            yield from linear(f"region.{name}_decoder", outputs, region.dim)
        else:
            yield from linear(f"region.{name}_decoder.fc1", region.inner_dim, region.dim)
            yield from linear(f"region.{name}_decoder.fc2", outputs, region.inner_dim)


# Names in older releases; replaced in this order.
_OLD = ("vision_encoder.", "text_model.", "region_model.")
_RENAMED = (
    ("vision_encoder.encoder.model.visual.patch_embed.linear.", "vision.patch_emb."),
    ("vision_encoder.encoder.model.visual.pos_embed", "vision.pos_emb"),
    ("vision_encoder.encoder.model.visual.norm.", "vision.post_ln."),
    ("vision_encoder.encoder.model.visual.blocks.", "vision.blocks."),
    (".norm1.", ".ln1."),
    (".norm2.", ".ln2."),
    ("vision_encoder.projection.mlp.", "vision.proj_mlp."),
    ("text_model.transformer.embd.wte.weight", "text.wte"),
    ("text_model.transformer.h.", "text.blocks."),
    (".mixer.Wqkv.", ".attn.qkv."),
    (".mixer.out_proj.", ".attn.proj."),
    (".gate.", ".mlp.router."),
    (".mlp.experts.", ".mlp.fc1."),
    (".mlp.output_experts.", ".mlp.fc2."),
    (".tau_", ".attn.tau."),
    ("text_model.lm_head.ln.", "text.post_ln."),
    ("text_model.lm_head.linear.", "text.lm_head."),
    ("region_model.coordinate_features.weight", "region.coord_features"),
    ("region_model.size_features.weight", "region.size_features"),
    ("region_model.coordinate_encoder.", "region.coord_encoder."),
    ("region_model.coordinate_decoder.", "region.coord_decoder."),
    ("region_model.coordinate_head.", "region.coord_decoder."),
    ("region_model.size_encoder.", "region.size_encoder."),
    ("region_model.size_decoder.", "region.size_decoder."),
    ("region_model.size_head.", "region.size_decoder."),
    ("region_model.ln.", "region.ln."),
)

# Buffers in saved models that follow from the config.
_NOT_WEIGHTS = re.compile(r"(^|\.)(kv_cache|freqs_cis|attn_mask|rotary_emb)(\.|$)")


def _canonical(name: str) -> Iterator[tuple[str, TensorLocation]]:
    """Yield the current names of the tensors in a stored tensor, and where each lies in it."""
    if _NOT_WEIGHTS.search(name):
        return
    renamed = name.replace("._orig_mod", "")
    if not renamed.startswith(_OLD):
        yield renamed.replace("model.", ""), TensorLocation(name)
        return
    for old, new in _RENAMED:
        renamed = renamed.replace(old, new)
    if renamed.endswith(".attn.tau.wqwv"):
        yield renamed.removesuffix("wqwv") + "wq", TensorLocation(name, half=0)
        yield renamed.removesuffix("wqwv") + "wv", TensorLocation(name, half=1)
    else:
        yield renamed, TensorLocation(name, transposed=renamed in ("region.coord_features", "region.size_features"))
