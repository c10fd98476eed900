"""Conversion of a checkpoint to a quantised one."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.checkpoints.packings import INT4, INT8, packed_parts
from engine.checkpoints.shards import is_gguf
from engine.checkpoints.tensor_map import TensorMap
from engine.checkpoints.writer import write_checkpoint
from engine.contract import EngineError
from engine.quantization.gguf_blocks import GgufBlocks
from engine.quantization.plan import QUANTIZATION_SCHEMES, QuantizationPlan, QuantizedSource


@dataclass(frozen=True)
class QuantizableModel:
    """A model that can be quantised and written: its weights, quantisation plan, config and tokenizer file."""

    weights: TensorMap
    plan: QuantizationPlan
    config: dict[str, Any]
    tokenizer: Path


def write_quantized(model: QuantizableModel, scheme: str, folder: Path, progress: Callable[[float], object]) -> None:
    """Write quantised weights, config and tokenizer into a folder that `engine.load` accepts.

    Args:
        model: Its weights, plan, config and tokenizer.
        scheme: One of `QUANTIZATION_SCHEMES`.
        folder: An existing folder.
        progress: Called with the fraction that has been written, 0..1.

    Raises:
        ModelUnavailable: Weights can't be read.
        EngineError: They are quantised already, or in a GGUF file.
        OSError: The folder can't be written.
    """
    weights = model.weights
    if is_gguf(model.tokenizer):
        raise EngineError(f"{model.tokenizer}: a GGUF file can't be converted; give the safetensors release")
    _check(weights, model.plan, scheme)
    parts = dict.fromkeys([*INT4.dtypes, *INT8.dtypes])
    names = [*weights.shapes]
    names += [f"{name}.{part}" for name, shape in weights.shapes.items() if len(shape) == 2 for part in parts]
    (folder / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    shutil.copyfile(model.tokenizer, folder / "tokenizer.json")
    with (folder / "model.safetensors").open("wb") as file:
        write_checkpoint(file, names, _tensors(weights, QuantizedSource(weights, model.plan, scheme), progress))


def _check(weights: TensorMap, plan: QuantizationPlan, scheme: str) -> None:
    """Check that there is something to quantise, and nothing int4 if the scheme is int8."""
    matrices = [name for name, shape in weights.shapes.items() if len(shape) == 2]
    packings = {name: packing for name in matrices if (packing := weights.packing(name))}
    has_int4 = any(packing.bits == 4 for packing in packings.values())
    unquantized = any(plan.quantizes(name) for name in matrices if name not in packings)
    if (has_int4 and QUANTIZATION_SCHEMES[scheme] is None) or not unquantized:
        path, bits = weights.checkpoint.path, 4 if has_int4 else 8
        raise EngineError(f"{path}: these weights are already int{bits}; give the model before quantisation")


def _tensors(
    weights: TensorMap, quantized: QuantizedSource, progress: Callable[[float], object]
) -> Iterator[tuple[str, Tensor]]:
    for done, (name, shape) in enumerate(weights.shapes.items()):
        progress(done / len(weights.shapes))
        dtype = weights.dtype(name)
        weight = quantized.matrix(name, dtype) if len(shape) == 2 else weights.tensor(name, dtype)
        if isinstance(weight, GgufBlocks):
            weight = weight.dequantize(dtype)
        if isinstance(weight, Tensor):
            yield name, weight
        else:
            yield from ((f"{name}.{part}", tensor) for part, tensor in packed_parts(weight).items())
    progress(1)
