"""Validation of JSON against dataclasses, with one-line errors that name the field.

The field types are the schema: nested dataclasses, int, float, bool, str, tuples, mappings and None.
"""

import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from engine.contract import ModelUnavailable
from engine.error_text import short_repr

_MAX_FLOAT = 1e30  # well within the range of float32
_KINDS = {int: "an integer", float: "a finite number", bool: "true or false", str: "a string"}

T = TypeVar("T")


def read_dataclass(kind: type[T], data: Any, source: str, *, ignore_unknown: bool = False) -> T:
    """Build a dataclass from parsed JSON.

    Args:
        kind: The dataclass.
        data: Parsed JSON.
        source: Names the file in errors.
        ignore_unknown: Leave out fields that the dataclass does not have, at any depth.

    Raises:
        ModelUnavailable: A field is unknown, mistyped, or missing and without a default.
    """
    value: T = _read(kind, data, source, "", ignore_unknown=ignore_unknown)
    return value


def json_object(data: Any, source: str) -> dict[str, Any]:
    """Return data if it is a JSON object; ModelUnavailable if not."""
    if not isinstance(data, dict):
        raise ModelUnavailable(f"{source}: not a JSON object")
    return data


def known_fields(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that the dataclass has fields for, for files with more entries than a model needs."""
    return {f.name: data[f.name] for f in fields(kind) if f.name in data}


def with_defaults(data: Any, defaults: Mapping[str, Any]) -> Any:
    """Return a JSON object completed by defaults that depend on other parts of the file.

    Anything but an object is returned unchanged, for `read_dataclass` to reject.
    """
    if not isinstance(data, dict):
        return data
    return data | {name: value for name, value in defaults.items() if name not in data}


def require(source: str, holds: bool, what: str) -> None:
    """Raise ModelUnavailable, with the message `what` about `source`, unless the condition holds."""
    if not holds:
        raise ModelUnavailable(f"{source}: {what}")


def check_sizes(part: Any, path: str, source: str, may_be_zero: Collection[str] = ()) -> None:
    """Check that each integer field of a dataclass is positive and a plausible size.

    Args:
        part: The dataclass.
        path: Of the dataclass in the file, for errors.
        source: Names the file in errors.
        may_be_zero: Fields that may be 0.

    Raises:
        ModelUnavailable: A field is not.
    """
    for f in fields(part):
        size = getattr(part, f.name)
        if type(size) is int:
            positive = size > 0 or (size == 0 and f.name in may_be_zero)
            require(source, positive, f"{path}.{f.name} must be positive, not {short_repr(size)}")
            require(source, size < 2**31, f"{path}.{f.name} is far too large: {short_repr(size)}")


def check_multiples(part: Any, path: str, source: str, **of: str) -> None:
    """Check that fields of a dataclass are multiples of others, as of a size and the heads that share it.

    Args:
        part: The dataclass.
        path: Of the dataclass in the file, for errors.
        source: Names the file in errors.
        of: Field -> the field that divides it.

    Raises:
        ModelUnavailable: One is not.
    """
    for multiple, name in of.items():
        divides = getattr(part, multiple) % getattr(part, name) == 0
        require(source, divides, f"{path}.{multiple} must be a multiple of {name}")


def with_rope_fields(text: Any, source: str) -> Any:
    """Return a text config with the fields of its rotary embedding beside the others.

    Newer files of transformers have them in rope_parameters, older ones some of them in rope_scaling. Anything but an
    object is returned unchanged, for `read_dataclass` to reject.
    """
    if not isinstance(text, dict):
        return text
    rope = text.get("rope_parameters", text.get("rope_scaling")) or {}
    require(source, isinstance(rope, dict), "text_config.rope_scaling must be an object")
    return text | rope


def path_to(path: str, name: str) -> str:
    """Return the path of a field for errors; names that are no identifiers are quoted."""
    name = name if name.isidentifier() else short_repr(name)
    return f"{path}.{name}" if path else name


def _read(kind: Any, value: Any, source: str, path: str, *, ignore_unknown: bool) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)

    def read(kind: Any, value: Any, path: str) -> Any:
        return _read(kind, value, source, path, ignore_unknown=ignore_unknown)

    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return read(next(a for a in arguments if a is not type(None)), value, path)
    if hasattr(kind, "__dataclass_fields__"):
        return _read_object(kind, value, source, path, ignore_unknown=ignore_unknown)
    if origin is tuple:
        if not isinstance(value, list):
            raise ModelUnavailable(f"{source}: {path} must be a list, not {short_repr(value)}")
        return tuple(read(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ModelUnavailable(f"{source}: {path} must be an object, not {short_repr(value)}")
        return {name: read(arguments[1], item, path_to(path, name)) for name, item in value.items()}
    if kind is float and type(value) in (int, float) and abs(value) < _MAX_FLOAT:  # false for nan
        return float(value)
    if kind is float or type(value) is not kind:
        raise ModelUnavailable(f"{source}: {path} must be {_KINDS[kind]}, not {short_repr(value)}")
    return value


def _read_object(kind: Any, value: Any, source: str, path: str, *, ignore_unknown: bool) -> Any:
    if not isinstance(value, dict):
        raise ModelUnavailable(f"{source}: {path or 'it'} must be an object, not {short_repr(value)}")
    hints = get_type_hints(kind)
    if ignore_unknown:
        value = known_fields(kind, value)
    for name in value:
        if name not in hints:
            raise ModelUnavailable(f"{source}: unknown field {path_to(path, name)}")
    for f in fields(kind):
        if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise ModelUnavailable(f"{source}: {path_to(path, f.name)} is missing")
    return kind(
        **{
            name: _read(hints[name], item, source, path_to(path, name), ignore_unknown=ignore_unknown)
            for name, item in value.items()
        }
    )
