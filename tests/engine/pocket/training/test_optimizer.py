"""Steps of the optimizer: as orthogonal as they should be, for each parameter once."""

import json
from pathlib import Path

import pytest
import torch
from torch.optim import AdamW

import engine.pocket
from engine.moondream.config import read_config
from engine.pocket.training.losses import PatchHead
from engine.pocket.training.optimizer import Muon, optimizers, orthogonal
from engine.pocket.training.trainable_model import TrainableModel

HERE = Path(engine.pocket.__file__).parent
CONFIG = read_config("config.json", json.loads((HERE / "config.json").read_text()))
LEAST, MOST = 0.65, 1.25  # of the singular values after five steps, rounding in bfloat16 included


def made_of(values: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix with these singular values, and its singular vectors."""
    u, _ = torch.linalg.qr(torch.randn(rows, len(values)))
    v, _ = torch.linalg.qr(torch.randn(columns, len(values)))
    return u * values @ v.T, u, v


@pytest.mark.parametrize(("rows", "columns"), [(192, 48), (48, 192), (96, 96)])
def test_singular_values_come_close_to_one(rows: int, columns: int) -> None:
    """From a hundredth of the largest on; the singular vectors stay."""
    torch.manual_seed(0)
    matrix, u, v = made_of(torch.logspace(-2, 0, min(rows, columns)), rows, columns)
    step = orthogonal(matrix[None])[0]
    assert step.shape == matrix.shape
    assert step.dtype == matrix.dtype
    values = torch.linalg.svdvals(step)
    assert values.min() > LEAST
    assert values.max() < MOST
    turned = u.T @ step @ v
    assert turned.diagonal().min() > LEAST - 0.05
    assert (turned - turned.diagonal().diag()).abs().max() < 0.1


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_length_of_a_matrix_does_not_matter(scale: float) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(1, 64, 32)
    torch.testing.assert_close(orthogonal(scale * matrix), orthogonal(matrix), atol=0.05, rtol=0)


def test_matrices_are_each_on_their_own() -> None:
    torch.manual_seed(2)
    matrices = torch.randn(3, 40, 24) * torch.tensor([1.0, 100.0, 0.01])[:, None, None]
    together = orthogonal(matrices)
    for matrix, step in zip(matrices, together, strict=True):
        torch.testing.assert_close(step, orthogonal(matrix[None])[0], atol=0.02, rtol=0)


def test_zero_stays_zero() -> None:
    assert not orthogonal(torch.zeros(1, 8, 4)).any()


@pytest.fixture(scope="module")
def modules() -> tuple[TrainableModel, PatchHead]:
    return TrainableModel(CONFIG), PatchHead(CONFIG.text.dim)


def test_each_parameter_is_in_one_group(modules: tuple[TrainableModel, PatchHead]) -> None:
    muon, adam = optimizers(modules, 1e-3, 0.1)
    assert isinstance(muon, Muon)
    assert isinstance(adam, AdamW)
    placed = [id(p) for optimizer in (muon, adam) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for module in modules for p in module.parameters())


def test_muon_has_the_matrices_of_the_blocks(modules: tuple[TrainableModel, PatchHead]) -> None:
    """Four of each block of the vision and the text model."""
    student, _ = modules
    names = {id(parameter): name for name, parameter in student.named_parameters()}
    muon, _ = optimizers(modules, 1e-3, 0.1)
    parts = {names[id(p)]: group["parts"] for group in muon.param_groups for p in group["params"]}
    blocks = [f"{model}.blocks.{i}" for model in ("vision", "text") for i in range(5)]
    whole = {f"{block}.{name}.weight": 1 for block in blocks for name in ("attn.proj", "mlp.fc1", "mlp.fc2")}
    assert parts == whole | {f"{block}.attn.qkv.weight": 3 for block in blocks}
    assert all(len({p.shape for p in group["params"]}) == 1 for group in muon.param_groups)


def one_step(parameter: torch.nn.Parameter, gradient: torch.Tensor, parts: int, decay: float = 0) -> torch.Tensor:
    """By how much a step at a rate of 0.1 changes the parameter."""
    before = parameter.detach().clone()
    muon = Muon([{"params": [parameter], "parts": parts}], 0.1, weight_decay=decay)
    parameter.grad = gradient
    muon.step()
    return parameter.detach() - before


@pytest.mark.parametrize(("parts", "longest"), [(1, 72), (3, 32)])
def test_a_step_is_orthogonal_in_each_part(parts: int, longest: int) -> None:
    """Queries, keys and values may have gradients of very different lengths."""
    torch.manual_seed(3)
    gradient = torch.randn(72, 32)
    gradient[:24] *= 1000
    step = one_step(torch.nn.Parameter(torch.randn(72, 32)), gradient.clone(), parts)
    for part, of in zip(step.chunk(parts), gradient.chunk(parts), strict=True):
        right = -0.1 * 0.2 * longest**0.5 * orthogonal(of[None])[0]
        torch.testing.assert_close(part, right, atol=2e-3, rtol=0)


def test_weights_decay_by_the_rate() -> None:
    step = one_step(torch.nn.Parameter(torch.full((8, 4), 2.0)), torch.zeros(8, 4), 1, decay=0.5)
    torch.testing.assert_close(step, torch.full((8, 4), -2.0 * 0.1 * 0.5))


def test_a_parameter_without_a_gradient_stays() -> None:
    still, moved = torch.nn.Parameter(torch.ones(8, 4)), torch.nn.Parameter(torch.ones(8, 4))
    muon = Muon([{"params": [still, moved]}], 0.1, weight_decay=0.5)
    moved.grad = torch.randn(8, 4)
    muon.step()
    assert torch.equal(still.detach(), torch.ones(8, 4))
    assert not torch.equal(moved.detach(), torch.ones(8, 4))


def test_momentum_goes_on_where_the_gradient_turns() -> None:
    """After many steps one way, one gradient the other way does not turn the step round."""
    torch.manual_seed(4)
    parameter, gradient = torch.nn.Parameter(torch.zeros(8, 8)), torch.eye(8)
    muon = Muon([{"params": [parameter]}], 0.1)
    for sign in [1.0] * 100 + [-0.5]:
        before = parameter.detach().clone()
        parameter.grad = sign * gradient
        muon.step()
    assert (parameter.detach() - before).diagonal().max() < 0
