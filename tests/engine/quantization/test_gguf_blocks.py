"""Dequantisation of GGUF tensor types, bit-equal to the golden files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.checkpoints.gguf import read_gguf
from engine.quantization import gguf_blocks
from engine.quantization.gguf_blocks import BLOCK_TYPES, GgufBlocks

GOLDEN = Path(__file__).parents[2] / "golden" / "gguf" / "types"
TYPES = [block.name for block in BLOCK_TYPES.values()]


def matrices(name: str) -> list[tuple[GgufBlocks, torch.Tensor]]:
    """The matrices of a golden file and their weights."""
    expected = load_file(GOLDEN / f"{name}.expected.safetensors")
    found = []
    for key, tensor in read_gguf(GOLDEN / f"{name}.gguf").tensors.items():
        if len(tensor.shape) == 2:
            rows, columns = tensor.shape
            found.append((GgufBlocks(tensor.raw().view(rows, -1), tensor.type, (rows, columns)), expected[key]))
    return found


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize("name", TYPES)
def test_weights_are_bit_equal(name: str) -> None:
    found = matrices(name)
    assert len(found) == 2
    for matrix, expected in found:
        assert matrix.type.name == name
        assert same_bits(matrix.dequantize(torch.float32), expected)
        assert torch.equal(matrix.dequantize(torch.bfloat16), expected.bfloat16())


@pytest.mark.parametrize("name", TYPES)
def test_some_rows(name: str) -> None:
    matrix, expected = matrices(name)[0]
    assert same_bits(matrix.rows(torch.tensor([4, 0, 4]), torch.float32), expected[[4, 0, 4]])
    assert same_bits(matrix.rows(slice(2, 5), torch.float32), expected[2:5])
    assert matrix.rows(torch.tensor([], dtype=torch.long), torch.float32).shape == (0, expected.shape[1])


@pytest.mark.parametrize("weights", [1, 768, 2000])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, weights: int) -> None:
    monkeypatch.setattr(gguf_blocks, "CHUNK_WEIGHTS", weights)
    for matrix, expected in matrices("Q4_K"):
        assert same_bits(matrix.dequantize(torch.float32), expected)
