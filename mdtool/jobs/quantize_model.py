"""A model written in few bits, so that it is not rounded anew each time it is loaded."""

from collections.abc import Callable
from pathlib import Path

from engine.catalog.locate import Located, locate
from engine.checkpoints.conversion import write_quantized
from engine.checkpoints.shards import weight_files, weights_in
from engine.moondream.conversion import convertible
from engine.pocket import model as pocket
from mdtool.errors import UsageError
from mdtool.interruption import check_not_ending, heeded
from mdtool.media.files.atomic_folder import whole_folder
from mdtool.model_selection import DRAWN, FACES, model_errors


def quantise(name_or_path: str, kind: str, folder: Path, told: Callable[[float], object]) -> tuple[int, int]:
    """The weights, the config and the tokenizer of a model, in a folder that `--model` takes. kind: as for `--to`.

    told: how much has been written, 0..1. Returns how many bytes the weights were, and are. Raises NoModel (not here,
    or broken), UsageError (a model that can't be rounded so), OutputError (the folder can't be written).
    """

    def told_unless_ending(share: float) -> None:
        check_not_ending()
        told(share)

    with heeded(), model_errors():
        located = _located(name_or_path)
        with whole_folder(folder) as part:
            write_quantized(convertible(located), kind, part, told_unless_ending)
        return _bytes(located.weights), _bytes(weights_in(folder))


def _located(name_or_path: str) -> Located:
    if name_or_path == FACES:
        raise UsageError(f"{FACES} can't be quantized: give a Moondream")
    return pocket.located() if name_or_path == DRAWN else locate(name_or_path)


def _bytes(weights: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(weights))
