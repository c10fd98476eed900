"""Writes a GGUF file of a Moondream text model's shape with random Q4_0 weights, for other engines to be timed with.

The architecture is llama.cpp's `phi2`, which is what the text model of Moondream 2 is: one norm a layer, attention and
feed-forward network beside each other, GELU without a gate, rotary embeddings of half a head.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from engine.layers.norms import NORM_EPS
from engine.moondream.config import TextConfig

BLOCK = 32  # weights that share a scale
BLOCK_BYTES = 2 + BLOCK // 2  # a float16 scale, then 4 bits each
NIBBLE_STD = math.sqrt((16**2 - 1) / 12)  # of numbers that are drawn uniformly from -8 to 7


def write_random_gguf(path: Path, text: TextConfig) -> None:
    """Write the file, one tensor at a time.

    Args:
        path: Of the file.
        text: The shape, without experts and of widths that are multiples of 32. Float weights are never made, so that
            1.4 billion of them take seconds.

    Raises:
        OSError: The file can't be written.
    """
    writer = gguf.GGUFWriter(path, "phi2")
    try:
        _add_metadata(writer, text)
        shapes = dict(_shapes(text))
        for name, shape in shapes.items():
            if len(shape) == 1:
                writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
            else:
                stored = (shape[0], shape[1] // BLOCK * BLOCK_BYTES)
                q4_0 = gguf.GGMLQuantizationType.Q4_0
                writer.add_tensor_info(name, stored, np.dtype(np.uint8), math.prod(stored), q4_0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        random = np.random.default_rng(0)
        for name, shape in shapes.items():
            writer.write_tensor_data(_vector(name, shape[0]) if len(shape) == 1 else _matrix(random, *shape))
    finally:
        writer.close()


def _add_metadata(writer: gguf.GGUFWriter, text: TextConfig) -> None:
    writer.add_tokenizer_model("no_vocab")  # token ids are all that is needed
    writer.add_vocab_size(text.vocab_size)
    writer.add_context_length(text.max_context)
    writer.add_embedding_length(text.dim)
    writer.add_block_count(text.n_layers)
    writer.add_feed_forward_length(text.ff_dim)
    writer.add_head_count(text.n_heads)
    writer.add_head_count_kv(text.n_kv_heads)
    writer.add_rope_dimension_count(text.rotary_dim)
    writer.add_rope_freq_base(text.rope_theta)
    writer.add_layer_norm_eps(NORM_EPS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)


def _shapes(text: TextConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each tensor, (out, in) or (out)."""

    def layer(name: str, out: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (out, columns)
        yield f"{name}.bias", (out,)

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (text.dim,)
        yield f"{name}.bias", (text.dim,)

    yield "token_embd.weight", (text.vocab_size, text.dim)
    yield from norm("output_norm")
    yield from layer("output", text.vocab_size, text.dim)
    for block in (f"blk.{number}" for number in range(text.n_layers)):
        yield from norm(f"{block}.attn_norm")
        yield from layer(f"{block}.attn_qkv", text.dim + 2 * text.n_kv_heads * text.head_dim, text.dim)
        yield from layer(f"{block}.attn_output", text.dim, text.dim)
        yield from layer(f"{block}.ffn_up", text.ff_dim, text.dim)
        yield from layer(f"{block}.ffn_down", text.dim, text.ff_dim)


def _vector(name: str, length: int) -> np.ndarray:
    """Return the weights of an identity norm, or a bias of zeros."""
    return np.full(length, float(name.endswith("norm.weight")), np.float32)


def _matrix(random: np.random.Generator, out: int, columns: int) -> np.ndarray:
    """Return random blocks whose weights have the standard deviation 1 / sqrt(columns), uint8 (out, bytes of a row)."""
    blocks = random.integers(0, 256, (out, columns // BLOCK, BLOCK_BYTES), np.uint8)
    scale = np.array([1 / (NIBBLE_STD * math.sqrt(columns))], "<f2")
    blocks[..., :2] = scale.view(np.uint8)
    return blocks.reshape(out, -1)
