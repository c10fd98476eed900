"""The reference's fine-tuned variants of the text model: where they lie, and how their tensors are named."""

import os
import re
from pathlib import Path

import torch
from torch import Tensor

from engine.catalog.hub import cache_folder
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name
from engine.layers.lora import LoraAdapter, make_adapter, read_tensors
from engine.moondream.config import Config
from engine.moondream.weights import shapes

# Names in the files, replaced in this order.
_RENAMED = (
    ("text_model.transformer.h", "text.blocks"),
    (".mixer", ".attn"),
    (".out_proj", ".proj"),
    (".Wqkv", ".qkv"),
    (".parametrizations.weight.0", ""),
)


def find_adapter(name_or_path: str) -> Path:
    """The file of that path, or of a variant in the hub's cache: "<id>" (its last step) or "<id>/<step>".

    ModelUnavailable where there is none.
    """
    if os.path.isfile(name_or_path):
        return Path(name_or_path)
    name, _, step = name_or_path.partition("/")
    if not all(re.fullmatch(r"[\w-][\w.-]*", part) for part in (name, step or "final")):
        why = (
            "it is a folder; give the file in it"
            if os.path.isdir(name_or_path)
            else "no such file, and not the id of a variant"
        )
        raise ModelUnavailable(f"no adapter {quoted_name(name_or_path)}: {why}")
    file = cache_folder() / "md_variants" / name / f"{step or 'final'}.pt"
    if not os.path.isfile(file):
        why = "it is a folder, and no" if os.path.isdir(name_or_path) else "neither a file of that name nor"
        raise ModelUnavailable(f"no adapter {quoted_name(name_or_path)}: {why} {file} is there")
    return file


def read_adapter(path: Path, config: Config, dtype: torch.dtype, device: torch.device | str = "cpu") -> LoraAdapter:
    """The adapter in a .safetensors file, or in a dict of tensors that torch saved.

    ModelUnavailable if it does not fit the model, or if reading it would run code.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors(path).items():
        for old, new in _RENAMED:
            name = name.replace(old, new)
        if name in tensors:
            raise ModelUnavailable(f"{path}: has {quoted_name(name)} twice")
        tensors[name] = tensor
    return make_adapter(path, tensors, _linears(config), dtype=dtype, device=device, ignored=_of_experts(config))


def _linears(config: Config) -> dict[str, tuple[int, ...]]:
    """The linears that an adapter adds to, with (outputs, inputs): all of the text model's blocks but the experts."""
    made: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes(config).items():
        linear = name.removesuffix(".weight")
        inside = re.fullmatch(r"text\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))", linear)
        if inside and len(shape) == 2:
            made[linear] = shape
    return made


def _of_experts(config: Config) -> set[str]:
    """Tensors that the reference wants for the experts' layers too, and never uses."""
    layers, moe = config.text.n_layers, config.text.moe
    return {
        f"text.blocks.{i}.mlp.{part}"
        for i in range(moe.start_layer if moe else layers, layers)
        for part in ("fc1.A", "fc1.B", "fc2.A", "fc2.B")
    }
