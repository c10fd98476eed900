"""A config is read from files of older and newer releases, or refused in one line that names the field."""

import json
from typing import Any

import pytest
from golden_qwen import FOLDER

from engine.contract import ModelUnavailable
from engine.qwen3vl.abilities import abilities
from engine.qwen3vl.checkpoint_matcher import find_config, tokenizer_matches
from engine.qwen3vl.config import read_config

PARTS = ("preprocessor_config", "generation_config")


def data() -> dict[str, Any]:
    files = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in PARTS}
    return {**json.loads((FOLDER / "config.json").read_text()), **files}


def test_the_files_of_a_release() -> None:
    config = read_config("config.json", data())
    assert config.text.mrope_section == (4, 2, 2)
    assert config.text.rope_theta == 5_000_000
    assert config.vision
    assert config.vision.deepstack_visual_indexes == (1, 2, 3)
    assert (config.image.min_pixels, config.image.max_pixels) == (4096, 49152)
    assert config.defaults.temperature == 0.7
    assert config.defaults.top_k == 20


def test_newer_files_say_the_same_with_other_words() -> None:
    newer = data()
    text = newer["text_config"]
    text["rope_parameters"] = text.pop("rope_scaling") | {"rope_theta": text.pop("rope_theta")}
    newer["vision_config"]["model_type"] = "qwen3_vl_vision"
    assert read_config("config.json", newer) == read_config("config.json", data())


def test_without_the_other_files_it_is_as_released() -> None:
    plain = {name: value for name, value in data().items() if name not in PARTS}
    config = read_config("config.json", plain)
    assert (config.image.min_pixels, config.image.max_pixels) == (65_536, 16_777_216)
    assert config.defaults.top_p == 0.8


def test_greedy_decoding_where_the_files_say_so() -> None:
    greedy = data()
    greedy["generation_config"] = {"do_sample": False, "temperature": None}
    assert read_config("config.json", greedy).defaults.temperature == 0


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("text_config", "hidden_size", "64", "hidden_size must be an integer, not '64'"),
        ("text_config", "hidden_size", 0, "text_config.hidden_size must be positive, not 0"),
        ("text_config", "num_key_value_heads", 3, "num_attention_heads must be a multiple"),
        ("text_config", "rope_scaling", [1], "rope_scaling must be an object"),
        ("text_config", "rope_scaling", {"rope_type": "yarn"}, "the rotary embedding 'yarn' is not supported"),
        ("text_config", "rope_scaling", {"mrope_interleaved": False}, "only interleaved M-RoPE"),
        ("text_config", "rope_scaling", {"mrope_section": [4, 4]}, "mrope_section must have three numbers"),
        ("text_config", "rope_scaling", {"mrope_section": [4, 4, 4]}, "mrope_section must add up to half"),
        ("vision_config", "num_heads", 5, "vision_config.hidden_size must divide by 4"),
        ("vision_config", "num_position_embeddings", 35, "must be a square"),
        ("vision_config", "in_channels", 4, "in_channels must be 3"),
        ("vision_config", "out_hidden_size", 32, "out_hidden_size must be the text's"),
        ("vision_config", "deepstack_visual_indexes", [1, 5], "name layers that don't exist"),
        (
            "preprocessor_config",
            "size",
            {"shortest_edge": 99_999, "longest_edge": 4096},
            "the least number of pixels exceeds",
        ),
        ("preprocessor_config", "image_std", [0, 1, 1], "image_std must be positive"),
        ("generation_config", "temperature", "hot", "temperature must be a finite number"),
    ],
)
def test_what_does_not_fit_is_named(part: str, name: str, value: Any, message: str) -> None:
    broken = data()
    broken[part][name] = value
    with pytest.raises(ModelUnavailable, match=f"^config.json: .*{message}"):
        read_config("config.json", broken)


@pytest.mark.parametrize("part", ["text_config", "vision_config", *PARTS])
def test_a_part_must_be_an_object(part: str) -> None:
    with pytest.raises(ModelUnavailable, match=f"{part} must be an object"):
        read_config("config.json", data() | {part: 1})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ModelUnavailable, match="hidden_size is missing"):
        read_config("config.json", {"model_type": "qwen3_vl"})


def test_the_skills_follow_from_the_config() -> None:
    prompts = abilities("config.json", data()).prompts
    assert prompts.keys() == {"caption", "query", "chat", "detect", "point"}
    assert prompts["caption"] == frozenset({"short", "normal", "long"})


def test_recognition_by_the_files() -> None:
    assert find_config(data()) == data()
    assert find_config(data() | {"model_type": "qwen2_vl"}) is None
    assert tokenizer_matches(FOLDER / "tokenizer.json", data())
    assert not tokenizer_matches(FOLDER / "tokenizer.json", data() | {"image_token_id": 5})
