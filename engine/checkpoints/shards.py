"""Finding a model's weight files: safetensors, one or shards with an index as in releases on the hub, or GGUF."""

import json
import os
import re
from pathlib import Path
from typing import Any

from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
GGUF_MAGIC = b"GGUF"
MAX_NAME_BYTES = 255  # of a file; the system raises an OSError for a longer one
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def is_gguf(path: Path) -> bool:
    """Return whether a file begins as GGUF files do, whatever its name."""
    try:
        if not path.is_file():  # opening a pipe would block
            return False
        with path.open("rb") as file:
            return file.read(4) == GGUF_MAGIC
    except OSError:
        return False


def weights_in(folder: Path) -> Path:
    """Return the shard index, or the only weight file, in a folder.

    Raises:
        ModelUnavailable: There is none, or more than one, or shards are missing.
    """
    index, single = folder / INDEX, folder / WEIGHTS
    if index.is_file():
        missing = [shard.name for shard in weight_files(index) if not shard.is_file()]
        if missing:
            raise ModelUnavailable(f"{folder}: {INDEX} names files that do not exist: {', '.join(missing)}")
        return index
    if single.is_file():
        return single
    found = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not found:
        raise ModelUnavailable(f"{folder}: there are no weights (*.safetensors) in this folder")
    if _SHARD.search(found[0].stem):
        raise ModelUnavailable(f"{folder}: there are shards of weights without their index, {INDEX}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelUnavailable(f"{folder}: there are several weight files; give the path of one of them: {names}")
    return found[0]


def weight_files(weights: Path) -> list[Path]:
    """Return the files that contain tensors: `weights` itself, or the shards if it is an index (.json).

    Raises:
        ModelUnavailable: The index can't be read.
    """
    if weights.suffix != ".json":
        return [weights]
    return [weights.with_name(name) for name in sorted(set(weight_map(weights).values()))]


def weight_map(index: Path) -> dict[str, str]:
    """Return tensor name -> name of its file, in the index's folder.

    Raises:
        ModelUnavailable: The index is missing or damaged.
    """
    try:
        data: Any = json.loads(index.read_bytes())
    except OSError as error:
        raise ModelUnavailable(f"{index}: cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{index}: not JSON") from error
    shard_of = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(shard_of, dict) or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise ModelUnavailable(f"{index}: its weight_map must be an object of tensor names and file names")
    for shard in shard_of.values():
        is_file_name = re.fullmatch(r"[\w. -]+", shard) and shard not in (".", "..")
        if not is_file_name or len(os.fsencode(shard)) > MAX_NAME_BYTES:
            raise ModelUnavailable(f"{index}: {quoted_name(shard)} is not the name of a file in its folder")
    return shard_of
