"""Low-rank adapters of any model's linears: fitted to their names, and added to the rows of a batch that have one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.contract import ModelUnavailable
from engine.layers.lora import LoraAdapter, RowAdapters, make_adapter, read_tensors

LINEARS = {"layers.0.up": (6, 4), "layers.1.up": (6, 4)}


def pairs(rank: int = 2) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for name, (outputs, inputs) in LINEARS.items():
        made |= {f"{name}.A": torch.randn(rank, inputs), f"{name}.B": torch.randn(outputs, rank)}
    return made


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_tensors_of_a_file_become_pairs_in_the_asked_type(tmp_path: Path, suffix: str) -> None:
    path, stored = tmp_path / f"adapter.{suffix}", pairs()
    (save_file if suffix == "safetensors" else torch.save)(stored, path)
    adapter = make_adapter(path, read_tensors(path), LINEARS, dtype=torch.float64)
    assert adapter.pairs.keys() == LINEARS.keys()
    for name, (a, b) in adapter.pairs.items():
        assert torch.equal(a, stored[f"{name}.A"].double())
        assert torch.equal(b, stored[f"{name}.B"].double())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"layers.1.up.B": None}, "missing: layers.1.up.B"),
        ({"head.A": torch.ones(2, 4)}, "unknown: 'head.A'"),
        ({"layers.0.up.A": torch.ones(2, 5)}, "layers.0.up is [2, 5] and [6, 2], not [rank, 4] and [6, rank]"),
        ({"layers.0.up.A": torch.ones(2, 4).int()}, "not floating-point: layers.0.up.A"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Tensor | None], says: str) -> None:
    tensors = {name: tensor for name, tensor in (pairs() | changed).items() if tensor is not None}
    with pytest.raises(ModelUnavailable) as error:
        make_adapter(Path("some.pt"), tensors, LINEARS, dtype=torch.float32)
    assert says in str(error.value)
    assert str(error.value).startswith("some.pt: does not fit the model; ")


def test_what_may_be_there_is_ignored() -> None:
    adapter = make_adapter(
        Path("some.pt"), pairs() | {"head.A": torch.ones(2, 4)}, LINEARS, dtype=torch.float32, ignored=["head.A"]
    )
    assert adapter.pairs.keys() == LINEARS.keys()


def test_only_the_rows_of_an_adapter_and_the_linears_that_it_names_are_changed() -> None:
    first, second = (LoraAdapter({"layers.0.up": (torch.randn(rank, 4), torch.randn(6, rank))}) for rank in (2, 3))
    adapt = RowAdapters([(slice(1, 3), first), (slice(3, 4), second)], "layers.0")
    x, y = torch.randn(5, 4), torch.randn(5, 6)
    made = y.clone()
    adapt(made, x, "up")
    for row, adapter in enumerate([None, first, first, second, None]):
        added = x[row] @ adapter.pairs["layers.0.up"][0].T @ adapter.pairs["layers.0.up"][1].T if adapter else 0
        torch.testing.assert_close(made[row], y[row] + added)
    again = made.clone()
    adapt(again, x, "down")
    assert torch.equal(again, made)
