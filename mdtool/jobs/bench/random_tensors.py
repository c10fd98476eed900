"""GGUF files of random weights, one tensor at a time, and the metadata that vision parts share.

Blocks are drawn as bytes, float weights of quantised matrices are never made, so that billions of them take seconds.
"""

import math
from collections.abc import Mapping

import gguf
import numpy as np

from engine.checkpoints.reader import Shape
from engine.lfm2vl.config import VisionConfig as LfmVision
from engine.quantization.gguf_blocks import BLOCK_TYPES, BlockType
from engine.qwen3vl.config import VisionConfig as QwenVision

TYPES = {kind.name: kind for kind in BLOCK_TYPES.values()}

# Of each type: bytes of half-precision numbers in a block, and their value for weights of unit variance around zero.
_SCALES: Mapping[str, Mapping[int, float]] = {
    "Q4_0": {0: 1 / 4.61},  # q of -8..7
    "Q4_K": {0: 1 / 257, 2: 7.5 / 257},  # q of 0..15, scales and minima of 0..63
    "Q5_K": {0: 1 / 528, 2: 15.5 / 528},  # q of 0..31
    "Q6_K": {208: 1 / 1365},  # q of -32..31, scales of -128..127
    "Q8_0": {0: 1 / 73.9},
}


def write_tensors(writer: gguf.GGUFWriter, tensors: Mapping[str, Shape], types: Mapping[str, str]) -> None:
    """Write a file whose metadata was added, and close it.

    Args:
        writer: Of the file.
        tensors: Shapes, (out, in) or (out), by name.
        types: "F32", "F16" or a type of blocks, by name.

    Raises:
        OSError: The file can't be written.
    """
    try:
        for name, shape in tensors.items():
            kind = TYPES[types[name]]
            if kind.is_quantized:
                stored = (*shape[:-1], kind.row_bytes(shape[-1]))
                quantized = gguf.GGMLQuantizationType[kind.name]
                writer.add_tensor_info(name, stored, np.dtype(np.uint8), math.prod(stored), quantized)
            else:
                dtype = np.dtype(np.float16 if kind.name == "F16" else np.float32)
                writer.add_tensor_info(name, shape, dtype, math.prod(shape) * dtype.itemsize)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        random = np.random.default_rng(0)
        for name, shape in tensors.items():
            writer.write_tensor_data(_random_tensor(random, name, shape, TYPES[types[name]]))
    finally:
        writer.close()


def _random_tensor(random: np.random.Generator, name: str, shape: Shape, kind: BlockType) -> np.ndarray:
    """Return weights with the standard deviation 1 / sqrt(columns), an identity norm, or a bias of zeros."""
    if len(shape) == 1:
        return np.full(shape, float(name.endswith("weight")), np.float32)
    columns = math.prod(shape[1:])
    if not kind.is_quantized:
        scale = np.float16(1 / (73.3 * math.sqrt(columns)))  # of integers from -127 to 127
        weights = random.integers(-127, 128, shape, np.int8) * scale
        return weights if kind.name == "F16" else weights.astype(np.float32)
    blocks = random.integers(0, 256, (shape[0], columns // kind.weights, kind.bytes), np.uint8)
    for at, value in _SCALES[kind.name].items():
        blocks[..., at : at + 2] = np.array([value / math.sqrt(columns)], "<f2").view(np.uint8)
    return blocks.reshape(shape[0], -1)


def add_vision_metadata(
    writer: gguf.GGUFWriter,
    projector: str,
    vision: LfmVision | QwenVision,
    *,
    layers: int,
    heads: int,
    table_side: int,
    eps: float,
) -> None:
    """Add what every vision part has.

    Args:
        writer: Of the file.
        projector: The kind of its projector.
        vision: Its shape.
        layers: Number of its layers.
        heads: Of each.
        table_side: Patches of a side of its table of positions.
        eps: Of its norms.
    """
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(projector)
    writer.add_vision_image_size(table_side * vision.patch_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(layers)
    writer.add_vision_head_count(heads)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_use_gelu(True)
    writer.add_vision_attention_layernorm_eps(eps)
