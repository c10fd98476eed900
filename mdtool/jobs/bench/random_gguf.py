"""Writes GGUF files of a model's shapes with random weights, for other engines to be timed with.

Text models have Q4_0, and as in the standard quantiser's files an output head in Q6_K. Moondream 2's is llama.cpp's
`phi2`: one norm a layer, attention and feed-forward network beside each other, GELU without a gate, rotary embeddings
of half a head. LFM2-VL's is `lfm2`, with its vision part in Q8_0.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
from tokenizers.pre_tokenizers import ByteLevel

from engine.checkpoints.gguf_names import ARCHITECTURES
from engine.checkpoints.reader import Shape
from engine.layers.norms import NORM_EPS
from engine.lfm2vl.config import CONV
from engine.lfm2vl.config import Config as LfmConfig
from engine.lfm2vl.weights import shapes as lfm_shapes
from engine.moondream.config import TextConfig
from mdtool.jobs.bench.random_tensors import add_vision_metadata, write_tensors

BLOCK = 32  # weights that share a scale
K_BLOCK = 256  # weights of a block of Q6_K
HEADS = ("output.weight", "token_embd.weight")  # the output head: the second if it is tied to the embeddings
POSITIONS = "v.position_embd.weight"


def write_random_gguf(path: Path, text: TextConfig) -> None:
    """Write the text model of a Moondream, one tensor at a time.

    Args:
        path: Of the file.
        text: The shape, without experts and of widths that are multiples of 32.

    Raises:
        OSError: The file can't be written.
    """
    _write(path, "phi2", partial(_add_metadata, text=text), dict(_shapes(text)))


def write_random_lfm2(path: Path, config: LfmConfig) -> None:
    """Write the text model of an LFM2-VL, with a tokenizer of bytes. Raises OSError as `write_random_gguf`."""
    names = ARCHITECTURES["lfm2"].text
    shapes = {_gguf_name(name, names): shape for name, shape in lfm_shapes(replace(config, has_vision=False)).items()}
    _write(path, "lfm2", partial(_add_lfm2_metadata, config=config), shapes)


def write_random_mmproj(path: Path, config: LfmConfig) -> None:
    """Write the vision part of an LFM2-VL. Raises OSError as `write_random_gguf`."""
    names = ARCHITECTURES["lfm2"].vision
    parts = ("vision_tower.", "multi_modal_projector.")
    shapes = {_gguf_name(name, names): shape for name, shape in lfm_shapes(config).items() if name.startswith(parts)}
    patch = config.vision_config.patch_size
    shapes["v.patch_embd.weight"] = (config.vision_config.hidden_size, 3, patch, patch)
    _write(path, "clip", partial(_add_clip_metadata, config=config), shapes, kind="Q8_0")


def _gguf_name(name: str, names: Mapping[str, str]) -> str:
    """Return the name in a GGUF file of a tensor of an LFM2-VL checkpoint."""
    layer = re.search(r"\.(\d+)\.", name)
    stem, _, part = (name.replace(f".{layer[1]}.", ".{}.", 1) if layer else name).rpartition(".")
    stem = f"model.{stem}".replace("vision_tower.", "vision_tower.vision_model.")
    return f"{next(own for own, release in names.items() if release == stem)}.{part}".replace(
        "{}", layer[1] if layer else ""
    )


def _write(
    path: Path,
    architecture: str,
    add_metadata: Callable[[gguf.GGUFWriter], None],
    shapes: Mapping[str, Shape],
    *,
    kind: str = "Q4_0",
) -> None:
    """Write a file whose matrices are of one type of blocks, the output head of a finer one, where they fit it."""
    head = next((name for name in HEADS if name in shapes), None)
    writer = gguf.GGUFWriter(path, architecture)
    add_metadata(writer)
    tensors, types = {}, {}
    for name, shape in shapes.items():
        tensors[name] = (shape[0], shape[2]) if len(shape) == 3 else shape  # of kernels over one channel
        if len(shape) == 2 and shape[1] % BLOCK == 0 and name != POSITIONS:
            types[name] = _head_type(shape) if name == head else kind
        else:
            types[name] = "F32" if len(shape) in (1, 3) or name == POSITIONS else "F16"
    write_tensors(writer, tensors, types)


def _head_type(shape: Shape) -> str:
    return "Q8_0" if shape[1] % K_BLOCK else "Q6_K"


def _add_lfm2_metadata(writer: gguf.GGUFWriter, config: LfmConfig) -> None:
    text = config.text_config
    writer.add_vocab_size(text.vocab_size)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.inner_dim)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv([0 if kind == CONV else text.num_key_value_heads for kind in text.kinds])
    writer.add_rope_freq_base(text.rope_theta)
    writer.add_layer_norm_rms_eps(text.norm_eps)
    writer.add_shortconv_l_cache(text.conv_L_cache)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    special = ["<|startoftext|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    special += ["<|image_start|>", "<|image_end|>", "<image>", "<|img_thumbnail|>"]
    special += [f"<|img_row_{row}_col_{column}|>" for row in range(1, 11) for column in range(1, 11)]
    known = [*special, *sorted(ByteLevel.alphabet()), "ab"]
    tokens = known + [f"<unused{number}>" for number in range(text.vocab_size - len(known))]
    kinds = [gguf.TokenType.CONTROL] * len(special) + [gguf.TokenType.NORMAL] * (len(tokens) - len(special))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("lfm2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])  # it wants one
    writer.add_eos_token_id(2)


def _add_clip_metadata(writer: gguf.GGUFWriter, config: LfmConfig) -> None:
    vision = config.vision_config
    add_vision_metadata(
        writer,
        "lfm2",
        vision,
        layers=config.vision_layers,
        heads=vision.num_attention_heads,
        table_side=math.isqrt(vision.num_patches),
        eps=vision.layer_norm_eps,
    )
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_vision_projection_dim(config.text_config.hidden_size)
    writer.add_vision_projector_scale_factor(config.downsample_factor)


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
