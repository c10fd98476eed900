"""The work folder of a run, from which a killed run resumes.

A hidden folder next to the output, with the log of predictions and the encoded segments. It is deleted when the output
is complete, and reset for other settings or another input.
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

MIN_SECONDS = 10.0  # less work than this is discarded


class WorkFolder:
    """The saved work of one output; use as a context manager, and call `done` when the output is complete.

    Entering raises OutputError where the folder can't be written, or another run has it open.
    """

    def __init__(self, target: Path, settings: str) -> None:
        """Set the target and the settings; nothing is created before entering.

        Args:
            target: The output file.
            settings: Fingerprint of the input and all settings; work of another fingerprint is discarded.
        """
        self.folder = target.with_name(f".{target.name}.work")
        self._settings = settings
        self._lock: int | None = None
        self._predictions: PredictionLog | None = None
        self._done = False
        self._started = time.monotonic()
        self._resumed = False
        self.was_reset = False  # there was work of other settings, or of another version of the program

    def __enter__(self) -> "WorkFolder":
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = lock_folder(self.folder)
            self._open_log()
        except BlockingIOError as error:
            self._unlock()
            raise OutputError("another run is writing it") from error
        except OSError as error:
            self._unlock()
            raise OutputError(write_error_message(error)) from error
        return self

    def _open_log(self) -> None:
        """Open the log of predictions, after discarding work of other settings."""
        settings_file = self.folder / "settings"
        if not settings_file.exists() or settings_file.read_text("utf-8") != self._settings:
            for path in self.folder.iterdir():
                self.was_reset = True
                path.unlink()
            part = settings_file.with_suffix(".part")
            with create_new(part) as file:
                file.write(self._settings.encode())
            part.replace(settings_file)
        self._predictions = PredictionLog(self.folder / "journal.jsonl", self._settings)
        self._resumed = bool(len(self._predictions))

    @property
    def segments(self) -> EncodedSegments:
        """The encoded video segments."""
        return EncodedSegments(self.folder)

    @property
    def known(self) -> int:
        """Number of images with logged predictions."""
        return 0 if self._predictions is None else len(self._predictions)

    def memoize(self, detect: Detector) -> Detector:
        """Wrap a detector so that it runs only on images without a logged prediction."""
        assert self._predictions is not None
        return self._predictions.memoize(detect)

    def verification_log(self, settings: str) -> PredictionLog:
        """Return a log of the predictions on the output, for its verification with these settings."""
        return PredictionLog(self.folder / "verification.jsonl", settings)

    def done(self) -> None:
        """Mark the output as complete, so that the folder is deleted at the end."""
        self._done = True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._predictions is not None:
            self._predictions.__exit__()
        if self._done or isinstance(error, OutputError) or not self._worth_keeping:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    @property
    def _worth_keeping(self) -> bool:
        return self.segments.any() or self._resumed or time.monotonic() - self._started >= MIN_SECONDS

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
