"""Commands that take dataclasses of options, of which Typer knows nothing."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a signature that Typer can read, for one whose parameters may be dataclasses of options.

    In place of such a parameter stand the fields of the dataclass, each with its own annotation; the command gets an
    instance made of their values. A default of the parameter, an instance too, has the defaults of its options.

    Args:
        command: Takes all its parameters by name.

    Raises:
        TypeError: Two options have the same name.
    """
    parameters = inspect.signature(command).parameters.values()
    groups = {one.name: one.annotation for one in parameters if _is_group(one.annotation)}
    single = [one.name for one in parameters if one.name not in groups]
    options = [option for one in parameters for option in (_options_of(one) if one.name in groups else [one])]
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


def _options_of(group: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """A parameter for each field, by name only."""
    for field in fields(group.annotation):
        default = inspect.Parameter.empty
        if group.default is not inspect.Parameter.empty:
            default = getattr(group.default, field.name)
        elif field.default is not MISSING:
            default = field.default
        elif field.default_factory is not MISSING:
            default = field.default_factory()
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
