"""Writes GGUF files of a Qwen3-VL's shape with random weights: text in a recipe such as Q4_K_M, and its mmproj in F16.

Which type a tensor has is the standard quantiser's choice (llama.cpp's `llama_tensor_get_type`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import tokenizers

from engine.checkpoints.gguf_names import ARCHITECTURES
from engine.qwen3vl.config import Config, TextConfig, VisionConfig
from engine.qwen3vl.weights import shapes
from mdtool.jobs.bench.random_tensors import add_vision_metadata, write_tensors

SPECIAL_TOKENS = {  # of the releases
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|vision_start|>": 151652,
    "<|vision_end|>": 151653,
    "<|image_pad|>": 151655,
    "<|video_pad|>": 151656,
}
_NORMAL, _CONTROL = 1, 3


@dataclass(frozen=True)
class Recipe:
    """Types of a text file's matrices.

    Attributes:
        default: Of all others.
        head: Of the output layer.
        better: Of the values and the last feed-forward layer in the layers that are given more bits.
        file_type: `general.file_type`.
    """

    default: str
    head: str
    better: str
    file_type: int

    def type_of(self, name: str, layers: int) -> str:
        """Return the type of a matrix by its name in the file."""
        if name == "output.weight":
            return self.head
        part = name.split(".")
        if part[0] == "blk" and part[2] in ("attn_v", "ffn_down"):
            layer, eighth = int(part[1]), layers // 8
            if layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2:
                return self.better
        return self.default


RECIPES = {
    "q4_k_m": Recipe("Q4_K", "Q6_K", "Q6_K", 15),
    "q5_k_s": Recipe("Q5_K", "Q6_K", "Q5_K", 16),
    "q8_0": Recipe("Q8_0", "Q8_0", "Q8_0", 7),
    "f16": Recipe("F16", "F16", "F16", 1),
}


def write_random_qwen3vl(folder: Path, name: str, config: Config, recipe: str) -> tuple[Path, Path]:
    """Write both files, one tensor at a time.

    Args:
        folder: Where they are written.
        name: Of the model; the files' names begin with it.
        config: The shape, with widths that are multiples of 256.
        recipe: One of `RECIPES`.

    Returns:
        The text file, and its mmproj file.

    Raises:
        OSError: A file can't be written.
    """
    vision = config.vision
    assert vision is not None
    text_file, mmproj = (folder / f"{part}{name}-{recipe}.gguf" for part in ("", "mmproj-"))
    gguf_names = {model: file for file, model in ARCHITECTURES["qwen3vl"].text.items()}
    all_shapes = shapes(config)
    text = {}
    for model_name, shape in all_shapes.items():
        if model_name.startswith("language_model."):
            layer, _, part = model_name.removeprefix("language_model.").rpartition(".")
            text[f"{_file_name(gguf_names, layer)}.{part}"] = shape
    types = {
        tensor: "F32" if len(shape) == 1 else RECIPES[recipe].type_of(tensor, config.text.num_hidden_layers)
        for tensor, shape in text.items()
    }
    writer = gguf.GGUFWriter(text_file, "qwen3vl")
    _add_text_metadata(writer, config.text, len(vision.deepstack_visual_indexes))
    writer.add_file_type(RECIPES[recipe].file_type)
    write_tensors(writer, text, types)
    tensors = dict(_vision_tensors(vision))
    writer = gguf.GGUFWriter(mmproj, "clip")
    _add_vision_metadata(writer, vision)
    write_tensors(writer, tensors, {
        tensor: "F32" if len(shape) == 1 or tensor == "v.position_embd.weight" else "F16"
        for tensor, shape in tensors.items()
    })  # fmt: skip
    return text_file, mmproj


def _file_name(names: Mapping[str, str], layer: str) -> str:
    """Return the name of a layer in the file; `names`: "layers.{}.self_attn.q_proj" -> "blk.{}.attn_q"."""
    words = layer.split(".")
    number = next((word for word in words if word.isdigit()), "")
    pattern = ".".join("{}" if word.isdigit() else word for word in words)
    known = {model.removeprefix("model.language_model."): file for model, file in names.items()}
    return known[pattern].format(number)


def _vision_tensors(vision: VisionConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each tensor of the mmproj file."""
    size, inner, side = vision.hidden_size, vision.intermediate_size, vision.patch_size
    joined = size * vision.spatial_merge_size**2

    def layer(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]

    yield from layer("v.patch_embd", size, vision.in_channels, side, side)
    yield "v.patch_embd.weight.1", (size, vision.in_channels, side, side)
    yield "v.position_embd.weight", (vision.num_position_embeddings, size)
    for block in (f"v.blk.{number}" for number in range(vision.depth)):
        for norm in ("ln1", "ln2"):
            yield f"{block}.{norm}.weight", (size,)
            yield f"{block}.{norm}.bias", (size,)
        yield from layer(f"{block}.attn_qkv", 3 * size, size)
        yield from layer(f"{block}.attn_out", size, size)
        yield from layer(f"{block}.ffn_up", inner, size)
        yield from layer(f"{block}.ffn_down", size, inner)
    yield "v.post_ln.weight", (size,)
    yield "v.post_ln.bias", (size,)
    yield from layer("mm.0", joined, joined)
    yield from layer("mm.2", vision.out_hidden_size, joined)
    for merger in (f"v.deepstack.{number}" for number in vision.deepstack_visual_indexes):
        yield f"{merger}.norm.weight", (joined,)
        yield f"{merger}.norm.bias", (joined,)
        yield from layer(f"{merger}.fc1", joined, joined)
        yield from layer(f"{merger}.fc2", vision.out_hidden_size, joined)


def _add_text_metadata(writer: gguf.GGUFWriter, text: TextConfig, deepstack_layers: int) -> None:
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(text.rope_theta)
    writer.add_rope_dimension_sections([*text.mrope_section, 0])
    writer.add_num_deepstack_layers(deepstack_layers)
    writer.add_vocab_size(text.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    tokens = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokens += ["th", *(f"t{number}" for number in range(len(tokens) + 1, text.vocab_size))]
    types = [_NORMAL] * len(tokens)
    for token, number in SPECIAL_TOKENS.items():
        tokens[number], types[number] = token, _CONTROL
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["t h"])  # llama.cpp needs one
    writer.add_eos_token_id(SPECIAL_TOKENS["<|im_end|>"])
    writer.add_pad_token_id(SPECIAL_TOKENS["<|endoftext|>"])
    writer.add_add_bos_token(False)


def _add_vision_metadata(writer: gguf.GGUFWriter, vision: VisionConfig) -> None:
    side = vision.table_side
    add_vision_metadata(
        writer, "qwen3vl_merger", vision, layers=vision.depth, heads=vision.num_heads, table_side=side, eps=1e-6
    )
    writer.add_file_type(RECIPES["f16"].file_type)
    writer.add_vision_projection_dim(vision.out_hidden_size)
    writer.add_vision_spatial_merge_size(vision.spatial_merge_size)
    taken = [layer in vision.deepstack_visual_indexes for layer in range(vision.depth)]
    writer.add_vision_is_deepstack_layers(taken)
