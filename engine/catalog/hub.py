"""Download, lookup, verification and removal of published models in the cache of huggingface_hub.

Only weights in safetensors, their index, configs and tokenizer are downloaded: never code, never pickles. The variables
HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE apply as in huggingface_hub. A tag or branch is resolved
once: the cache stores its commit in `refs`, and a downloaded model stays at that commit until it is removed.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.catalog.published import PublishedModel, Source, TokenizerSource, published
from engine.checkpoints.shards import weight_files, weights_in
from engine.contract import ModelUnavailable, NotDownloaded
from engine.error_text import reason

_CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json", "generation_config.json")


@dataclass(frozen=True)
class LocalModel:
    """A downloaded model.

    Attributes:
        commit: Of the hub's repository.
        weights: The weight file, or the index of the shards.
        tokenizer: The tokenizer file.
    """

    commit: str
    weights: Path
    tokenizer: Path

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(path.stat().st_size for path in (*weight_files(self.weights), self.tokenizer))


def local(model: PublishedModel) -> LocalModel | None:
    """Return the model in the cache if it is complete, without network access."""
    folder = _snapshot(model.source) if model.source else None
    if model.source is None or folder is None:
        return None
    tokenizer = cached_tokenizer(model.source.tokenizer)
    try:
        return LocalModel(folder.name, weights_in(folder), tokenizer) if tokenizer else None
    except ModelUnavailable:
        return None


def is_partially_downloaded(model: PublishedModel) -> bool:
    """Return whether the cache contains any of the model's weights, complete or not."""
    folder = _snapshot(model.source) if model.source else None
    return folder is not None and any(folder.glob("*.safetensors*"))


def cached_tokenizer(source: TokenizerSource) -> Path | None:
    """Return the tokenizer file if it is in the cache."""
    folder = _snapshot(source)
    return folder / source.file if folder and (folder / source.file).is_file() else None


def pull(model: PublishedModel) -> LocalModel:
    """Download what is missing of a model; an interrupted download is resumed.

    It shows the progress bar of huggingface_hub if stderr is a terminal.

    Raises:
        ModelUnavailable: The hub does not provide the model; the message says what to do.
    """
    downloaded = local(model)
    if downloaded is not None:
        return downloaded
    source = _source(model)
    with _download_errors(model.name, source):
        _download(source, _is_model_file)
    with _download_errors(model.name, source.tokenizer):
        if cached_tokenizer(source.tokenizer) is None:
            _download(source.tokenizer, lambda name: name == source.tokenizer.file)
    downloaded = local(model)
    if downloaded is None:
        problem = "; ".join(_missing(model)) or "it changed meanwhile; pull it again"
        raise ModelUnavailable(f"{model.name}: {source.repo} at {source.revision} was downloaded, but {problem}")
    return downloaded


def verify(model: PublishedModel) -> list[str]:
    """Check the files of a downloaded model and return the faults, one line each.

    A blob in the cache is named by its checksum on the hub: SHA-256 for large files, git's SHA-1 for small ones.

    Raises:
        ModelUnavailable: The model is not downloaded.
    """
    folder = _snapshot(_source(model))
    if folder is None:
        raise not_downloaded_error(model)
    files = [path for path in folder.iterdir() if _is_model_file(path.name)]
    tokenizer = _snapshot(_source(model).tokenizer)
    if tokenizer is not None:
        files += [tokenizer / _source(model).tokenizer.file]
    checked = (_check(path) for path in sorted(files) if path.is_symlink() or path.exists())
    return _missing(model) + [problem for problem in checked if problem]


def remove(model: PublishedModel) -> int:
    """Remove a model from the cache, and its tokenizer unless another downloaded model uses it.

    Returns:
        The freed space in bytes.

    Raises:
        ModelUnavailable: Nothing of the model is downloaded.
        OSError: A file can't be deleted.
    """
    source = _source(model)
    tokenizer = source.tokenizer
    others = [other for other in published().values() if other.source and other.name != model.name]
    shared = any(other.source.tokenizer == tokenizer and local(other) for other in others if other.source)
    snapshots = {folder for folder in (_snapshot(source), None if shared else _snapshot(tokenizer)) if folder}
    freed = _remove_partial(source)
    if not snapshots and not freed:
        raise not_downloaded_error(model)
    if snapshots:
        freed += _remove_snapshots(snapshots)
    return freed


def not_downloaded_error(model: PublishedModel) -> NotDownloaded:
    """Return the error for a model that is not downloaded."""
    return NotDownloaded(
        f"{model.name}: not on this machine; get it with `mdtool models pull {model.name}` ({model.size_and_licence})",
        model.name,
    )


def cache_folder() -> Path:
    """Return the cache folder of huggingface_hub, without importing it, which is slow."""
    home = os.getenv("HF_HOME") or os.path.join(os.getenv("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = os.getenv("HF_HUB_CACHE") or os.getenv("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(folder)))


