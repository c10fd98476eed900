"""The config of a Moondream checkpoint, read from JSON, with the reference's field names.

No size is hard-coded: crop, grid, depth, context and token ids all come from the file. Missing fields have the
reference's defaults. Where those of Moondream 2 and 3 differ, a file with experts (`text.moe`) is a Moondream 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import chain
from typing import Any

from engine.checkpoints.json_config import (
    check_multiples,
    check_sizes,
    json_object,
    known_fields,
    path_to,
    read_dataclass,
    require,
    with_defaults,
)
from engine.error_text import short_repr
from engine.moondream.templates import Templates


@dataclass(frozen=True)
class MoeConfig:
    """Mixture of experts in the layers from start_layer on; each token is routed to experts_per_token of them."""

    num_experts: int = 64
    start_layer: int = 4
    experts_per_token: int = 8
    expert_inner_dim: int = 1024


@dataclass(frozen=True)
class TextConfig:
    """The text decoder."""

    dim: int = 2048
    ff_dim: int = 8192
    n_layers: int = 24
    n_heads: int = 32
    vocab_size: int = 51200
    max_context: int = 2048
    n_kv_heads: int = 32  # defaults to n_heads
    rope_theta: float = 10_000.0
    tau: bool = False  # whether queries and values are scaled by token and position
    moe: MoeConfig | None = None
    group_size: int | None = None  # of the int4 release
    prefix_attn: int | None = None  # unused: the length follows from the crop size

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.dim // self.n_heads

    @property
    def rotary_dim(self) -> int:
        """Dimensions of a head that are rotated."""
        return self.head_dim // 2


@dataclass(frozen=True)
class VisionConfig:
    """The vision encoder, its projection and its crops; sizes in pixels."""

    enc_dim: int = 1152
    enc_n_layers: int = 27
    enc_ff_dim: int = 4304
    enc_n_heads: int = 16
    proj_inner_dim: int = 8192
    proj_out_dim: int = 2048
    crop_size: int = 378
    enc_patch_size: int = 14
    in_channels: int = 3
    max_crops: int = 12
    overlap_margin: int = 4  # in patches

    @property
    def grid(self) -> int:
        """Patches along each side of a crop."""
        return self.crop_size // self.enc_patch_size


@dataclass(frozen=True)
class RegionConfig:
    """Encoders and decoders of coordinates and sizes."""

    dim: int = 2048
    coord_feat_dim: int = 256
    coord_out_dim: int = 1024
    size_feat_dim: int = 512
    size_out_dim: int = 2048
    inner_dim: int | None = 8192  # None: the decoders are single linears
    group_size: int | None = None


@dataclass(frozen=True)
class TokenizerConfig:
    """Special token ids and prompt templates. Older releases have only bos and eos, the others null: no reasoning."""

    bos_id: int = 0
    eos_id: int = 0
    answer_id: int | None = 3
    thinking_id: int | None = 4
    coord_id: int | None = 5
    size_id: int | None = 6
    start_ground_points_id: int | None = 7
    end_ground_id: int | None = 9
    templates: Templates = field(default_factory=Templates)

    @property
    def reasons(self) -> bool:
        """Whether the model can reason before it answers."""
        return self.thinking_id is not None and self.answer_id is not None


@dataclass(frozen=True)
class Defaults:
    """The reference's default options."""

    temperature: float = 0.5
    top_p: float = 0.3
    max_tokens: int = 768
    max_objects: int = 50
    reasoning: bool = False


@dataclass(frozen=True)
class Config:
    """A whole model.

    Attributes:
        vocabulary: The only prompts that it detects, normalised -> as tokenized; None: it takes any prompt.
    """

    text: TextConfig = TextConfig()
    vision: VisionConfig = VisionConfig()
    region: RegionConfig = RegionConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    defaults: Defaults = Defaults()
    vocabulary: Mapping[str, str] | None = None

    @property
    def is_moondream3(self) -> bool:
        """Whether it is a Moondream 3, with other prompts, region decoders and object lists."""
        return self.text.moe is not None

    @property
    def prefix_length(self) -> int:
        """Positions of an image in the text model: the beginning-of-text token and one a patch."""
        return 1 + self.vision.grid**2


