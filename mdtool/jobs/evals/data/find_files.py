"""Finds the files of a data set: those of one split, by their names."""

import glob
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mdtool.errors import InputError, NoInputFound, UsageError

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".txt")
SHARD = re.compile(r"(?P<split>.+)-\d+-of-\d+(?:-[0-9a-f]+)?")  # `datasets` names files so
SPLIT = re.compile(  # in other names, such as instances_val2017
    r"(?<![a-z])(?P<split>(?:trainval|train|minival|validation|valid|val|test-?dev|test[ab]?|dev)(?:\d{4})?)(?![a-z])",
    re.IGNORECASE,
)
INSTANCES = "instances_"  # how the files of COCO begin that have boxes, beside captions_ and person_keypoints_
PICKLED = "refs(*).p"  # of RefCOCO, beside its instances.json


def find_files(data: Path) -> list[Path]:
    """Return the files of a data set.

    Args:
        data: A file, a folder with files of one kind (those in its own folders too), or a glob.

    Raises:
        InputError: There is no such file or folder.
        NoInputFound: A folder holds no such file, or a glob matches none.
        UsageError: These are several splits of a set, or one of them twice; or what they are is in a pickle.
    """
    if data.is_file():
        return [data]
    if data.is_dir():
        files = _below(data)
    else:
        files = [path for path in sorted(map(Path, glob.glob(str(data), recursive=True))) if path.is_file()]
        if not files and glob.has_magic(str(data)):
            raise NoInputFound(f"{data}: no file matches")
        if not files:
            raise InputError(f"{data}: there is no such file or folder")
    _check_one_split(data, files)
    return files


def _below(folder: Path) -> list[Path]:
    """Return the files of the first kind that a folder holds."""
    for suffix in SUFFIXES:
        found = [path for path in sorted(folder.rglob(f"*{suffix}")) if not path.name.startswith(".")]
        if suffix == ".txt":
            found = [path for path in found if "annotations" in path.name]
        if suffix == ".json":
            if pickled := next((one for path in found for one in sorted(path.parent.glob(PICKLED))), None):
                raise pickle_error(pickled)
            found = [path for path in found if path.name.startswith(INSTANCES)] or found
        if found:
            return found
    raise NoInputFound(f"{folder}: holds no {', '.join(SUFFIXES)} file")


def pickle_error(path: Path) -> UsageError:
    """Return the error of a file that is a pickle, as RefCOCO's are."""
    return UsageError(
        f"{path}: is a pickle, which is not read, since a pickle can run any code; RefCOCO is read from Parquet, or "
        "from JSON Lines with image, bbox and sentences"
    )


def _check_one_split(data: Path, files: Sequence[Path]) -> None:
    """Raise UsageError for files of several splits, by their names, or for a file beside one that extends it."""
    splits: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        if named := SHARD.fullmatch(path.stem) or SPLIT.search(path.stem):
            splits[named["split"]].append(path)
    if len(splits) > 1:
        split, those = min(splits.items(), key=lambda one: (one[0].startswith("train"), one[0]))
        name = those[0].name if len(those) == 1 else f"*{split}*{those[0].suffix}"
        if SHARD.fullmatch(those[0].stem):
            name = f"{split}-*"
        raise UsageError(
            f"--data {data}: holds the splits {', '.join(sorted(splits))}; name one, as in '{those[0].parent / name}'"
        )
    stems = {path.stem: path for those in splits.values() for path in those if not SHARD.fullmatch(path.stem)}
    for stem, path in stems.items():
        # Such as val_v1.0.json and val_v1.0_withQT.json, which has more fields of the same questions; _2 is a part.
        if twice := next((other for other in stems if re.match(rf"{re.escape(stem)}[_.-]\D", other)), None):
            raise UsageError(
                f"--data {data}: holds {path.name} and {stems[twice].name} of one split; name one, '{path}'"
            )
