"""The metadata of GGUF files as the config.json of the model's release on the Hugging Face hub."""

from collections.abc import Callable
from typing import Any

from engine.checkpoints.gguf import GgufFile
from engine.checkpoints.gguf_names import architecture_of, deepstack_layers, distinct_blocks
from engine.contract import ModelUnavailable

_TOKENS = "tokenizer.ggml"


def hub_config(text: GgufFile, vision: GgufFile | None) -> dict[str, Any]:
    """Return a config in the form of a release's config.json; without `vision_config` if there is no vision file.

    That of Moondream is in the form of `engine.moondream_gguf.config`, without `vision`.

    Raises:
        ModelUnavailable: The architecture is not supported, or an entry is missing or of another kind.
    """
    architecture_of(text)
    return _CONFIGS[text.text("general.architecture")](text, vision)


def token_id(text: GgufFile, name: str) -> int | None:
    """Return the id of a token; None if there is none of this name."""
    tokens = text.list_of(str, f"{_TOKENS}.tokens")
    return tokens.index(name) if name in tokens else None


def _shape(file: GgufFile, name: str) -> tuple[int, ...]:
    if name not in file.tensors:
        raise ModelUnavailable(f"{file.path}: has no tensor {name!r}")
    return file.tensors[name].shape


def _tokens(text: GgufFile) -> dict[str, int]:
    names = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    return {
        field: text.integer(f"{_TOKENS}.{key}") for field, key in names.items() if f"{_TOKENS}.{key}" in text.metadata
    }


def _decoder(text: GgufFile, prefix: str) -> dict[str, Any]:
    return {
        **_tokens(text),
        "hidden_size": text.integer(f"{prefix}.embedding_length"),
        "num_hidden_layers": text.integer(f"{prefix}.block_count"),
        "num_attention_heads": text.integer(f"{prefix}.attention.head_count"),
        "max_position_embeddings": text.integer(f"{prefix}.context_length"),
        "rope_theta": text.number(f"{prefix}.rope.freq_base"),
        "vocab_size": _shape(text, "token_embd.weight")[0],
    }


def _vision(vision: GgufFile) -> dict[str, Any]:
    prefix = "clip.vision"
    return {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": vision.integer(f"{prefix}.embedding_length"),
        "intermediate_size": vision.integer(f"{prefix}.feed_forward_length"),
        "patch_size": vision.integer(f"{prefix}.patch_size"),
    }


def _special_tokens(text: GgufFile, **names: str) -> dict[str, int]:
    ids = {field: token_id(text, name) for field, name in names.items()}
    return {field: number for field, number in ids.items() if number is not None}


def _qwen3vl(text: GgufFile, vision: GgufFile | None) -> dict[str, Any]:
    sections = text.list_of(int, "qwen3vl.rope.dimension_sections")
    decoder = {
        "model_type": "qwen3_vl_text",
        "attention_bias": False,
        "head_dim": text.integer("qwen3vl.attention.key_length"),
        "hidden_act": "silu",
        "intermediate_size": text.integer("qwen3vl.feed_forward_length"),
        "num_key_value_heads": text.integer("qwen3vl.attention.head_count_kv"),
        "rms_norm_eps": text.number("qwen3vl.attention.layer_norm_rms_epsilon"),
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": sections[:3], "rope_type": "default"},
    }
    config = {
        "model_type": "qwen3_vl",
        "text_config": {**_decoder(text, "qwen3vl"), **decoder},
        "tie_word_embeddings": "output.weight" not in text.tensors,
        **_special_tokens(
            text,
            image_token_id="<|image_pad|>",
            video_token_id="<|video_pad|>",
            vision_start_token_id="<|vision_start|>",
            vision_end_token_id="<|vision_end|>",
        ),
    }
    if vision:
        config["vision_config"] = {
            **_vision(vision),
            "model_type": "qwen3_vl",
            "deepstack_visual_indexes": deepstack_layers(vision),
            "depth": vision.integer("clip.vision.block_count"),
            "in_channels": 3,
            "num_heads": vision.integer("clip.vision.attention.head_count"),
            "num_position_embeddings": _shape(vision, "v.position_embd.weight")[0],
            "out_hidden_size": vision.integer("clip.vision.projection_dim"),
            "spatial_merge_size": vision.integer("clip.vision.spatial_merge_size", 2),
            "temporal_patch_size": 2,
        }
    return config


def _lfm2(text: GgufFile, vision: GgufFile | None) -> dict[str, Any]:
    heads = text.list_of(int, "lfm2.attention.head_count_kv")  # 0 marks a short convolution
    decoder = {
        "model_type": "lfm2",
        "block_auto_adjust_ff_dim": False,  # the file has the adjusted width
        "block_ff_dim": text.integer("lfm2.feed_forward_length"),
        "conv_L_cache": text.integer("lfm2.shortconv.l_cache"),
        "conv_bias": False,
        "layer_types": ["full_attention" if count else "conv" for count in heads],
        "norm_eps": text.number("lfm2.attention.layer_norm_rms_epsilon"),
        "num_key_value_heads": max(heads, default=0),
    }
    config = {
        "model_type": "lfm2_vl",
        "text_config": {**_decoder(text, "lfm2"), **decoder},
        "tie_word_embeddings": "output.weight" not in text.tensors,
        **_special_tokens(text, image_token_id="<image>"),
    }
    if vision:
        config |= {
            "downsample_factor": vision.integer("clip.vision.projector.scale_factor", 2),
            "projector_bias": True,
            "projector_hidden_act": "gelu",
            "projector_hidden_size": _shape(vision, "mm.1.weight")[0],
            "projector_use_layernorm": "mm.input_norm.weight" in vision.tensors,
            "vision_config": {
                **_vision(vision),
                "model_type": "siglip2_vision_model",
                "layer_norm_eps": vision.number("clip.vision.attention.layer_norm_epsilon"),
                "num_attention_heads": vision.integer("clip.vision.attention.head_count"),
                "num_channels": 3,
                "num_hidden_layers": vision.integer("clip.vision.block_count"),
                "num_patches": _shape(vision, "v.position_embd.weight")[0],
                "vision_use_head": False,
            },
        }
    return config


def _phi2(text: GgufFile, vision: GgufFile | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "text": {
            "dim": text.integer("phi2.embedding_length"),
            "ff_dim": text.integer("phi2.feed_forward_length"),
            "n_layers": text.integer("phi2.block_count"),
            "n_heads": text.integer("phi2.attention.head_count"),
            "vocab_size": _shape(text, "token_embd.weight")[0],
            "max_context": text.integer("phi2.context_length"),
            "rotary_dim": text.integer("phi2.rope.dimension_count"),
            "rope_base": text.number("phi2.rope.freq_base", 10_000.0),
            "eps": text.number("phi2.attention.layer_norm_epsilon"),
        }
    }
    if vision:
        config["vision"] = {
            "dim": vision.integer("clip.vision.embedding_length"),
            "ff_dim": vision.integer("clip.vision.feed_forward_length"),
            "n_layers": distinct_blocks(vision),
            "n_heads": vision.integer("clip.vision.attention.head_count"),
            "image_size": vision.integer("clip.vision.image_size"),
            "patch_size": vision.integer("clip.vision.patch_size"),
            "inner_dim": _shape(vision, "mm.0.weight")[0],
            "eps": vision.number("clip.vision.attention.layer_norm_epsilon"),
        }
    return config


_CONFIGS: dict[str, Callable[[GgufFile, GgufFile | None], dict[str, Any]]] = {
    "qwen3vl": _qwen3vl,
    "lfm2": _lfm2,
    "phi2": _phi2,
}
