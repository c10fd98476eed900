"""Answers as text beside each picture, as training sets have it: photo.txt for photo.jpg.

UTF-8: the captions and replies, each on a line of its own, in their order, and a line break at the end. Text that was
there before stays as it is, byte for byte, if the mode is not "overwrite".
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mdtool.console import CONTROL_CHARACTERS
from mdtool.errors import UsageError, output_errors_for
from mdtool.exports.paths import with_timestamp
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.sources.inputs import Input

Mode = Literal["overwrite", "append", "prepend", "skip"]


def caption_lines(answers: Sequence[dict[str, Any]]) -> list[str]:
    """What was said in words, one line each; boxes and points have none."""
    said = (answer.get("caption", answer.get("answer", "")) for answer in answers)
    lines = (re.sub(r"\s+", " ", CONTROL_CHARACTERS.sub(" ", text)).strip() for text in said)
    return [line for line in lines if line]


def sidecar_path(source: Input, folder: Path | None, time: float | None = None) -> Path:
    """Beside the picture, or in the same tree below a folder. time: seconds, of a frame of a video.

    Two pictures whose names differ only in their endings have the same; `check_distinct` tells.
    """
    if folder is None and source.path is None:
        raise UsageError(f"{source.name}: has no folder to write a text to; name one")
    picture = folder / source.relative if folder else source.path
    assert picture is not None
    return picture.with_name(with_timestamp(picture.stem, time) + ".txt")


def write_sidecar(target: Path, texts: Sequence[str], mode: Mode) -> bool:
    """Whether anything was written. Done again with the same texts it changes nothing.

    append, prepend: after or before what is there, if that doesn't end or begin with these very lines. skip: a file
    that is there stays. OutputError where it can't be written.
    """
    with output_errors_for(target):
        there = target.read_bytes() if target.exists() else None
        if there is not None and mode == "skip":
            return False
        new = "".join(f"{text}\n" for text in texts).encode("utf-8", "backslashreplace")
        content = _joined(there or b"", new, mode)
        if content == there:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target, overwrite=True) as whole:
            whole.part.write_bytes(content)
            whole.commit()
    return True


def _joined(there: bytes, new: bytes, mode: Mode) -> bytes:
    """As if each began on a new line. Line breaks at the end don't count when it is looked for."""
    if not new and mode != "overwrite":
        return there
    if mode == "append":
        ended = there if not there or there.endswith(b"\n") else there + b"\n"
        is_there = (b"\n" + there.replace(b"\r\n", b"\n").rstrip(b"\n")).endswith(b"\n" + new.rstrip(b"\n"))
        return there if is_there else ended + new
    if mode == "prepend":
        is_there = (there.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n").startswith(new)
        return there if is_there else new + there
    return new
