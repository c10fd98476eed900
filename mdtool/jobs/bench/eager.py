"""A baseline for the steps of a Moondream model in eager PyTorch: plain weights, fused attention over all positions.

That is how the public reference runs without torch.compile. One layer is timed, and multiplied by the number of layers.
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
    """Seconds per step, without embeddings and projections; None for mixture-of-experts models.

    Attributes:
        vision: The vision encoder on two crops.
        prefill: The text model on the prefix.
        decode: One decode step.
    """

    vision: float | None = None
    prefill: float | None = None
    decode: float | None = None


@torch.inference_mode()
def eager_seconds(config: Config, device: str, dtype: torch.dtype, *, batch: int, runs: int) -> EagerTimings:
    """Time the steps of a model of this shape with random weights, as the median of `runs`."""
    text, vision = config.text, config.vision
    if text.moe:
        return EagerTimings()

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device).to(dtype)

    def seconds(work: Callable[[], Tensor]) -> float:
        return median_seconds(work, device, runs)

    def text_model(rows: int) -> float:
        """Time the text model on `rows` tokens, with a full-length KV cache and a mask over the unused positions."""
        cache = random(batch, text.n_heads, text.max_context, text.head_dim)
        mask = (torch.arange(text.max_context, device=device) < config.prefix_length + rows)[None]
        layer = _layer(random, text.dim, text.ff_dim, text.n_heads)
        x = random(batch, rows, text.dim)
        return text.n_layers * seconds(
            lambda: layer(x, lambda q, k, v: F.scaled_dot_product_attention(q, cache, cache, mask))
        )

    layer = _layer(random, vision.enc_dim, vision.enc_ff_dim, vision.enc_n_heads)
    crops, head, row = (
        random(2 * batch, vision.grid**2, vision.enc_dim),
        random(text.vocab_size, text.dim),
        random(batch, text.dim),
    )
    return EagerTimings(
        vision.enc_n_layers * seconds(lambda: layer(crops, F.scaled_dot_product_attention)),
        text_model(config.prefix_length),
        text_model(1) + seconds(lambda: F.linear(row, head)),
    )


def _layer(
    random: Callable[..., Tensor], dim: int, inner: int, heads: int
) -> Callable[[Tensor, Callable[[Tensor, Tensor, Tensor], Tensor]], Tensor]:
    norm, qkv, proj = random(dim), random(3 * dim, dim), random(dim, dim)
    up, down = random(inner, dim), random(dim, inner)

    def layer(x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        h = F.layer_norm(x, (dim,), norm, norm)
        q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in F.linear(h, qkv).chunk(3, -1))
        attended = F.linear(attend(q, k, v).transpose(1, 2).flatten(2), proj)
        return x + attended + F.linear(F.gelu(F.linear(h, up), approximate="tanh"), down)

    return layer
