"""Softmax(q k^T / sqrt(d)) v, in the form that is fastest where it runs.

On a CPU torch's fused attention is far from the limit of the machine; plain products over a few heads at a time, whose
scores stay in the cache, take a third of its time. Each sequence is computed by itself there, so that its result does
not depend on the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.cache import Tail

HEADS_AT_ONCE = 4  # scores of 4 x 730 x 730 in 16 bits are 4 MB


def attend_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every row sees every other. q: (n, heads, rows, dim); k, v: (n, kv heads, rows, dim), all contiguous.

    Returns (n * rows, heads * dim). Consecutive query heads share a kv head where there are fewer of those.
    """
    n, heads, rows, dim = q.shape
    if q.device.type == "cpu":
        mixed = torch.stack([_attend_by_heads(*one) for one in zip(q, k, v, strict=True)])
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=heads > k.shape[1])
    return mixed.transpose(1, 2).reshape(n * rows, heads * dim)


def _attend_by_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    heads, rows, dim = q.shape
    groups = heads // k.shape[0]
    step = max(1, HEADS_AT_ONCE // groups)
    out = torch.empty_like(q)
    q, grouped = (x.view(k.shape[0], groups * rows, dim) for x in (q, out))
    scores = q.new_empty(step, groups * rows, rows)
    for first in range(0, k.shape[0], step):
        some = slice(first, first + step)
        part = scores[: k[some].shape[0]]
        torch.baddbmm(part, q[some], k[some].transpose(1, 2), beta=0, alpha=dim**-0.5, out=part)
        torch.softmax(part, -1, out=part)
        torch.bmm(part, v[some], out=grouped[some])
    return out


def attend_tail(q: Tensor, tail: Tail, layer: int) -> Tensor:
    """The last rows of one sequence over its prefix and, causally, over its tail, where they are written already.

    q: (heads, rows, dim), for the positions from tail.length on. Returns (rows, heads * dim).
    """
    heads, rows, dim = q.shape
    end = tail.length + rows
    k, v = tail.keys[layer, :, :end], tail.values[layer, :, :end]
    groups = heads // k.shape[0]
    q = q.reshape(k.shape[0], groups * rows, dim) * dim**-0.5
    scores = q @ k.transpose(1, 2)
    if rows > 1:
        unseen = torch.ones(rows, end, dtype=torch.bool, device=q.device).triu(tail.length + 1)
        scores.view(k.shape[0], groups, rows, end).masked_fill_(unseen, float("-inf"))
    if tail.prefix is None:
        mixed = torch.softmax(scores, -1) @ v
    else:
        before, first = tail.prefix.keys[layer], tail.prefix.length
        weights = torch.softmax(torch.cat([q @ before.transpose(1, 2), scores], -1), -1)
        mixed = weights[:, :, :first] @ tail.prefix.values[layer] + weights[:, :, first:] @ v
    return mixed.view(heads, rows, dim).transpose(0, 1).reshape(rows, heads * dim)
