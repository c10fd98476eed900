"""Losses against plain computations, one number at a time."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import engine.pocket
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import read_config
from engine.pocket.scene import FACE, KINDS, SIGN
from engine.pocket.training.examples import Batch, BatchBuilder
from engine.pocket.training.losses import PatchHead, answer_losses, soft_cross_entropy
from engine.pocket.training.trainable_model import TrainableModel

HERE = Path(engine.pocket.__file__).parent
CONFIG = read_config("config.json", json.loads((HERE / "config.json").read_text()))
DIM = CONFIG.text.dim


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    shares: np.ndarray = powers / powers.sum()
    return shares


def gaussian(count: int, middle: float, spread: float) -> np.ndarray:
    """Probabilities of the bins. spread: in bins."""
    return softmax(-((np.arange(count) - middle) ** 2) / (2 * spread**2))


def divergence(logits: np.ndarray, target: np.ndarray) -> float:
    """Kullback-Leibler, of what the logits say from the target."""
    told = np.log(softmax(logits))
    return float(sum(share * (math.log(share) - log) for share, log in zip(target, told, strict=True) if share > 0))


def loss(logits: np.ndarray, bins: list[float], spread: float) -> float:
    return soft_cross_entropy(torch.from_numpy(logits), torch.tensor(bins, dtype=torch.float64), spread).item()


@pytest.mark.parametrize("bin", [0.0, 7.3, 31.0, 63.0])
def test_the_target_itself_is_perfect(bin: float) -> None:
    logits = np.log(gaussian(64, bin, 0.05 * 64) + 1e-300)
    assert loss(logits[None], [bin], 0.05) == pytest.approx(0, abs=1e-9)
    assert loss(logits[None] + 5, [bin], 0.05) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bin", [0.0, 7.3, 40.0])
def test_all_else_is_worse_the_further_the_more(bin: float) -> None:
    off = [loss(np.log(gaussian(64, bin + shift, 3.2) + 1e-300)[None], [bin], 0.05) for shift in (0, 1, 3, 9)]
    assert off == sorted(off)
    assert off[1] > 0.01
    wider = np.log(gaussian(64, bin, 6.4))
    assert loss(wider[None], [bin], 0.05) > 0.1


def test_soft_cross_entropy_is_the_mean_divergence() -> None:
    rng = np.random.default_rng(0)
    logits, bins, spread = rng.normal(0, 2, (3, 40)), [0.0, 12.25, 39.0], 0.03
    right = np.mean([divergence(row, gaussian(40, bin, spread * 40)) for row, bin in zip(logits, bins, strict=True)])
    assert loss(logits, bins, spread) == pytest.approx(right)
    paired = soft_cross_entropy(torch.from_numpy(logits)[:, None], torch.tensor(bins)[:, None], spread)
    assert paired.item() == pytest.approx(right, rel=1e-5)


@pytest.fixture(scope="module")
def batch() -> Batch:
    teacher = BatchBuilder(CONFIG, load_tokenizer(HERE / "tokenizer.json", CONFIG.text.vocab_size))
    return teacher.batch([1, 2])


def test_what_is_told_is_held_against_the_next_things(batch: Batch) -> None:
    torch.manual_seed(2)
    student, hidden = TrainableModel(CONFIG), torch.randn(2, batch.tokens.shape[1], DIM)
    sized = batch.next_size[..., 0] >= 0
    batch.next_size[sized] = batch.next_size[sized].index_fill(0, torch.tensor(0), 1e-4)  # less than the first bin
    region = student.region
    sums: dict[str, list[float]] = {"token": [], "coordinate": [], "size": []}
    weights: list[float] = []
    with torch.no_grad():
        losses = answer_losses(student, hidden, batch)
        for picture, row in np.ndindex(2, batch.tokens.shape[1]):
            x = hidden[picture, row]
            token, coordinate = int(batch.next_token[picture, row]), float(batch.next_coordinate[picture, row])
            if token >= 0:
                logits = student.text.lm_head(student.text.post_ln(x)).double().numpy()
                weight = float(batch.weight[picture, row])
                sums["token"].append(-weight * math.log(softmax(logits)[token]))
                weights.append(weight)
            if coordinate >= 0:
                logits = region.coord_decoder(x).double().numpy()
                sums["coordinate"].append(divergence(logits, gaussian(512, coordinate * 512, 1.5)))
            sides = batch.next_size[picture, row].tolist()
            if sides[0] >= 0:
                both = region.size_decoder(x).double().numpy().reshape(2, 512)
                for logits, side in zip(both, sides, strict=True):  # bins from 2^-10 to 1, evenly in octaves
                    bin = 511 * (10 + math.log2(max(side, 1 / 1024))) / 10
                    sums["size"].append(divergence(logits, gaussian(512, bin, 4)))
    assert all(len(each) > 2 for each in sums.values())
    assert losses.keys() == sums.keys()
    for name, each in sums.items():
        of = sum(weights) if name == "token" else len(each)
        assert losses[name].item() == pytest.approx(sum(each) / of, rel=2e-5), name


def head_that_says(said: dict[str, torch.Tensor]) -> tuple[PatchHead, torch.Tensor]:
    """A head and pictures of which it tells just this. said: by part, (B, P, ...)."""
    head = PatchHead(sum(PatchHead(1).parts.values()))
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(head.linear.in_features))
        head.linear.bias.zero_()
    return head, torch.cat([said[part] for part in head.parts], dim=-1)


def truth(batch: Batch) -> dict[str, torch.Tensor]:
    """What a head that knows everything says: classes with all their weight on the right one."""

    def sure(classes: torch.Tensor, count: int) -> torch.Tensor:
        return 50.0 * torch.nn.functional.one_hot(classes, count)

    return {
        "kind": sure(batch.patch_kind, 10),
        "colour": sure(batch.patch_colour, 9),
        "box": batch.patch_box,
        "look": batch.patch_look,
        "tens": sure(batch.patch_digits[..., 0], 11),
        "ones": sure(batch.patch_digits[..., 1], 11),
    }


def painted(batch: Batch) -> Batch:
    """The batch with a star, a face and a sign in three of its patches and nothing elsewhere."""
    for name in ("kind", "colour", "box", "look", "digits"):
        setattr(batch, f"patch_{name}", torch.zeros_like(getattr(batch, f"patch_{name}")))
    for patch, kind in enumerate(("star", FACE, SIGN)):
        batch.patch_kind[0, patch] = 1 + KINDS.index(kind)
        batch.patch_box[0, patch] = torch.tensor([0.5, 0.25, 0.5, 0.125])
    batch.patch_colour[0, :3] = torch.tensor([3, 0, 5])
    batch.patch_look[0, 1] = torch.tensor([0.6, -0.8])
    batch.patch_digits[0, 2] = torch.tensor([5, 3])
    return batch


@pytest.mark.parametrize(
    ("part", "patch", "shift", "loss", "value"),
    [
        ("box", 0, 0.3, "patch box", 10 * 0.3 / 3),  # three things have boxes
        ("box", 5, 0.3, "patch box", 0),  # where there is nothing there is no box
        ("look", 1, 0.3, "patch look", 0.3),
        ("look", 0, 0.3, "patch look", 0),  # a star looks at nothing
    ],
)
def test_places_are_told_where_they_mean_something(
    batch: Batch, part: str, patch: int, shift: float, loss: str, value: float
) -> None:
    said = truth(painted(batch))
    said[part] = said[part].clone()
    said[part][0, patch] += shift
    head, pictures = head_that_says(said)
    losses = head(pictures, batch)
    assert losses[loss].item() == pytest.approx(value, abs=1e-6)
    assert sum(other.item() for name, other in losses.items() if name != loss) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("part", "patch", "loss", "weight"),
    [
        ("kind", 0, "patch kind", 1 / 200),
        ("kind", 9, "patch kind", 1 / 200),  # nothing is a kind too
        ("colour", 0, "patch colour", 1 / 3),
        ("colour", 9, "patch colour", 0),
        ("tens", 2, "patch digits", 1),
        ("ones", 2, "patch digits", 1),
        ("ones", 0, "patch digits", 0),
    ],
)
def test_classes_are_told_where_they_mean_something(
    batch: Batch, part: str, patch: int, loss: str, weight: float
) -> None:
    """Of a patch where all classes are as likely the loss is their number's logarithm."""
    said = truth(painted(batch))
    said[part] = said[part].double()
    said[part][0, patch] = 0
    head, pictures = head_that_says({name: each.float() for name, each in said.items()})
    losses = head(pictures, batch)
    assert losses[loss].item() == pytest.approx(weight * math.log(said[part].shape[-1]), abs=1e-6)
    assert sum(other.item() for name, other in losses.items() if name != loss) == pytest.approx(0, abs=1e-6)


def test_a_batch_without_faces_and_signs_has_losses_too(batch: Batch) -> None:
    painted(batch).patch_kind.zero_()
    head = PatchHead(DIM)
    losses = head(torch.randn(2, 100, DIM), batch)
    assert losses["patch kind"].item() > 0
    rest = {name: value.item() for name, value in losses.items() if name != "patch kind"}
    assert rest == dict.fromkeys(("patch colour", "patch box", "patch look", "patch digits"), 0)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())
