"""Caption sidecar files next to images, as in training sets: photo.txt for photo.jpg.

UTF-8, one caption or answer per line, in order, with a final line break. Existing text is preserved byte for byte
unless the mode is "overwrite".
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mdtool.errors import UsageError, output_errors_for
from mdtool.escaping import CONTROL_CHARACTERS
from mdtool.exports.paths import with_timestamp
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.sources.inputs import Input

Mode = Literal["overwrite", "append", "prepend", "skip"]


def caption_lines(answers: Sequence[dict[str, Any]]) -> list[str]:
    """Return the texts of captions and answers to questions, one line each."""
    texts = (answer.get("caption", answer.get("answer", "")) for answer in answers)
    lines = (re.sub(r"\s+", " ", CONTROL_CHARACTERS.sub(" ", text)).strip() for text in texts)
    return [line for line in lines if line]


def sidecar_path(source: Input, folder: Path | None, time: float | None = None) -> Path:
    """Return the path of an input's sidecar file.

    Two images whose names differ only in the extension share one; `check_distinct` finds them.

    Args:
        source: The input.
        folder: Root of the output tree; None: next to the image.
        time: Timestamp of a video frame in seconds.

    Raises:
        UsageError: Folder is None, and the input is not a file.
    """
    if folder is None and source.path is None:
        raise UsageError(f"{source.name}: has no folder for its text file; give an output folder")
    image = folder / source.relative if folder else source.path
    assert image is not None
    return image.with_name(with_timestamp(image.stem, time) + ".txt")


def write_sidecar(target: Path, texts: Sequence[str], mode: Mode, source: Input) -> bool:
    """Write a sidecar file; repeating a call changes nothing.

    Args:
        target: The file.
        texts: Its lines.
        mode: For an existing file: "overwrite"; "append" or "prepend", unless it ends or begins with these lines;
            "skip" leaves it unchanged.
        source: The input that the texts are of.

    Returns:
        Whether anything was written.

    Raises:
        OutputError: The file can't be written.
    """
    with output_errors_for(target):
        existing = target.read_bytes() if target.exists() else None
        if existing is not None and mode == "skip":
            return False
        new = "".join(f"{text}\n" for text in texts).encode("utf-8", "backslashreplace")
        content = _joined(existing or b"", new, mode)
        if content == existing:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target, overwrite=True) as output:
            output.restrict(source.path)
            output.part.write_bytes(content)
            output.commit()
    return True


def _joined(existing: bytes, new: bytes, mode: Mode) -> bytes:
    """Return the file's new content. The search for the new lines ignores CR LF and final line breaks."""
    if not new and mode != "overwrite":
        return existing
    if mode == "append":
        terminated = existing if not existing or existing.endswith(b"\n") else existing + b"\n"
        present = (b"\n" + existing.replace(b"\r\n", b"\n").rstrip(b"\n")).endswith(b"\n" + new.rstrip(b"\n"))
        return existing if present else terminated + new
    if mode == "prepend":
        present = (existing.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n").startswith(new)
        return existing if present else new + existing
    return new
