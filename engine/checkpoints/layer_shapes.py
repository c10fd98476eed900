"""Names and shapes of the tensors of common layers, for the tables of a family's checkpoints."""

from collections.abc import Iterator

from engine.checkpoints.reader import Shape


def linear_shapes(name: str, rows: int, columns: int, bias: bool = True) -> Iterator[tuple[str, Shape]]:
    """Yield the tensors of a linear layer with `rows` outputs and `columns` inputs."""
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def norm_shapes(name: str, size: int) -> Iterator[tuple[str, Shape]]:
    """Yield the tensors of a layer norm."""
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)
