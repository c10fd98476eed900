"""A model's tensors under one set of names, wherever they come from.

The names are those of the hub releases without their "model." prefix, such as "text.blocks.0.attn.qkv.weight". Older
releases name them otherwise, the 4-bit release packs them, and what was quantised here has the parts of its matrices
under names of their own; all of this is seen from the names in the file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.checkpoints.reader import Checkpoint, open_checkpoint
from engine.contract import ModelUnavailable
from engine.error_text import shown, summary
from engine.moondream.config import Config
from engine.moondream.int4_release import as_int4, packed_shapes, unpack
from engine.quantization.formats import GROUPS, Int4, Int8, Matrix

Shape = tuple[int, ...]


def shapes(config: Config, int4: bool = False) -> dict[str, Shape]:
    """Every tensor of a model, with its shape. int4: as the 4-bit release packs them.

    A layer norm before the region decoders, which later checkpoints of the third generation have, is left out.
    """
    plain = dict(_tensors(config))
    return _packed(plain, filter(_in_int4_release, plain)) if int4 else plain


def open_weights(path: Path, config: Config) -> "Weights":
    """The weights in a file, or in shards with an index, all of them checked against the config.

    ModelUnavailable in one line for tensors that are missing, unknown or of another shape or type, and for FP8.
    """
    checkpoint = open_checkpoint(path)
    places = _places(checkpoint)
    plain = shapes(config)
    norm = {f"region.ln.{part}": (config.region.dim,) for part in ("weight", "bias")} if config.third else {}
    if norm.keys() & places.keys():
        plain |= norm
    try:
        wanted = _packed(plain, [name for name in plain if f"{name}.packed" in places])
    except ValueError as error:
        raise ModelUnavailable(f"{path}: {error}") from error
    wanted = _quantised(wanted, places, checkpoint)
    _check(checkpoint, places, wanted)
    return Weights(checkpoint, places, plain)


@dataclass(frozen=True)
class Weights:
    """The checked tensors of a checkpoint.

    places: canonical name -> where it lies, the parts of matrices in few bits ("….weight.packed") by their own.
    """

    checkpoint: Checkpoint
    places: Mapping[str, "Place"]
    shapes: Mapping[str, Shape]

    def has(self, name: str) -> bool:
        return name in self.shapes or name in self.places

    def dtype(self, name: str) -> torch.dtype:
        """What the tensor is stored in; for one in few bits, float32."""
        return self.checkpoint.dtype(self.places[name].name) if name in self.places else torch.float32

    def take(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        """The tensor, in memory of its own; one in few bits is restored in the arithmetic of dtype."""
        if name in self.places:
            place = self.places[name]
            return place.of(self.checkpoint.read(place.name, dtype, device))
        if f"{name}.packed" in self.places:
            packed, scale, zero_point = self._parts(name, device, "packed", "scale", "zero_point")
            return unpack(packed, scale, zero_point, self.shapes[name], dtype)
        kept = self.matrix(name, dtype, device)
        return kept if isinstance(kept, Tensor) else kept.restored(dtype)

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        if f"{name}.nibbles" in self.places:
            nibbles, scale, zero = self._parts(name, device, "nibbles", "scale", "zero")
            return Int4(nibbles, scale, zero)
        if f"{name}.values" in self.places:
            values, scale = self._parts(name, device, "values", "scale")
            return Int8(values, scale)
        if f"{name}.packed" in self.places:
            packed, scale, zero_point = self._parts(name, device, "packed", "scale", "zero_point")
            kept = as_int4(packed, scale, zero_point, self.shapes[name])
            return kept or self.take(name, dtype, device)
        if name in self.places:
            return self.take(name, dtype, device)
        raise ModelUnavailable(f"{self.checkpoint.path}: has no tensor {shown(name)}")

    def _parts(self, name: str, device: torch.device | str, *parts: str) -> list[Tensor]:
        return [self.checkpoint.read(self.places[f"{name}.{part}"].name, None, device) for part in parts]


@dataclass(frozen=True)
class Place:
    """A tensor of the checkpoint, its transpose, or one half (0 or 1) of its rows."""

    name: str
    transposed: bool = False
    half: int | None = None

    def stored(self, wanted: Shape) -> Shape:
        """The shape that the stored tensor must have."""
        if self.transposed:
            return wanted[::-1]
        return wanted if self.half is None else (2 * wanted[0], *wanted[1:])

    def of(self, stored: Tensor) -> Tensor:
        if self.transposed:
            return stored.T.contiguous()
        return stored if self.half is None else stored.chunk(2)[self.half].clone()


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


_INT4 = re.compile(r"text\.blocks\.\d+\.(attn|mlp)\.(qkv|proj|fc1|fc2)\.weight|region\..*\.weight")


def _in_int4_release(name: str) -> bool:
    return _INT4.fullmatch(name) is not None


def _packed(plain: Mapping[str, Shape], names: Iterable[str]) -> dict[str, Shape]:
    """The same tensors, these matrices in their packed form. ValueError for one that can't have it."""
    chosen = set(names)
    made: dict[str, Shape] = {}
    for name, shape in plain.items():
        if name in chosen and len(shape) == 2:
            made |= {f"{name}.{part}": of for part, of in packed_shapes(shape).items()}
        else:
            made[name] = shape
    return made


