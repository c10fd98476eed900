"""The text model of a VLM: token embeddings, the layers of a decoder, and the output head."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from engine.generation.transformer import Transformer
from engine.layers.embedding import Embeddings, embed
from engine.layers.fused_linear import linear_of_rms_norm
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import make_linear
from engine.layers.parameters import ParameterReader


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

    embeddings: Embeddings
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
        name = "embed_tokens.weight"
        embeddings: Embeddings
        if reader.has("lm_head.weight"):
            embeddings, head = reader.embeddings(name), reader.linear("lm_head")
        else:
            embeddings = tied = reader.matrix(name)
            head = make_linear(tied, None, reader.dtype, packed=reader.packed, compiled=reader.compiled)
        return cls(embeddings, transformer, reader(f"{norm}.weight"), head, eps, max_context)

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Embed token ids, (tokens, dim)."""
        return embed(self.embeddings, tokens, self.transformer.dtype, self.transformer.device)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits (rows, vocabulary) from hidden states (rows, dim)."""
        return linear_of_rms_norm(self.head, hidden, self.norm, self.eps)
