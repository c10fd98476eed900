"""Training losses: of the answers, and an auxiliary loss of what each image token shows.

With the auxiliary loss the answers are learnt in hours; without it the coordinate loss hardly falls. Its head is not
part of the trained model.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.pocket.scene import COLOURS, FACE, KINDS, SIGN
from engine.pocket.training.examples import Batch
from engine.pocket.training.trainable_model import TrainableModel

# The kind of a shape is hardest to learn and needed most. A sign's digits would dominate, though few patches show any.
WEIGHTS = {"patch kind": 3.0, "patch digits": 0.2}
# For captions the text model learns words: the noise of coordinates would drown them.
CAPTION_WEIGHTS = {"token": 2.0, "coordinate": 0.6, "size": 0.6}
COORDINATE_SPREAD, SIZE_SPREAD = 1.5 / 512, 4 / 512  # standard deviations of the soft targets, as a share of all bins
SMALLEST = 1 / 1024  # a size's first bin; each of ten octaves has a tenth of the bins


def answer_losses(model: TrainableModel, hidden: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Compute the mean losses of tokens (weighted), coordinates and sizes over the positions that have such targets.

    Args:
        model: Whose heads decode the hidden states.
        hidden: (B, R, E).
        batch: With the targets.
    """
    text, region = model.text, model.region
    has_token = batch.next_token >= 0
    logits = text.lm_head(text.post_ln(hidden[has_token])).float()
    has_coordinate, has_size = batch.next_coordinate >= 0, batch.next_size[..., 0] >= 0
    x = region.coord_decoder(hidden[has_coordinate]).float()
    sizes = region.size_decoder(hidden[has_size]).float().unflatten(-1, (2, -1))
    octaves = 1 + batch.next_size[has_size].clamp(min=SMALLEST).log2() / 10  # 0..1
    weight = batch.weight[has_token]
    tokens = F.cross_entropy(logits, batch.next_token[has_token], reduction="none")
    return {
        "token": (weight * tokens).sum() / weight.sum(),
        "coordinate": soft_cross_entropy(x, batch.next_coordinate[has_coordinate] * x.shape[-1], COORDINATE_SPREAD),
        "size": soft_cross_entropy(sizes, octaves * (sizes.shape[-1] - 1), SIZE_SPREAD),
    }


def soft_cross_entropy(logits: Tensor, bins: Tensor, spread: float) -> Tensor:
    """Compute the mean KL divergence from a Gaussian around each target bin; 0 is perfect.

    Args:
        logits: (..., bins).
        bins: Target bins, fractional, (...).
        spread: Standard deviation, as a share of all bins.
    """
    count = logits.shape[-1]
    distance = torch.arange(count, device=logits.device) - bins[..., None]
    target = F.log_softmax(-0.5 * (distance / (spread * count)) ** 2, dim=-1)
    divergence: Tensor = F.kl_div(F.log_softmax(logits, dim=-1), target, reduction="none", log_target=True)
    return divergence.sum(-1).mean()


class PatchHead(nn.Module):
    """Predicts the object in each patch from its projected image token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.parts = {"kind": 1 + len(KINDS), "colour": 1 + len(COLOURS), "box": 4, "look": 2, "tens": 11, "ones": 11}
        self.linear = nn.Linear(dim, sum(self.parts.values()))

    def forward(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Compute the mean losses.

        Args:
            images: Projected image tokens, (B, P, E).
            batch: With the targets.
        """
        split = torch.split(self.linear(images).float(), list(self.parts.values()), dim=-1)
        predicted: dict[str, Tensor] = dict(zip(self.parts, split, strict=True))
        covered = batch.patch_kind > 0
        is_face, is_sign = (batch.patch_kind == 1 + KINDS.index(kind) for kind in (FACE, SIGN))

        def cross_entropy(name: str, target: Tensor, where: Tensor) -> Tensor:
            return F.cross_entropy(predicted[name][where], target[where]) if where.any() else predicted[name].sum() * 0

        def l1(name: str, target: Tensor, where: Tensor) -> Tensor:
            return (predicted[name][where] - target[where]).abs().mean() if where.any() else predicted[name].sum() * 0

        digits = batch.patch_digits
        return {
            "patch kind": F.cross_entropy(predicted["kind"].flatten(0, 1), batch.patch_kind.flatten()),
            "patch colour": cross_entropy("colour", batch.patch_colour, covered),
            "patch box": 10 * l1("box", batch.patch_box, covered),
            "patch look": l1("look", batch.patch_look, is_face),
            "patch digits": cross_entropy("tens", digits[..., 0], is_sign)
            + cross_entropy("ones", digits[..., 1], is_sign),
        }
