"""Keeping weights in few bits: which values remain, how far off they are, and which matrices it is done to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import engine
from engine.checkpoints.random_weights import RandomWeights
from engine.contract import EngineError, LoadOptions
from engine.moondream.config import Config
from engine.moondream.weights import QUANTIZATION_PLAN, shapes
from engine.quantization.formats import (
    QUANTIZED_ROWS,
    Int4,
    Int8,
    Matrix,
    concat_rows,
    quantize_int4,
    quantize_int8,
)
from engine.quantization.gguf_blocks import BLOCK_TYPES, GgufBlocks
from engine.quantization.plan import QuantizedSource, weights_bytes

F16 = next(kind for kind in BLOCK_TYPES.values() if kind.name == "F16")
GOLDEN = Path(__file__).parents[2] / "golden" / "moondream2"


def drawn(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize(
    ("columns", "most", "group"),
    [(256, 128, 128), (384, 128, 128), (192, 128, 64), (96, 128, 32), (32, 64, 32), (256, 64, 64), (256, 32, 32)],
)
def test_four_bits_keep_sixteen_values_a_group(columns: int, most: int, group: int) -> None:
    weight = drawn(6, columns)
    kept = quantize_int4(weight, most)
    assert (kept.group_size, kept.shape, kept.nibbles.nbytes) == (group, (6, columns), 3 * columns)
    rounded = kept.dequantize(torch.float32)
    errors = []
    for before, after in zip(weight.view(-1, group), rounded.view(-1, group), strict=True):
        step = (before.max() - before.min()) / 15
        assert len(after.unique()) <= 16
        assert (before - after).abs().max() <= step * 0.51 + step  # the ends may be cut by the rounded zero point
        errors.append((before - after).abs() / step)
    assert torch.cat(errors).mean() <= 0.27  # a quarter of a step, if weights lie anywhere between two values
    assert len(rounded[:, :group].unique()) > 16  # each group has values of its own


def test_what_four_bits_can_tell_stays_as_it_is() -> None:
    weight = (torch.arange(16.0) - 5).repeat(3, 8)
    assert torch.equal(quantize_int4(weight).dequantize(torch.float32), weight)
    assert torch.equal(quantize_int4(torch.zeros(2, 64)).dequantize(torch.float32), torch.zeros(2, 64))


def test_many_rows_are_rounded_as_each_by_itself() -> None:
    weight = drawn(2 * QUANTIZED_ROWS + 3, 8)
    kept = quantize_int8(weight)
    for row in (0, QUANTIZED_ROWS - 1, QUANTIZED_ROWS, 2 * QUANTIZED_ROWS, 2 * QUANTIZED_ROWS + 2):
        one = quantize_int8(weight[row : row + 1])
        assert torch.equal(kept.values[row], one.values[0])
        assert kept.scale[row] == one.scale[0]


def test_zero_stays_zero() -> None:
    weight = drawn(4, 64)
    weight[:, ::3] = 0
    assert (quantize_int4(weight).dequantize(torch.float32)[:, ::3] == 0).all()
    assert (quantize_int8(weight).dequantize(torch.float32)[:, ::3] == 0).all()


def test_eight_bits_of_a_row() -> None:
    weight = drawn(5, 100)
    rounded = quantize_int8(weight).dequantize(torch.float32)
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((weight - rounded).abs() <= step * 0.501).all()
    assert all(len(row.unique()) <= 255 for row in rounded)
    assert torch.equal(quantize_int8(torch.tensor([[-127.0, 3.0, 64.0]])).values, torch.tensor([[-127, 3, 64]]))


@pytest.mark.parametrize(("most", "groups"), [(128, 2), (64, 3), (32, 5)])
def test_rows_that_no_group_divides_are_padded(most: int, groups: int) -> None:
    weight = drawn(3, 132)
    kept = quantize_int4(weight, most)
    assert (kept.shape, kept.group_size, kept.scale.shape) == ((3, 132), most, (3, groups))
    whole = quantize_int4(torch.nn.functional.pad(weight, (0, groups * most - 132)), most)
    assert torch.equal(kept.dequantize(torch.float32), whole.dequantize(torch.float32)[:, :132])
    assert torch.equal(kept.rows(torch.tensor([2, 0]), torch.float32), kept.dequantize(torch.float32)[[2, 0]])
    stacked = concat_rows([kept, kept])
    assert stacked is not None
    assert stacked.shape == (6, 132)


def test_a_plan_may_keep_all_in_four_bits() -> None:
    name, shape = "vision.blocks.0.mlp.fc2.weight", (8, 132)
    sizes = {
        scheme: weights_bytes({name: shape}, 2, QUANTIZATION_PLAN, scheme) for scheme in (None, "int4", "int4-all")
    }
    assert sizes == {None: 2 * 8 * 132, "int4": 8 * 132 + 4 * 8, "int4-all": 8 * (256 // 2 + 2 * 2 * 2)}


def test_only_large_matrices_are_kept_in_few_bits() -> None:
    config = Config()
    config = replace(  # an eighth of the published sizes, which have no part in it: names and groups decide
        config,
        text=replace(config.text, dim=256, ff_dim=1024, vocab_size=512),
        vision=replace(config.vision, enc_dim=144, enc_ff_dim=538, proj_inner_dim=1024, proj_out_dim=256),
        region=replace(config.region, dim=256, inner_dim=1024),
    )
    plain = RandomWeights(shapes(config))
    names = {
        "text.blocks.3.attn.qkv.weight": (128, 64, 32, None),
        "text.blocks.0.mlp.fc2.weight": (128, 64, 32, None),
        "vision.blocks.26.mlp.fc1.weight": (None,) * 4,
        "text.lm_head.weight": (None,) * 4,
        "vision.proj_mlp.fc2.weight": (None,) * 4,
        "region.coord_decoder.fc1.weight": (None,) * 4,
        "text.wte": (None,) * 4,
    }
    for place, kind in enumerate(("int4", "int4-64", "int4-32", "int8")):
        source = QuantizedSource(plain, QUANTIZATION_PLAN, kind)
        for name, groups in names.items():
            kept, before = source.matrix(name, torch.float32), plain.tensor(name, torch.float32)
            group = groups[place]
            assert isinstance(kept, Int4 if group else Int8), (kind, name)
            assert not isinstance(kept, Int4) or kept.group_size == group
            assert torch.equal(
                kept.dequantize(torch.float32),
                (quantize_int4(before, group) if group else quantize_int8(before)).dequantize(torch.float32),
            )
        for name in ("region.coord_encoder.weight", "vision.patch_emb.weight"):
            kept = source.matrix(name, torch.float32)
            assert isinstance(kept, Tensor)
            assert torch.equal(kept, plain.tensor(name, torch.float32))


def test_four_bits_are_not_made_eight() -> None:
    four = QuantizedSource(RandomWeights(shapes(Config())), QUANTIZATION_PLAN, "int4")
    with pytest.raises(EngineError, match="already int4"):
        QuantizedSource(four, QUANTIZATION_PLAN, "int8").matrix("text.blocks.0.attn.qkv.weight", torch.float32)


def test_bits_that_there_are_not() -> None:
    with pytest.raises(EngineError, match=r"'int2'.*must be one of int4, int4-64, int4-32, int4-all, int8"):
        engine.load(str(GOLDEN), LoadOptions(quantize="int2"))


def as_blocks(weight: Tensor) -> GgufBlocks:
    return GgufBlocks(weight.half().view(torch.uint8), F16, (weight.shape[0], weight.shape[1]))


@pytest.mark.parametrize("quantize", [quantize_int4, quantize_int8, as_blocks, lambda weight: weight])
def test_matrices_of_one_format_can_be_stacked(quantize: Callable[[Tensor], Matrix]) -> None:
    first, second = (quantize(drawn(rows, 64)) for rows in (5, 3))
    stacked = concat_rows([first, second])
    assert type(stacked) is type(first)
    assert stacked is not None
    assert stacked.shape == (8, 64)
    dense = [m if isinstance(m, Tensor) else m.dequantize(torch.float32) for m in (first, second, stacked)]
    assert torch.equal(torch.cat(dense[:2]), dense[2])


def test_matrices_of_different_formats_can_not_be_stacked() -> None:
    int4, int8 = quantize_int4(drawn(5, 64)), quantize_int8(drawn(3, 64))
    blocks = as_blocks(drawn(5, 64))
    assert concat_rows([int4, int8]) is None
    assert concat_rows([blocks, replace(blocks, type=replace(F16, name="BF16"))]) is None
