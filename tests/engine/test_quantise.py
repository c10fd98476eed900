"""Rounding weights to few bits: which values remain, how far off they are, and which matrices it is done to."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import engine
from engine.contract import EngineError
from engine.moondream.config import Config
from engine.moondream.quantise import quantised
from engine.moondream.random_weights import random_weights
from engine.quantise import int4, int8

GOLDEN = Path(__file__).parents[1] / "golden" / "moondream2"


def drawn(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize(("columns", "group"), [(256, 128), (384, 128), (192, 64), (96, 32), (32, 32)])
def test_four_bits_keep_sixteen_values_a_group(columns: int, group: int) -> None:
    weight = drawn(6, columns)
    rounded = int4(weight)
    for before, after in zip(weight.view(-1, group), rounded.view(-1, group), strict=True):
        step = (before.max() - before.min()) / 15
        assert len(after.unique()) <= 16
        assert (before - after).abs().max() <= step * 0.51 + step  # the ends may be cut by the rounded zero point
        assert (before - after).abs().mean() <= step * 0.3
    assert len(rounded[:, :group].unique()) > 16  # each group has values of its own


def test_what_four_bits_can_tell_stays_as_it_is() -> None:
    weight = (torch.arange(16.0) - 5).repeat(3, 8)
    assert torch.equal(int4(weight), weight)
    assert torch.equal(int4(torch.zeros(2, 64)), torch.zeros(2, 64))


def test_zero_stays_zero() -> None:
    weight = drawn(4, 64)
    weight[:, ::3] = 0
    assert (int4(weight)[:, ::3] == 0).all()
    assert (int8(weight)[:, ::3] == 0).all()


def test_eight_bits_of_a_row() -> None:
    weight = drawn(5, 100)
    rounded = int8(weight)
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((weight - rounded).abs() <= step * 0.501).all()
    assert all(len(row.unique()) <= 255 for row in rounded)
    assert torch.equal(int8(torch.tensor([[-127.0, 3.0, 64.0]])), torch.tensor([[-127.0, 3.0, 64.0]]))


@pytest.mark.parametrize("rounding", [int4, int8])
def test_the_type_stays(rounding: object) -> None:
    assert callable(rounding)
    assert rounding(drawn(2, 64).bfloat16()).dtype == torch.bfloat16


def test_rows_that_no_group_fits() -> None:
    with pytest.raises(ValueError, match="a row of 100 weights"):
        int4(drawn(2, 100))


def test_only_the_matrices_of_blocks_are_rounded() -> None:
    plain = random_weights(Config())
    names = {
        "text.blocks.3.attn.qkv.weight": (int4, int8),
        "text.blocks.0.mlp.fc2.weight": (int4, int8),
        "vision.blocks.26.mlp.fc1.weight": (int8, int8),
        "vision.blocks.0.attn.proj.bias": (None, None),
        "text.lm_head.weight": (None, None),
        "region.coord_decoder.fc1.weight": (None, None),
        "vision.proj_mlp.fc2.bias": (None, None),
    }
    for to, which in (("int4", 0), ("int8", 1)):
        source = quantised(plain, to)
        for name, roundings in names.items():
            rounding, before = roundings[which], plain.take(name, torch.float32)
            expected = rounding(before) if rounding else before
            assert torch.equal(source.take(name, torch.float32), expected), (to, name)
            assert bool(rounding) != torch.equal(expected, before)


def test_bits_that_there_are_not() -> None:
    with pytest.raises(EngineError, match=r"'int2'.*must be int4 or int8"):
        engine.load(str(GOLDEN), quantize="int2")
