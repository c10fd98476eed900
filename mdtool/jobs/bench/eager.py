"""A Moondream's steps by plain torch, to compare with: plain weights, fused attention over all of the context.

That is how the public reference computes without a compiler. One layer is timed, and counted as often as it occurs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.moondream.config import Config
from mdtool.jobs.bench.timing import median_seconds


@dataclass(frozen=True)
class EagerTimings:
    """Seconds, without embeddings and projections; None for models with experts."""

    vision: float | None = None  # two crops
    prefill: float | None = None
    decode: float | None = None  # one token


@torch.inference_mode()
def eager_seconds(config: Config, device: str, dtype: torch.dtype, *, batch: int, runs: int) -> EagerTimings:
    text, vision = config.text, config.vision
    if text.moe:
        return EagerTimings()

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    def seconds(work: Callable[[], Tensor]) -> float:
        return median_seconds(work, device, runs)

    def read(rows: int) -> float:
        """By the text model, whose cache has all places, and a mask that hides those not yet written."""
        cache = made(batch, text.n_heads, text.max_context, text.head_dim)
        mask = (torch.arange(text.max_context, device=device) < config.prefix_length + rows)[None]
        layer = _layer(made, text.dim, text.ff_dim, text.n_heads)
        x = made(batch, rows, text.dim)
        return text.n_layers * seconds(
            lambda: layer(x, lambda q, k, v: F.scaled_dot_product_attention(q, cache, cache, mask))
        )

    layer = _layer(made, vision.enc_dim, vision.enc_ff_dim, vision.enc_n_heads)
    crops, head, row = (
        made(2 * batch, vision.grid**2, vision.enc_dim),
        made(text.vocab_size, text.dim),
        made(batch, text.dim),
    )
    return EagerTimings(
        vision.enc_n_layers * seconds(lambda: layer(crops, F.scaled_dot_product_attention)),
        read(config.prefix_length),
        read(1) + seconds(lambda: F.linear(row, head)),
    )


def _layer(
    made: Callable[..., Tensor], dim: int, inner: int, heads: int
) -> Callable[[Tensor, Callable[[Tensor, Tensor, Tensor], Tensor]], Tensor]:
    norm, qkv, proj, up, down = made(dim), made(3 * dim, dim), made(dim, dim), made(inner, dim), made(dim, inner)

    def layer(x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        h = F.layer_norm(x, (dim,), norm, norm)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in F.linear(h, qkv).chunk(3, -1))
        attended = F.linear(attend(q, k, v).transpose(1, 2).flatten(2), proj)
        return x + attended + F.linear(F.gelu(F.linear(h, up), approximate="tanh"), down)

    return layer
