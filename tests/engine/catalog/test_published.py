"""The catalogue of models: complete, readable by their family, and what it says each can do."""

import json
import math
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from engine.catalog.published import (
    CONFIGS,
    PublishedModel,
    Source,
    downloads,
    find_published,
    published,
    unknown_model_error,
)
from engine.contract import ModelUnavailable
from engine.lfm2vl import config as lfm2vl
from engine.lfm2vl.weights import shapes as lfm2vl_shapes
from engine.moondream.config import Config, read_config
from engine.moondream_gguf import config as moondream_gguf
from engine.qwen3vl import config as qwen3vl
from engine.qwen3vl.weights import shapes as qwen3vl_shapes

PARTS = ("text", "vision", "region", "tokenizer", "defaults")


def spelt_out(kind: Any, value: Any) -> bool:
    """Whether every field is given, all the way down."""
    if not is_dataclass(kind) or value is None:
        return True
    hints = get_type_hints(kind)
    return value.keys() == {f.name for f in fields(kind)} and all(
        spelt_out(hints[name], item) for name, item in value.items()
    )


MOONDREAMS = {name: model for name, model in published().items() if model.family == "moondream"}
LFMS = {name: model for name, model in published().items() if model.family == "lfm2vl"}


@pytest.fixture(params=MOONDREAMS.values(), ids=list(MOONDREAMS))
def model(request: pytest.FixtureRequest) -> PublishedModel:
    chosen: PublishedModel = request.param
    return chosen


def test_is_read_by_its_family(model: PublishedModel) -> None:
    config = read_config(model.name, model.config)
    assert model.family == "moondream"
    assert spelt_out(Config, {part: model.config[part] for part in PARTS} | {"vocabulary": None})
    assert config.vocabulary is None
    assert config.is_moondream3 == model.name.startswith("moondream3")
    assert config.text.prefix_attn == config.prefix_length == 730


def test_says_what_it_is_and_where(model: PublishedModel) -> None:
    assert model.summary
    assert len(model.summary) < 60
    if model.name == "moondream-0.5b":
        assert model.source is None
    else:
        assert isinstance(model.source, Source)
        assert model.source.repo.count("/") == 1
        new = model.config["tokenizer"]["bos_id"] == 0
        assert (model.source.tokenizer.repo == "moondream/starmie-v1") == new
        assert new or model.source.tokenizer.repo == model.source.repo


@pytest.mark.parametrize("name", LFMS)
def test_each_lfm_is_read_has_its_size_and_tells_the_limit_of_its_licence(name: str) -> None:
    model = LFMS[name]
    config = lfm2vl.read_config(name, model.config)
    assert model.source
    assert "10 million USD" in model.size_and_licence
    assert model.source.repo.lower() == f"liquidai/{name}"
    weights = sum(math.prod(shape) for shape in lfm2vl_shapes(config).values())
    assert abs(2 * weights / model.source.bytes - 1) < 0.01  # bfloat16
    assert ("detect" in model.abilities.prompts) == (name == "lfm2.5-vl-450m")
    assert config.preprocessor_config.min_image_tokens == (32 if "450m" in name and "2.5" in name else 64)


def test_nothing_but_models_is_there() -> None:
    assert {path.stem for path in CONFIGS.glob("*.json")} == set(published())
    assert list(published()) == sorted(published())
    assert {"lfm2-vl-450m", "lfm2-vl-1.6b", "lfm2.5-vl-450m", "lfm2.5-vl-1.6b"} == set(LFMS)
    assert {"moondream2", "moondream-0.5b", "moondream3-preview", "moondream3.1"} <= set(published())


@pytest.mark.parametrize("name", ["moondream2", "moondream3-preview", "moondream3.1"])
def test_what_the_current_ones_are(name: str) -> None:
    """Every number of the reference's defaults, which the config's own are for the second generation."""
    config = read_config(name, published()[name].config)
    assert config.tokenizer == Config().tokenizer
    assert config.vision == Config().vision
    if name == "moondream2":
        assert (config.region, config.defaults) == (Config().region, Config().defaults)
    else:
        assert config.text.moe
        assert (config.text.moe.num_experts, config.text.rope_theta, config.text.max_context) == (64, 1.5e6, 4096)
        assert (config.defaults.top_p, config.defaults.max_objects, config.defaults.reasoning) == (0.9, 150, True)
        assert config.region.inner_dim is None


