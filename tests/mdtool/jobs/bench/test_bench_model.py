"""`mdtool bench model`: it runs, and its numbers are of the model that was asked for. Nothing is timed here."""

import json
from pathlib import Path

import pytest
from cli_runner import ROOT, run
from safetensors.numpy import load_file

pytestmark = pytest.mark.posix("the resource usage that bench reads")

GOLDEN = Path(__file__).parents[3] / "golden"


def test_it_measures_every_step_of_a_model() -> None:
    done = run("bench", "model", "--model", GOLDEN / "moondream2", "--runs", "1", "--dtype", "float32", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    settings = {"device": "cpu", "dtype": "float32", "quantize": "none", "compile": False, "batch": 1}
    assert report["settings"] == settings
    sizes = [tensor.nbytes for tensor in load_file(GOLDEN / "moondream2" / "model.safetensors").values()]
    assert round(report["weights_gb"] * 1e9) == sum(sizes)
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["prefill, 730 tokens"]["eager"] > 0
    assert all(step["seconds"] > 0 for step in report["steps"])
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
