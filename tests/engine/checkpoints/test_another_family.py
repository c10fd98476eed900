"""A family that shares nothing with a Moondream goes through config, tensors, quantisation, conversion and back."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoints.conversion import QuantizableModel, write_quantized
from engine.checkpoints.json_config import check_sizes, json_object, known_fields, read_dataclass, with_defaults
from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.reader import Shape, open_checkpoint
from engine.checkpoints.tensor_map import TensorLocation, TensorMap, locate_tensors, map_tensors
from engine.checkpoints.writer import write_checkpoint
from engine.contract import EngineError, ModelUnavailable
from engine.layers.parameters import ParameterReader
from engine.quantization.formats import Int4, Int8, quantize_int4
from engine.quantization.plan import QuantizationPlan, QuantizedSource, weights_bytes

CONFIG = {"model_type": "made-up", "hidden_size": 64, "vocab_size": 6}  # as others write it: more than is needed
PLAN = QuantizationPlan(quantized=re.compile(r"text\.(mlp\.weight|embed)"), int4_names=re.compile(r"text\.mlp\..*"))


@dataclass(frozen=True)
class Config:
    hidden_size: int
    vocab_size: int
    intermediate_size: int = 8


def read_config(data: Any) -> Config:
    known = known_fields(Config, json_object(data, "config.json"))
    config = read_dataclass(Config, with_defaults(known, {"intermediate_size": 32}), "config.json")
    check_sizes(config, "config", "config.json")
    return config


def shapes(config: Config) -> dict[str, Shape]:
    return {
        "text.embed": (config.vocab_size, config.hidden_size),
        "text.norm.weight": (config.hidden_size,),
        "text.norm.bias": (config.hidden_size,),
        "text.mlp.weight": (config.intermediate_size, config.hidden_size),
    }


def rename(stored: str) -> Iterator[tuple[str, TensorLocation]]:
    """The embedding lies transposed; the norm's two halves lie in one tensor; a buffer is not a weight."""
    name = stored.replace("model.language_model.", "text.")
    if name == "text.inv_freq":
        return
    if name == "text.embed_tokens":
        yield "text.embed", TensorLocation(stored, transposed=True)
    elif name == "text.norm":
        yield "text.norm.weight", TensorLocation(stored, half=0)
        yield "text.norm.bias", TensorLocation(stored, half=1)
    else:
        yield name.replace("down_proj", "mlp"), TensorLocation(stored)


def open_weights(path: Path) -> TensorMap:
    checkpoint = open_checkpoint(path)
    return map_tensors(checkpoint, locate_tensors(checkpoint, rename), shapes(read_config(CONFIG)))


def as_released() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {
        "model.language_model.embed_tokens": torch.randn(64, 6, generator=draw),
        "model.language_model.norm": torch.randn(128, generator=draw),
        "model.language_model.down_proj.weight": torch.randn(32, 64, generator=draw),
        "model.language_model.inv_freq": torch.ones(2),
    }


@pytest.fixture
def released(tmp_path: Path) -> Path:
    save_file(as_released(), tmp_path / "released.safetensors")
    return tmp_path / "released.safetensors"


def test_a_config_with_fields_that_are_not_needed() -> None:
    assert read_config(CONFIG) == Config(64, 6, 32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "not a JSON object"),
        ({"vocab_size": 6}, "hidden_size is missing"),
        (CONFIG | {"vocab_size": 6.5}, "vocab_size must be an integer, not 6.5"),
        (CONFIG | {"hidden_size": 0}, "config.hidden_size must be positive, not 0"),
        (CONFIG | {"hidden_size": 2**31}, "config.hidden_size is far too large: 2147483648"),
    ],
)
def test_a_config_that_does_not_fit(data: Any, said: str) -> None:
    with pytest.raises(ModelUnavailable) as error:
        read_config(data)
    assert str(error.value) == f"config.json: {said}"


def test_stored_tensors_are_read_by_the_family_s_names(released: Path) -> None:
    weights, stored = open_weights(released), as_released()
    assert torch.equal(weights.tensor("text.embed", torch.float32), stored["model.language_model.embed_tokens"].T)
    assert torch.equal(weights.tensor("text.norm.bias", torch.float32), stored["model.language_model.norm"][64:])
    assert not weights.has("text.inv_freq")


def test_layers_are_read_with_and_without_a_bias(released: Path) -> None:
    reader, stored = ParameterReader(open_weights(released), "text", torch.float32, "cpu"), as_released()
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(reader.linear("mlp")(x), x @ stored["model.language_model.down_proj.weight"].T)
    assert torch.equal(reader.norm("norm")[0], stored["model.language_model.norm"][:64])


