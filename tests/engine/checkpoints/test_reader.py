"""Safetensors files whole, sharded, broken and hostile; what a read leaves in memory."""

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from engine.checkpoints.reader import open_checkpoint
from engine.checkpoints.shards import INDEX
from engine.contract import ModelUnavailable

TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "bytes": torch.arange(8, dtype=torch.uint8).reshape(4, 2),
    "none": torch.empty(0, 3),
}


def written(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelUnavailable) as error:
        open_checkpoint(path)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    parts = {"one.safetensors": ["a.weight", "count"], "two.safetensors": ["a.bias", "bytes", "none"]}
    for file, names in parts.items():
        save_file({name: TENSORS[name] for name in names}, tmp_path / file)
    places = {name: file for file, names in parts.items() for name in names}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return tmp_path


def assert_whole(path: Path) -> None:
    checkpoint = open_checkpoint(path)
    assert set(checkpoint.names) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        assert checkpoint.dtype(name) == tensor.dtype
        read = checkpoint.read(name)
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)


def test_a_file(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")
    assert_whole(tmp_path / "weights.safetensors")


def test_shards_by_their_index(sharded: Path) -> None:
    assert_whole(sharded / INDEX)


def test_names_come_in_file_order(tmp_path: Path) -> None:
    names = {"z": [4, 8], "a": [8, 12], "m": [0, 4]}
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": at} for name, at in names.items()}
    assert open_checkpoint(written(tmp_path / "x.safetensors", header, bytes(12))).names == ("m", "z", "a")


def test_a_read_converts_and_is_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    checkpoint = open_checkpoint(path)
    half = checkpoint.read("a.weight", torch.float16)
    assert half.dtype == torch.float16
    own = checkpoint.read("a.weight")
    own.zero_()
    assert torch.equal(checkpoint.read("a.weight"), TENSORS["a.weight"])
    os.truncate(path, 0)
    assert half.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ModelUnavailable, match=r"x\.safetensors: cannot read 'a\.weight'"):
        checkpoint.read("a.weight")


def test_a_file_that_changes_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    checkpoint = open_checkpoint(path)
    save_file(TENSORS | {"a.weight": torch.ones(3, 3)}, path)
    with pytest.raises(ModelUnavailable, match=r"changed.*'a\.weight'"):
        checkpoint.read("a.weight")


@pytest.mark.parametrize("ask", ["shape", "dtype", "read"])
def test_an_unknown_tensor_is_named(tmp_path: Path, ask: str) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    with pytest.raises(ModelUnavailable, match=r"has no tensor 'b\.weight'"):
        getattr(open_checkpoint(tmp_path / "x.safetensors"), ask)("b.weight")


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.safetensors")
    assert "not a file" in refused(tmp_path)


@pytest.mark.posix("named pipes")
def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "not a file" in refused(tmp_path / "pipe.safetensors")


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json", id="text"),
        pytest.param(b"\xff\xfe", id="not utf-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, id="overlapping"),
        pytest.param({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 12, 16)}, id="with a gap"),
        pytest.param({"a": entry("F32", [5], 0, 20)}, id="past the end"),
        pytest.param({"a": entry("F32", [3], 0, 12)}, id="short of the end"),
        pytest.param({"a": entry("F32", [2], 0, 16)}, id="shape and size differ"),
        pytest.param({"a": entry("F32", [2**40, 2**40], 0, 16)}, id="overflow"),
        pytest.param({"a": entry("F32", [-4], 0, 16)}, id="negative"),
        pytest.param({"a": entry("F32", [4], 16, 0)}, id="backwards"),
        pytest.param({"a": entry("F31", [4], 0, 16)}, id="no such type"),
        pytest.param({"a": entry("F8_E8M0", [16], 0, 16)}, id="type not known here"),
        pytest.param({"a": entry("F32", [4], 0, 16), "b": entry("F32", [0, 2**63], 16, 16)}, id="impossible shape"),
    ],
)
def test_broken_headers(tmp_path: Path, header: Any) -> None:
    path = written(tmp_path / "x.safetensors", header, bytes(16))
    assert refused(path).startswith(f"{path}: ")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 10**8 + 1, 17])
def test_headers_that_claim_to_be_huge(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(14))
    assert "not a valid safetensors file" in refused(path)


