"""The text model and its region heads as the decoder of the scheduler: see `engine.generation.scheduler`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.generation.next_token import sample_tokens
from engine.generation.steps import Coordinate, ModelInput, ReadCoordinate, ReadSize, Size
from engine.generation.transformer import SequenceRun
from engine.layers.kv_cache import PrefixCache, SequenceCache
from engine.layers.lora import LoraAdapter
from engine.moondream.region import RegionHeads
from engine.moondream.text import TextModel


class MoondreamDecoder:
    """Runs batched steps of Moondream; implements `engine.generation.scheduler.Decoder`."""

    def __init__(self, text: TextModel, region: RegionHeads) -> None:
        self.text = text
        self.region = region

    def start(self, prefix: PrefixCache | None) -> SequenceCache:
        """Return the cache of a sequence that continues an encoded image; None: an empty one."""
        return self.text.transformer.new_cache(prefix)

    def room(self, cache: SequenceCache) -> int:
        """Return how many more tokens fit into the context."""
        return self.text.config.max_context - cache.next_position

    @torch.inference_mode()
    def step(self, feeds: Sequence[tuple[SequenceCache, LoraAdapter | None, Sequence[ModelInput]]]) -> Tensor:
        """Run the next pieces of several sequences; return the last hidden state of each, (feeds, dim)."""
        runs, end = [], 0
        for cache, adapter, pieces in feeds:
            runs.append(SequenceRun(cache, slice(end, end + len(pieces)), adapter=adapter))
            end += len(pieces)
        hidden = self.text.transformer.extend(self.embed([piece for _, _, pieces in feeds for piece in pieces]), runs)
        return hidden[[run.rows.stop - 1 for run in runs]]

    def embed(self, pieces: Sequence[ModelInput]) -> Tensor:
        """Embed tokens, coordinates and sizes, (pieces, dim)."""
        tokens = {i: piece for i, piece in enumerate(pieces) if isinstance(piece, int)}
        if len(tokens) == len(pieces):
            return self.text.embed(list(tokens.values()))
        x = torch.empty(len(pieces), self.text.config.dim, dtype=self.text.dtype, device=self.text.device)
        if tokens:
            x[list(tokens)] = self.text.embed(list(tokens.values()))
        coordinates = {i: piece.value for i, piece in enumerate(pieces) if isinstance(piece, Coordinate)}
        if coordinates:
            x[list(coordinates)] = self.region.embed_coordinates(list(coordinates.values()))
        sizes = {i: (piece.width, piece.height) for i, piece in enumerate(pieces) if isinstance(piece, Size)}
        if sizes:
            x[list(sizes)] = self.region.embed_sizes(list(sizes.values()))
        return x

    @torch.inference_mode()
    def read(self, reads: Sequence[Any], hidden: Tensor) -> list[Any]:
        """Decode tokens, coordinates or sizes from hidden states (reads, dim); the reads are of one type."""
        if isinstance(reads[0], ReadCoordinate):
            return list(self.region.coordinates(hidden))
        if isinstance(reads[0], ReadSize):
            return list(self.region.sizes(hidden))
        return sample_tokens(reads, self.text.logits(hidden))
