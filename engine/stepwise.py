"""Work in pieces: a generator that yields between them, so that its caller can do other work; it returns the result."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Stepwise = Generator[None, None, T]


def finished(work: Stepwise[T]) -> T:
    """Run work to its end and return the result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
