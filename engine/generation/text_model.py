"""The text model of a VLM: token embeddings, the layers of a decoder, and the output head."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.generation.transformer import Transformer
from engine.layers.fused_linear import linear_of_rms_norm
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import make_linear
from engine.layers.parameters import ParameterReader
from engine.quantization.formats import Matrix


@dataclass(frozen=True)
class TextModel:
    """A decoder with a final RMSNorm.

    Attributes:
        embeddings: (vocabulary, dim).
        norm: Weight of the final norm.
        head: Hidden states -> logits.
        eps: Of the final norm.
        max_context: Most tokens of a sequence.
    """

    embeddings: Matrix
    transformer: Transformer
    norm: Tensor
    head: LinearLayer
    eps: float
    max_context: int

    @classmethod
    def read(
        cls, reader: ParameterReader, transformer: Transformer, norm: str, *, eps: float, max_context: int
    ) -> "TextModel":
        """Build a text model; its head is tied to the embeddings if there is no "lm_head.weight".

        Args:
            reader: Of the language model.
            transformer: Its layers.
            norm: Name of the final norm.
            eps: Of the final norm.
            max_context: Most tokens of a sequence.
        """
        embeddings = reader.matrix("embed_tokens.weight")
        if reader.has("lm_head.weight"):
            head = reader.linear("lm_head")
        else:
            head = make_linear(embeddings, None, reader.dtype, packed=reader.packed, compiled=reader.compiled)
        return cls(embeddings, transformer, reader(f"{norm}.weight"), head, eps, max_context)

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Embed token ids, (tokens, dim)."""
        rows = torch.tensor(tokens, dtype=torch.long, device=self.transformer.device)
        if isinstance(self.embeddings, Tensor):
            return self.embeddings[rows]
        return self.embeddings.rows(rows, self.transformer.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits (rows, vocabulary) from hidden states (rows, dim)."""
        return linear_of_rms_norm(self.head, hidden, self.norm, self.eps)
