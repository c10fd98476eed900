"""The config of a Moondream 2 in GGUF, from the metadata of its files."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.checkpoints.config_matcher import ConfigMatcher
from engine.checkpoints.json_config import check_multiples, check_sizes, json_object, read_dataclass, require

MATCHER = ConfigMatcher((), "")  # no config.json is of this family


@dataclass(frozen=True)
class TextConfig:
    """The text decoder.

    Attributes:
        rotary_dim: Dimensions of a head that are rotated.
    """

    dim: int
    ff_dim: int
    n_layers: int
    n_heads: int
    vocab_size: int
    max_context: int
    rotary_dim: int
    rope_base: float
    eps: float

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.dim // self.n_heads


@dataclass(frozen=True)
class VisionConfig:
    """The vision encoder and its projection.

    Attributes:
        n_layers: Blocks that are run; the files have a copy of the last one too.
        inner_dim: Of the projection.
    """

    dim: int
    ff_dim: int
    n_layers: int
    n_heads: int
    image_size: int
    patch_size: int
    inner_dim: int
    eps: float

    @property
    def grid(self) -> int:
        """Patches along a side of the image."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class Config:
    """A whole model; `vision` is None if it is loaded without."""

    text: TextConfig
    vision: VisionConfig | None = None


def read_config(source: str, data: Any) -> Config:
    """Read and check a config, as `engine.checkpoints.gguf_config` makes it; source names it in errors.

    Fields of the catalogue are ignored.

    Raises:
        ModelUnavailable: A field is missing or of the wrong type, or sizes do not fit together.
    """
    config = read_dataclass(Config, json_object(data, source), source, ignore_unknown=True)
    text, vision, need = config.text, config.vision, partial(require, source)
    check_sizes(text, "text", source)
    check_multiples(text, "text", source, dim="n_heads")
    need(text.rotary_dim % 2 == 0 and text.rotary_dim <= text.head_dim, "text.rotary_dim must be even, and fit a head")
    need(text.rope_base > 0, "text.rope_base must be positive")
    if vision:
        check_sizes(vision, "vision", source)
        check_multiples(vision, "vision", source, dim="n_heads", image_size="patch_size")
    return config
