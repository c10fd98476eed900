"""What is written in few bits is, loaded as it is, the model that is rounded as it is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from caches import keys, values
from golden import FAMILIES, GOLDEN, image
from golden import config as config_of
from make_weights import REGION, TEXT, Tensors, int4_release, tensors_of
from safetensors.torch import load_file, save_file

import engine
from engine.catalog.locate import locate
from engine.checkpoints.conversion import write_quantized
from engine.contract import EngineError, Generation, LoadOptions, ModelUnavailable
from engine.moondream.conversion import quantizable_model
from engine.moondream.model import Moondream
from engine.moondream.weights import QUANTIZATION_PLAN, open_weights
from engine.quantization.formats import Int4, Int8
from engine.quantization.plan import QUANTIZATION_SCHEMES, QuantizedSource
from engine.quantization.tensor_source import TensorSource

pytestmark = pytest.mark.filterwarnings("ignore::engine.contract.ObjectLimitWarning")
WRITING = Generation(temperature=0, max_tokens=12)
MATRIX = "text.blocks.0.attn.qkv.weight"
SEEN = "vision.blocks.0.attn.qkv.weight"


def model_of(path: Path, quantize: str | None = None) -> Moondream:
    loaded = engine.load(str(path), LoadOptions("cpu", "float32", quantize, detail="low", resize="pillow"))
    assert isinstance(loaded, Moondream)
    return loaded


def written(folder: Path, source: Path, kind: str) -> Path:
    folder.mkdir()
    write_quantized(quantizable_model(locate(str(source))), kind, folder, lambda share: None)
    return folder


def assert_same(one: Moondream, other: Moondream) -> None:
    """Bit for bit."""
    images = [image("img_a")]
    (mine,), (theirs,) = one.encode(images), other.encode(images)
    assert torch.equal(keys(mine.prefix), keys(theirs.prefix))
    assert torch.equal(values(mine.prefix), values(theirs.prefix))
    assert one.caption([mine], generation=WRITING) == other.caption([theirs], generation=WRITING)
    assert one.detect([mine], "face", max_objects=3) == other.detect([theirs], "face", max_objects=3)


def in_folder(folder: Path, family: str, tensors: Tensors) -> Path:
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(GOLDEN / family / name, folder / name)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def parts(weights: TensorSource, name: str) -> list[torch.Tensor]:
    """Of a matrix, in few bits or not."""
    kept = weights.matrix(name, torch.float32)
    if isinstance(kept, Int4):
        return [kept.nibbles, kept.scale, kept.zero]
    assert isinstance(kept, Int8 | torch.Tensor)
    return [kept.values, kept.scale] if isinstance(kept, Int8) else [kept]


@pytest.mark.parametrize("kind", QUANTIZATION_SCHEMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_weights(tmp_path: Path, family: str, kind: str) -> None:
    plain = open_weights(GOLDEN / family / "model.safetensors", config_of(family))
    made = open_weights(written(tmp_path / "made", GOLDEN / family, kind) / "model.safetensors", config_of(family))
    assert made.shapes == plain.shapes
    for name, shape in plain.shapes.items():
        if len(shape) != 2:
            assert torch.equal(made.tensor(name, torch.float32), plain.tensor(name, torch.float32)), name
            continue
        for mine, theirs in zip(
            parts(made, name), parts(QuantizedSource(plain, QUANTIZATION_PLAN, kind), name), strict=True
        ):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs), name


@pytest.mark.parametrize(("family", "kind"), [("moondream2", "int4"), ("moondream3", "int8")])
def test_the_same_model(tmp_path: Path, family: str, kind: str) -> None:
    folder = written(tmp_path / "made", GOLDEN / family, kind)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    model = model_of(folder)
    assert_same(model, model_of(GOLDEN / family, kind))
    assert model.name == "made"
    sizes = [(place / "model.safetensors").stat().st_size for place in (folder, GOLDEN / family)]
    assert sizes[0] < sizes[1]


def test_from_the_release_in_4_bits(tmp_path: Path) -> None:
    release = in_folder(tmp_path / "release", "moondream2", int4_release(tensors_of("moondream2"), f"{TEXT}|{REGION}"))
    folder = written(tmp_path / "made", release, "int4")
    assert_same(model_of(folder), model_of(release, "int4"))


def test_older_names_become_those_of_today(tmp_path: Path) -> None:
    tensors = tensors_of("moondream2")
    known = json.loads((GOLDEN / "moondream2/expected.json").read_text())["old_checkpoint_names"]
    old = {
        place["old"]: tensors[name.removeprefix("model.")].T
        if place["transposed"]
        else tensors[name.removeprefix("model.")]
        for name, place in known.items()
    }
    assert len(old) == len(tensors)
    folders = [in_folder(tmp_path / "old", "moondream2", old), GOLDEN / "moondream2"]
    made = [written(tmp_path / f"made {i}", folder, "int4") for i, folder in enumerate(folders)]
    assert (made[0] / "model.safetensors").read_bytes() == (made[1] / "model.safetensors").read_bytes()


def test_how_far_it_is_told(tmp_path: Path) -> None:
    shares: list[float] = []
    write_quantized(quantizable_model(locate(str(GOLDEN / "moondream3"))), "int8", tmp_path, shares.append)
    assert (shares[0], shares[-1]) == (0, 1)
    assert shares == sorted(shares)
    assert len(shares) > 100


@pytest.mark.parametrize(("kind", "bits"), [("int4", 4), ("int8", 8)])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_in_few_bits_already(tmp_path: Path, family: str, kind: str, bits: int) -> None:
    folder = written(tmp_path / "made", GOLDEN / family, kind)
    for i, again in enumerate(QUANTIZATION_SCHEMES):
        with pytest.raises(EngineError, match=f"already int{bits}; give the model before quantisation"):
            written(tmp_path / str(i), folder, again)
        assert not list((tmp_path / str(i)).iterdir())


def test_the_release_in_4_bits_is_not_made_8(tmp_path: Path) -> None:
    release = in_folder(tmp_path / "release", "moondream2", int4_release(tensors_of("moondream2"), TEXT))
    with pytest.raises(EngineError, match="already int4"):
        written(tmp_path / "made", release, "int8")


def without(name: str, tensors: Tensors) -> None:
    del tensors[name]


def narrower(name: str, tensors: Tensors) -> None:
    tensors[name] = tensors[name][..., :-1]


def as_floats(name: str, tensors: Tensors) -> None:
    tensors[name] = tensors[name].float()


def as_numbers(name: str, tensors: Tensors) -> None:
    tensors[name] = tensors[name].to(torch.int32)


@pytest.mark.parametrize(
    ("harm", "name", "said"),
    [
        (without, f"{MATRIX}.nibbles", f"missing: {MATRIX}; unknown: '{MATRIX}.scale', '{MATRIX}.zero'"),
        (without, f"{MATRIX}.scale", f"missing: {MATRIX}.scale"),
        (without, f"{MATRIX}.zero", f"missing: {MATRIX}.zero"),
        (without, f"{SEEN}.values", f"missing: {SEEN}; unknown: '{SEEN}.scale'"),
        (without, f"{SEEN}.scale", f"missing: {SEEN}.scale"),
        (narrower, f"{MATRIX}.nibbles", f"of another shape: {MATRIX}.nibbles is [384, 63], not [384, 64]"),
        (narrower, f"{MATRIX}.scale", f"of another shape: {MATRIX}.scale is [384, 0], not [384, 1]"),
        (narrower, f"{MATRIX}.zero", f"of another shape: {MATRIX}.zero is [384, 0], not [384, 1]"),
        (narrower, f"{SEEN}.values", f"of another shape: {SEEN}.values is [96, 31], not [96, 32]"),
        (narrower, f"{SEEN}.scale", f"of another shape: {SEEN}.scale is [95], not [96]"),
        (as_floats, f"{MATRIX}.nibbles", f"of another dtype: {MATRIX}.nibbles is float32"),
        (as_floats, f"{SEEN}.values", f"of another dtype: {SEEN}.values is float32"),
        (as_numbers, f"{MATRIX}.scale", f"of another dtype: {MATRIX}.scale is int32"),
        (as_numbers, f"{SEEN}.scale", f"of another dtype: {SEEN}.scale is int32"),
    ],
)
def test_broken_parts_are_named(tmp_path: Path, harm: Callable[[str, Tensors], None], name: str, said: str) -> None:
    folder = written(tmp_path / "made", GOLDEN / "moondream2", "int4")
    tensors = load_file(folder / "model.safetensors")
    harm(name, tensors)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(ModelUnavailable) as error:
        model_of(folder)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{folder / 'model.safetensors'}: ")
    assert line.endswith(said)


def test_a_matrix_that_is_there_twice(tmp_path: Path) -> None:
    folder = written(tmp_path / "made", GOLDEN / "moondream2", "int4")
    tensors = load_file(folder / "model.safetensors") | {MATRIX: tensors_of("moondream2")[MATRIX]}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelUnavailable, match=f"unknown: '{MATRIX}'"):
        model_of(folder)
