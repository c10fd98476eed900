"""Commands whose parameters are dataclasses of options, which Typer does not support."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that Typer sees a plain signature: the fields of each dataclass in its place.

    Each field keeps its own annotation; the command gets an instance made of the values. The default of such a
    parameter, an instance too, gives the defaults of its options.

    Args:
        command: A function that takes all its parameters by name.

    Returns:
        The function to register with Typer.

    Raises:
        TypeError: Two options have the same name.
    """
    parameters = inspect.signature(command).parameters.values()
    groups = {one.name: one.annotation for one in parameters if _is_group(one.annotation)}
    single = [one.name for one in parameters if one.name not in groups]
    options = [
        option
        for one in parameters
        for option in (options_of(one.annotation, one.default) if one.name in groups else [one])
    ]
    if twice := [name for name, times in Counter(option.name for option in options).items() if times > 1]:
        raise TypeError(f"{command.__name__}: has options of the same name: {', '.join(twice)}")

    @wraps(command)
    def ungrouped(**values: Any) -> None:
        made = {name: kind(**{one.name: values[one.name] for one in fields(kind)}) for name, kind in groups.items()}
        command(**{name: values[name] for name in single}, **made)

    ungrouped.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    ungrouped.__annotations__ = {option.name: option.annotation for option in options}
    return ungrouped


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and is_dataclass(annotation)


def options_of(group: Any, defaults: Any = inspect.Parameter.empty) -> Iterator[inspect.Parameter]:
    """Yield a keyword-only parameter for each field of a dataclass of options; an instance may give the defaults."""
    for field in fields(group):
        default = inspect.Parameter.empty
        if defaults is not inspect.Parameter.empty:
            default = getattr(defaults, field.name)
        elif field.default is not MISSING:
            default = field.default
        elif field.default_factory is not MISSING:
            default = field.default_factory()
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
