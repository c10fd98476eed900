"""A checkpoint whose matrices are quantised, from one whose are not, or not all."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.checkpoints.packings import INT4, INT8, packed_parts
from engine.checkpoints.tensor_map import TensorMap
from engine.checkpoints.writer import write_checkpoint
from engine.contract import EngineError
from engine.quantization.plan import QUANTIZATION_SCHEMES, QuantizationPlan, QuantizedSource


@dataclass(frozen=True)
class QuantizableModel:
    """A model that can be written anew: its weights, which of them are quantised, and what lies beside them."""

    weights: TensorMap
    plan: QuantizationPlan
    config: dict[str, Any]
    tokenizer: Path


def write_quantized(model: QuantizableModel, scheme: str, folder: Path, progress: Callable[[float], object]) -> None:
    """Write weights, config and tokenizer into a folder, for `engine.load`.

    Args:
        kind: of `QUANTIZATION_SCHEMES`.
        folder: exists.
        progress: is given the share that has been written, 0..1, now and then.

    Raises:
        ModelUnavailable: weights can't be read.
        EngineError: they are in few bits already.
        ValueError: a matrix has no form in 4 bits.
        OSError: the folder can't be written.
    """
    weights = model.weights
    _check(weights, model.plan, scheme)
    endings = dict.fromkeys([*INT4.dtypes, *INT8.dtypes])
    names = [*weights.shapes]
    names += [f"{name}.{part}" for name, shape in weights.shapes.items() if len(shape) == 2 for part in endings]
    (folder / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    shutil.copyfile(model.tokenizer, folder / "tokenizer.json")
    with (folder / "model.safetensors").open("wb") as file:
        write_checkpoint(file, names, _tensors(weights, QuantizedSource(weights, model.plan, scheme), progress))


def _check(weights: TensorMap, plan: QuantizationPlan, scheme: str) -> None:
    """Check that there is something to quantise, and nothing in 4 bits where 8 are asked for."""
    matrices = [name for name, shape in weights.shapes.items() if len(shape) == 2]
    packings = {name: packing for name in matrices if (packing := weights.packing(name))}
    four = any(packing.bits == 4 for packing in packings.values())
    left = any(plan.quantizes(name) for name in matrices if name not in packings)
    if (four and QUANTIZATION_SCHEMES[scheme] is None) or not left:
        path, bits = weights.checkpoint.path, 4 if four else 8
        raise EngineError(f"{path}: these weights are in {bits} bits already; give the model that they were made from")


def _tensors(
    weights: TensorMap, quantized: QuantizedSource, progress: Callable[[float], object]
) -> Iterator[tuple[str, Tensor]]:
    for done, (name, shape) in enumerate(weights.shapes.items()):
        progress(done / len(weights.shapes))
        dtype = weights.dtype(name)
        made = quantized.matrix(name, dtype) if len(shape) == 2 else weights.tensor(name, dtype)
        if isinstance(made, Tensor):
            yield name, made
        else:
            yield from ((f"{name}.{part}", tensor) for part, tensor in packed_parts(made).items())
    progress(1)
