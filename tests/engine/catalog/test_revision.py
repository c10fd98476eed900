"""A model's revision is another one where its files are, wherever they lie, and without reading all of them."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import engine
from engine.catalog.locate import locate
from engine.catalog.revision import SAMPLE_BYTES, revision_of
from engine.centerface.network import weights_path
from engine.contract import LoadOptions, ModelUnavailable
from engine.pocket.abilities import DATA
from engine.pocket.model import TOKENIZER, WEIGHTS

GOLDEN = Path(__file__).parents[2] / "golden" / "moondream2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    others = shutil.ignore_patterns("expected.*", "lora.*")
    return Path(shutil.copytree(GOLDEN, tmp_path / "model", ignore=others))


def revision(path: Path) -> str:
    return locate(str(path)).revision


def test_it_is_of_the_files_wherever_they_lie(folder: Path) -> None:
    here = revision(GOLDEN)
    assert len(here) == 16
    assert revision(GOLDEN / "model.safetensors") == here
    (folder / "model.safetensors").rename(folder / "mine.safetensors")
    os.utime(folder / "mine.safetensors", (0, 0))
    assert revision(folder) == revision(folder / "mine.safetensors") == here
    assert engine.load(str(folder), LoadOptions("cpu")).revision == here


@pytest.mark.parametrize("trained", ["vision.blocks.0.attn.qkv.weight", "text.lm_head.weight", "text.post_ln.bias"])
@pytest.mark.parametrize("place", ["all", "first", "last"])
def test_training_on_makes_another(folder: Path, trained: str, place: str) -> None:
    weights = load_file(folder / "model.safetensors")
    [name] = [name for name in weights if name.endswith(trained)]
    values = weights[name].view(-1)
    values[{"all": slice(None), "first": slice(1), "last": slice(-1, None)}[place]] += 1
    size = (folder / "model.safetensors").stat().st_size
    save_file(weights, folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_size == size
    assert revision(folder) != revision(GOLDEN)


def test_so_does_another_config_or_tokenizer(folder: Path) -> None:
    told = {revision(GOLDEN)}
    config = json.loads((folder / "config.json").read_text())
    config["tokenizer"]["templates"]["point"] = None
    (folder / "config.json").write_text(json.dumps(config))
    told.add(revision(folder))
    with (folder / "tokenizer.json").open("a") as file:
        file.write("\n")
    told.add(revision(folder))
    assert len(told) == 3


def test_of_shards_all_have_a_say(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    places = {name: file for file, some in shards.items() for name in some}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    def write() -> str:
        for file, some in shards.items():
            save_file({name: weights[name] for name in some}, folder / file)
        return revision(folder)

    told = {write()}
    for some in shards.values():
        weights[some[0]] = torch.zeros_like(weights[some[0]])
        told.add(write())
    assert len(told) == 3


def test_little_of_large_weights_is_read(tmp_path: Path) -> None:
    """The file is a hole of a terabyte; only what differs at an end of a tensor is seen."""
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    told = []
    for place in (0, SAMPLE_BYTES - 1, SAMPLE_BYTES, 2**39, 2**40 - 1):
        path = tmp_path / f"{place}.safetensors"
        header = json.dumps({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}).encode()
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 2**40)
            file.seek(8 + len(header) + place)
            file.write(b"x")
        told.append(revision_of(path, tokenizer, {}))
    assert len(set(told)) == 4
    assert told[2] == told[3]


def test_a_file_that_went_away_is_told(folder: Path) -> None:
    model_files = locate(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors: cannot be read"):
        _ = model_files.revision


def test_of_the_embedded_models() -> None:
    pocket = engine.load("pocket", LoadOptions("cpu"))
    assert pocket.revision == revision_of(WEIGHTS, TOKENIZER, DATA)
    faces = engine.load("centerface").revision
    assert hashlib.sha256(weights_path().read_bytes()).hexdigest().startswith(faces)
    assert len(faces) == 16
