"""Download, lookup, verification and removal of published models in the cache of huggingface_hub.

Only weights in safetensors or GGUF, their index, configs and tokenizer are downloaded: never code, never pickles. The
variables HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE apply as in huggingface_hub. A tag or branch
is resolved once: the cache stores its commit in `refs`, and a downloaded model stays at it until it is removed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from engine.catalog.hub_cache import (
    cache_folder,
    fault_of,
    remove_file,
    remove_partial,
    remove_snapshots,
    snapshot,
)
from engine.catalog.hub_download import Progress, download, download_errors
from engine.catalog.published import GgufSource, PublishedModel, Source, TokenizerSource, downloads
from engine.checkpoints.shards import weight_files, weights_in
from engine.contract import ModelUnavailable, NotDownloaded

__all__ = [
    "LocalModel",
    "cache_folder",
    "cached_tokenizer",
    "is_partially_downloaded",
    "local",
    "not_downloaded_error",
    "pull",
    "remove",
    "verify",
]

_CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json", "generation_config.json")


@dataclass(frozen=True)
class LocalModel:
    """A downloaded model.

    Attributes:
        commit: Of the hub's repository.
        weights: The weight file, or the index of the shards; the text file of a model in GGUF.
        tokenizer: The tokenizer file; the text file of a model in GGUF.
        mmproj: The vision part of a model in GGUF.
    """

    commit: str
    weights: Path
    tokenizer: Path
    mmproj: Path | None = None

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        files = {*weight_files(self.weights), self.tokenizer, *filter(None, [self.mmproj])}
        return sum(path.stat().st_size for path in files)


def local(model: PublishedModel) -> LocalModel | None:
    """Return the model in the cache if it is complete, without network access."""
    source = model.source
    folder = snapshot(source.repo, source.revision) if source else None
    if source is None or folder is None:
        return None
    if isinstance(source, GgufSource):
        text, mmproj = _gguf_files(folder, source)
        return LocalModel(folder.name, text, text, mmproj) if text and mmproj else None
    tokenizer = cached_tokenizer(source.tokenizer)
    try:
        return LocalModel(folder.name, weights_in(folder), tokenizer) if tokenizer else None
    except ModelUnavailable:
        return None


def is_partially_downloaded(model: PublishedModel) -> bool:
    """Return whether the cache contains any of the model's weights, complete or not."""
    source = model.source
    folder = snapshot(source.repo, source.revision) if source else None
    if source is None or folder is None:
        return False
    pattern = source.text if isinstance(source, GgufSource) else "*.safetensors*"
    return any(_matches(path.name, pattern) for path in folder.iterdir())


def cached_tokenizer(source: TokenizerSource) -> Path | None:
    """Return the tokenizer file if it is in the cache."""
    folder = snapshot(source.repo, source.revision)
    return folder / source.file if folder and (folder / source.file).is_file() else None


def pull(model: PublishedModel, progress: Progress | None = None) -> LocalModel:
    """Download what is missing of a model; an interrupted download is resumed.

    It shows the progress bar of huggingface_hub if stderr is a terminal.

    Args:
        model: The model.
        progress: Called as its weights arrive with their bytes that are here, and those of all of them.

    Raises:
        ModelUnavailable: The hub does not provide the model; the message says what to do.
    """
    downloaded = local(model)
    if downloaded is not None:
        return downloaded
    source = _source(model)
    with download_errors(model.name, source.repo, source.revision):
        download(source.repo, source.revision, lambda names: _chosen(names, source), progress)
    if isinstance(source, Source):
        tokenizer = source.tokenizer
        with download_errors(model.name, tokenizer.repo, tokenizer.revision):
            if cached_tokenizer(tokenizer) is None:
                download(tokenizer.repo, tokenizer.revision, lambda names: [tokenizer.file])
    downloaded = local(model)
    if downloaded is None:
        problem = "; ".join(_missing(model)) or "it changed meanwhile; pull it again"
        raise ModelUnavailable(f"{model.name}: {source.repo} at {source.revision} was downloaded, but {problem}")
    return downloaded


def verify(model: PublishedModel) -> list[str]:
    """Compare the files of a downloaded model with their checksums, and return the faults, one line each.

    Raises:
        ModelUnavailable: The model is not downloaded.
    """
    source = _source(model)
    folder = snapshot(source.repo, source.revision)
    if folder is None or (isinstance(source, GgufSource) and not is_partially_downloaded(model)):
        raise not_downloaded_error(model)
    files = [path for path in folder.iterdir() if _belongs(path.name, source)]
    if isinstance(source, Source):
        tokenizer = snapshot(source.tokenizer.repo, source.tokenizer.revision)
        files += [tokenizer / source.tokenizer.file] if tokenizer else []
    checked = (fault_of(path) for path in sorted(files) if path.is_symlink() or path.exists())
    return _missing(model) + [problem for problem in checked if problem]


