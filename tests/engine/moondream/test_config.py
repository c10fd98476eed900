"""A config is read as it stands, or refused in one line that names the field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import ModelUnavailable
from engine.moondream.config import Config, TokenizerConfig, VisionConfig, read_config
from engine.moondream.templates import Template

GOLDEN = Path(__file__).parents[2] / "golden"
SECOND, THIRD = (json.loads((GOLDEN / model / "config.json").read_text()) for model in ("moondream2", "moondream3"))
OLD_IDS = {
    "bos_id": 50256, "eos_id": 50256, "answer_id": None, "thinking_id": None, "coord_id": None, "size_id": None,
    "start_ground_points_id": None, "end_ground_id": None,
}  # fmt: skip


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        data = data[step]
    return data


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in the JSON value."""
    steps = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [path, *(place for step in steps for place in places(data[step], (*path, step)))]


def edited(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    data = copy.deepcopy(data)
    at(data, path[:-1])[path[-1]] = value
    return data


def refused(data: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        read_config("some.json", data)
    message = str(caught.value)
    assert message.startswith("some.json: ")
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_an_empty_config_is_the_two_billion_model() -> None:
    assert read_config("it", {}) == Config()
    assert (Config().vision.grid, Config().prefix_length, Config().text.head_dim, Config().text.rotary_dim) == (
        27, 730, 64, 32,
    )  # fmt: skip
    assert not Config().is_moondream3


def test_the_second_generation_is_read() -> None:
    config = read_config("it", SECOND)
    assert (config.text.dim, config.text.n_layers, config.text.rope_theta) == (128, 3, 10_000)
    assert not config.is_moondream3
    assert not config.text.tau
    assert config.region.inner_dim == 64
    assert config.vision == VisionConfig(
        enc_dim=32, enc_ff_dim=48, enc_n_heads=2, proj_out_dim=128, proj_inner_dim=64
    )  # all else as in the reference
    assert config.tokenizer.templates.detect == Template((1, 302, 303, 2), (3,))
    assert config.tokenizer.templates.caption is not None
    assert config.tokenizer.templates.caption["long"] == (1, 300, 2, 312, 3)
    assert (config.defaults.temperature, config.defaults.top_p, config.defaults.max_objects) == (0.5, 0.3, 50)
    assert not config.defaults.reasoning
    assert config.tokenizer.reasons


def test_the_third_generation_is_read() -> None:
    config = read_config("it", THIRD)
    assert config.is_moondream3
    assert config.text.tau
    assert config.text.rope_theta == 1_500_000
    assert config.text.moe is not None
    assert config.text.moe.num_experts == THIRD["text"]["moe"]["num_experts"]
    assert config.region.inner_dim is None
    assert (config.defaults.top_p, config.defaults.max_objects) == (0.9, 150)
    assert config.defaults.reasoning


def test_what_the_file_says_comes_before_what_its_generation_does() -> None:
    data = edited(THIRD, ("defaults",), {"reasoning": False, "max_objects": 7})
    defaults = read_config("it", edited(data, ("text", "rope_theta"), 10)).defaults
    assert (defaults.reasoning, defaults.max_objects, defaults.top_p) == (False, 7, 0.9)


def test_missing_key_value_heads_are_as_many_as_heads() -> None:
    sizes = {"dim": 1024, "n_heads": 16}
    half = read_config("it", {"text": sizes, "vision": {"proj_out_dim": 1024}, "region": {"dim": 1024}})
    assert (half.text.n_kv_heads, half.text.head_dim) == (16, 64)


def test_an_older_release_does_not_reason() -> None:
    assert not read_config("it", {"tokenizer": OLD_IDS}).tokenizer.reasons


def test_a_skill_that_is_null_is_missing() -> None:
    config = read_config("it", edited(SECOND, ("tokenizer", "templates", "point"), None))
    assert config.tokenizer.templates.point is None
    assert config.tokenizer.templates.segment is None


@pytest.mark.parametrize("golden", [SECOND, THIRD])
def test_any_field_of_a_wrong_type_is_named(golden: dict[str, Any]) -> None:
    for path in places(golden)[1:]:
        wrong = 1.5 if isinstance(at(golden, path), int) else 7
        step = f"[{path[-1]}]" if isinstance(path[-1], int) else str(path[-1])
        assert step in refused(edited(golden, path, wrong)), path


@pytest.mark.parametrize("golden", [SECOND, THIRD])
def test_any_unknown_field_is_named(golden: dict[str, Any]) -> None:
    for path in places(golden)[1:]:
        if isinstance(at(golden, path), dict) and path[-1] != "caption":
            assert ".".join(map(str, (*path, "nonsense"))) in refused(edited(golden, (*path, "nonsense"), 1))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("text", "dim"), 0, "text.dim must be positive"),
        (("text", "dim"), -128, "text.dim must be positive"),
        (("text", "n_heads"), 0, "text.n_heads must be positive"),
        (("text", "n_heads"), 3, "text.dim must be a multiple of n_heads"),
        (("text", "n_heads"), 64, "multiple of 4"),
        (("text", "n_heads"), True, "text.n_heads must be an integer, not True"),
        (("text", "n_kv_heads"), 3, "n_kv_heads"),
        (("text", "n_layers"), 10**12, "text.n_layers is far too large"),
        (("text", "rope_theta"), 10**400, "text.rope_theta"),
        (("text", "rope_theta"), float("inf"), "text.rope_theta"),
        (("text", "rope_theta"), float("nan"), "text.rope_theta"),
        (("text", "rope_theta"), -1.0, "text.rope_theta"),
        (("text", "max_context"), 730, "max_context is too small"),
        (("text", "moe"), {"experts_per_token": 65}, "experts_per_token is over"),
        (("text", "moe"), {"start_layer": 3}, "start_layer leaves no layer"),
        (("text", "moe"), [], "text.moe must be an object"),
        (("vision", "crop_size"), 380, "multiple of enc_patch_size"),
        (("vision", "overlap_margin"), 14, "overlap_margin"),
        (("vision", "overlap_margin"), -1, "overlap_margin"),
        (("vision", "enc_n_heads"), 5, "enc_n_heads"),
        (("vision", "in_channels"), 1, "in_channels must be 3"),
        (("vision", "proj_out_dim"), 64, "proj_out_dim must equal text.dim"),
        (("region", "dim"), 64, "region.dim must equal text.dim"),
        (("region", "coord_feat_dim"), 31, "coord_feat_dim must be even"),
        (("region", "size_out_dim"), 2, "size_out_dim"),
        (("tokenizer", "eos_id"), 512, "tokenizer.eos_id"),
        (("tokenizer", "bos_id"), -1, "tokenizer.bos_id"),
        (("tokenizer", "bos_id"), None, "tokenizer.bos_id"),
        (("tokenizer", "templates", "query", "prefix"), [1, 512], "512 is not in the vocabulary"),
        (
            ("tokenizer", "templates", "query", "prefix"),
            "AnalysisRequest",
            "tokenizer.templates.query.prefix must be a list",
        ),
        (("tokenizer", "templates", "query"), {"prefix": [1]}, "tokenizer.templates.query.suffix is missing"),
        (("tokenizer", "templates", "caption", "short"), [], "tokenizer.templates.caption.short is empty"),
        (("tokenizer", "templates", "caption", "a\nb"), 1, r"tokenizer.templates.caption.'a\nb' must be a list"),
        (("tokenizer", "templates", "caption", "short"), [1, -1], "-1 is not in the vocabulary"),
        (("defaults",), {"temperature": float("nan")}, "defaults.temperature"),
        (("defaults",), {"temperature": -0.1}, "defaults.temperature"),
        (("defaults",), {"top_p": 1.1}, "defaults.top_p"),
        (("defaults",), {"max_tokens": -1}, "defaults.max_tokens"),
        (("defaults",), {"max_objects": -1}, "defaults.max_objects"),
        (("vocabulary",), ["star"], "vocabulary must be an object"),
        (("vocabulary",), {"star": 1}, "vocabulary.star must be a string, not 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    assert message in refused(edited(SECOND, path, value))


@pytest.mark.parametrize("data", [None, [], "text", 3, {"text": None}, {"text": []}, {"region": 1}, {"defaults": "no"}])
def test_what_is_no_config_is_refused(data: Any) -> None:
    refused(data)


def test_the_third_generation_needs_more() -> None:
    assert "n_kv_heads" in refused(edited(THIRD, ("text", "n_kv_heads"), 1))
    assert "tokenizer.coord_id is missing" in refused(edited(THIRD, ("tokenizer", "coord_id"), None))


def test_the_wrong_field_is_named_not_the_one_that_takes_its_value() -> None:
    assert "text.n_heads must be an integer" in refused({"text": {"n_heads": "two"}})


NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 2, 3, 4, 2**31, 10**400])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300)
@given(st.data())
def test_any_json_is_a_config_or_refused(data: st.DataObject) -> None:
    """Some places of a good config get any value, or are left out."""
    config: Any = copy.deepcopy(data.draw(st.sampled_from([SECOND, THIRD, {}])))
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(places(config)))
        if not path:
            config = data.draw(st.just(config) | st.just(config) | JSON)
        elif data.draw(st.booleans()):
            del at(config, path[:-1])[path[-1]]
        else:
            at(config, path[:-1])[path[-1]] = data.draw(JSON)
    try:
        assert isinstance(read_config("some.json", config), Config)
    except ModelUnavailable as error:
        assert str(error).startswith("some.json: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


def test_ids_of_the_current_releases_are_the_defaults() -> None:
    ids = TokenizerConfig()
    assert (ids.bos_id, ids.eos_id, ids.answer_id, ids.thinking_id, ids.coord_id, ids.size_id) == (0, 0, 3, 4, 5, 6)
    assert (ids.start_ground_points_id, ids.end_ground_id) == (7, 9)
