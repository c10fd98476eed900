"""A config is read in any release's spelling, or refused in one line that names the field."""

import copy
from contextlib import suppress
from typing import Any

import pytest
from golden_lfm2vl import config, config_data
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import ModelUnavailable
from engine.lfm2vl.config import Config, read_config

TEXT = {"hidden_size": 1024, "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 8}


def edited(**parts: Any) -> dict[str, Any]:
    """The golden config with other fields; None removes one."""
    data = copy.deepcopy(config_data())
    for name, value in parts.items():
        part, _, field = name.rpartition("__")
        place = data[part] if part else data
        place.pop(field, None)
        if value is not None:
            place[field] = value
    return data


def read(**parts: Any) -> Config:
    return read_config("it", edited(**parts))


def refused(data: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        read_config("some.json", data)
    message = str(caught.value)
    assert message.startswith("some.json: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("size", "multiple", "inner"), [(6656, 256, 4608), (12288, 256, 8192), (200, 32, 160)])
@pytest.mark.parametrize("name", ["block_ff_dim", "intermediate_size"])
def test_the_width_of_the_feed_forward_layers_is_adjusted(name: str, size: int, multiple: int, inner: int) -> None:
    sizes = {
        "text_config__block_ff_dim": None,
        f"text_config__{name}": size,
        "text_config__block_multiple_of": multiple,
    }
    assert read(**sizes).text_config.inner_dim == inner
    assert read(**sizes, text_config__block_auto_adjust_ff_dim=False).text_config.inner_dim == size


def test_the_kinds_of_layers_have_two_spellings_and_are_attention_where_none_is_given() -> None:
    kinds = config().text_config.kinds
    assert kinds == ("conv", "conv", "full_attention", "conv", "conv", "full_attention")
    assert read(text_config__layer_types=None).text_config.kinds == kinds
    assert read(text_config__full_attn_idxs=[0]).text_config.kinds == kinds  # layer_types wins
    neither = read(text_config__layer_types=None, text_config__full_attn_idxs=None).text_config.kinds
    assert neither == ("full_attention",) * 6


def test_the_rotary_base_has_two_spellings() -> None:
    assert read(text_config__rope_theta=5e5).text_config.rope_theta == 5e5
    newer = {"rope_type": "default", "rope_theta": 2e5}
    assert read(text_config__rope_theta=None, text_config__rope_parameters=newer).text_config.rope_theta == 2e5


def test_the_settings_of_images_are_in_one_of_several_files() -> None:
    own = config_data()["preprocessor_config"]
    newest = {"image_processor": own, "processor_class": "Lfm2VlProcessor"}
    assert read(preprocessor_config=None, processor_config=newest) == config()
    assert read(preprocessor_config={"do_resize": False, "resample": 2}, processor_config=own) == config()
    assert read(preprocessor_config={"do_resize": False}, **own) == config()  # in config.json, as the first release
    assert read(preprocessor_config=None).preprocessor_config.tile_size == 512


def test_the_feature_layer_decides_how_many_layers_are_run() -> None:
    assert config().vision_layers == 3
    assert read(vision_feature_layer=-1).vision_layers == 3
    assert read(vision_feature_layer=-2).vision_layers == 2


def test_what_a_release_leaves_out_has_the_releases_value() -> None:
    bare = read_config("it", {"text_config": TEXT | {"block_ff_dim": 6656}, "vision_config": {}})
    images = bare.preprocessor_config
    assert (images.min_image_tokens, images.max_image_tokens, images.max_tiles, images.tile_size) == (64, 256, 10, 512)
    assert (bare.token_size, bare.vision_layers, bare.projector_use_layernorm, bare.detects) == (32, 12, True, False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"text_config": 3}, "text_config"),
        ({"text_config__hidden_size": None}, "text_config.hidden_size"),
        ({"text_config__num_attention_heads": 5}, "num_attention_heads"),
        ({"text_config__num_key_value_heads": 3}, "num_attention_heads must be a multiple of num_key_value_heads"),
        ({"text_config__layer_types": ["conv"]}, "layer_types"),
        ({"text_config__layer_types": ["mamba"] * 6}, "layer_types"),
        ({"text_config__conv_bias": True}, "conv_bias"),
        ({"text_config__rope_theta": -1}, "rope_theta"),
        ({"vision_config__num_patches": 17}, "num_patches"),
        ({"vision_feature_layer": -4}, "vision_feature_layer"),
        ({"vision_feature_layer": 0}, "vision_feature_layer"),
        ({"downsample_factor": 0}, "downsample_factor"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act"),
        ({"preprocessor_config__tile_size": 65}, "tile_size"),
        ({"preprocessor_config__max_image_tokens": 1}, "max_image_tokens"),
        ({"preprocessor_config__max_tiles": 1}, "max_tiles"),
        ({"preprocessor_config__resample": 0}, "resample"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    assert named in refused(edited(**change))


JSON: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})
)
FIELDS = [
    (part, field) for part in ("text_config", "vision_config", "preprocessor_config") for field in config_data()[part]
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*FIELDS, *((None, name) for name in config_data())]), JSON)
def test_any_value_anywhere_is_read_or_refused(place: tuple[str | None, str], value: Any) -> None:
    data = copy.deepcopy(config_data())
    part, field = place
    (data[part] if part else data)[field] = value
    with suppress(ModelUnavailable):
        read_config("some.json", data)
