"""Low-rank adapters of linears (LoRA, Hu et al. 2021): x W^T + b becomes x W^T + b + (x A^T) B^T, without a scale."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.reader import open_checkpoint
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, summarize_faults


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """pairs: name of a linear -> A (rank, inputs), B (outputs, rank)."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RowAdapters:
    """What the adapters of a batch's rows add to the products of one block.

    block: what the names of its linears begin with.
    """

    adapters: Sequence[tuple[slice, LoraAdapter]]
    block: str

    def __call__(self, y: Tensor, x: Tensor, linear: str) -> None:
        """Add to y, (rows, outputs), what the block's `linear` has adapters make of x, (rows, inputs)."""
        for rows, adapter in self.adapters:
            if pair := adapter.pairs.get(f"{self.block}.{linear}"):
                y[rows] += x[rows] @ pair[0].T @ pair[1].T


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors file, or in a dict of tensors that torch saved.

    Raises:
        ModelUnavailable: it can't be read, or reading it would run code.
    """
    if path.suffix != ".safetensors":
        return _saved_by_torch(path)
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
            raise ModelUnavailable(f"{path}: {quoted_name(str(name))} is not a plain tensor under a name")
    return stored


def make_adapter(
    path: Path,
    tensors: Mapping[str, Tensor],
    linears: Mapping[str, tuple[int, ...]],
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    ignored: Collection[str] = (),
) -> LoraAdapter:
    """Pair the tensors of a file, in memory of their own.

    Args:
        path: of the file, for errors.
        tensors: "NAME.A" and "NAME.B" for each linear.
        linears: name -> (outputs, inputs), of all those that an adapter must have a pair for.
        ignored: tensors that may be there too.

    Raises:
        ModelUnavailable: some are missing, unknown, of another shape or not of floats.
    """
    _check(path, tensors, linears, ignored)

    def own(name: str) -> Tensor:
        return tensors[name].to(device, dtype, copy=True)

    return LoraAdapter({name: (own(f"{name}.A"), own(f"{name}.B")) for name in linears})


def _check(
    path: Path, tensors: Mapping[str, Tensor], linears: Mapping[str, tuple[int, ...]], ignored: Collection[str]
) -> None:
    wanted = [f"{name}.{part}" for name in linears for part in "AB"]
    known = {*wanted, *ignored}
    missing = [name for name in wanted if name not in tensors]
    unknown = [quoted_name(name) for name in tensors if name not in known]
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
        raise ModelUnavailable(f"{path}: does not fit the model; {summarize_faults(faults)}")
