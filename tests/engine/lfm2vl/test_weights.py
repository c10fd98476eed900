"""A checkpoint's tensors are found under any release's names, and what does not fit is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_lfm2vl import GOLDEN, config, config_data
from safetensors.torch import load_file, save_file

from engine.checkpoints.tensor_map import TensorMap
from engine.contract import ModelUnavailable
from engine.lfm2vl.config import Config, read_config
from engine.lfm2vl.weights import QUANTIZATION_PLAN, open_weights, shapes

STORED = load_file(GOLDEN / "model.safetensors")


def opened(folder: Path, tensors: dict[str, torch.Tensor], own: Config | None = None) -> TensorMap:
    save_file(tensors, folder / "model.safetensors")
    return open_weights(folder / "model.safetensors", own or config())


def changed(**parts: Any) -> Config:
    return read_config("it", json.loads(json.dumps(config_data() | parts)))


def test_the_golden_checkpoint_has_exactly_the_tensors_of_its_config() -> None:
    weights = open_weights(GOLDEN / "model.safetensors", config())
    assert len(weights.locations) == len(STORED) == len(shapes(config()))
    assert not weights.has("language_model.lm_head.weight")


@pytest.mark.parametrize(("old", "new"), [("vision_tower.vision_model.", "vision_tower."), ("model.", "")])
def test_names_are_spelled_in_several_ways(tmp_path: Path, old: str, new: str) -> None:
    renamed = {name.replace(old, new, 1): tensor for name, tensor in STORED.items()}
    name = "vision_tower.post_layernorm.weight"
    wanted = open_weights(GOLDEN / "model.safetensors", config()).tensor(name, torch.float32)
    assert torch.equal(opened(tmp_path, renamed).tensor(name, torch.float32), wanted)


def test_a_head_of_its_own_is_accepted(tmp_path: Path) -> None:
    head = torch.randn(STORED["model.language_model.embed_tokens.weight"].shape)
    assert torch.equal(
        opened(tmp_path, STORED | {"lm_head.weight": head}).tensor("language_model.lm_head.weight", torch.float32), head
    )


def test_layers_after_the_feature_layer_are_left_out(tmp_path: Path) -> None:
    """An older config counts a layer that is not run; its tensors may be in the file or not."""
    vision = config_data()["vision_config"] | {"num_hidden_layers": 4}
    older = changed(vision_config=vision, vision_feature_layer=-2)
    prefix = "model.vision_tower.vision_model.encoder.layers."
    last = {
        name.replace(f"{prefix}2.", f"{prefix}3."): t.clone() for name, t in STORED.items() if f"{prefix}2." in name
    }
    assert len(last) == 16
    for stored in (STORED, STORED | last):
        assert opened(tmp_path, stored, older).locations.keys() == opened(tmp_path, STORED).locations.keys()


def test_a_projector_without_a_norm(tmp_path: Path) -> None:
    """Whether it has one is said by the config; a norm that is left over in the file is not used."""
    without = {name: tensor for name, tensor in STORED.items() if ".multi_modal_projector.layer_norm." not in name}
    for stored in (without, STORED):
        weights = opened(tmp_path, stored, changed(projector_use_layernorm=False))
        assert not weights.has("multi_modal_projector.layer_norm.bias")
    with pytest.raises(ModelUnavailable, match=r"missing: multi_modal_projector\.layer_norm"):
        opened(tmp_path, without)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    name = "model.language_model.layers.0.conv.conv.weight"
    with pytest.raises(ModelUnavailable, match=r"layers\.0\.conv\.conv\.weight"):
        opened(tmp_path, STORED | {name: torch.zeros(64, 1, 4)})


def test_all_large_matrices_are_quantised_but_not_the_kernels_and_tables() -> None:
    kept = {
        name for name, shape in shapes(config()).items() if len(shape) > 1 and not QUANTIZATION_PLAN.quantizes(name)
    }
    assert kept == {
        "vision_tower.embeddings.patch_embedding.weight",
        "vision_tower.embeddings.position_embedding.weight",
        *(f"language_model.layers.{layer}.conv.conv.weight" for layer in (0, 1, 3, 4)),
    }
    four_bits = [name for name in shapes(config()) if QUANTIZATION_PLAN.int4_names.fullmatch(name)]
    assert all(name.startswith("language_model.layers.") for name in four_bits)
