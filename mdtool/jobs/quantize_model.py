"""A model written in few bits, so that it is not rounded anew each time it is loaded."""

from collections.abc import Callable
from pathlib import Path

from engine.catalog.locate import ModelFiles, locate
from engine.checkpoints.conversion import write_quantized
from engine.checkpoints.shards import weight_files, weights_in
from engine.moondream.conversion import quantizable_model
from engine.pocket import model as pocket
from mdtool.errors import UsageError
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.media.files.atomic_folder import atomic_folder
from mdtool.model_selection import FACE_MODEL, SYNTHETIC_MODEL, model_errors


def quantize_checkpoint(
    name_or_path: str, kind: str, folder: Path, on_progress: Callable[[float], object]
) -> tuple[int, int]:
    """The weights, the config and the tokenizer of a model, in a folder that `--model` takes. kind: as for `--scheme`.

    told: how much has been written, 0..1. Returns how many bytes the weights were, and are. Raises ModelNotFound
    (not here,
    or broken), UsageError (a model that can't be rounded so), OutputError (the folder can't be written).
    """

    def told_unless_ending(share: float) -> None:
        raise_if_interrupted()
        on_progress(share)

    with deferred_interrupts(), model_errors():
        model_files = _located(name_or_path)
        with atomic_folder(folder) as part:
            write_quantized(quantizable_model(model_files), kind, part, told_unless_ending)
        return _bytes(model_files.weights), _bytes(weights_in(folder))


def _located(name_or_path: str) -> ModelFiles:
    if name_or_path == FACE_MODEL:
        raise UsageError(f"{FACE_MODEL} can't be quantized: give a Moondream")
    return pocket.model_files() if name_or_path == SYNTHETIC_MODEL else locate(name_or_path)


def _bytes(weights: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(weights))
