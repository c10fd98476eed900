"""Names and shapes of the tensors of common layers, for the tables of a family's checkpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.checkpoints.reader import Shape


@dataclass(frozen=True)
class VitBlockNames:
    """Names of the layers of a ViT block within it.

    Attributes:
        qkv: Of the projection to queries, keys and values, or of the three.
    """

    norm1: str
    qkv: tuple[str, ...]
    proj: str
    norm2: str
    fc1: str
    fc2: str


def linear_shapes(name: str, rows: int, columns: int, bias: bool = True) -> Iterator[tuple[str, Shape]]:
    """Yield the tensors of a linear layer with `rows` outputs and `columns` inputs."""
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def norm_shapes(name: str, size: int) -> Iterator[tuple[str, Shape]]:
    """Yield the tensors of a layer norm."""
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def grouped_query_shapes(names: Sequence[str], size: int, q: int, kv: int) -> Iterator[tuple[str, Shape]]:
    """Yield the weights of grouped-query attention without biases.

    Args:
        names: Of the layers q, k, v and o.
        size: Width of the model.
        q: Outputs of q, the width of all heads.
        kv: Outputs of k and of v.
    """
    for name, rows, columns in zip(names, (q, kv, kv, size), (size, size, size, q), strict=True):
        yield from linear_shapes(name, rows, columns, bias=False)


def swiglu_shapes(names: Sequence[str], size: int, inner: int) -> Iterator[tuple[str, Shape]]:
    """Yield the weights of a gated feed-forward layer without biases: gate, up and down."""
    gate, up, down = names
    yield from linear_shapes(gate, inner, size, bias=False)
    yield from linear_shapes(up, inner, size, bias=False)
    yield from linear_shapes(down, size, inner, bias=False)


def vit_block_shapes(block: str, names: VitBlockNames, size: int, inner: int) -> Iterator[tuple[str, Shape]]:
    """Yield the tensors of a ViT block of this name, of width `size`, with `inner` features in its MLP."""
    for name in (names.norm1, names.norm2):
        yield from norm_shapes(f"{block}.{name}", size)
    for name in names.qkv:
        yield from linear_shapes(f"{block}.{name}", 3 * size // len(names.qkv), size)
    yield from linear_shapes(f"{block}.{names.proj}", size, size)
    yield from linear_shapes(f"{block}.{names.fc1}", inner, size)
    yield from linear_shapes(f"{block}.{names.fc2}", size, inner)
