"""Fetches published models from the hub into huggingface_hub's own cache, finds them there, checks and removes them.

Only weights in safetensors, their index, the config and the tokenizer are ever fetched: never code, never pickles.
HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to huggingface_hub. A tag or branch
is resolved once: the cache keeps the commit in `refs`, and a model that is here stays at it until it is removed.
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
from engine.contract import ModelUnavailable
from engine.error_text import reason

_CONFIG = "config.json"


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine. commit: of the hub's repository. weights: the file, or the index of the shards."""

    commit: str
    weights: Path
    tokenizer: Path

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in (*weight_files(self.weights), self.tokenizer))


def local(model: PublishedModel) -> LocalModel | None:
    """The model in the cache, if all of it is there. Asks no network."""
    folder = _snapshot(model.source) if model.source else None
    if model.source is None or folder is None:
        return None
    tokenizer = cached_tokenizer(model.source.tokenizer)
    try:
        return LocalModel(folder.name, weights_in(folder), tokenizer) if tokenizer else None
    except ModelUnavailable:
        return None


def is_partially_downloaded(model: PublishedModel) -> bool:
    """Whether any weights of it are in the cache, whole or not."""
    folder = _snapshot(model.source) if model.source else None
    return folder is not None and any(folder.glob("*.safetensors*"))


def cached_tokenizer(source: TokenizerSource) -> Path | None:
    """The tokenizer's file, if it is in the cache."""
    folder = _snapshot(source)
    return folder / source.file if folder and (folder / source.file).is_file() else None


def pull(model: PublishedModel) -> LocalModel:
    """Fetches what is not here yet, and says where it is then.

    Shows huggingface_hub's progress bar if stderr is a terminal. What was fetched before an interruption is kept, and
    fetching goes on from there. Raises ModelUnavailable, with what to do, if the hub does not give it.
    """
    here = local(model)
    if here is not None:
        return here
    source = _source(model)
    with _told(model.name, source):
        _fetch(source, _is_wanted)
    with _told(model.name, source.tokenizer):
        if cached_tokenizer(source.tokenizer) is None:
            _fetch(source.tokenizer, lambda name: name == source.tokenizer.file)
    here = local(model)
    if here is None:
        problem = "; ".join(_missing(model)) or "it changed meanwhile; pull it again"
        raise ModelUnavailable(f"{model.name}: {source.repo} at {source.revision} was fetched, but {problem}")
    return here


def verify(model: PublishedModel) -> list[str]:
    """What is wrong with the model's files in the cache, one line each: none if every checksum is the hub's.

    A blob in the cache is named by its checksum: SHA-256 for large files, git's SHA-1 for small ones. Raises
    ModelUnavailable if the model is not here at all.
    """
    folder = _snapshot(_source(model))
    if folder is None:
        raise not_downloaded_error(model)
    files = [path for path in folder.iterdir() if _is_wanted(path.name)]
    tokenizer = _snapshot(_source(model).tokenizer)
    if tokenizer is not None:
        files += [tokenizer / _source(model).tokenizer.file]
    checked = (_check(path) for path in sorted(files) if path.is_symlink() or path.exists())
    return _missing(model) + [problem for problem in checked if problem]


def remove(model: PublishedModel) -> int:
    """Takes the model out of the cache, and its tokenizer if no other model that is here needs it: bytes freed.

    ModelUnavailable if nothing of it is here; OSError where a file can't be deleted.
    """
    source = _source(model)
    tokenizer = source.tokenizer
    others = [other for other in published().values() if other.source and other.name != model.name]
    shared = any(other.source.tokenizer == tokenizer and local(other) for other in others if other.source)
    doomed = {folder for folder in (_snapshot(source), None if shared else _snapshot(tokenizer)) if folder}
    freed = _remove_partial(source)
    if not doomed and not freed:
        raise not_downloaded_error(model)
    if doomed:
        freed += _remove_snapshots(doomed)
    return freed


