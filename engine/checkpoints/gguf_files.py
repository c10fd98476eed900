"""Finding the GGUF files of a model: the parts of a split file, and the mmproj file beside a text file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.checkpoints.gguf import GgufFile, read_gguf
from engine.checkpoints.gguf_names import check_belongs
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name

MAX_PARTS = 999
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)", re.IGNORECASE)
# a tensor type, or a recipe such as Q4_K_M, as a word of a file's name
_TYPE = re.compile(r"(?:^|[-_.])(i?q\d(?:_(?:[01k]|nl|xxs|xs|s|m))?(?:_(?:s|m|l|xl))?|b?f16|f32)(?=$|[-_.])")
_PREFERRED = ("f16", "bf16", "f32")  # of an mmproj file, after the text file's own type


def open_gguf(path: Path) -> GgufFile:
    """Read the header of a file, or of all parts of a split one, by the path of any of them.

    Raises:
        ModelUnavailable: A part is missing or broken.
    """
    part = _PART.search(path.name)
    first = _PART.sub(lambda match: f"-00001-of-{match[2]}", path.name)
    header = read_gguf(path.with_name(first))
    count = header.integer("split.count", 1)
    if count <= 1:
        return header
    if part is None or int(part[2]) != count or count > MAX_PARTS:
        raise ModelUnavailable(
            f"{path}: is one of {count} parts, which must be named NAME-00001-of-{count:05}.gguf ..."
        )
    return _joined(header, [path.with_name(_PART.sub(f"-{i:05}-of-{count:05}", first)) for i in range(2, count + 1)])


def _joined(header: GgufFile, others: Sequence[Path]) -> GgufFile:
    missing = [path.name for path in others if not path.is_file()]
    if missing:
        raise ModelUnavailable(f"{header.path}: its other parts do not exist: {', '.join(missing)}")
    tensors = dict(header.tensors)
    for i, path in enumerate(others, 1):
        part = read_gguf(path)
        if part.integer("split.no") != i or part.integer("split.count") != len(others) + 1:
            raise ModelUnavailable(f"{path}: is not part {i + 1} of {header.path.name}")
        for name, tensor in part.tensors.items():
            if name in tensors:
                raise ModelUnavailable(f"{path}: {quoted_name(name)} is in {tensors[name].file.name} too")
            tensors[name] = tensor
    expected = header.integer("split.tensors.count", len(tensors))
    if len(tensors) != expected:
        raise ModelUnavailable(f"{header.path}: its parts have {len(tensors)} tensors together, not {expected}")
    return replace(header, tensors=tensors)


def find_mmproj(text: GgufFile) -> Path | None:
    """Return the mmproj file of a text file in the same folder.

    Files whose name without "mmproj" and type is the text file's come first, then those with no other name, then those
    that fit by their content. Of several the one of the text file's own type is taken, else F16, BF16, F32.

    Returns:
        The file; None if there is none.

    Raises:
        ModelUnavailable: Two files would do.
    """
    found = sorted(
        path
        for path in text.path.parent.glob("*.[gG][gG][uU][fF]")
        if "mmproj" in path.name.lower() and path.name != text.path.name and path.is_file()
    )
    stem = _stem(text.path)
    for candidates in (
        [path for path in found if _stem(path) == stem],
        [path for path in found if not _stem(path)],
        [path for path in found if _fits(text, path)],
    ):
        if candidates:
            return _preferred(candidates, _type(text.path))
    return None


def _stem(path: Path) -> tuple[str, ...]:
    """Return the words of a file's name, without its type and the words for kinds of files."""
    name = _TYPE.sub("", _PART.sub("", path.name).lower().removesuffix(".gguf"))
    return tuple(word for word in re.split(r"[-_. ]+", name) if word not in ("", "mmproj", "text", "model"))


def _type(path: Path) -> str:
    found = _TYPE.findall(_PART.sub("", path.name).lower().removesuffix(".gguf"))
    return found[-1] if found else ""


def _preferred(candidates: list[Path], own_type: str) -> Path:
    order = [own_type, *_PREFERRED]
    ranks = {path: order.index(_type(path)) if _type(path) in order else len(order) for path in candidates}
    best = [path for path, rank in ranks.items() if rank == min(ranks.values())]
    if len(best) > 1:
        names = ", ".join(path.name for path in best)
        raise ModelUnavailable(f"{best[0].parent}: several mmproj files would do; give one as --mmproj: {names}")
    return best[0]


def _fits(text: GgufFile, candidate: Path) -> bool:
    try:
        check_belongs(text, open_gguf(candidate))
    except ModelUnavailable:
        return False
    return True
