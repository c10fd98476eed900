"""The text model: Qwen3, with interleaved M-RoPE."""

from torch import Tensor

from engine.generation.decoder_block import Attention, GroupedQueryBlock
from engine.generation.text_model import TextModel
from engine.generation.transformer import Transformer
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import interleaved_axes, rotary_angles, rotary_frequencies
from engine.layers.swiglu import SwiGlu
from engine.qwen3vl.config import TextConfig


def text_model(config: TextConfig, reader: ParameterReader) -> TextModel:
    """Build the text model from its weights."""
    frequencies = rotary_frequencies(config.head_dim, config.rope_theta, reader.device)
    axes = interleaved_axes(config.mrope_section, len(frequencies), reader.device)

    def rotary(positions: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_angles(positions[:, axes], frequencies)

    blocks = [_block(config, reader, f"layers.{layer}") for layer in range(config.num_hidden_layers)]
    transformer = Transformer(blocks, rotary, reader.dtype, reader.device, position_axes=3)
    return TextModel.read(
        reader, transformer, "norm", eps=config.rms_norm_eps, max_context=config.max_position_embeddings
    )


def _block(config: TextConfig, reader: ParameterReader, name: str) -> GroupedQueryBlock:
    return GroupedQueryBlock(
        f"{reader.part}.{name}",
        reader(f"{name}.input_layernorm.weight"),
        Attention.read(reader, name),
        reader(f"{name}.post_attention_layernorm.weight"),
        SwiGlu.read(reader, name),
        config.num_key_value_heads,
        config.head_dim,
        config.rms_norm_eps,
    )
