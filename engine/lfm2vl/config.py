"""The config of an LFM2-VL checkpoint: config.json and preprocessor_config.json of the hub, with their field names.

Releases spell some fields differently. All spellings are read; what no field of ours stands for is ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.checkpoints.json_config import check_sizes, json_object, known_fields, read_dataclass, require

CONV, ATTENTION = "conv", "full_attention"


@dataclass(frozen=True)
class TextConfig:
    """The LFM2 text model.

    Attributes:
        intermediate_size: Inner width of the feed-forward layers, adjusted.
        conv_L_cache: Length of the convolution kernels.
        layer_types: "conv" or "full_attention" for each layer.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    layer_types: tuple[str, ...]
    vocab_size: int = 65536
    max_position_embeddings: int = 128_000
    norm_eps: float = 1e-5
    rope_theta: float = 1_000_000.0
    conv_L_cache: int = 3
    eos_token_id: int = 7

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class VisionConfig:
    """The vision encoder.

    Attributes:
        num_hidden_layers: Layers that are run; a checkpoint may have more.
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
        resample: Filter, in Pillow's numbering: 2 bilinear, 3 bicubic.
        use_image_special_tokens: Whether images and tiles are marked in the prompt.
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


@dataclass(frozen=True)
class Config:
    """A whole model.

    Attributes:
        downsample_factor: Patches along each side of the square that becomes one token.
        detects: Whether it was trained to answer with bounding boxes.
    """

    text_config: TextConfig
    vision_config: VisionConfig
    image_config: ImageConfig = ImageConfig()
    downsample_factor: int = 2
    projector_hidden_size: int = 2560
    projector_use_layernorm: bool = True
    projector_bias: bool = True
    detects: bool = False

    @property
    def token_size(self) -> int:
        """Side of the square of pixels that becomes one token."""
        return self.vision_config.patch_size * self.downsample_factor


def read_config(source: str, data: Any) -> Config:
    """Read and check a config.

    Args:
        source: Names the config in errors.
        data: Parsed config.json; under "image_config", the parsed preprocessor_config.json.

    Raises:
        ModelUnavailable: A field is missing or of the wrong type, or sizes do not fit together.
    """
    data = json_object(data, source)
    text = _text_fields(json_object(data.get("text_config"), f"{source}: text_config"), source)
    vision = json_object(data.get("vision_config"), f"{source}: vision_config")
    parts = known_fields(Config, data) | {"text_config": text, "vision_config": known_fields(VisionConfig, vision)}
    if isinstance(images := data.get("image_config"), dict):
        parts["image_config"] = known_fields(ImageConfig, images)
    config = read_dataclass(Config, parts, source)
    skipped = -1 - data.get("vision_feature_layer", -1)  # -2: the output of the last layer but one is used
    layers = config.vision_config.num_hidden_layers - skipped
    config = replace(config, vision_config=replace(config.vision_config, num_hidden_layers=layers))
    _check(config, source)
    require(source, data.get("projector_hidden_act", "gelu") == "gelu", "projector_hidden_act must be gelu")
    return config


def _text_fields(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the fields of `TextConfig` from any release's spelling."""
    need = partial(require, source)
    fields = known_fields(TextConfig, data)
    rope = data.get("rope_parameters")
    fields["rope_theta"] = (rope if isinstance(rope, dict) else data).get("rope_theta", TextConfig.rope_theta)
    inner = data.get("block_ff_dim", data.get("intermediate_size"))
    need(type(inner) is int, "text_config.block_ff_dim must be an integer")
    if data.get("block_auto_adjust_ff_dim", True):
        inner = int(data.get("block_ffn_dim_multiplier", 1.0) * int(2 * inner / 3))
        multiple = data.get("block_multiple_of", 256)
        need(type(multiple) is int and multiple > 0, "text_config.block_multiple_of must be a positive integer")
        inner = -(-inner // multiple) * multiple
    fields["intermediate_size"] = inner
    if "layer_types" not in fields:
        layers = data.get("num_hidden_layers", 0)
        attention = data.get("full_attn_idxs", range(layers if type(layers) is int else 0))
        fields["layer_types"] = [ATTENTION if layer in attention else CONV for layer in range(layers)]
    need(not data.get("conv_bias"), "text_config.conv_bias must be false: no release has these")
    return fields


def _check(config: Config, source: str) -> None:
    text, vision, images = config.text_config, config.vision_config, config.image_config
    need = partial(require, source)
    for part, name in ((text, "text_config"), (vision, "vision_config"), (images, "image_config")):
        check_sizes(part, name, source)
    check_sizes(config, "config", source)
    for dim, heads, name in (
        (text.hidden_size, text.num_attention_heads, "text_config"),
        (vision.hidden_size, vision.num_attention_heads, "vision_config"),
    ):
        need(dim % heads == 0, f"{name}.hidden_size must be a multiple of num_attention_heads")
    need(text.head_dim % 2 == 0, "text_config: the width of a head must be even, for rotary pairs")
    need(
        text.num_attention_heads % text.num_key_value_heads == 0,
        "text_config.num_attention_heads must be a multiple of num_key_value_heads",
    )
    need(len(text.layer_types) == text.num_hidden_layers, "text_config.layer_types must name each layer")
    need({*text.layer_types} <= {CONV, ATTENTION}, f"text_config.layer_types must be {CONV} or {ATTENTION}")
    need(text.rope_theta > 0, "text_config.rope_theta must be positive")
    need(round(vision.num_patches**0.5) ** 2 == vision.num_patches, "vision_config.num_patches must be a square")
    need(images.tile_size % config.token_size == 0, "image_config.tile_size must be a multiple of patch and factor")
    need(images.min_image_tokens <= images.max_image_tokens, "image_config: min_image_tokens exceeds max_image_tokens")
    need(images.min_tiles <= images.max_tiles, "image_config: min_tiles exceeds max_tiles")
    need(images.resample in (2, 3), "image_config.resample must be 2 (bilinear) or 3 (bicubic)")
