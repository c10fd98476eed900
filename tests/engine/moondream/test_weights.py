"""Every naming and packing of a Moondream checkpoint gives the same tensors; what does not fit is named."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden import FAMILIES, GOLDEN
from golden import config as config_of
from make_weights import REGION, TEXT, Tensors, int4_release, tensors_of
from safetensors.torch import load_file, save_file

from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.tensor_map import TensorMap
from engine.contract import ModelUnavailable
from engine.moondream.config import Config
from engine.moondream.int4_release import packed_shapes, unpack
from engine.moondream.weights import open_weights, shapes


def opened(tmp_path: Path, model: str, tensors: Tensors) -> TensorMap:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "w.safetensors")
    return open_weights(tmp_path / "w.safetensors", config_of(model))


def refused(tmp_path: Path, model: str, tensors: Tensors) -> str:
    with pytest.raises(ModelUnavailable) as error:
        opened(tmp_path, model, tensors)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{tmp_path / 'w.safetensors'}: ")
    return line


def assert_same(weights: TensorMap, wanted: Tensors) -> None:
    for name, tensor in wanted.items():
        assert weights.has(name)
        taken = weights.tensor(name, torch.float32)
        assert torch.equal(taken, tensor), name
        assert taken.is_contiguous()
        assert taken.untyped_storage().nbytes() == tensor.nbytes


@pytest.mark.parametrize("model", FAMILIES)
def test_shapes_are_those_of_the_reference(model: str) -> None:
    assert shapes(config_of(model)) == {name: tuple(tensor.shape) for name, tensor in tensors_of(model).items()}


def test_shapes_of_the_published_model() -> None:
    published = shapes(Config())
    assert published["text.blocks.23.attn.qkv.weight"] == (6144, 2048)
    assert published["vision.patch_emb.weight"] == (1152, 588)
    assert 1.92e9 < sum(math.prod(shape) for shape in published.values()) < 1.94e9


def test_fewer_key_and_value_heads() -> None:
    config = replace(Config(), text=replace(Config().text, n_kv_heads=8))
    assert shapes(config)["text.blocks.0.attn.qkv.weight"] == (2048 + 2 * 512, 2048)
    assert shapes(config)["text.blocks.0.attn.qkv.bias"] == (3072,)


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize(
    "named",
    [
        lambda name: name,
        lambda name: f"model.{name}",
        lambda name: f"model.model.{name}",
        lambda name: f"model._orig_mod.{name}",
    ],
)
def test_names_of_the_releases(tmp_path: Path, model: str, named: Callable[[str], str]) -> None:
    tensors = tensors_of(model)
    assert_same(opened(tmp_path, model, {named(name): tensor for name, tensor in tensors.items()}), tensors)


def test_other_types_are_converted(tmp_path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in tensors_of("moondream2").items()}
    weights = opened(tmp_path, "moondream2", half)
    taken = weights.tensor("text.wte", torch.float16)
    assert taken.dtype == torch.float16
    assert torch.equal(taken, half["text.wte"].half())


def test_tables_and_caches_are_passed_over(tmp_path: Path) -> None:
    tensors = tensors_of("moondream2")
    others = ["text.blocks.1.kv_cache.k_cache", "text.blocks.1.kv_cache.v_cache", "text.freqs_cis", "attn_mask"]
    extra = {f"model.{name}": torch.ones(1) for name in others}
    weights = opened(tmp_path, "moondream2", tensors | extra)
    assert_same(weights, tensors)
    assert not any(weights.has(name) for name in others)


@pytest.mark.parametrize("compiled", [False, True])
def test_older_names_of_the_second_generation(tmp_path: Path, compiled: bool) -> None:
    expected = json.loads((GOLDEN / "moondream2/expected.json").read_text())
    tensors, old = tensors_of("moondream2"), {}
    for name, known in expected["old_checkpoint_names"].items():
        tensor = tensors[name.removeprefix("model.")]
        place = known["old"].replace(".encoder.", "._orig_mod.encoder.") if compiled else known["old"]
        old[place] = tensor.T if known["transposed"] else tensor
    assert len(old) == len(tensors)
    assert_same(opened(tmp_path, "moondream2", old), tensors)


def older_third(tensors: Tensors, stacked: bool) -> Tensors:
    """The third generation's older names, written down here once more, the other way round."""
    rules = [
        (r"vision\.patch_emb\.", "vision_encoder.encoder.model.visual.patch_embed.linear."),
        (r"vision\.pos_emb", "vision_encoder.encoder.model.visual.pos_embed"),
        (r"vision\.blocks\.(\d+)\.ln(\d)\.", r"vision_encoder.encoder.model.visual.blocks.\1.norm\2."),
        (r"vision\.blocks\.", "vision_encoder.encoder.model.visual.blocks."),
        (r"vision\.post_ln\.", "vision_encoder.encoder.model.visual.norm."),
        (r"vision\.proj_mlp\.", "vision_encoder.projection.mlp."),
        (r"text\.wte", "text_model.transformer.embd.wte.weight"),
        (r"text\.blocks\.(\d+)\.attn\.qkv\.", r"text_model.transformer.h.\1.mixer.Wqkv."),
        (r"text\.blocks\.(\d+)\.attn\.proj\.", r"text_model.transformer.h.\1.mixer.out_proj."),
        (r"text\.blocks\.(\d+)\.attn\.tau\.", r"text_model.transformer.h.\1.tau_"),
        (r"text\.blocks\.(\d+)\.mlp\.router\.", r"text_model.transformer.h.\1.gate."),
        (r"text\.blocks\.([23])\.mlp\.fc1\.", r"text_model.transformer.h.\1.mlp.experts."),
        (r"text\.blocks\.([23])\.mlp\.fc2\.", r"text_model.transformer.h.\1.mlp.output_experts."),
        (r"text\.blocks\.", "text_model.transformer.h."),
        (r"text\.post_ln\.", "text_model.lm_head.ln."),
        (r"text\.lm_head\.", "text_model.lm_head.linear."),
        (r"region\.coord_features", "region_model.coordinate_features.weight"),
        (r"region\.size_features", "region_model.size_features.weight"),
        (r"region\.coord_encoder\.", "region_model.coordinate_encoder."),
        (r"region\.coord_decoder\.", "region_model.coordinate_head."),
        (r"region\.size_decoder\.", "region_model.size_head."),
        (r"region\.", "region_model."),
    ]
    old = {}
    for name, tensor in tensors.items():
        pattern, replacement = next(rule for rule in rules if re.match(rule[0], name))
        old[re.sub(pattern, replacement, name)] = tensor.T if name.endswith("_features") else tensor
    if stacked:
        for i in range(4):
            halves = [old.pop(f"text_model.transformer.h.{i}.tau_{part}") for part in ("wq", "wv")]
            old[f"text_model.transformer.h.{i}.tau_wqwv"] = torch.cat(halves)
    return old


