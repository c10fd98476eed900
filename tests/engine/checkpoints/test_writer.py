"""What is written one tensor at a time is what safetensors' own reader reads."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.reader import DTYPES, open_checkpoint
from engine.checkpoints.writer import write_checkpoint

Tensors = dict[str, Tensor]


def written(path: Path, tensors: Tensors, others: tuple[str, ...] = ()) -> Path:
    """others: names of tensors that do not come."""
    with path.open("wb") as file:
        write_checkpoint(file, [*others, *tensors], tensors.items())
    return path


def assert_read(path: Path, tensors: Tensors) -> None:
    read = load_file(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert read[name].flatten().view(torch.uint8).equal(tensor.contiguous().flatten().view(torch.uint8)), name


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_type(tmp_path: Path, dtype: torch.dtype) -> None:
    """Behind three bytes, so that it lies at no multiple of its size."""
    tensors = {"bytes": torch.arange(3, dtype=torch.uint8), "x": torch.arange(12).view(3, 4).to(dtype)}
    path = written(tmp_path / "w.safetensors", tensors)
    assert_read(path, tensors)
    assert torch.equal(open_checkpoint(path).read("x").float(), tensors["x"].float())


def test_every_shape(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3, dtype=torch.bfloat16),
        "transposed": torch.arange(6.0).view(2, 3).T,
        "part": torch.arange(20).view(4, 5)[1:3, ::2],
        "deep": torch.ones(1, 2, 1, 3, 1, 2, 1, dtype=torch.int8),
    }
    assert_read(written(tmp_path / "w.safetensors", tensors), tensors)


def test_odd_names(tmp_path: Path) -> None:
    names = ["", " ", "a\nb", '"quoted"', "back\\slash", "größe", "星星", "\U0001f600" * 50, "\x00\x1f", "n" * 10_000]
    tensors = {name: torch.full((2,), float(i)) for i, name in enumerate(names)}
    assert_read(written(tmp_path / "w.safetensors", tensors), tensors)


def test_nothing_at_all(tmp_path: Path) -> None:
    assert load_file(written(tmp_path / "w.safetensors", {})) == {}


def test_many_tensors_of_which_some_do_not_come(tmp_path: Path) -> None:
    draw = random.Random(0)
    kinds = [torch.float32, torch.bfloat16, torch.uint8, torch.int8, torch.float16]
    tensors = {
        f"blocks.{i}.weight": torch.full((draw.randrange(5), draw.randrange(1, 9)), i % 100, dtype=draw.choice(kinds))
        for i in range(3000)
    }
    others = tuple(f"{name}.scale" for name in tensors)
    assert_read(written(tmp_path / "w.safetensors", tensors, others), tensors)


def test_each_is_drawn_when_the_one_before_is_written(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"

    def drawn() -> Iterator[tuple[str, Tensor]]:
        for i in range(3):
            millions.append(path.stat().st_size // 1_000_000)
            yield str(i), torch.zeros(1_000_000, dtype=torch.uint8)

    millions: list[int] = []
    with path.open("wb") as file:
        write_checkpoint(file, map(str, range(3)), drawn())
    assert millions == [0, 1, 2]


def test_tensors_that_were_not_announced(tmp_path: Path) -> None:
    """Their names would be written over what lies behind."""
    tensors = {f"tensor {i}": torch.ones(1) for i in range(5)}
    with (tmp_path / "w.safetensors").open("wb") as file, pytest.raises(ValueError, match=r"header of 5 tensors"):
        write_checkpoint(file, ["tensor 0"], tensors.items())
