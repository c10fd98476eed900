"""Rows that are read from the file: the bits of the matrix in memory, and what happens when the file changes."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN
from safetensors.torch import save_file
from tiny_models import small
from torch import Tensor

from engine.checkpoints.packings import packed_parts
from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.reader import open_checkpoint
from engine.checkpoints.row_table import FileRows
from engine.checkpoints.tensor_map import TensorLocation, TensorMap, map_tensors
from engine.contract import Generation, LoadOptions, ModelUnavailable
from engine.generation.tokenizer import load_tokenizer
from engine.layers import parameters
from engine.layers.embedding import embed
from engine.moondream.model import Moondream
from engine.moondream.weights import QUANTIZATION_PLAN, open_weights, shapes
from engine.quantization.formats import Int4, Int8, quantize_int4, quantize_int8
from engine.quantization.plan import QuantizedSource
from engine.quantization.tensor_source import TensorSource

pytestmark = pytest.mark.skipif(not hasattr(os, "pread"), reason="the matrix is in memory where there is no pread")
WTE = "text.wte"
TOKENS = (3, 0, 3, 40, 7, 0)
EVERY = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


def bits(tensor: Tensor) -> list[bytes]:
    return [bytes(row.contiguous().view(torch.uint8).numpy()) for row in tensor]


def in_file(path: Path, matrix: Tensor) -> TensorMap:
    save_file({"first": torch.ones(3), WTE: matrix, "last": torch.ones(5)}, path)
    return TensorMap(open_checkpoint(path), {WTE: TensorLocation(WTE)}, {WTE: tuple(matrix.shape)}, ())


def opened(path: Path, rows: int = 64) -> tuple[FileRows, Tensor]:
    matrix = torch.randn(rows, 24, generator=torch.Generator().manual_seed(1))
    table = in_file(path, matrix).row_table(WTE)
    assert isinstance(table, FileRows)
    return table, matrix


def assert_same(source: TensorSource, dtype: torch.dtype) -> None:
    table, matrix = source.row_table(WTE), source.matrix(WTE, dtype)
    assert table
    assert table.shape == matrix.shape
    for tokens in ([5], TOKENS, range(table.shape[0])):
        found = embed(table, tokens, dtype, "cpu")
        assert found.dtype == dtype
        assert bits(found) == bits(embed(matrix, tokens, dtype, "cpu"))


@EVERY
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scheme", [None, "int8", "int4"])
def test_rows_are_those_of_the_matrix(
    tmp_path: Path, dtype: torch.dtype, stored: torch.dtype, scheme: str | None
) -> None:
    matrix = torch.randn(64, 24, generator=torch.Generator().manual_seed(1))
    matrix[3] = 0
    matrix[7, ::2] *= -1e-6  # rounds to -0
    weights = in_file(tmp_path / "model.safetensors", matrix.to(stored))
    assert_same(QuantizedSource(weights, QUANTIZATION_PLAN, scheme) if scheme else weights, dtype)


@EVERY
@pytest.mark.parametrize("quantize", [quantize_int8, quantize_int4])
@pytest.mark.parametrize("columns", [64, 50])
def test_rows_of_a_matrix_that_is_stored_quantised(
    tmp_path: Path, dtype: torch.dtype, quantize: Callable[[Tensor], Int8 | Int4], columns: int
) -> None:
    path = tmp_path / "model.safetensors"
    parts = packed_parts(quantize(torch.randn(64, columns, generator=torch.Generator().manual_seed(1))))
    tensors = {f"{WTE}.{part}": tensor for part, tensor in parts.items()}
    save_file({"first": torch.ones(3), **tensors}, path)
    locations = {name: TensorLocation(name) for name in tensors}
    weights = map_tensors(open_checkpoint(path), locations, {WTE: (64, columns)})
    assert_same(weights, dtype)
    assert_same(QuantizedSource(weights, QUANTIZATION_PLAN, "int4-all"), dtype)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_damaged_row_stays_damaged_when_it_is_quantised(tmp_path: Path, number: float) -> None:
    matrix = torch.ones(64, 24)
    matrix[3, 5] = number
    weights = in_file(tmp_path / "model.safetensors", matrix)
    table = QuantizedSource(weights, QUANTIZATION_PLAN, "int8").row_table(WTE)
    assert table
    whole, damaged = table.rows([2, 3], torch.bfloat16)
    assert torch.isfinite(whole).all()
    assert torch.isnan(damaged).any()


def test_what_has_no_rows_in_one_piece_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = in_file(path, torch.ones(64, 24))
    assert QuantizedSource(weights, QUANTIZATION_PLAN, "int4-all").row_table(WTE) is None
    for location in (TensorLocation(WTE, transposed=True), TensorLocation(WTE, half=0)):
        assert TensorMap(weights.checkpoint, {WTE: location}, weights.shapes, ()).row_table(WTE) is None


@pytest.mark.parametrize("row", [-1, 64])
def test_there_are_no_rows_outside(tmp_path: Path, row: int) -> None:
    table, _ = opened(tmp_path / "model.safetensors")
    with pytest.raises(IndexError, match=f"no row {row} of 64"):
        table.rows([3, row], torch.float32)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(8))
    os.utime(path, ns=(1, 1))  # the clock of the file system may be coarse


@pytest.mark.parametrize("change", [cut, overwritten])
def test_a_file_that_is_changed_is_an_error(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "model.safetensors"
    table, _ = opened(path)
    change(path)
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors: was changed or cut off after it was loaded"):
        table.rows([3], torch.float32)


def test_one_that_was_cut_off_before_it_was_opened_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = in_file(path, torch.ones(64, 24))
    cut(path)
    table = weights.row_table(WTE)
    assert table
    with pytest.raises(ModelUnavailable, match="changed or cut off"):
        table.rows([60], torch.float32)


def replaced(path: Path) -> None:
    save_file({"other": torch.ones(2)}, path.with_name("new"))
    path.with_name("new").replace(path)


@pytest.mark.parametrize("change", [Path.unlink, replaced])
def test_a_file_that_is_deleted_or_replaced_is_read_as_before(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "model.safetensors"
    table, matrix = opened(path)
    change(path)
    assert torch.equal(table.rows([3, 60], torch.float32), matrix[[3, 60]])


def test_one_that_has_another_tensor_by_now_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = in_file(path, torch.ones(64, 24))
    in_file(path, torch.ones(64, 23))
    with pytest.raises(ModelUnavailable, match=r"changed while reading 'text\.wte'"):
        weights.row_table(WTE)
    path.unlink()
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors: cannot be read: "):
        weights.row_table(WTE)


def test_the_file_is_closed_with_the_last_use(tmp_path: Path) -> None:
    table, _ = opened(tmp_path / "model.safetensors")
    descriptor = table.descriptor
    os.fstat(descriptor)
    del table
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def caption(weights: TensorSource) -> tuple[Moondream, object]:
    tokenizer = load_tokenizer(GOLDEN / "moondream3" / "tokenizer.json", 512)
    model = Moondream("small", small(True), weights, tokenizer, options=LoadOptions("cpu", "float32"))
    return model, answer(model)


def answer(model: Moondream) -> object:
    [encoded] = model.encode([np.zeros((64, 64, 3), np.uint8)])
    return model.caption([encoded], generation=Generation(temperature=0, max_tokens=6))


@pytest.mark.parametrize("scheme", [None, "int8"])
def test_a_model_with_rows_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str | None) -> None:
    """It answers as with embeddings in memory, and stops with an error when the file is cut off."""
    path, wanted = tmp_path / "model.safetensors", shapes(small(True))
    random = RandomWeights(wanted, 3)
    save_file({f"model.{name}": random.tensor(name, torch.float32) for name in wanted}, path)
    weights: TensorSource = open_weights(path, small(True))
    if scheme:
        weights = QuantizedSource(weights, QUANTIZATION_PLAN, scheme)
    in_memory, text = caption(weights)
    assert not any("embeddings" in line for line in in_memory.setup)
    monkeypatch.setattr(parameters, "MAX_CHECKED_WEIGHTS", 0)
    model, same = caption(weights)
    assert same == text
    assert "token embeddings stay in the file, 1 MB: their rows are read as needed" in model.setup
    cut(path)
    with pytest.raises(ModelUnavailable, match="changed or cut off"):
        answer(model)
    assert answer(in_memory) == text