@pytest.mark.parametrize("stacked", [False, True])
def test_older_names_of_the_third_generation(tmp_path: Path, stacked: bool) -> None:
    tensors = tensors_of("moondream3")
    assert_same(opened(tmp_path, "moondream3", older_third(tensors, stacked)), tensors)


@pytest.mark.parametrize("prefix", ["model.region.ln.", "region_model.ln."])
def test_the_norm_that_later_checkpoints_have(tmp_path: Path, prefix: str) -> None:
    tensors = tensors_of("moondream3")
    assert not opened(tmp_path, "moondream3", tensors).has("region.ln.weight")
    norm = {"weight": torch.full((128,), 2.0), "bias": torch.ones(128)}
    with_norm = tensors | {prefix + part: tensor for part, tensor in norm.items()}
    assert_same(opened(tmp_path, "moondream3", with_norm), tensors | {f"region.ln.{part}": norm[part] for part in norm})
    assert "missing: region.ln.bias" in refused(tmp_path, "moondream3", tensors | {f"{prefix}weight": norm["weight"]})
    assert "unknown: 'region.ln.weight'" in refused(
        tmp_path, "moondream2", tensors_of("moondream2") | {"region.ln.weight": norm["weight"]}
    )


def test_shards(tmp_path: Path) -> None:
    tensors = tensors_of("moondream3")
    places = {f"model.{name}": f"{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name[6:]] for name, at in places.items() if at == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert_same(open_weights(index, config_of("moondream3")), tensors)


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unpacking_is_the_reference_s(model: str, dtype: str) -> None:
    golden = load_file(GOLDEN / model / "expected.safetensors")
    packed, scale, zero_point = (golden[f"int4/{part}"] for part in ("packed", "scale", "zero_point"))
    made = unpack(packed, scale, zero_point, shape=(24, 256), dtype=getattr(torch, dtype))
    assert torch.equal(made, golden["int4/weight_f32" if dtype == "float32" else "int4/weight_bf16"])


@pytest.mark.parametrize(
    ("chosen", "old"), [(f"{TEXT}|{REGION}", False), (f"{TEXT}|{REGION}", True), (TEXT, False), (REGION, False)]
)
def test_the_int4_release(tmp_path: Path, chosen: str, old: bool) -> None:
    tensors = tensors_of("moondream2")
    made = int4_release(tensors, chosen)
    if chosen == f"{TEXT}|{REGION}":
        assert {name: tuple(t.shape) for name, t in made.items()} == shapes(config_of("moondream2"), int4=True)
    stored = made
    if old:
        stored = {name.replace("region.coord_encoder.", "region_model.coordinate_encoder."): t
                  for name, t in made.items()}  # fmt: skip
    weights = opened(tmp_path, "moondream2", stored)
    for name, tensor in tensors.items():
        assert weights.has(name)
        taken = weights.tensor(name, torch.float32)
        if name in made:
            assert torch.equal(taken, tensor)
        else:
            step = made[f"{name}.scale"].max() / 2
            assert taken.shape == tensor.shape
            assert (taken - tensor).abs().max() <= step * 1.01
            assert not torch.equal(taken, tensor)
    if chosen != REGION:
        assert torch.equal(
            weights.tensor("text.blocks.0.mlp.fc1.weight.packed", torch.uint8),
            made["text.blocks.0.mlp.fc1.weight.packed"],
        )
        taken = weights.tensor("text.blocks.0.mlp.fc1.weight", torch.bfloat16)
        parts = [made[f"text.blocks.0.mlp.fc1.weight.{part}"] for part in ("packed", "scale", "zero_point")]
        assert torch.equal(taken, unpack(*parts, shape=(192, 128), dtype=torch.bfloat16))


def test_packed_shapes_of_the_published_release() -> None:
    made = shapes(Config(), int4=True)
    assert made["text.blocks.0.attn.qkv.weight.packed"] == (6144 * 2048 // 256, 128)
    assert made["region.size_decoder.fc2.weight.zero_point"] == (2048 * 8192 // 128, 1)
    assert {"text.wte", "text.lm_head.weight", "vision.blocks.0.attn.qkv.weight"} < made.keys()
    assert "text.blocks.0.attn.qkv.weight" not in made


@pytest.mark.parametrize("shape", [(3, 5), (1, 128), (127, 256 + 1)])
def test_matrices_that_cannot_be_packed(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be a multiple of 256"):
        packed_shapes(shape)


def test_a_part_of_a_packed_matrix_is_missing_or_wrong(tmp_path: Path) -> None:
    made = int4_release(tensors_of("moondream2"), TEXT)
    name = "text.blocks.0.attn.qkv.weight"
    short = {key: tensor for key, tensor in made.items() if key != f"{name}.scale"}
    assert f"missing: {name}.scale" in refused(tmp_path, "moondream2", short)
    both = made | {name: torch.ones(384, 128)}
    assert f"unknown: '{name}'" in refused(tmp_path, "moondream2", both)
    floats = made | {f"{name}.packed": made[f"{name}.packed"].float()}
    assert f"of another dtype: {name}.packed is float32" in refused(tmp_path, "moondream2", floats)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    tensors = tensors_of("moondream2")
    wte = tensors.pop("text.wte")
    assert "missing: text.wte" in refused(tmp_path, "moondream2", tensors)
    line = refused(tmp_path, "moondream2", tensors | {"model.text.wte2": wte, "evil\nname": wte.clone()})
    assert "missing: text.wte; unknown: 'evil\\nname', 'model.text.wte2'" in line
    assert "of another shape: text.wte is [512, 127], not [512, 128]" in refused(
        tmp_path, "moondream2", tensors | {"text.wte": wte[:, 1:]}
    )
    assert "of another dtype: text.wte is int32" in refused(tmp_path, "moondream2", tensors | {"text.wte": wte.int()})
    assert "'model.text.wte' and 'text.wte' are the same tensor" in refused(
        tmp_path, "moondream2", tensors | {"text.wte": wte, "model.text.wte": wte.clone()}
    )


def test_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    line = refused(tmp_path, "moondream3", tensors_of("moondream2"))
    assert re.search(r"missing: (\S+, ){2}\S+ and \d+ more; unknown: .* and \d+ more", line)
    assert len(line) < 1000
    assert "missing: vision.patch_emb.weight" in refused(tmp_path, "moondream2", {"llama.wte": torch.ones(1)})


def test_fp8_experts_are_refused(tmp_path: Path) -> None:
    tensors = older_third(tensors_of("moondream3"), stacked=True)
    tensors["text_model.transformer.h.2.moe_quant.up_scale"] = torch.ones(8, 64)
    assert "FP8 experts are not supported" in refused(tmp_path, "moondream3", tensors)


@pytest.mark.parametrize("model", FAMILIES)
def test_random_weights(model: str) -> None:
    config = config_of(model)
    one, same, other = (RandomWeights(shapes(config), seed) for seed in (1, 1, 2))
    made = {name: one.tensor(name, torch.float32) for name in shapes(config)}
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == shapes(config)
    for name in reversed(made):
        assert torch.equal(same.tensor(name, torch.float32), made[name])
    matrix = made["text.blocks.0.attn.qkv.weight"]
    assert not torch.equal(other.tensor("text.blocks.0.attn.qkv.weight", torch.float32), matrix)
    assert matrix.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert matrix.mean().item() == pytest.approx(0, abs=0.002)
    assert made["text.blocks.0.mlp.fc1.bias"].abs().max() < 0.2
    assert made["vision.blocks.3.ln1.weight"].eq(1).all()
    assert made["text.post_ln.bias"].eq(0).all()
    assert one.tensor("text.wte", torch.bfloat16).dtype == torch.bfloat16
    assert not one.has("region.ln.weight")


def test_rows_of_large_random_matrices_differ() -> None:
    weights = RandomWeights(shapes(Config()), 3)
    rows = weights.tensor("text.blocks.0.mlp.fc1.weight", torch.float32)[::4]
    rows = rows / rows.norm(dim=1, keepdim=True)
    alike = rows @ rows.T
    assert alike.fill_diagonal_(0).abs().max() < 0.3
