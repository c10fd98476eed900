"""Low-rank adapters: read from both formats, looked up as the reference does, refused where they are not plain."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from golden import FAMILIES, GOLDEN, config, expected
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.contract import ModelUnavailable
from engine.layers.lora import LoraAdapter
from engine.moondream.adapter import find_adapter, read_adapter

QKV = "text_model.transformer.h.0.mixer.Wqkv.parametrizations.weight.0"


def stored(model: str = "moondream2") -> dict[str, Tensor]:
    return load_file(GOLDEN / model / "lora.safetensors")


def read(path: Path, model: str = "moondream2", dtype: torch.dtype = torch.float32) -> LoraAdapter:
    return read_adapter(path, config(model), dtype)


def refused(path: Path, model: str = "moondream2") -> str:
    with pytest.raises(ModelUnavailable) as error:
        read(path, model)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    return line


@pytest.fixture(params=["safetensors", "pt"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, Tensor]], Path]:
    def save(tensors: dict[str, Tensor]) -> Path:
        path = tmp_path / f"adapter.{request.param}"
        if request.param == "pt":
            torch.save(tensors, path)
        else:
            save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
        return path

    return save


@pytest.mark.parametrize("model", FAMILIES)
def test_the_reference_s_adapter(model: str, save: Callable[[dict[str, Tensor]], Path]) -> None:
    lora = expected(model)["lora"]
    adapter = read(save(stored(model)), model)
    used = {name for name in lora["nested_keys"] if model == "moondream2" or not is_expert(name)}
    assert {f"{name}.{part}" for name in adapter.pairs for part in "AB"} == used
    a, b = adapter.pairs["text.blocks.0.attn.qkv"]
    assert torch.equal(a, stored(model)[f"{QKV}.A"])
    assert torch.equal(b, stored(model)[f"{QKV}.B"])
    inside = "text_model.transformer.h.1.{}.parametrizations.weight.0.A"
    for new, old in [("attn.proj", "mixer.out_proj"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")]:
        assert torch.equal(adapter.pairs[f"text.blocks.1.{new}"][0], stored(model)[inside.format(old)])
    assert all(a.shape[0] == b.shape[1] == lora["rank"] for a, b in adapter.pairs.values())


def is_expert(name: str) -> bool:
    return name.startswith(("text.blocks.2.mlp", "text.blocks.3.mlp"))


def test_an_adapter_is_in_the_asked_type_and_in_memory_of_its_own(save: Callable[[dict[str, Tensor]], Path]) -> None:
    path = save(stored())
    adapter = read(path, dtype=torch.bfloat16)
    os.truncate(path, 0)  # what still mapped the file would now crash
    a, b = adapter.pairs["text.blocks.2.mlp.fc2"]
    assert a.dtype == b.dtype == torch.bfloat16
    assert torch.isfinite(a @ a.T).all()


def test_experts_need_no_adapter(save: Callable[[dict[str, Tensor]], Path]) -> None:
    without = {name: tensor for name, tensor in stored("moondream3").items()
               if not any(f"h.{i}.mlp" in name for i in (2, 3))}  # fmt: skip
    assert len(without) < len(stored("moondream3"))
    whole, some = read(save(stored("moondream3")), "moondream3"), read(save(without), "moondream3")
    assert whole.pairs.keys() == some.pairs.keys()


def test_ranks_may_differ(save: Callable[[dict[str, Tensor]], Path]) -> None:
    adapter = read(save(stored() | {f"{QKV}.A": torch.ones(9, 128), f"{QKV}.B": torch.ones(384, 9)}))
    assert adapter.pairs["text.blocks.0.attn.qkv"][0].shape == (9, 128)
    assert adapter.pairs["text.blocks.1.attn.qkv"][0].shape == (4, 128)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({f"{QKV}.A": None}, "missing: text.blocks.0.attn.qkv.A"),
        ({"text.blocks.3.attn.qkv.A": torch.ones(4, 128)}, "unknown: 'text.blocks.3.attn.qkv.A'"),
        ({"text.lm_head.A": torch.ones(4, 128)}, "unknown: 'text.lm_head.A'"),
        ({f"{QKV}.A": torch.ones(4, 127)}, "qkv is [4, 127] and [384, 4], not [rank, 128] and [384, rank]"),
        ({f"{QKV}.A": torch.ones(5, 128)}, "qkv is [5, 128] and [384, 4]"),
        ({f"{QKV}.B": torch.ones(384)}, "qkv is [4, 128] and [384]"),
        ({f"{QKV}.A": torch.tensor(1.0)}, "qkv is [] and [384, 4]"),
        ({f"{QKV}.A": torch.ones(0, 128), f"{QKV}.B": torch.ones(384, 0)}, "qkv is [0, 128] and [384, 0]"),
        ({f"{QKV}.A": torch.ones(129, 128), f"{QKV}.B": torch.ones(384, 129)}, "qkv is [129, 128] and [384, 129]"),
        ({f"{QKV}.A": torch.ones(4, 128).int()}, "not floating-point: text.blocks.0.attn.qkv.A"),
        ({"text.blocks.0.attn.qkv.A": torch.ones(4, 128)}, "has 'text.blocks.0.attn.qkv.A' twice"),
    ],
)
def test_what_does_not_fit_is_named(
    save: Callable[[dict[str, Tensor]], Path], changed: dict[str, Tensor | None], says: str
) -> None:
    tensors = {name: tensor for name, tensor in (stored() | changed).items() if tensor is not None}
    assert says in refused(save(tensors))


def test_the_adapter_of_another_model(save: Callable[[dict[str, Tensor]], Path]) -> None:
    line = refused(save(stored("moondream3")))
    assert "unknown: 'text.blocks.3." in line
    assert " and 5 more" in line


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, zipped: bool) -> None:
    path, mark = tmp_path / "final.pt", tmp_path / "was-here"
    evil = stored() | {"x": Evil(mark)}
    if zipped:
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps({"x": Evil(mark)}))
    assert "holds more than tensors; it was not loaded" in refused(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if zipped else pickle.loads(path.read_bytes())
    assert mark.exists()  # so the file would have done it


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    path = tmp_path / "final.pt"
    for held, says in [
        ([torch.ones(1)], "not a dict of tensors"),
        (torch.ones(1), "not a dict of tensors"),
        ({"a": 3}, "'a' is not a plain tensor"),
        ({"a": {"b": torch.ones(1)}}, "'a' is not a plain tensor"),
        ({7: torch.ones(1)}, "'7' is not a plain tensor"),
        ({"a": torch.ones(2, 2).to_sparse()}, "'a' is not a plain tensor"),
        ({}, "missing: text.blocks.0.attn.qkv.A"),
    ]:
        torch.save(held, path)
        assert says in refused(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "final.pt"
    torch.save(stored(), path)
    sound = path.read_bytes()
    for data in (b"", b"PK\x03\x04", sound[:1000], sound[:-100], b"garbage" * 100):
        path.write_bytes(data)
        assert "damaged" in refused(path)
    assert "no such file" in refused(tmp_path / "none.pt")
    assert "no such file" in refused(tmp_path / "none.safetensors")
    assert "no such file" in refused(tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    for name in ("golden/final.pt", "golden/100.pt", "v1.2-b/final.pt"):
        (tmp_path / "hub/md_variants" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "hub/md_variants" / name).touch()
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("name", "file"), [("golden", "golden/final.pt"), ("golden/100", "golden/100.pt"), ("v1.2-b", "v1.2-b/final.pt")]
)
def test_variants_are_found_by_id_and_step(cache: Path, name: str, file: str) -> None:
    assert find_adapter(name) == cache / "md_variants" / file


def test_where_the_cache_is(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, place in [
        ({"HF_HOME": str(tmp_path / "home")}, tmp_path / "home/hub"),
        (dict.fromkeys(("HOME", "USERPROFILE"), str(tmp_path / "me")), tmp_path / "me/.cache/huggingface/hub"),
    ]:
        with monkeypatch.context() as changed:
            changed.delenv("HF_HUB_CACHE")
            for name, value in variables.items():
                changed.setenv(name, value)
            with pytest.raises(ModelUnavailable) as error:
                find_adapter("golden")
        assert str(place / "md_variants/golden/final.pt") in str(error.value)


def test_paths_are_taken_as_they_are(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "golden").touch()
    assert find_adapter("golden") == Path("golden")
    assert find_adapter(str(tmp_path / "golden")) == tmp_path / "golden"


@pytest.mark.parametrize("name", ["other", "golden/200", "none.safetensors"])
def test_what_is_not_there_is_named_with_the_place(cache: Path, name: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"no adapter '{name}': .*{cache}/md_variants/.*\.pt exists"):
        find_adapter(name)


@pytest.mark.parametrize(
    "name",
    ["..", "../golden", "golden/..", "golden/../../secret", "/golden", "/etc/none", ".", "", "a/b/c", "a\nb", "a\0b",
     "a\\b", "~/x", "golden//", "x" * 5000 + "/../y"],
)  # fmt: skip
def test_names_stay_in_the_cache(cache: Path, name: str) -> None:
    (cache / "secret.pt").touch()
    (cache / "final.pt").touch()
    why = "it is a folder; give the file in it" if name in (".", "..") else "no such file, and not the id of a variant"
    with pytest.raises(ModelUnavailable, match=why) as error:
        find_adapter(name)
    assert len(str(error.value).splitlines()) == 1
