"""The config of a Qwen3-VL checkpoint: config.json, with what preprocessor_config.json and generation_config.json add.

Field names are those of the files.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from engine.checkpoints.json_config import (
    check_multiples,
    check_sizes,
    json_object,
    known_fields,
    read_dataclass,
    require,
    with_rope_fields,
)
from engine.contract import Generation

T = TypeVar("T")


@dataclass(frozen=True)
class TextConfig:
    """The text decoder.

    Attributes:
        mrope_section: Pairs of dimensions that each position axis (time, height, width) rotates.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    head_dim: int = 128
    max_position_embeddings: int = 262_144
    rms_norm_eps: float = 1e-6
    rope_theta: float = 5_000_000.0
    mrope_section: tuple[int, ...] = (24, 20, 20)
    tie_word_embeddings: bool = False


@dataclass(frozen=True)
class VisionConfig:
    """The vision encoder.

    Attributes:
        deepstack_visual_indexes: Layers after which features are taken for the first layers of the text decoder.
    """

    hidden_size: int
    intermediate_size: int
    depth: int
    num_heads: int
    out_hidden_size: int
    num_position_embeddings: int = 2304
    patch_size: int = 16
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    in_channels: int = 3
    deepstack_visual_indexes: tuple[int, ...] = (8, 16, 24)

    @property
    def token_side(self) -> int:
        """Pixels of a side of the square that becomes a token."""
        return self.patch_size * self.spatial_merge_size

    @property
    def table_side(self) -> int:
        """Rows, and columns, of the table of position embeddings."""
        return math.isqrt(self.num_position_embeddings)


@dataclass(frozen=True)
class ImageConfig:
    """How images are prepared.

    Attributes:
        min_pixels: A smaller image is enlarged to it.
        max_pixels: A larger image is reduced to it.
        image_mean: Of each channel, 0..1.
        image_std: Of each channel.
    """

    min_pixels: int = 65_536
    max_pixels: int = 16_777_216
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class SamplingConfig:
    """Default sampling parameters, those of the releases' generation_config.json.

    The model card proposes a presence penalty of 1.5 besides, which that file and transformers do not have.
    """

    do_sample: bool = True
    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int = 20
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Config:
    """A whole model; `vision` is None if it is loaded without."""

    text: TextConfig
    vision: VisionConfig | None
    image: ImageConfig
    sampling: SamplingConfig

    @property
    def defaults(self) -> Generation:
        """The default sampling parameters, as a request has them."""
        sampling = self.sampling
        return Generation(
            temperature=sampling.temperature if sampling.do_sample else 0.0,
            top_p=sampling.top_p,
            max_tokens=1024,
            top_k=sampling.top_k or None,
            repetition_penalty=sampling.repetition_penalty,
        )


def read_config(source: str, data: Any) -> Config:
    """Read and check a config.

    Args:
        source: Names the config in errors.
        data: Parsed config.json; "preprocessor_config" and "generation_config" in it are the other files, if there are.
            Without "vision_config" it is that of a model without vision.

    Raises:
        ModelUnavailable: A field is missing or of the wrong type, or sizes do not fit together.
    """
    data = json_object(data, source)
    part = partial(_part, source, data)
    text = with_rope_fields(part("text_config"), source)
    tied = {name: data[name] for name in ("tie_word_embeddings",) if name in data}
    image = part("preprocessor_config")
    size = image.get("size")
    if isinstance(size, dict):
        image = image | {
            name: size[edge]
            for name, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge"))
            if edge in size
        }
    config = Config(
        _read(TextConfig, tied | text, source),
        _read(VisionConfig, part("vision_config"), source) if "vision_config" in data else None,
        _read(ImageConfig, image, source),
        _read(SamplingConfig, part("generation_config"), source),
    )
    _check(config, source, text)
    return config


def _read(kind: type[T], data: Mapping[str, Any], source: str) -> T:
    """Build a dataclass from a part of a file, which may have null for a default."""
    return read_dataclass(kind, known_fields(kind, {k: v for k, v in data.items() if v is not None}), source)


def _part(source: str, data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name, {})
    require(source, isinstance(value, dict), f"{name} must be an object")
    return dict(value)


def _check(config: Config, source: str, rope: Mapping[str, Any]) -> None:
    text, vision, image = config.text, config.vision, config.image
    need = partial(require, source)
    check_sizes(text, "text_config", source)
    check_sizes(image, "preprocessor_config", source)
    kind = rope.get("rope_type", "default")
    need(kind == "default", f"text_config: the rotary embedding {kind!r} is not supported")
    need(rope.get("mrope_interleaved", True) is True, "text_config: only interleaved M-RoPE is supported")
    need(len(text.mrope_section) == 3, "text_config: mrope_section must have three numbers")
    need(2 * sum(text.mrope_section) == text.head_dim, "text_config: mrope_section must add up to half of head_dim")
    check_multiples(text, "text_config", source, num_attention_heads="num_key_value_heads")
    need(text.rope_theta > 0, "text_config: rope_theta must be positive")
    if vision:
        _check_vision(vision, text, source)
    need(image.min_pixels <= image.max_pixels, "preprocessor_config: the least number of pixels exceeds the greatest")
    need(len(image.image_mean) == len(image.image_std) == 3, "preprocessor_config: image_mean must have three numbers")
    need(all(std > 0 for std in image.image_std), "preprocessor_config: image_std must be positive")


def _check_vision(vision: VisionConfig, text: TextConfig, source: str) -> None:
    need = partial(require, source)
    check_sizes(vision, "vision_config", source)
    need(vision.hidden_size % (4 * vision.num_heads) == 0, "vision_config.hidden_size must divide by 4 * num_heads")
    need(vision.table_side**2 == vision.num_position_embeddings, "num_position_embeddings must be a square")
    need(vision.in_channels == 3, "vision_config.in_channels must be 3: images are RGB")
    need(vision.out_hidden_size == text.hidden_size, "vision_config.out_hidden_size must be the text's hidden_size")
    layers = vision.deepstack_visual_indexes
    need(all(0 <= layer < vision.depth for layer in layers), "deepstack_visual_indexes name layers that don't exist")
    need(len(layers) <= text.num_hidden_layers, "deepstack_visual_indexes are more than the text layers")
