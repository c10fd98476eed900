"""Policies from the text of a TOML file: see `recipes.policy` for what the keys mean."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recipes.policy import HIDING, Policy, Rule, Thresholds, shown, suggestion
from recipes.redact import Style
from recipes.regions import PictureArea, parse_region


def parse_policy(text: str, source: str) -> Policy:
    """From TOML; see above. source: the file's name, for errors.

    Raises ValueError with one line that names the source, and the rule and key where there is one.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: is no TOML: {' '.join(str(error).split())}") from error
    try:
        _check_keys(document, ("rule",))
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("rule is a list of tables; write each under [[rule]], with two brackets")
        return Policy(tuple(_numbered(number, table) for number, table in enumerate(tables, 1)))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _numbered(number: int, table: Mapping[str, Any]) -> Rule:
    try:
        return _rule(table)
    except ValueError as error:
        name = table.get("name")
        raise ValueError(f"rule {shown(name) if isinstance(name, str) else number}: {error}") from error


def _rule(table: Mapping[str, Any]) -> Rule:
    _check_keys(table, tuple(KEYS))
    for key, value in table.items():
        fits, form = KEYS[key]
        if not fits(value):
            raise ValueError(f"{key} is {form}, not {shown(value)}")
    for key in ("name", "action"):
        if key not in table:
            raise ValueError(f"{key} is missing")
    action = table["action"]
    look = {key: table[key] for key in _LOOK if key in table}
    rule = Rule(
        name=table["name"],
        action=action,
        prompts=_listed(table, "prompt"),
        question=table.get("question", ""),
        answers=_listed(table, "answer"),
        style=Style(name=action, **look) if action in HIDING else None,
        thresholds=Thresholds(**{key: table[key] for key in _THRESHOLDS if key in table}),
        only=_regions(table, "only"),
        keep=_regions(table, "keep"),
    )
    if look and rule.style is None:
        raise ValueError(f"{', '.join(look)}: only for the actions {', '.join(HIDING)}, not {action}")
    return rule


def _regions(table: Mapping[str, Any], key: str) -> tuple[PictureArea, ...]:
    try:
        return tuple(parse_region(text) for text in _listed(table, key))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _listed(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, ())
    return (value,) if isinstance(value, str) else tuple(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Not inf or nan, which TOML has, nor what a float does not hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


_TEXT = (_is_text, "a text in quotes")
_TEXTS = (_is_texts, "a text in quotes, or a list of such")
_NUMBER = (_is_number, "a number")
_WHOLE = (_is_whole, "a whole number")
_LOOK = {"strength": _NUMBER, "shape": _TEXT, "margin": _NUMBER, "feather": _NUMBER}
_THRESHOLDS = {"min_score": _NUMBER, "min_share": _NUMBER, "min_seconds": _NUMBER, "min_times": _WHOLE}
KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "name": _TEXT,
    "prompt": _TEXTS,
    "question": _TEXT,
    "answer": _TEXTS,
    "action": _TEXT,
    **_LOOK,
    **_THRESHOLDS,
    "only": _TEXTS,
    "keep": _TEXTS,
}


def _check_keys(table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"no key is called {shown(key)}; {suggestion(key, known)}")
