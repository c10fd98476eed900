"""Which files hold a model's weights: one of safetensors, or shards that an index names, as in the hub's releases."""

import json
import re
from pathlib import Path
from typing import Any

from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def weights_in(folder: Path) -> Path:
    """The shard index, or the one file of weights, in a folder; ModelUnavailable if not all of it is there."""
    index, single = folder / INDEX, folder / WEIGHTS
    if index.is_file():
        missing = [shard.name for shard in weight_files(index) if not shard.is_file()]
        if missing:
            raise ModelUnavailable(f"{folder}: {INDEX} names files that are not there: {', '.join(missing)}")
        return index
    if single.is_file():
        return single
    found = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not found:
        raise ModelUnavailable(f"{folder}: there are no weights (*.safetensors) in this folder")
    if _SHARD.search(found[0].stem):
        raise ModelUnavailable(f"{folder}: there are shards of weights, but not their index, {INDEX}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelUnavailable(f"{folder}: which of these weights? name the file: {names}")
    return found[0]


def weight_files(weights: Path) -> list[Path]:
    """The files that hold tensors: `weights` itself, or those that it names if it is an index (.json).

    ModelUnavailable for an index that can't be read.
    """
    if weights.suffix != ".json":
        return [weights]
    return [weights.with_name(name) for name in sorted(set(weight_map(weights).values()))]


def weight_map(index: Path) -> dict[str, str]:
    """Tensor -> the name of the file beside the index that holds it; ModelUnavailable for a broken index."""
    try:
        data: Any = json.loads(index.read_bytes())
    except OSError as error:
        raise ModelUnavailable(f"{index}: cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{index}: is not JSON") from error
    places = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ModelUnavailable(f"{index}: its weight_map must be an object of tensor names and file names")
    for shard in places.values():
        if not re.fullmatch(r"[\w. -]+", shard) or shard in (".", ".."):
            raise ModelUnavailable(f"{index}: {quoted_name(shard)} is not the name of a file in its folder")
    return places
