"""Weights that compute NaN: every command ends with exit code 4 and one line, and leaves nothing that looks done."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run
from make_media import SAMPLES
from PIL import Image
from safetensors.torch import load_file, save_file

from mdtool.errors import ExitCode

GOLDEN = Path(__file__).parents[2] / "golden" / "moondream2"
LINE = "mdtool: the model computed NaN or infinity: "
COMMANDS: dict[str, list[str]] = {
    "caption": ["caption", "a.png", "--length", "short"],
    "caption of two": ["caption", "a.png", "b.png", "--length", "short"],
    "caption, greedy": ["caption", "a.png", "--temperature", "0"],
    "caption of many": ["caption", "a.png", "b.png", "--jsonl", "out.jsonl", "--sidecar", "txt"],
    "query": ["query", "a.png", "why?", "--json"],
    "query with choices": ["query", "a.png", "why?", "--choices", "yes,no"],
    "query for a number": ["query", "a.png", "how many?", "--number"],
    "detect": ["detect", "a.png", "face", "--draw", "out.png"],
    "detect in a video": ["detect", "v.mp4", "face", "--jsonl", "out.jsonl", "--format", "csv"],
    "point": ["point", "a.png", "face", "--json"],
    "redact": ["redact", "a.png", "b.png", "-o", "out"],
    "redact a video": ["redact", "v.mp4", "-o", "out.mp4", "--findings", "out.jsonl", "--json"],
    "moderate": ["moderate", "a.png", "-p", "face", "--report-only", "--fail-on", "any", "--json"],
    "moderate with a policy": ["moderate", "a.png", "--policy", "family", "--report-only", "--report", "out.html"],
    "gaze": ["gaze", "a.png", "-o", "out.png", "--json"],
    "eval quantize": ["eval", "quantize", "a.png", "-p", "face", "--scheme", "int8", "--json"],
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small golden model with one infinite weight."""
    folder: Path = tmp_path_factory.mktemp("models") / "damaged"
    shutil.copytree(GOLDEN, folder, ignore=shutil.ignore_patterns("expected*", "lora*"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.text.blocks.0.mlp.fc2.weight"][0, 0] = float("inf")
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.open(SAMPLES / "group.png").resize((96, 60)).save(tmp_path / name)
    shutil.copy(SAMPLES / "shapes.mp4", tmp_path / "v.mp4")
    return tmp_path


@pytest.fixture(autouse=True)
def as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tensors of a large model are not read through when it is loaded."""
    monkeypatch.setattr("engine.layers.parameters.MAX_CHECKED_WEIGHTS", 0)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_answers(command: list[str], damaged: Path, place: Path) -> None:
    before = sorted(place.iterdir())
    extra = ["--preset", "ultrafast"] if command[0] == "redact" else []
    outcome = run(*command, *extra, "--model", damaged, cwd=place)
    assert (outcome.code, outcome.out) == (ExitCode.MODEL, b""), outcome.err
    *notes, line = outcome.lines
    assert line.startswith(LINE)
    assert all("eval" in command or note.startswith("mdtool: model: ") for note in notes)
    left = [path for path in sorted(place.rglob("*")) if path not in before and not path.is_dir()]
    assert all(path.suffix == ".jsonl" and not path.read_bytes() for path in left), left


def test_a_frame_is_masked_whole_where_that_is_wanted(damaged: Path, place: Path) -> None:
    outcome = run("redact", "a.png", "-o", "out.png", "--on-error", "blank", "--model", damaged, cwd=place)
    assert outcome.code == 0
    assert "1 frame masked whole" in outcome.err
    assert len(np.unique(np.asarray(Image.open(place / "out.png").convert("RGB")).reshape(-1, 3), axis=0)) == 1


def test_damaged_weights_are_not_quantised(damaged: Path, place: Path) -> None:
    outcome = run("models", "quantize", damaged, "--scheme", "int4", "-o", "int4", cwd=place)
    assert (outcome.code, len(outcome.lines)) == (ExitCode.MODEL, 1), outcome.err
    assert "text.blocks.0.mlp.fc2.weight has NaN or infinity" in outcome.err
    assert not (place / "int4").exists()


def test_the_setting_that_names_the_model_is_named(damaged: Path, place: Path) -> None:
    (place / "mdtool.toml").write_text(f'[defaults]\nmodel = "{damaged}"\n')
    outcome = run("caption", "a.png", cwd=place)
    assert outcome.code == ExitCode.MODEL
    assert outcome.err.endswith("; model is set in " + str(place / "mdtool.toml") + ":2\n")


# -- files of a model's folder that a package in Rust panics on, or that name others


def folder_of_golden(place: Path) -> Path:
    folder = place / "model"
    shutil.copytree(GOLDEN, folder, ignore=shutil.ignore_patterns("expected*", "lora*"))
    return folder


def test_a_tokenizer_on_which_its_package_panics(place: Path) -> None:
    """The prefix of inner pieces is longer than a piece."""
    folder = folder_of_golden(place)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["continuing_subword_prefix"] = "#" * 400
    path.write_text(json.dumps(tokenizer))
    outcome = run("caption", "a.png", "--model", folder, cwd=place)
    assert outcome.code == ExitCode.MODEL
    [line] = outcome.lines
    assert line.startswith(f"mdtool: {path}: not a readable tokenizer: range")


@pytest.mark.parametrize("letter", ["x", "ä"])
def test_an_index_that_names_a_file_with_too_long_a_name(letter: str, place: Path) -> None:
    folder = folder_of_golden(place)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": letter * 200 + ".safetensors" * (letter == "x") * 8}}))
    outcome = run("caption", "a.png", "--model", folder, cwd=place)
    assert outcome.code == ExitCode.MODEL
    [line] = outcome.lines
    assert line.startswith(f"mdtool: {index}: '")
    assert line.endswith("is not the name of a file in its folder")