def remove(model: PublishedModel) -> int:
    """Remove a model from the cache, and its tokenizer or mmproj file unless another downloaded model uses it.

    Returns:
        The freed space in bytes.

    Raises:
        ModelUnavailable: Nothing of the model is downloaded.
        OSError: A file can't be deleted.
    """
    source = _source(model)
    others = [other for other in downloads() if other.name != model.name and local(other)]
    if isinstance(source, GgufSource):
        return _remove_gguf(model, source, others)
    freed = remove_partial(source.repo)
    tokenizer = source.tokenizer
    used = any(isinstance(other.source, Source) and other.source.tokenizer == tokenizer for other in others)
    tokenizer_folder = None if used else snapshot(tokenizer.repo, tokenizer.revision)
    snapshots = {found for found in (snapshot(source.repo, source.revision), tokenizer_folder) if found}
    if not snapshots and not freed:
        raise not_downloaded_error(model)
    if snapshots:
        freed += remove_snapshots(snapshots)
    return freed


def not_downloaded_error(model: PublishedModel) -> NotDownloaded:
    """Return the error for a model that is not downloaded."""
    return NotDownloaded(
        f"{model.name}: not on this machine; get it with `mdtool models pull {model.name}` ({model.size_and_licence})",
        model.name,
    )


def _source(model: PublishedModel) -> Source | GgufSource:
    if model.source is None:
        raise ModelUnavailable(
            f"{model.name}: its weights are not published in safetensors; "
            "if you have a file or folder of them, give it with --model PATH"
        )
    return model.source


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _belongs(name: str, source: Source | GgufSource) -> bool:
    """Return whether a file of a repository is part of the model."""
    if "/" in name:
        return False
    if isinstance(source, GgufSource):
        return _matches(name, source.text) or _matches(name, source.mmproj)
    return name.endswith((".safetensors", ".safetensors.index.json")) or name in _CONFIGS


def _chosen(names: Sequence[str], source: Source | GgufSource) -> list[str]:
    """Return the files of a repository to download.

    Raises:
        ModelUnavailable: There is not exactly one file for a pattern.
    """
    chosen = [name for name in names if _belongs(name, source)]
    for pattern in (source.text, source.mmproj) if isinstance(source, GgufSource) else ():
        found = [name for name in chosen if _matches(name, pattern)]
        if len(found) != 1:
            many = f"several files like {pattern}: {', '.join(found)}" if found else f"no file like {pattern}"
            raise ModelUnavailable(f"{source.repo} has {many} at revision {source.revision}")
    return chosen


def _gguf_files(folder: Path, source: GgufSource) -> tuple[Path | None, Path | None]:
    """Return the text file and the mmproj file in a snapshot."""
    files = [path for path in folder.iterdir() if path.is_file()]
    text, mmproj = (
        next((path for path in files if _matches(path.name, pattern)), None) for pattern in (source.text, source.mmproj)
    )
    return text, mmproj


def _missing(model: PublishedModel) -> list[str]:
    """Return the problems of an incomplete snapshot."""
    source = _source(model)
    folder = snapshot(source.repo, source.revision)
    if isinstance(source, GgufSource):
        found = _gguf_files(folder, source) if folder else (None, None)
        patterns = zip((source.text, source.mmproj), found, strict=True)
        return [f"{pattern} of {source.repo} is missing" for pattern, path in patterns if path is None]
    problems = []
    try:
        if folder:
            weights_in(folder)
    except ModelUnavailable as error:
        problems.append(str(error))
    if cached_tokenizer(source.tokenizer) is None:
        problems.append(f"{source.tokenizer.file} of {source.tokenizer.repo} is missing")
    return problems


def _remove_gguf(model: PublishedModel, source: GgufSource, others: Sequence[PublishedModel]) -> int:
    """Remove the files of a variant that no other one uses, or its whole snapshot if no other one is left there."""
    folder = snapshot(source.repo, source.revision)
    kept = [here for here in map(local, others) if here and here.weights.parent == folder]
    in_use = {here.mmproj for here in kept}
    own = [path for path in folder.iterdir() if _belongs(path.name, source) and path not in in_use] if folder else []
    partial = remove_partial(source.repo)
    if not own and not partial:
        raise not_downloaded_error(model)
    if folder and own and not kept:
        return partial + remove_snapshots({folder})
    return partial + sum(map(remove_file, own))
