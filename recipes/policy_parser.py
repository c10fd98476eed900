"""Parse moderation policies from TOML; `recipes.policy` describes the keys."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recipes.policy import HIDING, Policy, Rule, Thresholds, shown, suggestion
from recipes.redact import Style
from recipes.regions import PictureArea, parse_region


def parse_policy(text: str, source: str) -> Policy:
    """Parse a policy.

    Args:
        text: The TOML document.
        source: Name of the file, for messages.

    Raises:
        ValueError: The policy is invalid; one line that names the source, and the rule and key if there is one.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: not valid TOML: {' '.join(str(error).split())}") from error
    try:
        _check_keys(document, ("rule",))
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("rules are a list of tables; write each under [[rule]], with two brackets")
        return Policy(tuple(_named_rule(number, table) for number, table in enumerate(tables, 1)))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _named_rule(number: int, table: Mapping[str, Any]) -> Rule:
    try:
        return _rule(table)
    except ValueError as error:
        name = table.get("name")
        raise ValueError(f"rule {shown(name) if isinstance(name, str) else number}: {error}") from error


def _rule(table: Mapping[str, Any]) -> Rule:
    _check_keys(table, tuple(KEYS))
    for key, value in table.items():
        is_valid, kind = KEYS[key]
        if not is_valid(value):
            raise ValueError(f"{key} is {kind}, not {shown(value)}")
    for key in ("name", "action"):
        if key not in table:
            raise ValueError(f"{key} is missing")
    action = table["action"]
    style_options = {key: table[key] for key in _STYLE_KEYS if key in table}
    rule = Rule(
        name=table["name"],
        action=action,
        prompts=_as_list(table, "prompt"),
        question=table.get("question", ""),
        answers=_as_list(table, "answer"),
        style=Style(name=action, **style_options) if action in HIDING else None,
        thresholds=Thresholds(**{key: table[key] for key in _THRESHOLD_KEYS if key in table}),
        only=_regions(table, "only"),
        keep=_regions(table, "keep"),
    )
    if style_options and rule.style is None:
        raise ValueError(f"{', '.join(style_options)}: only valid for the actions {', '.join(HIDING)}, not {action}")
    return rule


def _regions(table: Mapping[str, Any], key: str) -> tuple[PictureArea, ...]:
    try:
        return tuple(parse_region(text) for text in _as_list(table, key))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _as_list(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, ())
    return (value,) if isinstance(value, str) else tuple(value)


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_strings(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(_is_string, value)))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Reject inf and nan, which TOML allows, and integers too large for a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


_STRING = (_is_string, "a string in quotes")
_STRINGS = (_is_strings, "a string in quotes, or a list of them")
_NUMBER = (_is_number, "a number")
_INTEGER = (_is_integer, "a whole number")
_STYLE_KEYS = {"strength": _NUMBER, "shape": _STRING, "margin": _NUMBER, "feather": _NUMBER}
_THRESHOLD_KEYS = {"min_score": _NUMBER, "min_share": _NUMBER, "min_seconds": _NUMBER, "min_times": _INTEGER}
KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "name": _STRING,
    "prompt": _STRINGS,
    "question": _STRING,
    "answer": _STRINGS,
    "action": _STRING,
    **_STYLE_KEYS,
    **_THRESHOLD_KEYS,
    "only": _STRINGS,
    "keep": _STRINGS,
}


def _check_keys(table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {shown(key)}; {suggestion(key, known)}")
