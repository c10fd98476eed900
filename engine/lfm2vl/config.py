"""The config of an LFM2-VL checkpoint: config.json and preprocessor_config.json of the hub, with their field names.

Releases spell some fields differently: all spellings are read. Fields that no dataclass here has are ignored.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from engine.checkpoints.config_matcher import ConfigMatcher
from engine.checkpoints.json_config import (
    check_multiples,
    check_sizes,
    json_object,
    read_dataclass,
    require,
    with_rope_fields,
)

CONV, ATTENTION = "conv", "full_attention"
MATCHER = ConfigMatcher(("lfm2_vl", "lfm2-vl"), "<image>", ("preprocessor_config.json", "processor_config.json"))


@dataclass(frozen=True)
class TextConfig:
    """The LFM2 text model.

    Attributes:
        conv_L_cache: Length of the convolution kernels.
        block_ff_dim: Inner width of the feed-forward layers before it is adjusted; newer name: intermediate_size.
        layer_types: "conv" or "full_attention" for each layer; older releases have full_attn_idxs.
        rope_theta: Base of the rotary frequencies.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int = 65536
    max_position_embeddings: int = 128_000
    norm_eps: float = 1e-5
    conv_L_cache: int = 3
    conv_bias: bool = False
    block_ff_dim: int | None = None
    intermediate_size: int = 12288
    block_auto_adjust_ff_dim: bool = True
    block_ffn_dim_multiplier: float | None = None
    block_multiple_of: int = 256
    layer_types: tuple[str, ...] | None = None
    full_attn_idxs: tuple[int, ...] | None = None
    rope_theta: float = 1_000_000.0

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """CONV or ATTENTION for each layer."""
        if self.layer_types is not None:
            return self.layer_types
        attention = range(self.num_hidden_layers) if self.full_attn_idxs is None else self.full_attn_idxs
        return tuple(ATTENTION if layer in attention else CONV for layer in range(self.num_hidden_layers))

    @property
    def inner_dim(self) -> int:
        """Inner width of the feed-forward layers."""
        size = self.block_ff_dim or self.intermediate_size
        if not self.block_auto_adjust_ff_dim:
            return size
        size = int((self.block_ffn_dim_multiplier or 1.0) * int(2 * size / 3))
        return -(-size // self.block_multiple_of) * self.block_multiple_of


@dataclass(frozen=True)
class VisionConfig:
    """The vision encoder.

    Attributes:
        num_hidden_layers: Layers in the file; see `Config.vision_layers`.
        num_patches: Rows of the position table, a square.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    patch_size: int = 16
    num_patches: int = 256
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class ImageConfig:
    """How an image is resized and split.

    Attributes:
        min_image_tokens: Least tokens of an image that is not split, and of a thumbnail.
        max_image_tokens: Most of these.
        do_image_splitting: Whether a large image is split into tiles.
        min_tiles: Least tiles of an image that is split.
        max_tiles: Most of these.
        tile_size: Side of a tile in pixels.
        use_thumbnail: Whether the tiles are followed by the whole image.
        max_pixels_tolerance: An image is split if it has more than this times the pixels of `max_image_tokens`.
        resample: Filter in Pillow's numbering: 2 bilinear, 3 bicubic.
        use_image_special_tokens: Whether images and tiles are marked in the prompt.
        max_total_tokens: Most tokens of an image, tiles and thumbnail together; None: what the other limits allow.
    """

    min_image_tokens: int = 64
    max_image_tokens: int = 256
    do_image_splitting: bool = True
    min_tiles: int = 2
    max_tiles: int = 10
    tile_size: int = 512
    use_thumbnail: bool = True
    max_pixels_tolerance: float = 2.0
    resample: int = 2
    use_image_special_tokens: bool = True
    max_total_tokens: int | None = None


@dataclass(frozen=True)
class Config:
    """A whole model.

    Attributes:
        downsample_factor: Patches along each side of the square that becomes one token.
        vision_feature_layer: -1: the output of the last layer is used; -2: of the last but one, and so on.
        detects: Whether it was trained to answer with bounding boxes.
        has_vision: False if it is loaded without its vision part.
    """

    text_config: TextConfig
    vision_config: VisionConfig = VisionConfig()
    preprocessor_config: ImageConfig = ImageConfig()
    downsample_factor: int = 2
    projector_hidden_size: int = 2560
    projector_hidden_act: str = "gelu"
    projector_use_layernorm: bool = True
    projector_bias: bool = True
    vision_feature_layer: int = -1
    detects: bool = False
    has_vision: bool = True

    @property
    def vision_layers(self) -> int:
        """Layers of the vision encoder that are run."""
        return self.vision_config.num_hidden_layers + 1 + self.vision_feature_layer

    @property
    def token_size(self) -> int:
        """Side of the square of pixels that becomes one token."""
        return self.vision_config.patch_size * self.downsample_factor

    @property
    def tile_tokens(self) -> int:
        """Tokens of a tile."""
        return (self.preprocessor_config.tile_size // self.token_size) ** 2

    @property
    def max_tokens(self) -> int:
        """Most tokens of an image."""
        images = self.preprocessor_config
        return images.max_total_tokens or images.max_tiles * self.tile_tokens + images.max_image_tokens


def read_config(source: str, data: Any) -> Config:
    """Read and check a config.

    Args:
        source: Names the config in errors.
        data: Parsed config.json; "preprocessor_config" and "processor_config" in it are these files, if there are.
            Without "vision_config" it is that of a model without vision.

    Raises:
        ModelUnavailable: A field is missing or of the wrong type, or sizes do not fit together.
    """
    parts = json_object(data, source) | {"preprocessor_config": _image_fields(data, source)}
    parts["text_config"] = with_rope_fields(parts.get("text_config"), source)
    parts["has_vision"] = "vision_config" in parts
    config = read_dataclass(Config, parts, source, ignore_unknown=True)
    _check(config, source)
    return config


def _image_fields(data: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the fields of `ImageConfig`, which releases have in different files; of two the later one here counts."""
    newest = data.get("processor_config") or {}
    require(source, isinstance(newest, dict), "processor_config must be an object")
    places = (data, data.get("preprocessor_config"), newest, newest.get("image_processor"))
    return dict(chain.from_iterable(place.items() for place in places if isinstance(place, dict)))


def _check(config: Config, source: str) -> None:
    text, vision, images = config.text_config, config.vision_config, config.preprocessor_config
    need = partial(require, source)
    for part, name in ((text, "text_config"), (vision, "vision_config"), (images, "preprocessor_config")):
        check_sizes(part, name, source)
    need(0 < config.downsample_factor < 2**31, "downsample_factor must be positive")
    need(0 < config.projector_hidden_size < 2**31, "projector_hidden_size must be positive")
    heads = {"hidden_size": "num_attention_heads", "num_attention_heads": "num_key_value_heads"}
    check_multiples(text, "text_config", source, **heads)
    check_multiples(vision, "vision_config", source, hidden_size="num_attention_heads")
    need(text.head_dim % 2 == 0, "text_config.hidden_size / num_attention_heads must be even, for rotary pairs")
    need(len(text.kinds) == text.num_hidden_layers, "text_config.layer_types must have num_hidden_layers entries")
    need({*text.kinds} <= {CONV, ATTENTION}, f"text_config.layer_types must be {CONV} or {ATTENTION}")
    need(0 < text.inner_dim < 2**31, "text_config: the feed-forward layers have an impossible width")
    need(not text.conv_bias, "text_config.conv_bias must be false")
    need(text.rope_theta > 0, "text_config.rope_theta must be positive")
    need(config.projector_hidden_act == "gelu", "projector_hidden_act must be gelu")
    layers = vision.num_hidden_layers
    need(0 < config.vision_layers <= layers, f"vision_feature_layer must be in {-layers}..-1")
    need(math.isqrt(vision.num_patches) ** 2 == vision.num_patches, "vision_config.num_patches must be a square")
    need(
        images.tile_size % config.token_size == 0, "preprocessor_config.tile_size must be a multiple of a token's side"
    )
    need(images.min_image_tokens <= images.max_image_tokens, "min_image_tokens exceeds max_image_tokens")
    need(images.min_tiles <= images.max_tiles <= 100, "preprocessor_config.max_tiles must be in min_tiles..100")
    need(images.max_pixels_tolerance > 0, "preprocessor_config.max_pixels_tolerance must be positive")
    need(images.resample in (2, 3), "preprocessor_config.resample must be 2 (bilinear) or 3 (bicubic)")
