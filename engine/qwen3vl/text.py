"""The text model: Qwen3, with interleaved M-RoPE."""

from torch import Tensor

from engine.generation.decoder_block import Attention, GroupedQueryBlock
from engine.generation.text_model import TextModel
from engine.generation.transformer import Transformer
from engine.layers.linear_dispatch import make_linear
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import interleaved_axes, rotary_angles, rotary_frequencies
from engine.layers.swiglu import SwiGlu
from engine.quantization.formats import Int4
from engine.qwen3vl.config import TextConfig


def text_model(config: TextConfig, reader: ParameterReader) -> TextModel:
    """Build the text model from its weights."""
    embeddings = reader.matrix("embed_tokens.weight")
    if isinstance(embeddings, Int4):
        embeddings = embeddings.dequantize(reader.dtype)
    head = (
        make_linear(embeddings, None, reader.dtype, packed=reader.packed, compiled=reader.compiled)
        if config.tie_word_embeddings
        else reader.linear("lm_head")
    )
    frequencies = rotary_frequencies(config.head_dim, config.rope_theta, reader.device)
    axes = interleaved_axes(config.mrope_section, len(frequencies), reader.device)

    def rotary(positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_angles(positions[:, axes], frequencies)

    blocks = [_block(config, reader, f"layers.{layer}") for layer in range(config.num_hidden_layers)]
    return TextModel(
        embeddings,
        Transformer(blocks, rotary, reader.dtype, reader.device, position_axes=3),
        reader("norm.weight"),
        head,
        config.rms_norm_eps,
        config.max_position_embeddings,
    )


def _block(config: TextConfig, reader: ParameterReader, name: str) -> GroupedQueryBlock:
    q, k, v, o = (reader.linear(f"{name}.self_attn.{part}_proj") for part in "qkvo")
    q_norm, k_norm = (reader(f"{name}.self_attn.{part}_norm.weight") for part in "qk")
    gate, up, down = (reader.linear(f"{name}.mlp.{part}_proj") for part in ("gate", "up", "down"))
    return GroupedQueryBlock(
        f"{reader.part}.{name}",
        reader(f"{name}.input_layernorm.weight"),
        Attention(q, k, v, o, q_norm, k_norm),
        reader(f"{name}.post_attention_layernorm.weight"),
        SwiGlu(gate, up, down),
        config.num_key_value_heads,
        config.head_dim,
        config.rms_norm_eps,
    )
