"""Writes a checkpoint with quantised weights, so that a model is not quantised each time it is loaded."""

from collections.abc import Callable
from pathlib import Path

from engine.catalog.locate import ModelFiles, locate
from engine.checkpoints.conversion import write_quantized
from engine.checkpoints.shards import weight_files, weights_in
from engine.families import quantizable_model
from engine.pocket import model as pocket
from mdtool.errors import UsageError
from mdtool.interruption import deferred_interrupts, raise_if_interrupted
from mdtool.media.files.atomic_folder import atomic_folder
from mdtool.model_selection import FACE_MODEL, SYNTHETIC_MODEL, model_errors


def quantize_checkpoint(
    name_or_path: str, kind: str, folder: Path, on_progress: Callable[[float], object]
) -> tuple[int, int]:
    """Write the quantised weights, the config and the tokenizer of a model to a folder that `--model` accepts.

    Args:
        name_or_path: The model to quantise.
        kind: Quantisation, as for `--scheme`.
        folder: The folder to write.
        on_progress: Called with the part that has been written, 0..1.

    Returns:
        Size of the weights before and after, in bytes.

    Raises:
        ModelNotFound: The model is missing or damaged.
        UsageError: The model can't be quantised so.
        OutputError: The folder can't be written.
    """

    def progress(part: float) -> None:
        raise_if_interrupted()
        on_progress(part)

    with deferred_interrupts(), model_errors():
        model_files = _model_files(name_or_path)
        with atomic_folder(folder) as temporary_folder:
            write_quantized(quantizable_model(model_files), kind, temporary_folder, progress)
        return _bytes(model_files.weights), _bytes(weights_in(folder))


def _model_files(name_or_path: str) -> ModelFiles:
    if name_or_path == FACE_MODEL:
        raise UsageError(f"{FACE_MODEL} can't be quantised; give a language model")
    return pocket.model_files() if name_or_path == SYNTHETIC_MODEL else locate(name_or_path)


def _bytes(weights: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(weights))
