"""Objects in stores such as Amazon S3, by URL; fsspec (https://filesystem-spec.readthedocs.io) reads them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, UsageError
from mdtool.media.sources.address import OBJECT_STORES, Address

BLOCK_BYTES = 4 << 20  # that a request reads: most images at once


def is_object(address: Address) -> bool:
    """Return whether an address is that of an object store."""
    return address.scheme in OBJECT_STORES


def open_object(address: Address) -> Any:
    """Open an object as a binary file that can seek.

    Raises:
        InputError: It can't be read.
        UsageError: The package for such a store is not installed.
    """
    try:
        return _store(address).open(address.text, "rb", block_size=BLOCK_BYTES)
    except FileNotFoundError as error:
        raise InputError("there is no such object") from error
    except UsageError:
        raise
    except Exception as error:  # each store has its own
        raise InputError(_one_line(error)) from error


def read_object(file: Any, size: int) -> bytes:
    """Return the next bytes of an open object, fewer at its end. Raises InputError."""
    try:
        data: bytes = file.read(size)
    except Exception as error:  # each store has its own
        raise InputError(_one_line(error)) from error
    return data


def object_version(file: Any) -> str:
    """Return what identifies the content of an open object: its ETag, or its size and the time of its change."""
    details = file.details or {}
    named = [str(details[key]) for key in ("ETag", "etag", "LastModified", "mtime", "updated") if details.get(key)]
    return " ".join((*named[:1], str(details.get("size", "")))) if named else ""


def objects_below(address: Address) -> Iterator[tuple[Address, Path]]:
    """Yield the objects below a prefix, folder by folder, each with its path below the prefix; hidden ones are skipped.

    Raises:
        InputError: It can't be listed.
        UsageError: The package for such a store is not installed.
    """
    store = _store(address)
    top = store._strip_protocol(address.text).rstrip("/")
    try:
        for folder, folders, names in store.walk(top, topdown=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = folder.removeprefix(top).strip("/")
            for name in sorted(names):
                if name and not name.startswith("."):
                    relative = f"{below}/{name}" if below else name
                    yield Address(f"{address.scheme}://{top}/{relative}"), Path(relative)
    except Exception as error:  # each store has its own
        raise InputError(f"can't be listed: {_one_line(error)}") from error


def _store(address: Address) -> Any:
    package = OBJECT_STORES[address.scheme]
    try:
        import fsspec

        return fsspec.filesystem(address.scheme, use_listings_cache=False)
    except ImportError as error:
        raise UsageError(f"{address.scheme}:// needs: pip install {package}") from error


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().partition("\n")[0]