def _source(model: PublishedModel) -> Source:
    if model.source is None:
        raise ModelUnavailable(
            f"{model.name}: its weights are not published in safetensors; "
            "if you have a file or folder of them, give it with --model PATH"
        )
    return model.source


def _repository(repo: str) -> Path:
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def _snapshot(source: Source | TokenizerSource) -> Path | None:
    """Return the snapshot folder of the revision's commit, if there is one."""
    root, commit = _repository(source.repo), source.revision
    reference = root / "refs" / source.revision
    if reference.is_file():
        commit = reference.read_text("utf-8").strip()
    folder = root / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def _is_model_file(name: str) -> bool:
    return "/" not in name and (name.endswith((".safetensors", ".safetensors.index.json")) or name in _CONFIGS)


def _missing(model: PublishedModel) -> list[str]:
    """Return the problems of an incomplete snapshot."""
    source = _source(model)
    problems = []
    folder = _snapshot(source)
    try:
        if folder:
            weights_in(folder)
    except ModelUnavailable as error:
        problems.append(str(error))
    if cached_tokenizer(source.tokenizer) is None:
        problems.append(f"{source.tokenizer.file} of {source.tokenizer.repo} is missing")
    return problems


def _download(source: Source | TokenizerSource, selects: Callable[[str], bool]) -> None:
    """Download the selected files of a repository, small ones first, so that an index precedes its shards."""
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)
    files = sorted((file for file in info.siblings or () if selects(file.rfilename)), key=lambda file: file.size or 0)
    if not files:
        raise ModelUnavailable(f"{source.repo} has none of the required files at revision {source.revision}")
    _check_space([file for file in files if file.lfs], _repository(source.repo) / "blobs")
    for file in files:
        if file.lfs:
            _download_large(source.repo, str(info.sha), file.rfilename, sha256=file.lfs.sha256, size=file.lfs.size)
        hf_hub_download(source.repo, file.rfilename, revision=source.revision, cache_dir=cache_folder())


def _download_large(repo: str, commit: str, name: str, *, sha256: str, size: int) -> None:
    """Download a file into the cache, resuming an earlier attempt.

    huggingface_hub itself resumes only within one process: it deletes the partial files of an interrupted one.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    blob = _repository(repo) / "blobs" / sha256
    part = blob.with_name(f"{sha256}.incomplete")
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(part)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        if part.exists() and part.stat().st_size > size:
            part.unlink()
        with part.open("ab") as file:
            http_get(
                hf_hub_url(repo, name, revision=commit),
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=name,
            )
        if _sha256(part) != sha256:
            part.unlink()
            raise ModelUnavailable(f"{name} was damaged during the download (wrong checksum); pull it again")
        part.replace(blob)


def _lock(part: Path) -> Path:
    """Return the lock that huggingface_hub holds while it downloads a blob."""
    return cache_folder() / ".locks" / part.parent.parent.name / f"{part.stem}.lock"


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


@contextmanager
def _download_errors(name: str, source: Source | TokenizerSource) -> Iterator[None]:
    """Translate errors of the hub, the network and the disk to ModelUnavailable, with one line that says what to do."""
    from huggingface_hub import constants, errors

    def unavailable(why: str) -> ModelUnavailable:
        return ModelUnavailable(f"{name}: {why}")

    page = f"{constants.ENDPOINT}/{source.repo}"
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
        raise unavailable(f"{page} has no revision {source.revision!r}") from error
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


def _check(path: Path) -> str | None:
    """Return the fault of a file of a snapshot, or None."""
    if not path.exists():
        return f"{path}: its blob is missing"
    name = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name):
        actual = _sha256(path)
    elif re.fullmatch("[0-9a-f]{40}", name):
        content = path.read_bytes()
        actual = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return f"{path}: the cache has no checksum to compare with"
    return None if actual == name else f"{path}: damaged: its checksum is {actual}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_partial(source: Source) -> int:
    """Delete partial files of interrupted downloads from this repository, except running ones; return freed bytes."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    freed = 0
    for part in _repository(source.repo).glob("blobs/*.incomplete"):
        try:
            with WeakFileLock(_lock(part), timeout=0.1):
                freed += part.stat().st_size
                part.unlink()
        except Timeout:
            continue
    return freed


def _remove_snapshots(folders: set[Path]) -> int:
    from huggingface_hub import scan_cache_dir

    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_symlink() and not path.exists():  # scan_cache_dir skips a repository with broken links
            path.unlink()
    deletion = scan_cache_dir(cache_folder()).delete_revisions(*(folder.name for folder in folders))
    deletion.execute()
    for folder in folders:
        if folder.exists():
            raise OSError(f"{folder} could not be deleted; delete it yourself")
    return deletion.expected_freed_size
