"""What is kept of work that is under way, so that a run that was killed goes on where it was.

It lies in a hidden folder beside the output: what the model has said, and the pictures that are encoded. It is taken
away when the output is there, and does not count for other settings or another input.
"""

import os
import shutil
import time
from pathlib import Path

from mdtool.errors import OutputError, write_error_message
from mdtool.media.files.atomic_file import create_new
from mdtool.media.files.file_lock import lock_folder
from mdtool.media.video.encoded_segments import EncodedSegments
from mdtool.pipeline.prediction_log import PredictionLog
from mdtool.tracking.detector import Detector

LEAST_SECONDS = 10.0  # shorter work is not worth the files


class WorkFolder:
    """Use as a context manager, with `done` called at the end of what went well. OutputError if it can't be kept."""

    def __init__(self, target: Path, settings: str) -> None:
        """settings: the fingerprint of what must be the same for the work to count."""
        self.folder = target.with_name(f".{target.name}.work")
        self._settings = settings
        self._lock: int | None = None
        self._predictions: PredictionLog | None = None
        self._done = False
        self._begun = time.monotonic()
        self._resumed = False
        self.was_reset = False  # for what was there is of other settings, or of another version of the program

    def __enter__(self) -> "WorkFolder":
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = lock_folder(self.folder)
            self._begin()
        except BlockingIOError as error:
            self._unlock()
            raise OutputError("another run is writing it") from error
        except OSError as error:
            self._unlock()
            raise OutputError(write_error_message(error)) from error
        return self

    def _begin(self) -> None:
        """Throws away what is of other settings."""
        said = self.folder / "settings"
        if not said.exists() or said.read_text("utf-8") != self._settings:
            for path in self.folder.iterdir():
                self.was_reset = True
                path.unlink()
            part = said.with_suffix(".part")
            with create_new(part) as file:
                file.write(self._settings.encode())
            part.replace(said)
        self._predictions = PredictionLog(self.folder / "journal.jsonl", self._settings)
        self._resumed = bool(len(self._predictions))

    @property
    def segments(self) -> EncodedSegments:
        return EncodedSegments(self.folder)

    @property
    def known(self) -> int:
        """How many pictures the model has seen already."""
        return 0 if self._predictions is None else len(self._predictions)

    def memoize(self, detect: Detector) -> Detector:
        """The same, but what was seen once is not asked again."""
        assert self._predictions is not None
        return self._predictions.memoize(detect)

    def done(self) -> None:
        """The output is there: nothing more is needed."""
        self._done = True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._predictions is not None:
            self._predictions.__exit__()
        if self._done or isinstance(error, OutputError) or not self._is_much:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    @property
    def _is_much(self) -> bool:
        return self.segments.any() or self._resumed or time.monotonic() - self._begun >= LEAST_SECONDS

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
