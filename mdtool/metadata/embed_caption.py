"""A caption in the picture's own file, where photo programs look for it: JPEG, PNG, WebP, TIFF.

XMP   dc:description, x-default; the description in other languages stays
IPTC  2:120 Caption-Abstract, in UTF-8, its first 2000 bytes, which is all that it may hold; not in PNG and WebP

A description that was there is replaced. Everything else in the file stays as it was: the coded picture, the colour
profile, EXIF, and all other XMP and IPTC; before the file is replaced it is read again to make sure of that.

A new file takes the place of the old one under its name, with its mode, owner and times; another hard link to the old
one keeps that. If it has as many bytes as before, its time of change is now, or else what copies files might take it
for unchanged.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path

from mdtool.console import CONTROL_CHARACTERS
from mdtool.errors import InputError, output_errors_for
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.image.image_file import StillImage, read_image, sniff
from mdtool.metadata.containers import CONTAINERS, ImageContainer, MetadataBlocks
from mdtool.metadata.iptc import with_caption
from mdtool.metadata.xmp import with_description


def embed_caption(picture: Path, text: str) -> bool:
    """Whether the file was changed: not if it has this very caption.

    InputError for what is no picture, or one that this can't be written into without a loss; OutputError where it
    can't be written.
    """
    with output_errors_for(picture):
        path = Path(os.path.realpath(picture))
        with path.open("r+b") as file:  # a file that may not be written is left alone
            before = file.read()
        container = CONTAINERS.get(sniff(before[:64]) or "")
        if container is None:
            raise InputError("can't hold a caption: only JPEG, PNG, WebP and TIFF can")
        photo = read_image(before)
        there = container.read(before)
        blocks = _captioned(container, there, text)
        if blocks == there:
            return False
        after = container.write(before, blocks)
        _check_unchanged(photo, read_image(after))
        with AtomicFile(path, overwrite=True) as whole:
            whole.part.write_bytes(after)
            _copy_attributes(whole.part, path, keep_times=len(after) != len(before))
            whole.commit()
    return True


def _captioned(container: ImageContainer, blocks: MetadataBlocks, text: str) -> MetadataBlocks:
    text = CONTROL_CHARACTERS.sub(" ", text).strip().encode("utf-8", "replace").decode()
    iptc = with_caption(blocks.iptc, text) if container.takes_iptc else b""
    return MetadataBlocks(with_description(blocks.xmp, text), iptc)


def _check_unchanged(old: StillImage, new: StillImage) -> None:
    """InputError if anything but XMP and IPTC is not as it was."""
    alike = (old.mode, old.icc, old.dpi) == (new.mode, new.icc, new.dpi)
    said = (old.metadata.exif, old.metadata.comment, old.metadata.texts)
    alike = alike and said == (new.metadata.exif, new.metadata.comment, new.metadata.texts)
    if not alike or old.pixels.dtype != new.pixels.dtype or (old.pixels != new.pixels).any():
        raise InputError("a caption can't be written into it without a loss")


def _copy_attributes(part: Path, like: Path, keep_times: bool) -> None:
    """Gives a new file the mode, owner, attributes and times of another, as far as that is allowed."""
    state = like.stat()
    if sys.platform != "win32":  # which has no owners that a file could be given to so
        with contextlib.suppress(OSError):
            os.chown(part, state.st_uid, state.st_gid)
    shutil.copystat(like, part)
    if not keep_times:
        os.utime(part)
