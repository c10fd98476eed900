"""A text model that reads tokens and images, as the decoder of the scheduler: see `engine.generation.scheduler`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.generation.image_features import ImageFeatures, image_spans, multimodal_positions
from engine.generation.next_token import sample_tokens
from engine.generation.text_model import TextModel
from engine.generation.transformer import Deepstack, SequenceRun
from engine.layers.kv_cache import PrefixCache, SequenceCache
from engine.layers.lora import LoraAdapter
from engine.stepwise import Stepwise

Pieces = Sequence[int | ImageFeatures]


class VlmDecoder:
    """Runs batched steps; implements `engine.generation.scheduler.Decoder`."""

    def __init__(self, text: TextModel) -> None:
        self.text = text

    def start(self, prefix: PrefixCache | None) -> SequenceCache:
        """Return the cache of a sequence that continues a prefix; None: an empty one."""
        return self.text.transformer.new_cache(prefix)

    def room(self, cache: SequenceCache) -> int:
        """Return how many more tokens fit into the context."""
        return self.text.max_context - cache.length

    @torch.inference_mode()
    def step(self, feeds: Sequence[tuple[SequenceCache, LoraAdapter | None, Pieces]]) -> Tensor:
        """Run the next pieces of several sequences; return the last hidden state of each, (feeds, dim)."""
        runs, end = [], 0
        for cache, adapter, pieces in feeds:
            runs.append(self._run(cache, end, pieces, adapter))
            end += len(pieces)
        hidden = self.text.transformer.extend(self.embed([piece for _, _, pieces in feeds for piece in pieces]), runs)
        return hidden[[run.rows.stop - 1 for run in runs]]

    @torch.inference_mode()
    def prefill_in_steps(
        self, pieces: Pieces, adapter: LoraAdapter | None = None, prefix: PrefixCache | None = None
    ) -> Stepwise[PrefixCache]:
        """Run the pieces of one sequence that continues a prefix, and yield between layers.

        Returns:
            The cache of both.
        """
        cache = self.start(prefix)
        yield from self.text.transformer.prefill_in_steps(self.embed(pieces), [self._run(cache, 0, pieces, adapter)])
        return cache.freeze()

    def beginning(self, pieces: Pieces, cache: PrefixCache, length: int) -> PrefixCache | None:
        """Return the cache of the first pieces of a sequence.

        Args:
            pieces: The sequence.
            cache: Of at least those.
            length: How many of them, at least one.

        Returns:
            The cache; None: it can't go back to them.
        """
        multimodal = self.text.transformer.position_axes > 1
        following = int(multimodal_positions(pieces[:length], 0).max()) + 1 if multimodal else length
        return cache.truncated(length, following)

    def embed(self, pieces: Pieces) -> Tensor:
        """Embed tokens and images, (pieces, dim)."""
        tokens = [piece if isinstance(piece, int) else 0 for piece in pieces]
        x = self.text.embed(tokens)
        for start, image in image_spans(pieces):
            x[start : start + len(image)] = image.embeddings
        return x

    @torch.inference_mode()
    def read(self, reads: Sequence[Any], hidden: Tensor) -> list[int]:
        """Decode tokens from hidden states (reads, dim)."""
        return sample_tokens(reads, self.text.logits(hidden))

    def _run(self, cache: SequenceCache, start: int, pieces: Pieces, adapter: LoraAdapter | None) -> SequenceRun:
        rows = slice(start, start + len(pieces))
        images = list(image_spans(pieces))
        positions = None
        if images and self.text.transformer.position_axes > 1:
            positions = multimodal_positions(pieces, cache.next_position)
        return SequenceRun(cache, rows, adapter=adapter, positions=positions, deepstack=_deepstack(images))


def _deepstack(images: Sequence[tuple[int, ImageFeatures]]) -> Deepstack | None:
    """Join the deepstack features of the images in one run."""
    layers = images[0][1].deepstack if images else {}
    if not layers:
        return None
    device = images[0][1].embeddings.device
    rows = torch.cat([torch.arange(start, start + len(image), device=device) for start, image in images])
    return Deepstack(rows, {layer: torch.cat([image.deepstack[layer] for _, image in images]) for layer in layers})
