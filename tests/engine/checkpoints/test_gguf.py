"""GGUF containers: every kind of metadata and tensor, damaged files, hostile files."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import gguf_files as gguf
import pytest
import torch
from safetensors.torch import load_file

from engine.checkpoints.gguf import read_gguf
from engine.contract import ModelUnavailable

GOLDEN = Path(__file__).parents[2] / "golden" / "gguf"
F32, F16, Q4_0, Q4_K = 0, 1, 2, 12
ONE = ("one.weight", (2, 32), Q4_0, bytes(range(36)))
TWO = ("two.bias", (3,), F32, struct.pack("<3f", 1, 2, 3))


def refused(path: Path) -> str:
    with pytest.raises(ModelUnavailable) as error:
        read_gguf(path)
    line = str(error.value)
    assert line.startswith(str(path))
    assert len(line.splitlines()) == 1
    return line


def test_a_golden_container() -> None:
    file = read_gguf(GOLDEN / "container.gguf")
    facts = json.loads((GOLDEN / "container.json").read_text())
    assert file.version == facts["version"]
    assert {key: file.metadata[key] for key in facts["metadata"]} == facts["metadata"]
    assert list(file.tensors) == facts["order"]
    for name, expected in load_file(GOLDEN / "container.expected.safetensors").items():
        tensor = file.tensors[name]
        assert tensor.shape == tuple(expected.shape)
        assert torch.equal(tensor.type.decode(tensor.raw()[None]).view(expected.shape), expected.float())


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [None, 8, 64, 4096])
def test_versions_and_alignments(tmp_path: Path, version: int, alignment: int | None) -> None:
    metadata: dict[str, tuple[int, Any]] = {"general.alignment": (gguf.U32, alignment)} if alignment else {}
    file = gguf.File(metadata, [ONE, TWO], version, alignment=alignment or 32).write(tmp_path / "x.gguf")
    tensors = read_gguf(file).tensors
    assert bytes(tensors["one.weight"].raw().numpy()) == ONE[3]
    assert bytes(tensors["two.bias"].raw().numpy()) == TWO[3]


def test_nested_arrays(tmp_path: Path) -> None:
    nested = (gguf.ARRAY, [(gguf.I8, [1, -1]), (gguf.STRING, ["a", ""])])
    file = gguf.File({"x": (gguf.ARRAY, nested)}).write(tmp_path / "x.gguf")
    assert read_gguf(file).metadata["x"] == [[1, -1], ["a", ""]]
    for _ in range(9):
        nested = (gguf.ARRAY, [nested])
    assert "nested too deeply" in refused(gguf.File({"x": (gguf.ARRAY, nested)}).write(tmp_path / "x.gguf"))


def test_a_header_with_a_large_vocabulary_is_read_within_a_second(tmp_path: Path) -> None:
    tokens = [f"Ġtoken{i}" for i in range(151_936)]
    metadata: dict[str, tuple[int, Any]] = {
        "tokenizer.ggml.tokens": (gguf.ARRAY, (gguf.STRING, tokens)),
        "tokenizer.ggml.token_type": (gguf.ARRAY, (gguf.I32, [1] * len(tokens))),
        "tokenizer.ggml.merges": (gguf.ARRAY, (gguf.STRING, [f"{token} x" for token in tokens])),
    }
    path = gguf.File(metadata, [ONE]).write(tmp_path / "x.gguf")
    start = time.process_time()
    file = read_gguf(path)
    assert time.process_time() - start < 1
    assert file.metadata["tokenizer.ggml.tokens"] == tokens


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    metadata: dict[str, tuple[int, Any]] = {"a": (gguf.STRING, "text"), "b": (gguf.ARRAY, (gguf.U32, [1, 2]))}
    whole = gguf.File(metadata, [ONE, TWO]).bytes()
    path = tmp_path / "x.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole[:-1])
    assert "'two.bias' lies beyond the end of the file: it was cut off" in refused(path)


def test_a_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    path = gguf.File({}, [ONE]).write(tmp_path / "x.gguf")
    tensor = read_gguf(path).tensors["one.weight"]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        tensor.raw()


def bad(**parts: Any) -> bytes:
    return gguf.File(**parts).bytes()


def header(version: int, tensors: int, entries: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


BROKEN = {
    "empty": (b"", "not a GGUF file"),
    "other magic": (b"PK\3\4" + bytes(100), "not a GGUF file: begins with b'PK"),
    "byte-swapped magic": (b"FUGG" + bytes(100), "big-endian"),
    "version 1": (header(1, 0, 0), "has version 1"),
    "big-endian version": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "many entries": (header(3, 0, 1 << 60) + bytes(100), "cut off, or is damaged"),
    "many tensors": (header(3, 1 << 60, 0) + bytes(100), "cut off, or is damaged"),
    "long key": (header(3, 0, 1) + struct.pack("<Q", 1 << 62) + bytes(100), "ends within its metadata"),
    "long array": (
        header(3, 0, 1) + gguf.string("k") + struct.pack("<IIQ", gguf.ARRAY, gguf.U8, 1 << 40) + bytes(100),
        "ends within its metadata's 'k'",
    ),
    "many strings": (
        header(3, 0, 1) + gguf.string("k") + struct.pack("<IIQ", gguf.ARRAY, gguf.STRING, 1 << 61) + bytes(100),
        "ends within its metadata's 'k'",
    ),
    "unknown type of a value": (header(3, 0, 1) + gguf.string("k") + struct.pack("<I", 77) + bytes(100), "type 77"),
    "two entries of a key": (
        header(3, 0, 2) + 2 * (gguf.string("k") + struct.pack("<IB", gguf.U8, 1)),
        "has 'k' twice",
    ),
    "two tensors of a name": (bad(tensors=[ONE, ONE]), "has two tensors 'one.weight'"),
    "unknown tensor type": (bad(tensors=[("a", (32,), 99, bytes(32))]), "'a' has the unknown tensor type 99"),
    "rank 0": (bad(tensors=[("a", (), F32, bytes(4))]), "'a' has 0 dimensions"),
    "rank 5": (bad(tensors=[("a", (1, 1, 1, 1, 1), F32, bytes(4))]), "'a' has 5 dimensions"),
    "large rank": (header(3, 1, 0) + gguf.string("a") + struct.pack("<I", 1 << 31) + bytes(64), "dimensions"),
    "size 0": (bad(tensors=[("a", (2, 0), F32, b"")]), "'a' has an impossible shape: [2, 0]"),
    "size that overflows": (bad(tensors=[("a", (1 << 62, 4), F32, bytes(16))]), "'a' has an impossible shape"),
    "product that overflows": (bad(tensors=[("a", (1 << 39, 1 << 39), F32, bytes(16))]), "beyond the end"),
    "part of a block": (bad(tensors=[("a", (2, 16), Q4_0, bytes(18))]), "rows of 16, no multiple of 32 (Q4_0)"),
    "part of a large block": (bad(tensors=[("a", (1, 128), Q4_K, bytes(144))]), "no multiple of 256 (Q4_K)"),
    "offset beyond the end": (bad(tensors=[ONE], offsets=[1 << 50]), "'one.weight' lies beyond the end"),
    "odd offset": (bad(tensors=[ONE], offsets=[4]), "not aligned to 32"),
    "overlap": (bad(tensors=[ONE, TWO], offsets=[0, 32]), "'two.bias' overlaps 'one.weight'"),
    "alignment 0": (bad(metadata={"general.alignment": (gguf.U32, 0)}), "general.alignment is 0"),
    "alignment that is text": (bad(metadata={"general.alignment": (gguf.STRING, "x")}), "general.alignment is 'x'"),
    "text that is not UTF-8": (
        bad(metadata={"k": (gguf.STRING, b"\xff")}),
        "metadata's 'k' has text that is not UTF-8",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    assert message in refused(tmp_path / "x.gguf")


def test_no_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "x.gguf")
    assert "no such file" in refused(tmp_path)
