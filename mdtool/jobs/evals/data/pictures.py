"""Finds the picture that a row of a data set names or holds."""

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from mdtool.errors import InputError
from mdtool.jobs.evals.sample import Picture
from mdtool.media.image.decode_image import IMAGE_SUFFIXES


class PictureFinder:
    """Finds pictures: in the row itself, beside the data, or in a folder of images."""

    def __init__(self, data: Path, images: Path | None) -> None:
        """Create a finder.

        Args:
            data: The file or folder of the data set.
            images: The folder of its images; None: that of the data.
        """
        beside = data if data.is_dir() else data.parent
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
                return Picture(str(value.get("path") or name), data=value["bytes"])
            value = value.get("path")
        if isinstance(value, bytes):
            return Picture(name, data=value)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise InputError(f"{name}: has no picture")
        return Picture(str(value), self._path(str(value)))

    def _path(self, value: str) -> Path:
        for folder in self._folders:
            if (path := folder / value).is_file():
                return path
        for key in _keys(Path(value).name):
            if key in self._files:
                return self._files[key]
        return self._folders[0] / value  # which reading will say is missing

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
