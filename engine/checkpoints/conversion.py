"""A checkpoint whose matrices are in few bits, from one whose are not, or not all."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from engine.catalog.locate import Located
from engine.checkpoints.writer import write_checkpoint
from engine.contract import EngineError
from engine.moondream.config import read_config
from engine.moondream.weights import Weights, open_weights
from engine.quantization.formats import Int4, Int8
from engine.quantization.matrices import KINDS, Quantised, is_rounded

_PARTS = ("nibbles", "scale", "zero", "values")


def write_quantised(located: Located, kind: str, folder: Path, told: Callable[[float], object]) -> None:
    """Weights, config and tokenizer into a folder that is there, for `engine.load`. kind: of `Quantised`.

    told: how much has been written, 0..1, now and then. Raises ModelUnavailable (weights missing or broken),
    EngineError (in few bits already), ValueError (a matrix that has no form in 4 bits), OSError (the folder can't be
    written).
    """
    weights = open_weights(located.weights, read_config(located.config_source, located.config))
    _check(weights, kind)
    names = [*weights.shapes]
    names += [f"{name}.{part}" for name, shape in weights.shapes.items() if len(shape) == 2 for part in _PARTS]
    (folder / "config.json").write_text(json.dumps(located.config, indent=2) + "\n")
    shutil.copyfile(located.tokenizer, folder / "tokenizer.json")
    with (folder / "model.safetensors").open("wb") as file:
        write_checkpoint(file, names, _tensors(weights, Quantised(weights, kind), told))


def _check(weights: Weights, kind: str) -> None:
    """That there is something to round, and nothing in 4 bits where 8 are asked for."""
    four = any(name.endswith((".nibbles", ".packed")) for name in weights.places)
    left = (name for name, shape in weights.shapes.items() if len(shape) == 2 and name in weights.places)
    if (four and KINDS[kind] is None) or not any(map(is_rounded, left)):
        path, bits = weights.checkpoint.path, 4 if four else 8
        raise EngineError(f"{path}: these weights are in {bits} bits already; give the model that they were made from")


def _tensors(weights: Weights, quantised: Quantised, told: Callable[[float], object]) -> Iterator[tuple[str, Tensor]]:
    for place, (name, shape) in enumerate(weights.shapes.items()):
        told(place / len(weights.shapes))
        dtype = weights.dtype(name)
        kept = quantised.matrix(name, dtype) if len(shape) == 2 else weights.take(name, dtype)
        if isinstance(kept, Int4):
            yield f"{name}.nibbles", kept.nibbles
            yield f"{name}.scale", kept.scale
            yield f"{name}.zero", kept.zero
        elif isinstance(kept, Int8):
            yield f"{name}.values", kept.values
            yield f"{name}.scale", kept.scale
        else:
            yield name, kept
    told(1)
