"""`mdtool bench model`: it runs, and its numbers are of the model that was asked for. Nothing is timed here."""

import json
import math
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import gguf
import numpy as np
import pytest
import torch
from cli_runner import ROOT, run
from safetensors.numpy import load_file

import engine
from engine.contract import Generation, LoadOptions
from engine.kernels.library import kernels
from engine.lfm2vl.config import Config
from engine.lfm2vl.config import read_config as read_lfm_config
from engine.lfm2vl.weights import open_weights
from engine.moondream.config import TextConfig, read_config
from engine.qwen3vl import config as qwen_config
from mdtool.jobs.bench import lfm2vl, model
from mdtool.jobs.bench.random_gguf import write_random_gguf, write_random_lfm2, write_random_mmproj
from mdtool.jobs.bench.random_qwen3vl_gguf import write_random_qwen3vl

pytestmark = pytest.mark.posix("the resource usage that bench reads")

GOLDEN = Path(__file__).parents[3] / "golden"


def test_it_measures_every_step_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "FOLDER", 2)  # sixteen images take as long as all else together
    done = run("bench", "model", "--model", GOLDEN / "moondream2", "--runs", "1", "--dtype", "float32", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    settings = {"device": "cpu", "dtype": "float32", "quantize": "none", "compile": False, "batch": 1}
    assert report["settings"] == settings | {"kernels": kernels().summary}
    sizes = [tensor.nbytes for tensor in load_file(GOLDEN / "moondream2" / "model.safetensors").values()]
    assert round(report["weights_gb"] * 1e9) == sum(sizes)
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["prefill, 730 tokens"]["eager"] > 0
    assert all(step["seconds"] > 0 for step in report["steps"])
    assert "the same, 2 images in a batch, per image" in steps
    assert {f"decode, {n} prompts on {images}" for n in (4, 8) for images in ("one image", "an image each")} < set(
        steps
    )
    # thirteen crops are thirteen times the work of one, but for the projection
    crops = [steps[name]["tflop"] for name in ("vision, two crops that differ", "vision, thirteen crops")]
    one = crops[0] - steps["vision, two equal crops (any image of one tile)"]["tflop"]
    assert abs(crops[1] - crops[0] - 11 * one) < 1e-9


def test_it_measures_what_the_cache_saves() -> None:
    done = run("bench", "model", "--model", "pocket", "--embedding-cache", "--runs", "1", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    steps = {step["name"]: step["seconds"] for step in report["steps"]}
    assert all(seconds > 0 for seconds in steps.values())
    side = json.loads((ROOT / "engine" / "pocket" / "config.json").read_text())["vision"]["crop_size"]
    for size in (f"{side}x{side}", "2000x1500"):
        assert {f"encode {size}", f"encode {size}, known to the cache"} <= steps.keys()


def golden_text() -> TextConfig:
    path = GOLDEN / "moondream2" / "config.json"
    return read_config(str(path), json.loads(path.read_text())).text


def test_llama_cpp_gets_random_weights_of_the_same_shape(tmp_path: Path) -> None:
    text, path = golden_text(), tmp_path / "random.gguf"
    write_random_gguf(path, text)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    ours = load_file(GOLDEN / "moondream2" / "model.safetensors")
    weights = sum(array.size for name, array in ours.items() if name.startswith("model.text"))
    assert sum(int(tensor.n_elements) for tensor in tensors.values()) == weights
    up = tensors["blk.0.ffn_up.weight"]
    assert up.tensor_type == gguf.GGMLQuantizationType.Q4_0
    assert tensors["output.weight"].tensor_type == gguf.GGMLQuantizationType.Q8_0  # too narrow for Q6_K
    values = gguf.quants.dequantize(up.data, up.tensor_type)
    assert values.shape == (text.ff_dim, text.dim)
    assert values.std() == pytest.approx(text.dim**-0.5, rel=0.02)
    assert np.isfinite(values).all()


def lfm2vl_config() -> Config:
    folder = GOLDEN / "lfm2-vl"
    parts = {part: json.loads((folder / f"{part}.json").read_text()) for part in ("config", "preprocessor_config")}
    return read_lfm_config("golden", parts.pop("config") | parts)


def test_llama_cpp_gets_both_parts_of_an_lfm2vl_in_files_that_we_read_too(tmp_path: Path) -> None:
    config, text, vision = lfm2vl_config(), tmp_path / "text.gguf", tmp_path / "mmproj.gguf"
    write_random_lfm2(text, config)
    write_random_mmproj(vision, config)
    weights = open_weights(text, config, vision)  # every tensor, in its shape
    for name in ("language_model.layers.0.conv.conv.weight", "vision_tower.embeddings.patch_embedding.weight"):
        tensor = weights.tensor(name, torch.float32)
        assert tensor.isfinite().all()
        assert tensor.std() > 0
    norm = weights.tensor("vision_tower.post_layernorm.weight", torch.float32)
    assert torch.equal(norm, torch.ones_like(norm))
    stored = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(text).tensors}
    assert stored["blk.0.ffn_up.weight"] == gguf.GGMLQuantizationType.Q4_0
    assert stored["token_embd.weight"] == gguf.GGMLQuantizationType.Q8_0  # the tied head


def test_the_output_head_of_random_weights_has_the_type_of_the_standard_quantizer(tmp_path: Path) -> None:
    text, path = replace(golden_text(), dim=256, n_layers=1), tmp_path / "random.gguf"
    write_random_gguf(path, text)
    stored = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(path).tensors}
    assert stored["output.weight"] == gguf.GGMLQuantizationType.Q6_K
    assert stored["token_embd.weight"] == gguf.GGMLQuantizationType.Q4_0


