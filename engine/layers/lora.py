"""Fine-tuned variants: low-rank additions to the text model's linears (LoRA, Hu et al. 2021).

A linear x -> x W^T + b becomes x W^T + b + (x A^T) B^T; the reference scales nothing.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.catalog.hub import cache_folder
from engine.checkpoints.reader import open_checkpoint
from engine.contract import ModelUnavailable
from engine.error_text import shown, summary
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


@dataclass(frozen=True, eq=False)
class Adapter:
    """pairs: "text.blocks.0.attn.qkv" (or .attn.proj, .mlp.fc1, .mlp.fc2) -> A (rank, inputs), B (outputs, rank)."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]


def find_adapter(name_or_path: str) -> Path:
    """The file of that path, or of a variant in the hub's cache: "<id>" (its last step) or "<id>/<step>".

    ModelUnavailable where there is none.
    """
    if os.path.isfile(name_or_path):
        return Path(name_or_path)
    name, _, step = name_or_path.partition("/")
    if not all(re.fullmatch(r"[\w-][\w.-]*", part) for part in (name, step or "final")):
        raise ModelUnavailable(f"no adapter {shown(name_or_path)}: no such file, and not the id of a variant")
    file = cache_folder() / "md_variants" / name / f"{step or 'final'}.pt"
    if not os.path.isfile(file):
        raise ModelUnavailable(f"no adapter {shown(name_or_path)}: neither a file of that name nor {file} is there")
    return file


def read_adapter(path: Path, config: Config, dtype: torch.dtype, device: torch.device | str = "cpu") -> Adapter:
    """The adapter in a .safetensors file, or in a dict of tensors that torch saved.

    ModelUnavailable if it does not fit the model, or if reading it would run code.
    """
    stored = _safetensors(path) if path.suffix == ".safetensors" else _saved_by_torch(path)
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        for old, new in _RENAMED:
            name = name.replace(old, new)
        if name in tensors:
            raise ModelUnavailable(f"{path}: has {shown(name)} twice")
        tensors[name] = tensor
    linears = _linears(config)
    _check(path, tensors, linears, config)

    def own(name: str) -> Tensor:
        return tensors[name].to(device, dtype, copy=True)

    return Adapter({name: (own(f"{name}.A"), own(f"{name}.B")) for name in linears})


def _safetensors(path: Path) -> dict[str, Tensor]:
    checkpoint = open_checkpoint(path)
    return {name: checkpoint.read(name) for name in checkpoint.names}


def _saved_by_torch(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelUnavailable(f"{path}: no such file")
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle can raise any
        why = "is damaged, in torch's format before 1.6, or holds more than tensors"
        raise ModelUnavailable(f"{path}: {why}; it was not loaded") from error
    if not isinstance(stored, dict):
        raise ModelUnavailable(f"{path}: is not a dict of tensors")
    for name, tensor in stored.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ModelUnavailable(f"{path}: {shown(str(name))} is not a plain tensor under a name")
    return stored


def _linears(config: Config) -> dict[str, tuple[int, ...]]:
    """The linears that an adapter adds to, with (outputs, inputs): all of the text model's blocks but the experts."""
    made: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes(config).items():
        linear = name.removesuffix(".weight")
        inside = re.fullmatch(r"text\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))", linear)
        if inside and len(shape) == 2:
            made[linear] = shape
    return made


def _check(path: Path, tensors: Mapping[str, Tensor], linears: Mapping[str, tuple[int, ...]], config: Config) -> None:
    layers, moe = config.text.n_layers, config.text.moe
    # The reference wants an adapter for the experts' layers too, and never uses it.
    ignored = {
        f"text.blocks.{i}.mlp.{part}"
        for i in range(moe.start_layer if moe else layers, layers)
        for part in ("fc1.A", "fc1.B", "fc2.A", "fc2.B")
    }
    wanted = [f"{name}.{part}" for name in linears for part in "AB"]
    missing = [name for name in wanted if name not in tensors]
    unknown = [shown(name) for name in tensors if name not in ignored.union(wanted)]
    misshapen = []
    for name, (outputs, inputs) in linears.items():
        if f"{name}.A" in tensors and f"{name}.B" in tensors:
            a, b = tensors[f"{name}.A"], tensors[f"{name}.B"]
            rank = len(a) if a.ndim else 0
            if not 0 < rank <= min(inputs, outputs) or (a.shape, b.shape) != ((rank, inputs), (outputs, rank)):
                found = f"{list(a.shape)} and {list(b.shape)}"
                misshapen.append(f"{name} is {found}, not [rank, {inputs}] and [{outputs}, rank]")
    whole = [name for name in wanted if name in tensors and not tensors[name].is_floating_point()]
    faults = {"missing": missing, "unknown": unknown, "of another shape": misshapen, "not of floats": whole}
    if any(faults.values()):
        raise ModelUnavailable(f"{path}: does not fit the model; {summary(faults)}")
