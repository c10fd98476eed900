"""What a student gets wrong: in what it tells, and in what its image tokens hold.

The second is what makes the first learnable in hours: without it the coordinates hardly begin to move. Its head is
thrown away afterwards.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.pocket.scene import COLOURS, FACE, KINDS, SIGN
from engine.pocket.training.examples import Batch
from engine.pocket.training.student import Student

# What a shape is, is what a student finds hardest and needs most; a sign's digits would drown it, though few patches
# show any.
WEIGHTS = {"patch kind": 3.0, "patch digits": 0.2}
COORDINATE_SPREAD, SIZE_SPREAD = 1.5 / 512, 4 / 512  # of the soft targets over the bins, as a share of all bins
SMALLEST = 1 / 1024  # a size's first bin; each of ten octaves takes a tenth of them


def answer_losses(student: Student, hidden: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Mean losses of tokens (weighted), coordinates and sizes over the positions where each is to be told."""
    text, region = student.text, student.region
    of_token = batch.next_token >= 0
    logits = text.lm_head(text.post_ln(hidden[of_token])).float()
    of_coordinate, of_size = batch.next_coordinate >= 0, batch.next_size[..., 0] >= 0
    x = region.coord_decoder(hidden[of_coordinate]).float()
    sizes = region.size_decoder(hidden[of_size]).float().unflatten(-1, (2, -1))
    octaves = 1 + batch.next_size[of_size].clamp(min=SMALLEST).log2() / 10  # 0..1
    weight = batch.weight[of_token]
    tokens = F.cross_entropy(logits, batch.next_token[of_token], reduction="none")
    return {
        "token": (weight * tokens).sum() / weight.sum(),
        "coordinate": soft_cross_entropy(x, batch.next_coordinate[of_coordinate] * x.shape[-1], COORDINATE_SPREAD),
        "size": soft_cross_entropy(sizes, octaves * (sizes.shape[-1] - 1), SIZE_SPREAD),
    }


def soft_cross_entropy(logits: Tensor, bins: Tensor, spread: float) -> Tensor:
    """Against a Gaussian round each bin (a fraction of them counts); less its own entropy, so that 0 is perfect.

    logits: (..., bins); bins: (...); spread: the standard deviation as a share of all bins.
    """
    count = logits.shape[-1]
    distance = torch.arange(count, device=logits.device) - bins[..., None]
    target = F.log_softmax(-0.5 * (distance / (spread * count)) ** 2, dim=-1)
    return F.kl_div(F.log_softmax(logits, dim=-1), target, reduction="none", log_target=True).sum(-1).mean()


class PatchHead(nn.Module):
    """Tells what there is in a patch from its projected token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.parts = {"kind": 1 + len(KINDS), "colour": 1 + len(COLOURS), "box": 4, "look": 2, "tens": 11, "ones": 11}
        self.linear = nn.Linear(dim, sum(self.parts.values()))

    def forward(self, pictures: Tensor, batch: Batch) -> dict[str, Tensor]:
        """pictures: (B, P, E). Mean losses."""
        split = self.linear(pictures).float().split(list(self.parts.values()), dim=-1)
        told = dict(zip(self.parts, split, strict=True))
        covered = batch.patch_kind > 0
        is_face, is_sign = (batch.patch_kind == 1 + KINDS.index(kind) for kind in (FACE, SIGN))

        def by_class(name: str, target: Tensor, where: Tensor) -> Tensor:
            return F.cross_entropy(told[name][where], target[where]) if where.any() else told[name].sum() * 0

        def apart(name: str, target: Tensor, where: Tensor) -> Tensor:
            return (told[name][where] - target[where]).abs().mean() if where.any() else told[name].sum() * 0

        digits = batch.patch_digits
        return {
            "patch kind": F.cross_entropy(told["kind"].flatten(0, 1), batch.patch_kind.flatten()),
            "patch colour": by_class("colour", batch.patch_colour, covered),
            "patch box": 10 * apart("box", batch.patch_box, covered),
            "patch look": apart("look", batch.patch_look, is_face),
            "patch digits": by_class("tens", digits[..., 0], is_sign) + by_class("ones", digits[..., 1], is_sign),
        }
