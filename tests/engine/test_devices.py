"""Devices and types by name, and work in chunks that shrink where memory really runs out."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import EngineError
from engine.devices import (
    DTYPES,
    _cgroup_memory_left,
    check_compiler,
    free_memory,
    in_chunks,
    is_out_of_memory,
    pick_device,
    pick_dtype,
)

ABSURD = 1 << 60  # bytes


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as error:
        call()
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line


def test_auto_is_a_device_that_computes() -> None:
    device = pick_device("auto")
    if torch.cuda.is_available():
        assert device == "cuda"
    assert pick_device(device) == device
    assert torch.ones(2, device=device).sum().item() == 2
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "cpu:0", "cuda:x", "cuda:-1", "cuda:1.5", "cuda:²", "cudax", "mps:0", "meta", " cpu"]
)
def test_devices_that_do_not_exist(name: str) -> None:
    line = refused(lambda: pick_device(name))
    assert repr(name) in line
    assert "auto, cpu, cuda, cuda:N or mps" in line


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1", "cuda:999", "mps"])
def test_devices_that_this_machine_may_lack(name: str) -> None:
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(name.partition(":")[2] or 0)
    if number < here if name.startswith("cuda") else torch.backends.mps.is_available():
        assert pick_device(name) == name
    else:
        line = refused(lambda: pick_device(name))
        assert repr(name) in line
        assert "use cpu or auto" in line


def test_types_by_name() -> None:
    assert {name: pick_dtype(name, "cpu") for name in DTYPES} == {
        "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    }  # fmt: skip
    assert pick_dtype(None, "cpu") in (torch.bfloat16, torch.float32)
    assert pick_dtype(None, "mps") == torch.float16
    for name in ("", "fp16", "Float32", "int8", "float64", "torch.float32"):
        line = refused(partial(pick_dtype, name, "cpu"))
        assert repr(name) in line
        assert all(known in line for known in DTYPES)


def test_what_torch_numpy_and_python_say_out_of_memory() -> None:
    for ask in (
        lambda: torch.empty(ABSURD, dtype=torch.uint8),
        lambda: torch.zeros(1 << 50, 2, 2),
        lambda: np.empty(ABSURD, np.uint8),
        lambda: bytearray(ABSURD),
    ):
        with pytest.raises((RuntimeError, MemoryError)) as error:
            ask()
        assert is_out_of_memory(error.value)


def test_what_other_faults_say_is_not_out_of_memory() -> None:
    faults: tuple[Callable[..., object], ...] = (
        lambda: torch.ones(2, 3) @ torch.ones(2, 3),
        lambda: torch.empty(-1),
        lambda: torch.ones(2)[5],
        list.pop,
    )
    for ask in faults:
        with pytest.raises((RuntimeError, IndexError, TypeError)) as error:
            ask()
        assert not is_out_of_memory(error.value)
    assert not is_out_of_memory(EngineError("out of memory"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for the matmul primitive"))


@given(st.lists(st.integers(), max_size=60), st.integers(1, 70), st.integers(1, 70), st.integers(0, 60))
def test_chunks_shrink_to_what_fits(items: list[int], size: int, most: int, until: int) -> None:
    """`most` fit at once, and after `until` items half as many: as if others had taken the memory meanwhile."""
    sizes: list[int] = []

    def doubled(some: Sequence[int]) -> list[int]:
        if len(some) > (most if sum(sizes) < until else max(1, most // 2)):
            torch.empty(ABSURD, dtype=torch.uint8)
        sizes.append(len(some))
        return [2 * item for item in some]

    assert in_chunks(items, size, doubled) == [2 * item for item in items]
    assert sum(sizes) == len(items)
    if most >= size and until >= len(items):
        assert len(sizes) == -(-len(items) // size)


def test_a_single_one_that_does_not_fit() -> None:
    done: list[int] = []

    def work(some: Sequence[int]) -> list[int]:
        if 5 in some:
            torch.empty(ABSURD, dtype=torch.uint8)
        done.extend(some)
        return list(some)

    line = refused(lambda: in_chunks(range(8), 4, work))
    assert "out of memory" in line
    assert done == [0, 1, 2, 3, 4]
    assert in_chunks([], 4, work) == []


def test_other_faults_pass_through() -> None:
    calls = []

    def work(some: Sequence[int]) -> list[int]:
        calls.append(len(some))
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        in_chunks(range(8), 4, work)
    assert calls == [4]


def test_without_a_compiler_compiling_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"C\+\+ compiler"):
        check_compiler("cpu")
    check_compiler("cuda")


def test_free_memory_is_what_could_really_be_had() -> None:
    free = free_memory("cpu")
    if free is None:
        pytest.skip("this system does not tell")
    assert 1 << 20 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("most", "used", "left"), [("4096", "1000", 3096), ("max", "1000", None), ("4096", "5000", 0), ("", "1", None)]
)
def test_what_a_container_leaves(tmp_path: Path, most: str, used: str, left: int | None) -> None:
    (tmp_path / "memory.max").write_text(most + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    assert _cgroup_memory_left(tmp_path) == left
    assert _cgroup_memory_left(tmp_path / "none") is None
