"""The work folder of a run, from which a killed run resumes.

A hidden folder next to the output, with the log of predictions and the encoded segments. It is deleted when the output
is complete, and reset for other settings or another input.
"""

import glob
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mdtool.errors import OutputError, write_error_message
from mdtool.media.files.atomic_file import create_new
from mdtool.media.files.descriptor import is_named, path_of
from mdtool.media.files.file_lock import lock_folder
from mdtool.media.video.encoded_segments import EncodedSegments
from mdtool.pipeline.part_masks import MasksWriter, PartMasks
from mdtool.pipeline.prediction_log import PredictionLog
from mdtool.tracking.detector import Detector

MIN_SECONDS = 10.0  # less work than this is discarded
PART_SUFFIX = ".part"  # and a number, after the name of the output: the target of a part
OWNER_ONLY = 0o700  # predictions and segments tell what the source shows


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
        self._target = target
        self._name = target.with_name(f".{target.name}.work")
        self._settings = settings
        self._lock: int | None = None
        self._predictions: PredictionLog | None = None
        self._done = self._is_kept = False
        self._started = time.monotonic()
        self._resumed = False
        self.stale: set[tuple[int, int]] = set()  # stream and segment of parts that were encoded with other masks
        self.was_reset = False  # there was work of other settings, or of another version of the program

    def __enter__(self) -> "WorkFolder":
        try:
            self._open()
        except BaseException as error:
            self._unlock()
            if isinstance(error, BlockingIOError):
                raise OutputError("another run is writing it") from error
            if isinstance(error, OSError):
                message = f"its work folder {self._name.name} {write_error_message(error)}; remove that folder"
                raise OutputError(message) from error
            raise
        return self

    def _open(self) -> None:
        with suppress(FileExistsError):
            self._name.mkdir(OWNER_ONLY)
        if self._name.is_symlink() or not self._name.is_dir():
            raise OutputError(f"its work folder {self._name.name} is a link or a file; remove it")
        self._lock = lock_folder(self._name)
        if self._lock is not None:
            if os.fstat(self._lock).st_uid != os.geteuid():
                raise OutputError(f"its work folder {self._name.name} belongs to another user; remove it")
            os.fchmod(self._lock, OWNER_ONLY)
        self._open_log()

    @property
    def folder(self) -> Path:
        """The folder: a path to the one that is locked, whatever has its name by now."""
        return path_of(self._lock, self._name)

    def _open_log(self) -> None:
        """Open the log of predictions, after discarding work of other settings and what no run has put there."""
        settings_file = self.folder / "settings"
        if not self._is_own_work():
            for path in self.folder.iterdir():
                self.was_reset = True
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            part = settings_file.with_suffix(".part")
            with create_new(part) as file:
                file.write(self._settings.encode())
            part.replace(settings_file)
        self._predictions = PredictionLog(self.folder / "journal.jsonl", self._settings)
        self._resumed = bool(len(self._predictions))

    def _is_own_work(self) -> bool:
        """Return whether the folder has files only, and work of these settings."""
        try:
            all_files = all(stat.S_ISREG(path.lstat().st_mode) for path in self.folder.iterdir())
            return all_files and (self.folder / "settings").read_text("utf-8") == self._settings
        except (FileNotFoundError, UnicodeDecodeError):
            return False

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

    def masks(self) -> MasksWriter:
        """Return the file of the masks of a part; see `take_over_parts`."""
        return MasksWriter(self.folder)

    def part_masks(self) -> PartMasks:
        """Read with which masks the segments of parts were encoded."""
        return PartMasks(self.folder)

    def remove_stale(self) -> bool:
        """Remove stale segments, and return whether there were any. Raises OSError."""
        for stream, segment in self.stale:
            self.segments.remove(stream, segment)
        return bool(self.stale)

    def take_over_parts(self) -> None:
        """Take over what the work folders of parts of the video hold, and delete those.

        Raises:
            OutputError: The work can't be moved, or another run is working on a part.
        """
        for target in self._parts():
            with WorkFolder(target, self._settings) as part:
                assert self._predictions is not None
                assert part._predictions is not None
                self._predictions.add_all(part._predictions)
                PartMasks.take_over(part.folder, self.folder, int(target.suffix[len(PART_SUFFIX) :]))
                for path in part.folder.glob("*.packets"):  # after their masks, without which they are not checked
                    path.replace(self.folder / path.name)
                part.done()

    def _parts(self) -> Iterator[Path]:
        for path in sorted(self._target.parent.glob(f".{glob.escape(self._target.name)}{PART_SUFFIX}*.work")):
            target = path.with_name(path.name[1:].removesuffix(".work"))
            if target.suffix[len(PART_SUFFIX) :].isdecimal():
                yield target

    def verification_log(self, settings: str) -> PredictionLog:
        """Return a log of the predictions on the output, for its verification with these settings."""
        return PredictionLog(self.folder / "verification.jsonl", settings)

    def done(self) -> None:
        """Mark the output as complete, so that the folder is deleted at the end."""
        self._done = True

    def keep(self) -> None:
        """Keep the folder at the end, for the run that takes it over."""
        self._is_kept = True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._predictions is not None:
            self._predictions.__exit__()
        if self._is_kept:
            pass
        elif self._done or isinstance(error, OutputError) or not self._worth_keeping:
            self._delete()
        self._unlock()

    def _delete(self) -> None:
        if self._lock is None or is_named(self._lock, self._name):
            shutil.rmtree(self._name, ignore_errors=True)

    @property
    def _worth_keeping(self) -> bool:
        return self.segments.any() or self._resumed or time.monotonic() - self._started >= MIN_SECONDS

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
