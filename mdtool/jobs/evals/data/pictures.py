"""Finds the picture that a row of a data set names or holds."""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, UsageError
from mdtool.jobs.evals.data.parquet_pictures import PictureRow, parquet_files, pictures_by_id
from mdtool.jobs.evals.sample import Picture
from mdtool.media.image.decode_image import IMAGE_SUFFIXES

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
        self._in_parquet = parquet_files(images) if images else []
        self._folders = [images] if images else [beside, beside / "images"]
        self._searched = images or beside

    def picture(self, value: Any, name: str) -> Picture:
        """Return the picture that a field stands for.

        Args:
            value: The bytes of a file; a mapping with "bytes" and "path", as `datasets` writes; the path of a file; or
                a number or name without an extension, as COCO, Visual Genome and TextVQA name their images by.
            name: What to call it if it has no name.

        Raises:
            InputError: The value stands for none.
        """
        if isinstance(value, dict):
            if value.get("bytes"):
                return Picture(str(value.get("path") or name), data=value["bytes"], row=value.get("row"))
            value = value.get("path")
        if isinstance(value, bytes):
            return Picture(name, data=value)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise InputError(f"{name}: has no picture")
        if self._in_parquet:
            row = self._rows.get(str(value)) or self._rows.get(Path(str(value)).stem)
            return Picture(str(value), self._folders[0] / str(value), row=row)
        return Picture(str(value), self._path(str(value)))

    def _path(self, value: str) -> Path:
        for folder in self._folders:
            with suppress(OSError, ValueError):  # of a name that can't be one of a file
                if (path := folder / value).is_file():
                    return path
        for key in _keys(Path(value).name):
            if key in self._files:
                return self._files[key]
        return self._folders[0] / value  # which reading will say is missing

    @cached_property
    def _rows(self) -> dict[str, PictureRow]:
        return pictures_by_id(self._in_parquet)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """All images below the folder, by their names, with and without extension, and by the number they end in."""
        files: dict[str, Path] = {}
        for folder, _, names in os.walk(self._searched):
            for name in sorted(names):
                if name.lower().endswith(tuple(IMAGE_SUFFIXES)):
                    for key in _keys(name):
                        files.setdefault(key, Path(folder, name))
        return files


def _keys(name: str) -> Iterator[str]:
    stem = name[: -len(suffix)] if (suffix := Path(name).suffix) and suffix.lower() in IMAGE_SUFFIXES else name
    yield name
    yield stem
    if number := re.search(r"\d+$", stem):
        yield f"#{int(number[0])}"
