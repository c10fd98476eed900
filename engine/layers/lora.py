"""LoRA adapters (Hu et al. 2021): y = x W^T + b + (x A^T) B^T, without a scaling factor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.reader import open_checkpoint
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, summarize_faults
from engine.layers.linear import LinearLayer


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """Low-rank weights; pairs: name of a linear layer -> A (rank, inputs), B (outputs, rank)."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RowAdapters:
    """The adapters of a batch's rows, applied to the linear layers of one block.

    Attributes:
        adapters: (rows, adapter) of the sequences that use one.
        block: Prefix of the names of its layers.
    """

    adapters: Sequence[tuple[slice, LoraAdapter]]
    block: str

    def __call__(self, y: Tensor, x: Tensor, linear: str) -> None:
        """Add (x A^T) B^T of the layer named `linear` to its output y: (rows, outputs), for x: (rows, inputs)."""
        for rows, adapter in self.adapters:
            if pair := adapter.pairs.get(f"{self.block}.{linear}"):
                y[rows] += x[rows] @ pair[0].T @ pair[1].T


def adapted(linear: LinearLayer, x: Tensor, adapt: RowAdapters | None, name: str) -> Tensor:
    """Return the output of a linear layer of this name, with the rows' adapters added: (rows, outputs)."""
    y = linear(x)
    if adapt:
        adapt(y, x, name)
    return y


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a .safetensors file, or of a dict of tensors saved by torch.

    Raises:
        ModelUnavailable: The file can't be read, or loading it would run code.
    """
    if path.suffix != ".safetensors":
        return _read_torch_file(path)
    checkpoint = open_checkpoint(path)
    return {name: checkpoint.read(name) for name in checkpoint.names}


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelUnavailable(f"{path}: no such file")
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle can raise any
        why = "damaged, in torch's format before 1.6, or holds more than tensors"
        raise ModelUnavailable(f"{path}: {why}; it was not loaded") from error
    if not isinstance(stored, dict):
        raise ModelUnavailable(f"{path}: not a dict of tensors")
    for name, tensor in stored.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise ModelUnavailable(f"{path}: {quoted_name(str(name))} is not a plain tensor with a name")
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
    """Build an adapter from the tensors of a file, which are copied.

    Args:
        path: Of the file, for errors.
        tensors: "NAME.A" and "NAME.B" for each linear layer.
        linears: Name -> (outputs, inputs) of all layers that an adapter must have a pair for.
        dtype: Of the adapter.
        device: Of the adapter.
        ignored: Names of tensors that are ignored.

    Raises:
        ModelUnavailable: Tensors are missing, unknown, of another shape or not floating-point.
    """
    _check(path, tensors, linears, ignored)

    def copied(name: str) -> Tensor:
        return tensors[name].to(device, dtype, copy=True)

    return LoraAdapter({name: (copied(f"{name}.A"), copied(f"{name}.B")) for name in linears})


def _check(
    path: Path, tensors: Mapping[str, Tensor], linears: Mapping[str, tuple[int, ...]], ignored: Collection[str]
) -> None:
    required = [f"{name}.{part}" for name in linears for part in "AB"]
    known = {*required, *ignored}
    missing = [name for name in required if name not in tensors]
    unknown = [quoted_name(name) for name in tensors if name not in known]
    misshapen = []
    for name, (outputs, inputs) in linears.items():
        if f"{name}.A" in tensors and f"{name}.B" in tensors:
            a, b = tensors[f"{name}.A"], tensors[f"{name}.B"]
            rank = len(a) if a.ndim else 0
            if not 0 < rank <= min(inputs, outputs) or (a.shape, b.shape) != ((rank, inputs), (outputs, rank)):
                found = f"{list(a.shape)} and {list(b.shape)}"
                misshapen.append(f"{name} is {found}, not [rank, {inputs}] and [{outputs}, rank]")
    integers = [name for name in required if name in tensors and not tensors[name].is_floating_point()]
    faults = {"missing": missing, "unknown": unknown, "of another shape": misshapen, "not floating-point": integers}
    if any(faults.values()):
        raise ModelUnavailable(f"{path}: does not fit the model; {summarize_faults(faults)}")