def test_it_measures_every_step_of_an_lfm2vl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lfm2vl, "LARGE_SIDE", 64)
    monkeypatch.setattr(lfm2vl, "SIDE", 64)
    done = run("bench", "model", "--model", GOLDEN / "lfm2-vl", "--runs", "1", "--dtype", "float32", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    steps = {step["name"]: step["seconds"] for step in report["steps"]}
    assert all(seconds > 0 for seconds in steps.values())
    expected = {"prefill, 730 tokens", "decode, 1 sequence", "decode, 16 sequences"}
    expected |= {f"the first token with --max-image-tokens {most}" for most in (64, 256)}
    assert expected < steps.keys()
    done = run("bench", "model", "--model", GOLDEN / "lfm2-vl", "--embedding-cache")
    assert done.code == 2
    assert done.err == "mdtool: lfm2-vl: --embedding-cache and --batch-size time Moondream models; leave them out\n"


def test_it_times_llama_cpp_in_turn() -> None:
    pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: pip install 'mdtool[bench]'")
    pocket = ("--model", "pocket", "--runs", "1", "--dtype", "float32", "--device", "cpu")
    done = run("bench", "model", *pocket, "--beside", "llama.cpp", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    steps = {step["name"]: step for step in report["steps"]}
    for name in ("prefill, 101 tokens, in turn with llama.cpp", "decode, one token, in turn with llama.cpp"):
        assert steps[name]["seconds"] > 0
        assert steps[name]["llama_cpp"] > 0
    assert report["machine"]["llama-cpp-python"]


def test_it_says_why_llama_cpp_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('libllama.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    done = run("bench", "model", "--model", "pocket", "--runs", "1", "--device", "cpu", "--beside", "llama.cpp")
    assert done.code == 1
    assert done.lines == ["mdtool: llama.cpp failed: ImportError: libllama.so is missing"]


def test_it_says_what_a_comparison_with_llama_cpp_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    compared = ("bench", "model", "--model", "pocket", "--device", "cpu", "--beside", "llama.cpp")
    done = run(*compared, "--embedding-cache")
    assert done.code == 2
    assert "give one of them" in done.err
    done = run(*compared)
    assert done.code == 2
    assert "pip install 'mdtool[bench]'" in done.err
    module = ModuleType("llama_cpp")
    module.__spec__ = ModuleSpec("llama_cpp", None)
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    done = run(*compared, "--batch-size", "2")
    assert done.code == 2
    assert "--batch-size" in done.err
    done = run("bench", "model", "--model", GOLDEN / "moondream3", "--device", "cpu", "--beside", "llama.cpp")
    assert done.code == 2
    assert "mixture of experts" in done.err


def test_it_says_which_model_is_missing() -> None:
    for options in ((), ("--random-weights",), ("--config", "moondream2"), ("--model", "x", "--random-weights")):
        done = run("bench", "model", *options)
        assert done.code == 2
        assert "--config NAME with --random-weights" in done.err
    done = run("bench", "model", "--config", "moondream9", "--random-weights")
    assert done.code == 4
    assert "did you mean" in done.err
    done = run("bench", "model", "--model", "centerface")
    assert done.code == 2
    assert "Moondream" in done.err


VLM_STEPS = {
    "vision, an image of 768x768",
    "prefill, 300 tokens",
    "decode, one token after 300",
    "prefill, 1000 tokens",
    "decode, one token after 1000",
    "first token of an answer, from an image of 768x768",
    "each of its 100 tokens",
    "first token of a second question on the image",
}


def test_it_measures_a_vision_language_model() -> None:
    path = GOLDEN / "gguf" / "qwen3-vl-tiny-Q8_0.gguf"
    done = run("bench", "model", "--model", path, "--runs", "1", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    files = (path, path.with_name("mmproj-qwen3-vl-tiny-F16.gguf"))
    assert round(report["weights_gb"] * 1e9) == sum(file.stat().st_size for file in files)
    assert report["memory_gb"] > 0
    steps = {step["name"]: step for step in report["steps"]}
    assert set(steps) == VLM_STEPS
    assert all(step["seconds"] > 0 and step["llama_cpp"] is None for step in steps.values())
    again = steps["first token of a second question on the image"]["seconds"]
    assert again < steps["first token of an answer, from an image of 768x768"]["seconds"]
    table = run("bench", "model", "--model", path, "--runs", "1", "--device", "cpu")
    assert all(f"| {name} |" in table.out.decode() for name in VLM_STEPS)


def test_it_times_llama_cpp_on_the_same_gguf_file() -> None:
    pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: pip install 'mdtool[bench]'")
    path = GOLDEN / "gguf" / "qwen3-vl-tiny-Q8_0.gguf"
    done = run("bench", "model", "--model", path, "--runs", "1", "--device", "cpu", "--beside", "llama.cpp", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    steps = {step["name"]: step["llama_cpp"] for step in report["steps"]}
    assert steps.pop("first token of a second question on the image") is None
    assert all(seconds > 0 for seconds in steps.values())


def test_it_says_what_a_vision_language_model_lacks() -> None:
    path = GOLDEN / "gguf" / "qwen3-vl-tiny-Q8_0.gguf"
    done = run("bench", "model", "--model", path, "--batch-size", "2")
    assert done.code == 2
    assert "--batch-size" in done.err
    for config in ("moondream2:q4_k_m", "lfm2-vl-450m:f16"):
        done = run("bench", "model", "--config", config, "--random-weights")
        assert done.code == 2
        assert "Qwen3-VL, in q4_k_m, q5_k_s" in done.err


def test_random_gguf_files_of_a_qwen3_vl(tmp_path: Path) -> None:
    text = qwen_config.TextConfig(256, 512, 9, 2, 1, 151_936)
    vision = qwen_config.VisionConfig(64, 96, 4, 2, 256, deepstack_visual_indexes=(0, 1, 2))
    config = qwen_config.Config(text, vision, qwen_config.ImageConfig(), qwen_config.SamplingConfig())
    path, mmproj = write_random_qwen3vl(tmp_path, "tiny", config, "q4_k_m")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    types = {name: tensor.tensor_type.name for name, tensor in tensors.items()}
    assert (types["output.weight"], types["token_embd.weight"], types["output_norm.weight"]) == ("Q6_K", "Q4_K", "F32")
    better = [i for i in range(9) if types[f"blk.{i}.ffn_down.weight"] == "Q6_K"]
    assert better == [i for i in range(9) if types[f"blk.{i}.attn_v.weight"] == "Q6_K"] == [0, 3, 6, 7, 8]
    for name in ("blk.0.attn_q.weight", "blk.0.ffn_down.weight"):
        values = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
        assert values.std() == pytest.approx(values.shape[1] ** -0.5, rel=0.05)
        assert abs(values.mean()) < 0.05 * values.std()
    loaded = engine.load(str(path), LoadOptions("cpu"))
    assert any("vision from mmproj-tiny-q4_k_m.gguf" in line for line in loaded.setup)
    [answer] = loaded.query(loaded.encode([np.zeros((64, 64, 3), np.uint8)]), "?", generation=Generation(max_tokens=3))
    assert len(answer.tokens) == 3
    assert mmproj.stat().st_size > sum(math.prod(shape) for shape in ((192, 64), (96, 64))) * 4 * 2
