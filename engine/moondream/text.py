"""The text model: token embeddings, a decoder with a bidirectional prefix for the image, and the output head."""

from collections.abc import Sequence

from torch import Tensor

from engine.generation.transformer import SequenceRun, Transformer
from engine.layers.embedding import embed
from engine.layers.kv_cache import PrefixCache
from engine.layers.lora import LoraAdapter
from engine.layers.norms import layer_norm
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotary_table
from engine.moondream.block import text_block
from engine.moondream.config import TextConfig
from engine.stepwise import Stepwise, finished


class TextModel:
    """Embeds tokens, and computes logits from the hidden states of `transformer`."""

    def __init__(self, config: TextConfig, reader: ParameterReader) -> None:
        self.config = config
        self.dtype, self.device = reader.dtype, reader.device
        self.embeddings = reader.embeddings("wte")
        self.blocks = [text_block(config, reader, layer) for layer in range(config.n_layers)]
        self.post_norm = reader.norm("post_ln")
        self.head = reader.linear("lm_head")
        cos, sin = rotary_table(config.rotary_dim, config.rope_theta, config.max_context, reader.device)
        self.transformer = Transformer(
            self.blocks, lambda positions: (cos[positions], sin[positions]), reader.dtype, reader.device
        )

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Embed token ids, (tokens, dim)."""
        return embed(self.embeddings, tokens, self.dtype, self.device)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits (rows, vocabulary) from hidden states (rows, dim)."""
        return self.head(layer_norm(hidden, self.post_norm))

    def prefixes(self, embeddings: Tensor, adapter: LoraAdapter | None = None) -> list[PrefixCache]:
        """Prefill n sequences with bidirectional attention within each.

        Args:
            embeddings: (n, rows, dim).
            adapter: LoRA adapter of all rows.

        Returns:
            The cache of each sequence.
        """
        return finished(self.prefixes_in_steps(embeddings, adapter))

    def prefixes_in_steps(self, embeddings: Tensor, adapter: LoraAdapter | None) -> Stepwise[list[PrefixCache]]:
        """Do what `prefixes` does, and yield between layers."""
        n, rows, _ = embeddings.shape
        caches = [self.transformer.new_cache() for _ in range(n)]
        runs = [
            SequenceRun(cache, slice(i * rows, (i + 1) * rows), causal=False, adapter=adapter)
            for i, cache in enumerate(caches)
        ]
        yield from self.transformer.prefill_in_steps(embeddings.flatten(0, 1), runs)
        return [cache.freeze() for cache in caches]