def _quantised(wanted: Mapping[str, Shape], places: Mapping[str, "Place"], checkpoint: Checkpoint) -> dict[str, Shape]:
    """The same, matrices that were quantised here in their parts: see `engine.quantization.formats.Int4` and `Int8`."""
    made: dict[str, Shape] = {}
    for name, shape in wanted.items():
        if len(shape) == 2 and f"{name}.nibbles" in places:
            rows, columns = shape
            stored = checkpoint.shape(places[f"{name}.scale"].name) if f"{name}.scale" in places else ()
            sizes = [size for size in GROUPS if columns % size == 0] or [columns]
            groups = (rows, columns // next((size for size in sizes if (rows, columns // size) == stored), sizes[0]))
            made |= {f"{name}.nibbles": (rows, columns // 2), f"{name}.scale": groups, f"{name}.zero": groups}
        elif len(shape) == 2 and f"{name}.values" in places:
            made |= {f"{name}.values": shape, f"{name}.scale": shape[:1]}
        else:
            made[name] = shape
    return made


# The older naming; replaced in this order.
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

# What a saved model may carry along, though it follows from the config.
_NOT_WEIGHTS = re.compile(r"(^|\.)(kv_cache|freqs_cis|attn_mask|rotary_emb)(\.|$)")


def _places(checkpoint: Checkpoint) -> dict[str, Place]:
    """Where each canonical name lies; the shapes are not looked at."""
    places: dict[str, Place] = {}
    for name in checkpoint.names:
        if "moe_quant" in name.split("."):
            raise ModelUnavailable(f"{checkpoint.path}: FP8 experts are not supported; take the bfloat16 release")
        if _NOT_WEIGHTS.search(name):
            continue
        for canonical, place in _canonical(name):
            if canonical in places:
                twice = f"{shown(places[canonical].name)} and {shown(name)}"
                raise ModelUnavailable(f"{checkpoint.path}: {twice} are the same tensor, {shown(canonical)}")
            places[canonical] = place
    return places


def _canonical(name: str) -> Iterator[tuple[str, Place]]:
    bare = name.replace("._orig_mod", "")
    if not bare.startswith(_OLD):
        yield bare.replace("model.", ""), Place(name)
        return
    for old, new in _RENAMED:
        bare = bare.replace(old, new)
    if bare.endswith(".attn.tau.wqwv"):
        yield bare.removesuffix("wqwv") + "wq", Place(name, half=0)
        yield bare.removesuffix("wqwv") + "wv", Place(name, half=1)
    else:
        yield bare, Place(name, transposed=bare in ("region.coord_features", "region.size_features"))


def _check(checkpoint: Checkpoint, places: Mapping[str, Place], wanted: Mapping[str, Shape]) -> None:
    shared = [name for name in wanted if name in places]
    faults = {
        "missing": [name for name in wanted if name not in places],
        "unknown": [shown(places[name].name) for name in places if name not in wanted],
        "of another shape": [
            f"{name} is {list(found)}, not {list(must)}"
            for name in shared
            if (found := checkpoint.shape(places[name].name)) != (must := places[name].stored(wanted[name]))
        ],
        "of another type": [
            f"{name} is {str(dtype).removeprefix('torch.')}"
            for name in shared
            if not _fits(name, dtype := checkpoint.dtype(places[name].name))
        ],
    }
    if any(faults.values()):
        raise ModelUnavailable(f"{checkpoint.path}: does not fit the model's config; {summary(faults)}")


def _fits(name: str, dtype: torch.dtype) -> bool:
    whole = {".packed": torch.uint8, ".nibbles": torch.uint8, ".values": torch.int8}
    wanted = next((kind for ending, kind in whole.items() if name.endswith(ending)), None)
    return dtype == wanted if wanted else dtype.is_floating_point
