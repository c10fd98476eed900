"""What a flow of the text model may yield, beside text: values to be read by the model, and readings of its state."""

from dataclasses import dataclass

from engine.generation.sampling import GREEDY, Sampler


@dataclass(frozen=True)
class Coordinate:
    """In a Feed: one coordinate, a fraction of the picture."""

    value: float


@dataclass(frozen=True)
class Size:
    """In a Feed: width and height of an object, fractions of the picture."""

    width: float
    height: float


Fed = int | Coordinate | Size  # int: a token


@dataclass(frozen=True)
class ReadToken:
    """The next token: never one of `suppressed`; one of `among`, if that is given, and of equals the first there."""

    sampler: Sampler = GREEDY
    suppressed: tuple[int, ...] = ()
    among: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReadCoordinate:
    """A float."""


@dataclass(frozen=True)
class ReadSize:
    """Width and height."""
