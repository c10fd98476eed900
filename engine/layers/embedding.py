"""Token embeddings: rows of a matrix in memory, or read from a file."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.quantization.formats import Matrix
from engine.quantization.row_table import RowTable

Embeddings = Matrix | RowTable


def embed(table: Embeddings, tokens: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Return the embeddings of token ids, (tokens, dim)."""
    if not isinstance(table, Matrix):
        return table.rows(tokens, dtype)
    rows = torch.tensor(tokens, dtype=torch.long, device=device)
    return table[rows] if isinstance(table, Tensor) else table.rows(rows, dtype)


def embedding_lines(table: Embeddings) -> tuple[str, ...]:
    """Return a line for people on embeddings that are not in memory."""
    if isinstance(table, Matrix):
        return ()
    return (f"token embeddings stay in the file, {table.nbytes / 1e6:.0f} MB: their rows are read as needed",)