def read_config(source: str, data: Any) -> Config:
    """Read and check a config.

    Args:
        source: Names the config in errors.
        data: Parsed JSON.

    Raises:
        ModelUnavailable: A field is unknown or of the wrong type, or sizes do not fit together.
    """
    parts = known_fields(Config, json_object(data, source))
    text = parts.get("text", {})
    is_moondream3 = isinstance(text, dict) and text.get("moe") is not None
    if is_moondream3:
        parts["region"] = with_defaults(parts.get("region", {}), {"inner_dim": None})
        defaults = {"top_p": 0.9, "max_objects": 150, "reasoning": True}
        parts["defaults"] = with_defaults(parts.get("defaults", {}), defaults)
    heads = text.get("n_heads", TextConfig.n_heads) if isinstance(text, dict) else 0
    theta, context = (1_500_000.0, 4096) if is_moondream3 else (10_000.0, 2048)
    parts["text"] = with_defaults(
        text, {"n_kv_heads": heads, "rope_theta": theta, "tau": is_moondream3, "max_context": context}
    )
    config = read_dataclass(Config, parts, source)
    _check(config, source)
    return config


def _check(config: Config, source: str) -> None:
    text, vision, region, ids = config.text, config.vision, config.region, config.tokenizer
    need = partial(require, source)
    for part, name in ((text, "text"), (vision, "vision"), (region, "region"), (text.moe, "text.moe")):
        if part:
            check_sizes(part, name, source, may_be_zero=("overlap_margin", "start_layer"))
    check_multiples(text, "text", source, dim="n_heads", n_heads="n_kv_heads")
    need(text.head_dim % 4 == 0, "text.dim / text.n_heads must be a multiple of 4, for rotary pairs in half of it")
    need(text.rope_theta > 0, "text.rope_theta must be positive")
    need(not (text.tau and text.n_kv_heads != text.n_heads), "text.tau needs n_kv_heads equal to n_heads")
    check_multiples(vision, "vision", source, enc_dim="enc_n_heads", crop_size="enc_patch_size")
    need(vision.in_channels == 3, "vision.in_channels must be 3: images are RGB")
    need(2 * vision.overlap_margin < vision.grid, "vision.overlap_margin must be less than half of the grid")
    need(vision.proj_out_dim == text.dim, "vision.proj_out_dim must equal text.dim")
    need(region.dim == text.dim, "region.dim must equal text.dim")
    need(region.coord_feat_dim % 2 == 0, "region.coord_feat_dim must be even")
    need(region.size_feat_dim % 2 == 0, "region.size_feat_dim must be even")
    need(region.coord_out_dim > 1, "region.coord_out_dim must be over 1")
    need(region.size_out_dim % 2 == 0 and region.size_out_dim > 2, "region.size_out_dim must be even and over 2")
    need(config.prefix_length < text.max_context, "text.max_context is too small for an image")
    if text.moe:
        need(text.moe.experts_per_token <= text.moe.num_experts, "text.moe.experts_per_token is over num_experts")
        need(text.moe.start_layer < text.n_layers, "text.moe.start_layer leaves no layer with experts")
    for f in fields(ids):
        value = getattr(ids, f.name)
        if type(value) is int:
            need(
                0 <= value < text.vocab_size,
                f"tokenizer.{f.name} must be in 0..{text.vocab_size - 1}, not {short_repr(value)}",
            )
    need(
        not (text.moe and ids.coord_id is None),
        "tokenizer.coord_id is missing: a model with experts needs it",
    )
    t = ids.templates
    for length, prompt in (t.caption or {}).items():
        need(len(prompt) > 0, f"{path_to('tokenizer.templates.caption', length)} is empty")
    if t.query and ids.reasons:
        need(len(t.query.suffix) > 0, "tokenizer.templates.query.suffix is empty: it must start the answer")
    templates = [(s.prefix, s.suffix) for s in (t.query, t.detect, t.point, t.segment) if s]
    prompts = [*chain.from_iterable(templates), *(t.caption or {}).values()]
    for token in chain.from_iterable(prompts):
        need(0 <= token < text.vocab_size, f"tokenizer.templates: {short_repr(token)} is not in the vocabulary")
    defaults = config.defaults
    need(defaults.temperature >= 0, f"defaults.temperature must not be below 0: {defaults.temperature}")
    need(0 <= defaults.top_p <= 1, f"defaults.top_p must be in 0..1, not {defaults.top_p}")
    need(defaults.max_tokens >= 0, f"defaults.max_tokens must not be below 0: {short_repr(defaults.max_tokens)}")
    need(defaults.max_objects >= 0, f"defaults.max_objects must not be below 0: {short_repr(defaults.max_objects)}")