def not_downloaded_error(model: PublishedModel) -> ModelUnavailable:
    return ModelUnavailable(f"{model.name}: not on this machine; get it with `mdtool models pull {model.name}`")


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it fetched, found as it does, but without importing it: that takes a while."""
    home = os.getenv("HF_HOME") or os.path.join(os.getenv("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    chosen = os.getenv("HF_HUB_CACHE") or os.getenv("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(chosen)))


def _source(model: PublishedModel) -> Source:
    if model.source is None:
        raise ModelUnavailable(
            f"{model.name}: no weights of it in safetensors are known to be published; "
            "if you have a file or folder of them, give it with --model PATH"
        )
    return model.source


def _repository(repo: str) -> Path:
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def _snapshot(source: Source | TokenizerSource) -> Path | None:
    """The folder of the commit that the revision stands for, if there is one."""
    root, commit = _repository(source.repo), source.revision
    reference = root / "refs" / source.revision
    if reference.is_file():
        commit = reference.read_text("utf-8").strip()
    folder = root / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def _is_wanted(name: str) -> bool:
    return "/" not in name and (name.endswith((".safetensors", ".safetensors.index.json")) or name == _CONFIG)


def _missing(model: PublishedModel) -> list[str]:
    """What the snapshot lacks."""
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


def _fetch(source: Source | TokenizerSource, wanted: Callable[[str], bool]) -> None:
    """The wanted files of a repository, small ones first, so that an index is here before its shards."""
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)
    files = sorted((file for file in info.siblings or () if wanted(file.rfilename)), key=lambda file: file.size or 0)
    if not files:
        raise ModelUnavailable(f"{source.repo} has none of the files that are needed at revision {source.revision}")
    _check_space([file for file in files if file.lfs], _repository(source.repo) / "blobs")
    for file in files:
        if file.lfs:
            _fetch_large(source.repo, str(info.sha), file.rfilename, sha256=file.lfs.sha256, size=file.lfs.size)
        hf_hub_download(source.repo, file.rfilename, revision=source.revision, cache_dir=cache_folder())


def _fetch_large(repo: str, commit: str, name: str, *, sha256: str, size: int) -> None:
    """A file to where the cache keeps it, going on from what an earlier attempt left.

    huggingface_hub itself goes on only within one process: it deletes what an interrupted one had fetched.
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
            raise ModelUnavailable(f"{name} was damaged on its way (its checksum is wrong); pull it again")
        part.replace(blob)


def _lock(part: Path) -> Path:
    """The lock that huggingface_hub, too, takes for a blob while it fetches it."""
    return cache_folder() / ".locks" / part.parent.parent.name / f"{part.stem}.lock"


def _check_space(files: list[Any], blobs: Path) -> None:
    def left(file: Any) -> int:
        part = blobs / f"{file.lfs.sha256}.incomplete"
        if (blobs / file.lfs.sha256).exists():
            return 0
        return int(file.lfs.size) - (part.stat().st_size if part.exists() else 0)

    needed = sum(map(left, files))
    folder = next(path for path in (blobs, *blobs.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


@contextmanager
def _told(name: str, source: Source | TokenizerSource) -> Iterator[None]:
    """What may go wrong with the hub, the network and the disk, each as one line that says what to do."""
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
            f"{page} asks you to accept its terms: do so there, then set HF_TOKEN to a token of yours (or run "
            "`hf auth login`) and pull again"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise unavailable(f"there is no {page}, or it is private and needs a token with access in HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise unavailable(f"{page} has no revision {source.revision!r}") from error
    except errors.OfflineModeIsEnabled as error:
        raise unavailable("not on this machine, and HF_HUB_OFFLINE forbids to fetch it; unset it and pull") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = "check the token in HF_TOKEN" if status in (401, 403) else "try again later"
        raise unavailable(f"{constants.ENDPOINT} refused with HTTP status {status}; {advice}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise unavailable(
                f"no space for it in {cache_folder()} ({error.strerror}); free some, or set HF_HOME to another disk"
            ) from error
        if error.filename:
            raise unavailable(f"cannot write {error.filename} ({error.strerror})") from error
        raise unavailable(_not_reached(error)) from error
    except errors.HTTPError as error:
        raise unavailable(_not_reached(error)) from error
    except ValueError as error:
        raise unavailable(f"{constants.ENDPOINT} did not answer as a hub does; check HF_ENDPOINT") from error


def _not_reached(error: Exception) -> str:
    from huggingface_hub import constants

    return (
        f"the connection to {constants.ENDPOINT} failed ({reason(error)}); "
        "pull again to go on with what is still missing"
    )


def _check(path: Path) -> str | None:
    """What is wrong with a file of a snapshot."""
    if not path.exists():
        return f"{path}: its content is gone"
    name = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name):
        actual = _sha256(path)
    elif re.fullmatch("[0-9a-f]{40}", name):
        content = path.read_bytes()
        actual = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return f"{path}: the cache keeps no checksum of it to compare with"
    return None if actual == name else f"{path}: damaged, its checksum is {actual}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_partial(source: Source) -> int:
    """What interrupted pulls from this repository have left, but for what is being fetched right now: bytes freed."""
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
        if path.is_symlink() and not path.exists():  # a repository with such links is not scanned
            path.unlink()
    deletion = scan_cache_dir(cache_folder()).delete_revisions(*(folder.name for folder in folders))
    deletion.execute()
    for folder in folders:
        if folder.exists():
            raise OSError(f"{folder} could not be deleted; delete it yourself")
    return deletion.expected_freed_size
