"""An embedding cache on disk: image embeddings of the vision encoder, so that an image is encoded once.

FOLDER/ab/ab12….safetensors is an entry: the embedding of one image, and a checksum. FOLDER/mdtool.total holds an upper
bound of the bytes of all entries. Any number of processes may share a folder: entries are written by renaming, and the
total is changed, and entries are evicted, under a lock.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine.contract import EncodedImage, ImageEmbedder, Model
from mdtool import __version__
from mdtool.errors import write_error_message
from mdtool.media.files.file_lock import lock
from mdtool.pipeline.prediction_log import digest_of
from mdtool.records.fingerprint import EMBEDDING, digest

EVICTION_TARGET = 0.9  # part of the limit that stays after an eviction, so that evictions are rare
_ENTRY = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64}\.safetensors|[0-9a-f]{32}\.part)")


class EmbeddingCache:
    """A least-recently-used cache of embeddings. Disk errors are not fatal: a failed read is a miss."""

    def __init__(self, folder: Path, limit_bytes: int, model_key: str, warn: Callable[[str], object]) -> None:
        """Create a cache.

        Args:
            folder: Created when it is needed.
            limit_bytes: Size limit of all entries.
            model_key: The model's `engine.contract.ImageEmbedder.embedding_key`.
            warn: Called once, with one line, if a write failed, after which nothing more is written.
        """
        self._folder = folder
        self._limit = limit_bytes
        self._model_key = model_key
        self._warn = warn
        self._is_writable = True

    def get(self, key: str) -> Tensor | None:
        """Return the embedding of an image, on the CPU; None if there is none, or it is damaged.

        Args:
            key: Digest of the image's pixels, as the model receives them.
        """
        path = self._path(key)
        try:
            stored = load(path.read_bytes())
            embedding = stored["seen"]
            if int(stored["crc32"]) != _checksum(embedding):
                return None
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            return None
        with suppress(OSError):
            os.utime(path)
        return embedding

    def put(self, key: str, embedding: Tensor) -> None:
        """Write the embedding of an image, whole or not at all, in place of an earlier one."""
        embedding = embedding.cpu().contiguous()
        entry = save({"seen": embedding, "crc32": torch.tensor(_checksum(embedding))})
        if not self._is_writable or len(entry) > self._limit:
            return
        try:
            self._write(self._path(key), entry)
        except OSError as error:
            self._is_writable = False
            self._warn(f"{self._folder}: {write_error_message(error)}; no more embeddings are cached in this run")

    def _path(self, key: str) -> Path:
        name = digest(EMBEDDING, mdtool=__version__, sight=self._model_key, pixels=key)
        return self._folder / name[:2] / f"{name}.safetensors"

    def _write(self, path: Path, entry: bytes) -> None:
        """Write an entry without syncing it: one that is damaged by a crash fails its checksum."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{uuid4().hex}.part")
        try:
            self._reserve(part, len(entry))
            with part.open("r+b") as file:
                file.write(entry)
            part.replace(path)
        except FileNotFoundError:
            pass  # another process evicted it
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _reserve(self, part: Path, size: int) -> None:
        """Make room for an entry, and create its file in full size. One that a killed run left is evicted later."""
        with (self._folder / "mdtool.total").open("a+b") as file:
            lock(file.fileno(), wait=True)
            file.seek(0)
            stored = file.read(20)
            total = int(stored) if stored.isdigit() else None
            if total is None or total + size > self._limit:
                total = self._evict(size)
            file.truncate(0)
            file.write(b"%d" % (total + size))
            file.flush()
            with part.open("xb") as part_file:
                part_file.truncate(size)

    def _evict(self, size: int) -> int:
        """Evict entries if there is no room for `size` more bytes; return the size of those that stay, in bytes."""
        entries = sorted(self._entries())
        total = sum(entry_size for _, entry_size, _ in entries)
        if total + size > self._limit:
            for _, entry_size, path in entries:
                if total + size <= EVICTION_TARGET * self._limit:
                    break
                path.unlink(missing_ok=True)
                total -= entry_size
        return total

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """Yield the time of last use, the size and the path of each entry. Other files in the folder are ignored."""
        for path in self._folder.glob("??/*"):
            if _ENTRY.fullmatch(f"{path.parent.name}/{path.name}"):
                with suppress(FileNotFoundError):
                    state = path.lstat()
                    yield state.st_mtime_ns, state.st_size, path


def caching_encoder(
    model: Model, folder: Path, limit_bytes: int, warn: Callable[[str], object]
) -> Callable[[Sequence[np.ndarray]], list[EncodedImage]]:
    """Return an image encoder for this model that uses a cache; the other arguments are those of `EmbeddingCache`."""
    cache = EmbeddingCache(folder, limit_bytes, model.embedding_key, warn) if isinstance(model, ImageEmbedder) else None
    return lambda images: encode(model, images, [digest_of(image) for image in images], cache)


def encode(
    model: Model, images: Sequence[np.ndarray], keys: Sequence[str], cache: EmbeddingCache | None
) -> list[EncodedImage]:
    """Encode images, reusing cached embeddings and storing new ones.

    Args:
        model: The model that encodes.
        images: HxWx3 uint8 RGB.
        keys: Keys of the images, for `EmbeddingCache.get`.
        cache: The embedding cache; not used if None, or if the model is not an `ImageEmbedder`.

    Returns:
        The encoded images, bit-identical to those of `model.encode`.
    """
    if cache is None or not isinstance(model, ImageEmbedder):
        return list(model.encode(images))
    cached = [cache.get(key) for key in keys]
    missing = [index for index, embedding in enumerate(cached) if embedding is None]
    computed = dict(zip(missing, model.embed_images([images[index] for index in missing]), strict=True))
    for index, embedding in computed.items():
        cache.put(keys[index], embedding)
    return model.encode_embeddings(
        [computed[index] if embedding is None else embedding for index, embedding in enumerate(cached)]
    )


def _checksum(embedding: Tensor) -> int:
    header = f"{embedding.dtype} {tuple(embedding.shape)}".encode()
    return crc32(embedding.view(torch.uint8).numpy().data, crc32(header))
