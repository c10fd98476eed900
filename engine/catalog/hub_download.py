"""Downloads from the Hugging Face hub, or a mirror of it, into the cache of huggingface_hub."""

import errno
import io
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from engine.catalog.hub_cache import cache_folder, commit_of, lock_of, repository, sha256
from engine.contract import ModelUnavailable
from engine.error_text import reason

Progress = Callable[[int, int], None]  # bytes that are here, and bytes of all files


def download(
    repo: str, revision: str, choose: Callable[[Sequence[str]], Collection[str]], progress: Progress | None = None
) -> None:
    """Download files of a repository, small ones first, so that an index precedes its shards.

    A branch of which the cache has files already stays at their commit.

    Args:
        repo: Of the hub.
        revision: A commit, tag or branch.
        choose: Takes the names of all files, and returns those to download.
        progress: Called as bytes arrive.

    Raises:
        ModelUnavailable: There are none, or one was damaged on the way.
        Exception: Those of huggingface_hub and of the file system; see `download_errors`.
    """
    from huggingface_hub import HfApi, hf_hub_download

    at = commit_of(repo, revision) or revision
    info = HfApi().model_info(repo, revision=at, files_metadata=True)
    siblings = sorted(info.siblings or (), key=lambda file: file.size or 0)
    chosen = choose([file.rfilename for file in siblings])
    files = [file for file in siblings if file.rfilename in chosen]
    if not files:
        raise ModelUnavailable(f"{repo} has none of the required files at revision {revision}")
    _check_space([file for file in files if file.lfs], repository(repo) / "blobs")
    done, total = 0, sum(file.size or 0 for file in files)
    for file in files:
        if file.lfs:
            written = partial(_add, progress, done, total) if progress else None
            _download_large(
                repo, str(info.sha), file.rfilename, checksum=file.lfs.sha256, size=file.lfs.size, written=written
            )
        hf_hub_download(repo, file.rfilename, revision=at, cache_dir=cache_folder())
        done += file.size or 0
        if progress:
            progress(done, total)


def _add(progress: Progress, before: int, total: int, written: int) -> None:
    progress(before + written, total)


@contextmanager
def download_errors(name: str, repo: str, revision: str) -> Iterator[None]:
    """Translate errors of the hub, the network and the disk to ModelUnavailable, with one line that says what to do."""
    from huggingface_hub import constants, errors

    def unavailable(why: str) -> ModelUnavailable:
        return ModelUnavailable(f"{name}: {why}")

    page = f"{constants.ENDPOINT}/{repo}"
    try:
        yield
    except ModelUnavailable as error:
        raise unavailable(str(error)) from error
    except errors.GatedRepoError as error:
        raise unavailable(
            f"{page} requires you to accept its terms: do so there, then set HF_TOKEN to your token (or run "
            "`hf auth login`) and pull again"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise unavailable(f"there is no {page}, or it is private and needs a token with access in HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise unavailable(f"{page} has no revision {revision!r}") from error
    except errors.OfflineModeIsEnabled as error:
        raise unavailable("not on this machine, and HF_HUB_OFFLINE forbids downloads; unset it and pull") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = "check the token in HF_TOKEN" if status in (401, 403) else "try again later"
        raise unavailable(f"{constants.ENDPOINT} answered with HTTP status {status}; {advice}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise unavailable(
                f"not enough space in {cache_folder()} ({error.strerror}); free some, or set HF_HOME to another disk"
            ) from error
        if error.filename:
            raise unavailable(f"cannot write {error.filename} ({error.strerror})") from error
        raise unavailable(_connection_error(error)) from error
    except errors.HTTPError as error:
        raise unavailable(_connection_error(error)) from error
    except ValueError as error:
        raise unavailable(f"{constants.ENDPOINT} did not answer like a Hugging Face hub; check HF_ENDPOINT") from error


def _connection_error(error: Exception) -> str:
    from huggingface_hub import constants

    return f"the connection to {constants.ENDPOINT} failed ({reason(error)}); pull again to resume"


class _WatchedFile(io.BufferedWriter):
    """A file to append to, which tells its size after each write."""

    def __init__(self, path: Path, written: Callable[[int], None] | None) -> None:
        super().__init__(io.FileIO(path, "a"))
        self._written = written

    def write(self, data: Any) -> int:
        count = super().write(data)
        if self._written:
            self._written(self.tell())
        return count


def _download_large(
    repo: str, commit: str, name: str, *, checksum: str, size: int, written: Callable[[int], None] | None
) -> None:
    """Download a file into the cache, resuming an earlier attempt.

    huggingface_hub itself resumes only within one process: it deletes the partial files of an interrupted one.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    blob = repository(repo) / "blobs" / checksum
    part = blob.with_name(f"{checksum}.incomplete")
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_of(part)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        if part.exists() and part.stat().st_size > size:
            part.unlink()
        with _WatchedFile(part, written) as file:
            http_get(
                hf_hub_url(repo, name, revision=commit),
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=name,
            )
        if sha256(part) != checksum:
            part.unlink()
            raise ModelUnavailable(f"{name} was damaged during the download (wrong checksum); pull it again")
        part.replace(blob)


def _check_space(files: list[Any], blobs: Path) -> None:
    def remaining(file: Any) -> int:
        part = blobs / f"{file.lfs.sha256}.incomplete"
        if (blobs / file.lfs.sha256).exists():
            return 0
        return int(file.lfs.size) - (part.stat().st_size if part.exists() else 0)

    needed = sum(map(remaining, files))
    folder = next(path for path in (blobs, *blobs.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
