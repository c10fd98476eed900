"""Fingerprints of settings: earlier results are reused where the fingerprint is the same.

A fingerprint is the SHA-256 of named values as canonical JSON. Which values a kind of fingerprint has, and which fields
of a type affect results, is listed here and nowhere else: a field that is not listed changes no fingerprint.

To give a type a field that affects results, add it to `added`, with the value that means what was done before there was
such a field: at that value it is left out, so that earlier results stay valid. Where the same settings come to mean
other results, raise the kind's version: inputs are then processed again.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.contract import ImageBudget

DIGITS = 16  # hexadecimal digits of the digest in a fingerprint


@dataclass(frozen=True)
class FingerprintKind:
    """A kind of fingerprint.

    Attributes:
        name: Part of the digest.
        version: Part of the digest and of the fingerprint.
        values: Names of the values that affect results; one that is None or not given is left out of the digest.
    """

    name: str
    version: int
    values: tuple[str, ...]


BATCH = FingerprintKind(
    "batch", 1,
    ("command", "model", "revision", "requests", "computing", "sample", "start", "end", "tiles",
     "duration", "region"),
)  # fmt: skip
RESUME = FingerprintKind(
    "resume", 1,
    ("mdtool", "source", "model", "question", "findings", "computing", "tiles", "accurate", "seed", "redaction",
     "policy", "colour", "form", "writes", "selection"),
)  # fmt: skip
EMBEDDING = FingerprintKind("embedding", 1, ("mdtool", "sight", "pixels"))


@dataclass(frozen=True)
class Fields:
    """The fields of a type that affect results.

    Attributes:
        tag: Name of the type in fingerprints, which stays when the class is renamed.
        names: Names of the fields.
        added: Fields that were added later, and the values at which they are left out.
    """

    tag: str
    names: tuple[str, ...]
    added: Mapping[str, object] = field(default_factory=dict)


TYPES: Mapping[str, Fields] = {
    "CaptionRequest": Fields("caption", ("length", "generation", "adapter")),
    "QueryRequest": Fields(
        "query", ("question", "reasoning", "references", "generation", "adapter", "allowed"), {"system": None}
    ),
    "DetectRequest": Fields("detect", ("prompt", "max_objects", "adapter"), {"threshold": None}),
    "PointRequest": Fields("point", ("prompt", "max_objects", "adapter")),
    "Generation": Fields(
        "generation", ("temperature", "top_p", "max_tokens", "seed"),
        {"top_k": None, "min_p": None, "repetition_penalty": None, "presence_penalty": None, "stop": ()},
    ),
    "Choices": Fields("choices", ("texts",)),
    "Number": Fields("number", ()),
    "ComputeConfig": Fields(
        "computing", ("dtype", "quantize", "detail", "resize"),
        {"adapter": None, "image_budget": ImageBudget(), "mmproj": None, "chat_template": None, "kv": None},
    ),
    "ImageBudget": Fields(
        "image budget", (),
        {"min_tokens": None, "max_tokens": None, "tiles": None, "max_tiles": None, "thumbnail": None},
    ),
    "AnalysisRequest": Fields(
        "question", ("prompts", "threshold", "sampling", "max_calls", "start", "end", "blank_errors"), {"view": 0}
    ),
    "Sampling": Fields("sampling", ("stride", "fps", "at_least")),
    "Redaction": Fields("redaction", ("style", "colour", "keep", "only", "min_size")),
    "Style": Fields("style", ("name", "strength", "shape", "feather", "margin")),
    "PictureArea": Fields("region", ("x_min", "y_min", "x_max", "y_max", "pixels")),
    "Size": Fields("size", ("value", "pixels")),
    "OutputOptions": Fields("form", ("encoding", "muxer", "keep_metadata")),
    "Encoding": Fields("encoding", ("codec", "crf", "preset", "pixel_format", "at_once")),
    "Policy": Fields("policy", ("rules",)),
    "Rule": Fields(
        "rule", ("name", "action", "prompts", "question", "answers", "style", "thresholds", "only", "keep")
    ),
    "Thresholds": Fields("thresholds", ("min_score", "min_share", "min_seconds", "min_times")),
}  # fmt: skip


def fingerprint(kind: FingerprintKind, **values: object) -> str:
    """Return a short fingerprint that a person can compare: the kind's version, and the beginning of the digest.

    Args:
        kind: The kind of fingerprint.
        values: As for `digest`.

    Raises:
        TypeError: As for `digest`.
    """
    return f"{kind.version}-{digest(kind, **values)[:DIGITS]}"


def digest(kind: FingerprintKind, **values: object) -> str:
    """Return the SHA-256 of the values, in hexadecimal.

    Args:
        kind: The kind of fingerprint.
        values: Plain values, paths of files (identified by path, size and modification time), and instances of `TYPES`.

    Raises:
        TypeError: The kind has no such value, or a type is not listed.
    """
    if unknown := values.keys() - set(kind.values):
        raise TypeError(f"a {kind.name} fingerprint has no {', '.join(sorted(unknown))}")
    given = {name: _plain(value) for name, value in values.items() if value is not None}
    text = json.dumps([kind.name, kind.version, given], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_of(kind: FingerprintKind, text: str) -> bool:
    """Return whether a fingerprint has this version of its kind; others can't be compared with it."""
    return re.fullmatch(rf"{kind.version}-[0-9a-f]{{{DIGITS}}}", text) is not None


def _plain(value: object) -> Any:
    """Convert a value to JSON types, the same for equal values."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        state = os.stat(value)
        return ["file", os.path.abspath(value), state.st_size, state.st_mtime_ns]
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    listed = next((TYPES[cls.__name__] for cls in type(value).__mro__ if cls.__name__ in TYPES), None)
    if listed is None:
        raise TypeError(f"the fields of {type(value).__name__} that affect results are not listed")
    plain = {name: _plain(getattr(value, name)) for name in listed.names}
    added = {name: _plain(getattr(value, name)) for name in listed.added}
    return [listed.tag, plain | {name: item for name, item in added.items() if item != _plain(listed.added[name])}]
