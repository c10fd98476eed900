"""The weights of the golden models in the formats of the releases."""

import re

import torch
from golden import GOLDEN
from safetensors.torch import load_file
from torch import Tensor

Tensors = dict[str, Tensor]


def tensors_of(model: str) -> Tensors:
    """Return the tensors by canonical name."""
    stored = load_file(GOLDEN / model / "model.safetensors")
    return {name.removeprefix("model."): tensor for name, tensor in stored.items()}


def packed(name: str, weight: Tensor) -> Tensors:
    """Quantise as the 4-bit release does: groups of 128, the first half of each in the high nibbles."""
    groups = weight.reshape(-1, 128)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    scale = (high - low) / 15
    zero_point = -low / scale
    nibbles = (groups / scale + zero_point).round().clamp(0, 15).to(torch.uint8)
    half = len(nibbles) // 2
    return {
        f"{name}.packed": nibbles[:half] << 4 | nibbles[half:],
        f"{name}.scale": scale,
        f"{name}.zero_point": zero_point,
    }


def int4_release(tensors: Tensors, chosen: str) -> Tensors:
    made: Tensors = {}
    for name, tensor in tensors.items():
        made |= packed(name, tensor) if re.fullmatch(chosen, name) else {name: tensor}
    return made


TEXT = r"text\.blocks\..*\.(qkv|proj|fc1|fc2)\.weight"
REGION = r"region\..*\.weight"
