"""Finds the picture that a row of a data set names or holds."""

import glob
import hashlib
import os
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, UsageError
from mdtool.jobs.evals.data.parquet_pictures import (
    NoPicturesById,
    PictureRow,
    bytes_of,
    parquet_files,
    pictures_by_id,
)
from mdtool.jobs.evals.sample import Picture
from mdtool.media.file_types import IMAGE_SUFFIXES

QUESTIONS, PICTURES = "_instructions", "_images"  # how the folders of GQA end that `datasets` knows as two sets


class PictureFinder:
    """Finds pictures: in the row itself, beside the data, in a folder of images, or in Parquet files with their ids."""

    def __init__(self, data: Path, images: Path | None) -> None:
        """Create a finder.

        Args:
            data: The file or folder of the data set.
            images: The folder of its images, or of Parquet files with a column of ids and one of pictures, or one such
                file; None: that of the data, or NAME_images beside a folder NAME_instructions.

        Raises:
            UsageError: There is no such folder or file.
        """
        beside = data if data.is_dir() else data.parent
        if images is None and beside.name.endswith(QUESTIONS):
            images = next(
                iter(beside.parent.glob(f"{glob.escape(beside.name.removesuffix(QUESTIONS))}{PICTURES}")), None
            )
        if images and not images.is_dir() and not parquet_files(images):
            raise UsageError(f"--images {images}: there is no such folder, and no such Parquet file")
        self._images = images
        self._folders = [images] if images else [beside, beside / "images"]
        self._searched = images or beside

    def picture(self, value: Any, name: str, key: object = None) -> Picture:
        """Return the picture that a field stands for.

        Args:
            value: The bytes of a file; a mapping with "bytes" and "path", as `datasets` writes; the path of a file; or
                a number or name without an extension, as COCO, Visual Genome and TextVQA name their images by.
            name: What to call it if it has no name.
            key: What the set knows the picture by, of one whose bytes come in each row that is on it; None: not known.

        Raises:
            InputError: The value stands for none.
        """
        data, stated = bytes_of(value), value if isinstance(value, dict) else {}
        if data:
            known = hashlib.sha256(data).hexdigest() if key is None else str(key)
            return Picture(str(stated.get("path") or name), data=data, row=stated.get("row"), key=known)
        value = stated.get("path") if stated else value
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise InputError(f"{name}: has no picture")
        return self._named(str(value))

    def _named(self, name: str) -> Picture:
        """Return the picture of this path, else of this name, else of this id, else of this number."""
        if path := self._stated(name):
            return Picture(name, path, key=name)
        *names, number = _keys(Path(name).name)
        if path := next((self._files[key] for key in names if key in self._files), None):
            return Picture(name, path, key=name)
        if row := self._rows.get(name) or self._rows.get(Path(name).stem):
            return Picture(name, row=row, key=name)
        if number and (path := self._files.get(number)):
            return Picture(name, path, key=name)
        return Picture(name, self._folders[0] / name, key=name)  # which reading will say is missing

    def _stated(self, name: str) -> Path | None:
        for folder in self._folders:
            with suppress(OSError, ValueError):  # of a name that can't be one of a file
                if (path := folder / name).is_file():
                    return path
        return None

    @cached_property
    def _rows(self) -> dict[str, PictureRow]:
        """Where the pictures of Parquet files stand, by their ids."""
        try:
            return pictures_by_id(parquet_files(self._images) if self._images else [])
        except NoPicturesById:
            if self._files:  # so that the Parquet files are of something else
                return {}
            raise

    @cached_property
    def _files(self) -> dict[str, Path]:
        """All images below the folder, by their names, with and without extension, and by the number they end in."""
        files: dict[str, Path] = {}
        for folder, _, names in os.walk(self._searched):
            for name in sorted(names):
                if name.lower().endswith(tuple(IMAGE_SUFFIXES)):
                    for key in filter(None, _keys(name)):
                        files.setdefault(key, Path(folder, name))
        return files


def _keys(name: str) -> tuple[str, str, str | None]:
    """Return what an image is found by: its name, with and without extension, and the number it ends in, if any."""
    stem = name[: -len(suffix)] if (suffix := Path(name).suffix) and suffix.lower() in IMAGE_SUFFIXES else name
    number = re.search(r"\d+$", stem)
    return name, stem, f"#{int(number[0])}" if number else None
