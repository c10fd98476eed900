"""Names of classes that `datasets` keeps in a Parquet file's metadata, in place of the numbers in its rows."""

import json
from collections.abc import Mapping
from typing import Any

KEY = b"huggingface"
Features = Mapping[str, Any]  # types of columns, as `datasets` describes them


def labelled_features(metadata: Mapping[bytes, bytes] | None) -> Features:
    """Return the types of those columns that have a ClassLabel in them.

    Args:
        metadata: Of the file's schema, whose key "huggingface" has JSON with the types at info.features.
    """
    try:
        features = json.loads((metadata or {})[KEY])["info"]["features"]
        return {name: feature for name, feature in features.items() if _has_labels(feature)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):  # not written by `datasets`
        return {}


def with_class_names(row: Mapping[str, Any], features: Features) -> dict[str, Any]:
    """Return a row with the names of classes in place of their numbers; a number that has no name becomes None."""
    return dict(row) | {name: _named(row[name], feature) for name, feature in features.items() if name in row}


def _named(value: Any, feature: Any) -> Any:
    if isinstance(value, list):
        return [_named(one, feature) for one in value]
    feature = _item(feature)
    if isinstance(value, dict):
        types = feature if isinstance(feature, dict) else {}
        return {name: _named(one, types.get(name)) for name, one in value.items()}
    if _is_label(feature) and isinstance(value, int):
        names = feature["names"]
        return names[value] if 0 <= value < len(names) else None  # -1 stands for no label
    return value


def _has_labels(feature: Any) -> bool:
    feature = _item(feature)
    return _is_label(feature) or (isinstance(feature, dict) and any(map(_has_labels, feature.values())))


def _is_label(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)


def _item(feature: Any) -> Any:
    """Return the type of what lists hold: `[T]`, or {"_type": "Sequence", "feature": T}, one in another too."""
    while True:
        match feature:
            case [item] | {"_type": str(), "feature": item}:
                feature = item
            case _:
                return feature
