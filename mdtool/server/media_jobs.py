"""Redactions and moderations of videos as jobs: a few at a time, each in a private folder until it expires."""

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mdtool.errors import MdtoolError
from mdtool.jobs.each_input import error_message
from mdtool.records.run_report import Report
from mdtool.server.refusals import QueueFull
from recipes.redact import Name

Kind = Literal["redact", "moderate"]
Status = Literal["queued", "running", "done", "failed", "cancelled"]

MAX_WAITING = 16  # jobs
RETRY_AFTER = 30  # seconds
CUT_OFF = "the server ended before it was done; send it again"


class JobCancelled(MdtoolError):
    """The work is not wanted any more."""


@dataclass(frozen=True)
class Outcome:
    """What a job has made.

    Attributes:
        result: The redacted file, if it is a redaction.
        tracks: What a person chooses among; see `media_work.tracks_in`.
        verdict: The verdict, if it is a moderation.
        warning: What is wrong with the input, so that a part is missing; empty if nothing.
    """

    result: Path | None = None
    tracks: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] | None = None
    warning: str = ""


@dataclass(eq=False)
class MediaJob:
    """One job; the fields after `work` change while it runs.

    Attributes:
        id: Names it in addresses; can't be guessed.
        kind: What is done.
        name: The file's name, for the result's.
        folder: Its private work folder, with the input.
        source: The input.
        style: Of the masks, for a redaction.
        work: Does it.
        total: Number of frames; None if unknown.
        frame: The newest frame to show, JPEG; None: none yet.
        frames_shown: How many frames there were to show.
        ended: Time of its end, monotonic; None: it has not ended.
    """

    kind: Kind
    name: str
    folder: Path
    source: Path
    style: Name | None
    work: Callable[["MediaJob"], Outcome]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = "queued"
    frames: int = 0
    total: int | None = None
    frame: bytes | None = None
    frames_shown: int = 0
    error: str = ""
    outcome: Outcome = Outcome()
    ended: float | None = None
    cancelled: bool = False

    def progress(self, report: Report, total: int | None) -> None:
        """Note how far the work is. Raises JobCancelled if it is not wanted any more."""
        if self.cancelled:
            raise JobCancelled("cancelled")
        self.frames, self.total = report.frames, total

    def show(self, frame: bytes) -> None:
        """Note a frame to show."""
        self.frame = frame
        self.frames_shown += 1

    def why(self, error: Exception) -> str:
        """Return why it failed, in words that name the file as the person does, not where the server keeps it."""
        message = error_message(error).replace(str(self.source), self.name or "the file")
        return message.replace(f"{self.folder}{os.sep}", "")


class MediaJobs:
    """All jobs of a server. Its methods may be called in any thread."""

    def __init__(self, workers: int, ttl: float) -> None:
        """Start with no job.

        Args:
            workers: Most jobs that run at a time.
            ttl: Seconds after its end until a job and its files are deleted.
        """
        self._ttl = ttl
        self._jobs: dict[str, MediaJob] = {}
        self._folders: set[Path] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="job")

    def new_folder(self) -> Path:
        """Make a private folder for the input of a job."""
        folder = Path(tempfile.mkdtemp(prefix="mdtool-job-"))
        self._folders.add(folder)
        return folder

    @property
    def active(self) -> int:
        """Number of jobs that have not ended."""
        return sum(job.ended is None for job in self._listed())

    def check_room(self) -> None:
        """Raise QueueFull if as many jobs wait as may."""
        if sum(job.status == "queued" for job in self._listed()) >= MAX_WAITING:
            raise QueueFull(RETRY_AFTER)

    def add(self, job: MediaJob) -> None:
        """Queue a job."""
        self.check_room()
        with self._lock:
            self._jobs[job.id] = job
        self._pool.submit(self._run, job)

    def find(self, id: str) -> MediaJob | None:
        """Return a job by its id; None if there is none, or it has expired."""
        with self._lock:
            return self._jobs.get(id)

    def position(self, job: MediaJob) -> int:
        """Return its place in the queue, from 1; 0 once it runs."""
        waiting = [each for each in self._listed() if each.status == "queued"]
        return waiting.index(job) + 1 if job in waiting else 0

    def remove(self, job: MediaJob) -> None:
        """Cancel a job, and delete it with its files as soon as its work has ended."""
        job.cancelled = True
        with self._lock:
            self._jobs.pop(job.id, None)
            has_ended = job.ended is not None
        if has_ended:
            self.delete_folder(job.folder)

    def delete_folder(self, folder: Path) -> None:
        """Delete a folder that `new_folder` made, with its files."""
        shutil.rmtree(folder, ignore_errors=True)
        self._folders.discard(folder)

    def delete_files(self) -> None:
        """Delete the files of all jobs at once, whatever runs: the process is about to end."""
        for folder in list(self._folders):
            shutil.rmtree(folder, ignore_errors=True)

    def cut_off(self) -> int:
        """Let all jobs that have not ended fail, because the server ends; return their number."""
        with self._lock:
            active = [job for job in self._jobs.values() if job.ended is None]
            for job in active:
                job.cancelled = True
                job.status, job.error, job.ended = "failed", CUT_OFF, time.monotonic()
        return len(active)

    def close(self) -> None:
        """Cancel all jobs, and delete their files."""
        for job in self._listed():
            self.remove(job)
        self._pool.shutdown(cancel_futures=False)  # those that wait end at once, as they are cancelled

    def as_dict(self, job: MediaJob) -> dict[str, Any]:
        """Return what the API says of a job."""
        fraction = min(1.0, job.frames / job.total) if job.total else None
        outcome = job.outcome
        left = None if job.ended is None else max(0, round(job.ended + self._ttl - time.monotonic()))
        return {
            "id": job.id,
            "kind": job.kind,
            "status": job.status,
            "position": self.position(job),
            "frames": job.frames,
            "total_frames": job.total,
            "fraction": fraction,
            "error": job.error or None,
            "warning": outcome.warning or None,
            "tracks": outcome.tracks,
            "verdict": outcome.verdict,
            "result": outcome.result is not None,
            "expires_seconds": left,
        }

    def _listed(self) -> list[MediaJob]:
        with self._lock:
            return list(self._jobs.values())

    def _run(self, job: MediaJob) -> None:
        status: Status = "done"
        outcome, why = Outcome(), ""
        try:
            if job.cancelled:
                raise JobCancelled("cancelled")
            job.status = "running"
            outcome = job.work(job)
        except JobCancelled:
            status = "cancelled"
        except Exception as error:  # whatever one input raises is that job's failure
            status, why = "failed", job.why(error)
        with self._lock:
            if job.ended is None:  # else it was cut off
                job.outcome, job.error, job.status, job.ended = outcome, why, status, time.monotonic()
        if job.cancelled:
            self.delete_folder(job.folder)
            return
        expiry = threading.Timer(self._ttl, self.remove, [job])
        expiry.daemon = True
        expiry.start()
