"""Embedding a caption in the metadata of an image file: JPEG, PNG, WebP, TIFF.

XMP   dc:description, x-default; descriptions in other languages are preserved
IPTC  2:120 Caption-Abstract, in UTF-8, cut to 2000 bytes, its limit; not in PNG and WebP

An existing caption is replaced. Everything else is preserved: image data, ICC profile, EXIF, and all other XMP and
IPTC; the new content is decoded and compared before it replaces the file.

The file is replaced atomically and keeps mode, owner and times; other hard links keep the old content. If its size does
not change, its modification time does, because synchronisation tools would otherwise take it for unchanged.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path

from mdtool.errors import InputError, output_errors_for
from mdtool.escaping import CONTROL_CHARACTERS
from mdtool.media.file_types import HEAD_BYTES, sniff
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.image.image_file import StillImage, read_image
from mdtool.metadata.containers import CONTAINERS, ImageContainer, MetadataBlocks
from mdtool.metadata.iptc import with_caption
from mdtool.metadata.xmp import with_description


def embed_caption(image: Path, text: str) -> bool:
    """Write a caption into the metadata of an image file.

    Args:
        image: A JPEG, PNG, WebP or TIFF file.
        text: The caption; control characters become spaces.

    Returns:
        Whether the file was changed; False if it has this caption already.

    Raises:
        InputError: The file is not such an image, or the caption can't be written without a loss.
        OutputError: The file can't be written.
    """
    with output_errors_for(image):
        path = Path(os.path.realpath(image))
        with path.open("r+b") as file:  # fails for a read-only file
            before = file.read()
        container = CONTAINERS.get(sniff(before[:HEAD_BYTES]) or "")
        if container is None:
            raise InputError("can't store a caption: only JPEG, PNG, WebP and TIFF can")
        decoded = read_image(before)
        existing = container.read(before)
        blocks = _captioned(container, existing, text)
        if blocks == existing:
            return False
        after = container.write(before, blocks)
        _check_unchanged(decoded, read_image(after))
        with AtomicFile(path, overwrite=True) as output:
            output.part.write_bytes(after)
            _copy_attributes(output.part, path, keep_times=len(after) != len(before))
            output.commit()
    return True


def _captioned(container: ImageContainer, blocks: MetadataBlocks, text: str) -> MetadataBlocks:
    text = CONTROL_CHARACTERS.sub(" ", text).strip().encode("utf-8", "replace").decode()
    iptc = with_caption(blocks.iptc, text) if container.takes_iptc else b""
    return MetadataBlocks(with_description(blocks.xmp, text), iptc)


def _check_unchanged(old: StillImage, new: StillImage) -> None:
    """Raise InputError if anything but XMP and IPTC differs."""
    same = (old.mode, old.icc, old.dpi) == (new.mode, new.icc, new.dpi)
    metadata = (old.metadata.exif, old.metadata.comment, old.metadata.texts)
    same = same and metadata == (new.metadata.exif, new.metadata.comment, new.metadata.texts)
    if not same or old.pixels.dtype != new.pixels.dtype or (old.pixels != new.pixels).any():
        raise InputError("a caption can't be written into it without a loss")


def _copy_attributes(part: Path, like: Path, keep_times: bool) -> None:
    """Copy mode, owner, extended attributes and times of a file to a new one, as far as permitted."""
    state = like.stat()
    if sys.platform != "win32":  # Windows has no POSIX owners
        with contextlib.suppress(OSError):
            os.chown(part, state.st_uid, state.st_gid)
    shutil.copystat(like, part)
    if not keep_times:
        os.utime(part)
