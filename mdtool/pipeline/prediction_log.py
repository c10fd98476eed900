"""A log of model predictions on disk, so that a resumed run does not repeat model calls.

JSON Lines: a header with the settings that the predictions hold for, then one object per image: the digest of its
pixels and what was detected. Images are looked up by digest, in any order.
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
    """Predictions by image, on disk; use as a context manager. The caller makes sure that only one run has it open."""

    def __init__(self, path: Path, settings: str) -> None:
        """Open or create a log, and read its predictions.

        Args:
            path: The log file.
            settings: Fingerprint of all that affects predictions; those of another fingerprint are discarded.

        Raises:
            OutputError: The file can't be written.
        """
        self._known: dict[str, ImageFindings] = {}
        header = json.dumps({"schema": SCHEMA, "settings": settings}) + "\n"
        try:
            self._file = _open_log(path)
            length = self._read(header)
            self._file.seek(length)
            self._file.truncate()
            if not length:
                self._file.write(header.encode())
        except OSError as error:
            raise OutputError(write_error_message(error)) from error

    def _read(self, header: str) -> int:
        """Read the predictions; return the length of the valid part in bytes: a killed run may leave a partial line."""
        if self._file.readline() != header.encode():
            return 0
        length = self._file.tell()
        for line in iter(self._file.readline, b""):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                self._known[entry["picture"]] = _findings(entry)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                break
            length = self._file.tell()
        return length

    def __len__(self) -> int:
        """Return the number of images in the log."""
        return len(self._known)

    def add_all(self, other: "PredictionLog") -> None:
        """Add the predictions of another log. Raises OutputError if they can't be written."""
        for digest, findings in other._known.items():
            if digest not in self._known:
                self._add(digest, findings)

    def memoize(self, detect: Detector) -> Detector:
        """Wrap a detector so that it runs only on images that are not in the log, and logs their predictions."""

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


def _open_log(path: Path) -> BinaryIO:
    """Open for reading and writing; a file that has other hard links is replaced by a new one, not written to."""
    with suppress(FileNotFoundError):
        file = path.open("r+b")
        if os.fstat(file.fileno()).st_nlink == 1:
            return file
        file.close()
    return create_new(path)


def digest_of(image: np.ndarray) -> str:
    """Return the BLAKE2b digest of an image's shape and pixels, 32 hexadecimal digits."""
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
