"""What a model has seen of pictures, kept on disk, so that asking about them again need not see them again.

FOLDER/ab/ab12….safetensors is an entry: what was seen of one picture, and a checksum. FOLDER/mdtool.total says how many
bytes the entries have, or more. Any number of processes may use a folder at once: entries come by renaming, and the
total is changed, and room made, under a lock.
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

FULL = 0.9  # of the limit is what stays when room is made, so that it is seldom made
_ENTRY = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64}\.safetensors|[0-9a-f]{32}\.part)")


class EmbeddingCache:
    """Goes on without the disk where that fails: what can't be read is not there, what can't be written is not kept."""

    def __init__(self, folder: Path, limit_bytes: int, model_key: str, warn: Callable[[str], object]) -> None:
        """folder: made where it is needed. limit_bytes: of all entries; those used least recently go first.

        model_key: the model's `engine.contract.ImageEmbedder.embedding_key`. warn: told in one line, once, that
        nothing more is kept.
        """
        self._folder = folder
        self._limit = limit_bytes
        self._model_key = model_key
        self._warn = warn
        self._keeps = True

    def get(self, key: str) -> Tensor | None:
        """What was put under this key, on the CPU; None where nothing is, or it is damaged.

        key: a digest of the picture's pixels as the model is given them.
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
        """Keeps it, whole or not at all, in place of what is there."""
        embedding = embedding.cpu().contiguous()
        entry = save({"seen": embedding, "crc32": torch.tensor(_checksum(embedding))})
        if not self._keeps or len(entry) > self._limit:
            return
        try:
            self._write(self._path(key), entry)
        except OSError as error:
            self._keeps = False
            self._warn(f"{self._folder}: {write_error_message(error)}; what is seen from here on is not kept")

    def _path(self, key: str) -> Path:
        name = digest(EMBEDDING, mdtool=__version__, sight=self._model_key, pixels=key)
        return self._folder / name[:2] / f"{name}.safetensors"

    def _write(self, path: Path, entry: bytes) -> None:
        """Not synced: what a crash of the machine leaves of it fails its checksum."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{uuid4().hex}.part")
        try:
            self._reserve(part, len(entry))
            with part.open("r+b") as file:
                file.write(entry)
            part.replace(path)
        except FileNotFoundError:
            pass  # it was the least recently used, and went
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _reserve(self, part: Path, size: int) -> None:
        """Makes the file, at once of its full size, after room for it. What a killed run leaves goes as entries go."""
        with (self._folder / "mdtool.total").open("a+b") as file:
            lock(file.fileno(), wait=True)
            file.seek(0)
            told = file.read(20)
            total = int(told) if told.isdigit() else None
            if total is None or total + size > self._limit:
                total = self._make_room(size)
            file.truncate(0)
            file.write(b"%d" % (total + size))
            file.flush()
            with part.open("xb") as made:
                made.truncate(size)

    def _make_room(self, size: int) -> int:
        """Deletes entries if there is no room for `size` bytes more: the bytes of those that stay."""
        entries = sorted(self._entries())
        total = sum(of_entry for _, of_entry, _ in entries)
        if total + size > self._limit:
            for _, of_entry, path in entries:
                if total + size <= FULL * self._limit:
                    break
                path.unlink(missing_ok=True)
                total -= of_entry
        return total

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """When each was last used, its bytes, and where it is. Other files in the folder are let alone."""
        for path in self._folder.glob("??/*"):
            if _ENTRY.fullmatch(f"{path.parent.name}/{path.name}"):
                with suppress(FileNotFoundError):
                    state = path.lstat()
                    yield state.st_mtime_ns, state.st_size, path


def caching_encoder(
    model: Model, folder: Path, limit_bytes: int, warn: Callable[[str], object]
) -> Callable[[Sequence[np.ndarray]], list[EncodedImage]]:
    """What encodes images for this model with a cache in this folder; as `EmbeddingCache` takes them."""
    cache = EmbeddingCache(folder, limit_bytes, model.embedding_key, warn) if isinstance(model, ImageEmbedder) else None
    return lambda images: encode(model, images, [digest_of(image) for image in images], cache)


def encode(
    model: Model, images: Sequence[np.ndarray], keys: Sequence[str], cache: EmbeddingCache | None
) -> list[EncodedImage]:
    """As `model.encode`, to the last bit, but what the cache has is not seen again, and what it has not is put there.

    keys: of the images, as `EmbeddingCache.get` takes them. The cache is not used by a model without `ImageEmbedder`.
    """
    if cache is None or not isinstance(model, ImageEmbedder):
        return list(model.encode(images))
    known = [cache.get(key) for key in keys]
    new = [index for index, one in enumerate(known) if one is None]
    embedding = dict(zip(new, model.embed_images([images[index] for index in new]), strict=True))
    for index, one in embedding.items():
        cache.put(keys[index], one)
    return model.encode_embeddings([embedding[index] if one is None else one for index, one in enumerate(known)])


def _checksum(embedding: Tensor) -> int:
    about = f"{embedding.dtype} {tuple(embedding.shape)}".encode()
    return crc32(embedding.view(torch.uint8).numpy().data, crc32(about))
