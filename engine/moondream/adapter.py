"""LoRA adapters of the text model, the reference's fine-tuned variants: how to find and read them."""

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

# Tensor names in the files; replaced in this order.
_RENAMED = (
    ("text_model.transformer.h", "text.blocks"),
    (".mixer", ".attn"),
    (".out_proj", ".proj"),
    (".Wqkv", ".qkv"),
    (".parametrizations.weight.0", ""),
)


def find_adapter(name_or_path: str) -> Path:
    """Find the file of an adapter.

    Args:
        name_or_path: A path, or a variant in the hub's cache: "<id>" (its last step) or "<id>/<step>".

    Raises:
        ModelUnavailable: There is no such file or variant.
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
        raise ModelUnavailable(f"no adapter {quoted_name(name_or_path)}: {why} {file} exists")
    return file


def read_adapter(path: Path, config: Config, dtype: torch.dtype, device: torch.device | str = "cpu") -> LoraAdapter:
    """Read an adapter.

    Args:
        path: A .safetensors file, or a dict of tensors saved by torch.
        config: Of the model.
        dtype: Of the adapter's tensors.
        device: Where they are put.

    Raises:
        ModelUnavailable: It does not fit the model, or loading it would run code.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors(path).items():
        for old, new in _RENAMED:
            name = name.replace(old, new)
        if name in tensors:
            raise ModelUnavailable(f"{path}: has {quoted_name(name)} twice")
        tensors[name] = tensor
    return make_adapter(path, tensors, _linears(config), dtype=dtype, device=device, ignored=_expert_tensors(config))


def _linears(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the linears that an adapter may have, as name -> (outputs, inputs): all of the text blocks but experts."""
    linears: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes(config).items():
        linear = name.removesuffix(".weight")
        adaptable = re.fullmatch(r"text\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))", linear)
        if adaptable and len(shape) == 2:
            linears[linear] = shape
    return linears


def _expert_tensors(config: Config) -> set[str]:
    """Return tensors that the reference requires for layers with experts, but never uses."""
    layers, moe = config.text.n_layers, config.text.moe
    return {
        f"text.blocks.{i}.mlp.{part}"
        for i in range(moe.start_layer if moe else layers, layers)
        for part in ("fc1.A", "fc1.B", "fc2.A", "fc2.B")
    }
