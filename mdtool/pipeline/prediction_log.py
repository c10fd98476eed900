"""What a model has said already, kept on disk, so that a run that was killed need not ask again.

JSON Lines: first the settings that the answers hold for, then an object a picture: a digest of its pixels, and what was
seen. A picture is known again by its pixels, so that it does not matter in which order it is asked about.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mdtool.errors import OutputError, write_error_message
from mdtool.media.files.atomic_file import create_new
from mdtool.tracking.detector import Detector, ImageFindings
from recipes.regions import GazeEstimate, Region

SCHEMA = "mdtool.journal/2"


class PredictionLog:
    """Use as a context manager. Written by one run at a time; the caller sees to that."""

    def __init__(self, path: Path, settings: str) -> None:
        """settings: the fingerprint of what must be the same for the answers to hold. Answers for others are thrown
        away.

        OutputError if it can't be written.
        """
        self._known: dict[str, ImageFindings] = {}
        head = json.dumps({"schema": SCHEMA, "settings": settings}) + "\n"
        try:
            self._file = _opened(path)
            length = self._read(head)
            self._file.seek(length)
            self._file.truncate()
            if not length:
                self._file.write(head.encode())
        except OSError as error:
            raise OutputError(write_error_message(error)) from error

    def _read(self, head: str) -> int:
        """How many bytes of the file can be used: whole lines, as the last may not be, after the right first one."""
        if self._file.readline() != head.encode():
            return 0
        length = self._file.tell()
        for line in iter(self._file.readline, b""):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                self._known[entry["picture"]] = _findings(entry)
            except (ValueError, KeyError, TypeError):
                break
            length = self._file.tell()
        return length

    def __len__(self) -> int:
        """How many pictures are known."""
        return len(self._known)

    def memoize(self, detect: Detector) -> Detector:
        """The same, but what is known already is not asked again."""

        def detect_new(images: Sequence[np.ndarray]) -> list[ImageFindings]:
            digests = [digest_of(image) for image in images]
            new = {digest: image for digest, image in zip(digests, images, strict=True) if digest not in self._known}
            if new:
                for digest, findings in zip(new, detect(list(new.values())), strict=True):
                    self._add(digest, findings)
            return [self._known[digest] for digest in digests]

        return detect_new

    def _add(self, digest: str, findings: ImageFindings) -> None:
        self._known[digest] = findings
        regions = [asdict(region) for region in findings.regions]
        entry = {"picture": digest, "regions": regions, "replies": dict(findings.replies)}
        try:
            self._file.write((json.dumps(entry) + "\n").encode())
            self._file.flush()
        except OSError as error:
            raise OutputError(write_error_message(error)) from error

    def __enter__(self) -> "PredictionLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _opened(path: Path) -> BinaryIO:
    """To read and write; a new file in place of one that has another name too, which is not ours to write."""
    with suppress(FileNotFoundError):
        file = path.open("r+b")
        if os.fstat(file.fileno()).st_nlink == 1:
            return file
        file.close()
    return create_new(path)


def digest_of(image: np.ndarray) -> str:
    """Of a picture's pixels and their layout."""
    shape = "x".join(map(str, image.shape)).encode()
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, person=shape[:16]).hexdigest()


def _findings(entry: dict[str, Any]) -> ImageFindings:
    regions = [Region(**{**region, "gaze": _gaze_estimate(region["gaze"])}) for region in entry["regions"]]
    return ImageFindings(regions, entry["replies"])


def _gaze_estimate(gaze: dict[str, Any] | None) -> GazeEstimate | None:
    if gaze is None:
        return None
    target = gaze["target"] and (gaze["target"][0], gaze["target"][1])
    return GazeEstimate(target, gaze["in_frame"], gaze["method"])