def test_long_or_broken_names_make_no_long_errors(tmp_path: Path) -> None:
    name = "x\n" * 10_000
    assert len(refused(written(tmp_path / "x.safetensors", {name: entry("F8_E8M0", [1], 0, 1)}, b"0"))) < 500


def test_damage_anywhere_gives_tensors_or_one_clear_error(tmp_path: Path) -> None:
    """Flipped bits, cuts and edits of the header: every file reads as its header says, or is refused."""
    sound = save(TENSORS)
    end = 8 + struct.unpack("<Q", sound[:8])[0]
    edits = [("F32", "F64"), ("F32", "F4"), ("U8", "BOOL"), ("4", "18446744073709551615"), ("2", "-1"), ("0", "1e3"),
             ("[", "[["), ("3", "null"), ('"a.bias"', '"a.weight"'), ('"count"', '"\\ud800"')]  # fmt: skip
    chance = random.Random(4)
    path = tmp_path / "x.safetensors"
    read, refusals = 0, []
    for _ in range(600):
        data = bytearray(sound)
        kind = chance.choice(["flip", "cut", "type", "edit"])
        if kind == "flip":
            data[chance.randrange(end)] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del data[chance.randrange(len(data)) :]
        elif kind == "type":
            data[chance.randrange(8, end)] = chance.choice(b'0123456789{}[]",:-eEFBIU\0\xff')
        else:
            before, after = (text.encode() for text in chance.choice(edits))
            header = bytes(data[8:end]).replace(before, after, chance.randint(1, 2))
            data = bytearray(struct.pack("<Q", len(header)) + header + data[end:])
        path.write_bytes(data)
        try:
            checkpoint = open_checkpoint(path)
            for name in checkpoint.names:
                tensor = checkpoint.read(name)
                assert (tuple(tensor.shape), tensor.dtype) == (checkpoint.shape(name), checkpoint.dtype(name))
            read += 1
        except ModelUnavailable as error:
            refusals.append(str(error))
    assert 0 < read < 300
    assert all(len(line.splitlines()) == 1 for line in refusals)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "weight_map must be"),
        ("{}", "weight_map must be"),
        ('{"weight_map": {"a.bias": 3}}', "weight_map must be"),
        ('{"weight_map": {"a.bias": "none.safetensors"}}', "none.safetensors: no such file"),
        ('{"weight_map": {"a.bias": "one.safetensors"}}', "one.safetensors: lacks 'a.bias'"),
        ('{"weight_map": {"a.bias": "two.safetensors", "b": "two.safetensors"}}', "two.safetensors: lacks 'b'"),
        ('{"weight_map": {"a.bias": "../two.safetensors"}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": "/etc/passwd"}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": ""}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": ".."}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": "."}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": "x\\ny"}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": "' + 300 * "x" + '"}}', "not the name of a file"),
        ('{"weight_map": {"a.bias": "two\\u0000.safetensors"}}', "not the name of a file"),
    ],
)
def test_broken_indices(sharded: Path, index: str, says: str) -> None:
    (sharded / INDEX).write_text(index)
    assert says in refused(sharded / INDEX)


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    save_file(TENSORS, sharded / "two.safetensors")
    assert "is in two shards: one.safetensors and two.safetensors" in refused(sharded / INDEX)


def test_a_damaged_shard(sharded: Path) -> None:
    os.truncate(sharded / "two.safetensors", 60)
    assert refused(sharded / INDEX).startswith(f"{sharded / 'two.safetensors'}: ")


@pytest.mark.posix("memory as /proc tells it")
def test_reading_costs_the_tensors_and_one_more(tmp_path: Path) -> None:
    """The pages of the file do not stay: 240 MB, read in quarters of the size, take 60 MB and a tensor."""
    path = tmp_path / "x.safetensors"
    save_file({f"{i}": torch.zeros(1 << 20) for i in range(60)}, path)
    code = """
import sys, torch
from pathlib import Path
from engine.checkpoints.reader import open_checkpoint
def megabytes(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024
checkpoint = open_checkpoint(Path(sys.argv[1]))
checkpoint.read("0", torch.float8_e5m2)
start = megabytes("VmRSS")
kept = [checkpoint.read(name, torch.float8_e5m2) for name in checkpoint.names]
print(megabytes("VmHWM") - start)
"""
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 60 + 4 + 16