def test_tensors_that_do_not_fit_are_named_as_they_are_stored(released: Path) -> None:
    stored = as_released()
    del stored["model.language_model.norm"]
    stored["model.language_model.embed_tokens"] = torch.ones(6, 64)
    save_file(stored | {"other": torch.ones(1)}, released)
    with pytest.raises(ModelUnavailable) as error:
        open_weights(released)
    assert str(error.value) == (
        f"{released}: does not fit the model's config; missing: text.norm.weight, text.norm.bias; unknown: 'other'; "
        "of another shape: text.embed is [6, 64], not [64, 6]"
    )


def test_two_stored_names_of_one_tensor(released: Path) -> None:
    save_file(as_released() | {"text.mlp.weight": torch.ones(32, 64)}, released)
    with pytest.raises(ModelUnavailable, match=r"are the same tensor, 'text\.mlp\.weight'"):
        open_weights(released)


def test_the_plan_says_which_matrices_are_in_how_many_bits(released: Path) -> None:
    plain = open_weights(released)
    four, eight = (QuantizedSource(plain, PLAN, kind) for kind in ("int4-32", "int8"))
    mlp = four.matrix("text.mlp.weight", torch.float32)
    assert isinstance(mlp, Int4)
    assert mlp.group_size == 32
    wanted = quantize_int4(as_released()["model.language_model.down_proj.weight"], 32)
    assert torch.equal(mlp.dequantize(torch.float32), wanted.dequantize(torch.float32))
    assert isinstance(four.matrix("text.embed", torch.float32), Int8)
    assert isinstance(eight.matrix("text.mlp.weight", torch.float32), Int8)
    small, norms = 6 * 64 + 4 * 6, 2 * 2 * 64
    assert weights_bytes(plain.shapes, 2, PLAN) == 2 * (6 * 64 + 32 * 64) + norms
    assert weights_bytes(plain.shapes, 2, PLAN, "int4-32") == small + norms + 32 * 64 // 2 + 2 * 2 * 32 * 2
    assert weights_bytes(plain.shapes, 2, PLAN, "int8") == small + norms + 32 * 64 + 4 * 32


def quantizable_model(weights: TensorMap) -> QuantizableModel:
    return QuantizableModel(weights, PLAN, CONFIG, weights.checkpoint.path.with_name("words.json"))


def test_what_is_written_in_four_bits_is_read_as_it_was_rounded(tmp_path: Path, released: Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    (tmp_path / "made").mkdir()
    shares: list[float] = []
    plain = open_weights(released)
    write_quantized(quantizable_model(plain), "int4-32", tmp_path / "made", shares.append)
    assert shares == [0, 0.25, 0.5, 0.75, 1]
    assert json.loads((tmp_path / "made/config.json").read_text()) == CONFIG
    assert (tmp_path / "made/tokenizer.json").read_text() == "{}"
    stored = load_file(tmp_path / "made/model.safetensors")
    parts = {"nibbles": torch.uint8, "scale": torch.bfloat16, "zero": torch.bfloat16}
    assert {part: stored[f"text.mlp.weight.{part}"].dtype for part in parts} == parts

    made, rounded = open_weights(tmp_path / "made/model.safetensors"), QuantizedSource(plain, PLAN, "int4-32")
    assert made.shapes == plain.shapes
    for name in ("text.mlp.weight", "text.embed"):
        one, other = made.matrix(name, torch.float32), rounded.matrix(name, torch.float32)
        assert isinstance(one, (Int4, Int8))
        assert isinstance(other, type(one))
        assert torch.equal(one.dequantize(torch.float32), other.dequantize(torch.float32))
    assert torch.equal(made.tensor("text.norm.bias", torch.float32), plain.tensor("text.norm.bias", torch.float32))
    with pytest.raises(EngineError, match="already int4"):
        write_quantized(quantizable_model(made), "int8", tmp_path / "made", shares.append)


def test_random_weights(tmp_path: Path) -> None:
    weights = RandomWeights(shapes(read_config(CONFIG)), seed=5)
    with (tmp_path / "random.safetensors").open("wb") as file:
        write_checkpoint(file, weights.shapes, ((name, weights.tensor(name, torch.float32)) for name in weights.shapes))
    opened = open_weights(tmp_path / "random.safetensors")
    assert opened.tensor("text.norm.weight", torch.float32).eq(1).all()
    assert opened.tensor("text.norm.bias", torch.float32).eq(0).all()
    assert opened.tensor("text.mlp.weight", torch.float32).std().item() == pytest.approx(64**-0.5, rel=0.1)