def test_the_older_ones_differ_in_captions_and_bits() -> None:
    parts = {name: json.loads(json.dumps(model.config)) for name, model in MOONDREAMS.items()}
    for name in ("moondream2-2025-01-09", "moondream2-2025-03-27", "moondream2-2025-04-14-4bit"):
        captions = parts[name]["tokenizer"]["templates"]["caption"]
        assert captions.pop("long", None) == ([198, 198, 14617, 8305, 25] if "4bit" in name else None)
        newest = parts["moondream2-2025-04-14"]["tokenizer"]["templates"]["caption"]
        assert captions == {length: newest[length] for length in ("short", "normal")}
        for part in ("text", "region"):
            assert parts[name][part].pop("group_size") == (128 if "4bit" in name else None)
            assert parts[name][part].items() <= parts["moondream2-2025-04-14"][part].items()


def test_abilities_follow_the_templates(model: PublishedModel) -> None:
    abilities = model.abilities
    assert abilities.supports("detect", "a red car")
    assert abilities.supports("caption", "short")
    assert abilities.supports("caption", "long") == (
        model.name not in ("moondream-0.5b", "moondream2-2025-01-09", "moondream2-2025-03-27")
    )
    assert not abilities.supports("caption", "in rhyme")
    assert set(abilities.prompts) == {"detect", "point", "query", "caption", "gaze"}


def test_a_name_that_is_not_known() -> None:
    assert "did you mean 'moondream2'?" in str(unknown_model_error("moondraem2", published()))
    assert "did you mean" not in str(unknown_model_error("gemma", published()))


QWENS = ["qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b"]


@pytest.mark.parametrize("name", QWENS)
def test_each_qwen_is_read_and_has_its_size(name: str) -> None:
    model = published()[name]
    config = qwen3vl.read_config(name, model.config)
    assert model.source
    parameters = sum(math.prod(shape) for shape in qwen3vl_shapes(config).values())
    assert abs(2 * parameters / model.source.bytes - 1) < 0.001  # bfloat16
    released = {"qwen3-vl-2b": 2_127_532_032, "qwen3-vl-4b": 4_437_815_808, "qwen3-vl-8b": 8_767_123_696}
    assert parameters == released[name]
    assert {"chat", "detect", "point"} <= set(model.abilities.prompts)
    assert list(model.variants) == ["q4_k_m", "q5_k_s", "q8_0", "f16"]
    assert "licence Apache-2.0" in model.size_and_licence


def test_variants() -> None:
    base, gguf, int8 = (find_published(f"lfm2-vl-450m{variant}") for variant in ("", ":Q4_0", ":int8"))
    assert base
    assert gguf
    assert int8
    assert (gguf.name, gguf.quantize, gguf.variant_names) == ("lfm2-vl-450m:q4_0", None, [])
    assert gguf.source == base.variants["q4_0"]
    assert gguf.source.terms == "commercial use is free below 10 million USD of annual revenue"
    assert (int8.name, int8.quantize, int8.source) == ("lfm2-vl-450m:int8", "int8", base.source)
    assert find_published("./lfm2-vl-450m:q4_0") is None
    with pytest.raises(ModelUnavailable, match=r"lfm2-vl-450m has no variant ''; it has q4_0, q8_0, f16, int8, int4"):
        find_published("lfm2-vl-450m:")
    names = [model.name for model in downloads()]
    assert names[names.index("lfm2-vl-450m") :][:4] == [f"lfm2-vl-450m{v}" for v in ("", ":q4_0", ":q8_0", ":f16")]
    assert len(names) == len(set(names)) == len(published()) + sum(len(one.variants) for one in published().values())


def test_moondream_in_gguf_is_read_and_says_what_is_better() -> None:
    model = published()["moondream2-gguf"]
    assert moondream_gguf.read_config(model.name, model.config).vision
    assert "`moondream2` is newer and better" in model.summary
    assert "detect" not in model.abilities.prompts
