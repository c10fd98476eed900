"""The cache folder of huggingface_hub: where a repository's files are, and whether they are intact."""

import hashlib
import os
import re
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder of huggingface_hub, without importing it, which is slow."""
    home = os.getenv("HF_HOME") or os.path.join(os.getenv("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = os.getenv("HF_HUB_CACHE") or os.getenv("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(folder)))


def repository(repo: str) -> Path:
    """Return the folder of a repository of the hub."""
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def commit_of(repo: str, revision: str) -> str | None:
    """Return the commit that a branch or tag had when it was downloaded; None if it was not."""
    reference = repository(repo) / "refs" / revision
    return reference.read_text("utf-8").strip() or None if reference.is_file() else None


def snapshot(repo: str, revision: str) -> Path | None:
    """Return the folder of a revision's files, links into `blobs`, if there is one."""
    folder = repository(repo) / "snapshots" / (commit_of(repo, revision) or revision)
    return folder if folder.is_dir() else None


def fault_of(path: Path) -> str | None:
    """Return the fault of a file of a snapshot, or None.

    A blob is named by its checksum on the hub: SHA-256 for large files, git's SHA-1 for small ones.
    """
    if not path.exists():
        return f"{path}: its blob is missing"
    name = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name):
        actual = sha256(path)
    elif re.fullmatch("[0-9a-f]{40}", name):
        content = path.read_bytes()
        actual = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return f"{path}: the cache has no checksum to compare with"
    return None if actual == name else f"{path}: damaged: its checksum is {actual}"


def sha256(path: Path) -> str:
    """Return the checksum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock_of(part: Path) -> Path:
    """Return the lock that huggingface_hub holds while it downloads a blob, by its partial file."""
    return cache_folder() / ".locks" / part.parent.parent.name / f"{part.stem}.lock"


def remove_file(path: Path) -> int:
    """Delete a file of a snapshot, and its blob if no other snapshot has it; return the freed bytes."""
    blob = path.resolve()
    path.unlink()
    if not blob.exists() or any(other.resolve() == blob for other in path.parents[1].glob("*/*")):
        return 0
    freed = blob.stat().st_size
    blob.unlink()
    return freed


def remove_partial(repo: str) -> int:
    """Delete partial files of interrupted downloads from a repository, except running ones; return freed bytes."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    freed = 0
    for part in repository(repo).glob("blobs/*.incomplete"):
        try:
            with WeakFileLock(lock_of(part), timeout=0.1):
                freed += part.stat().st_size
                part.unlink()
        except Timeout:
            continue
    return freed


def remove_snapshots(folders: set[Path]) -> int:
    """Delete snapshots with the blobs that only they have; return freed bytes.

    Raises:
        OSError: A folder can't be deleted.
    """
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
