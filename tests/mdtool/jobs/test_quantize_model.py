"""`mdtool models quantize`: a folder that is the rounded model, whole or not there at all."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runner import Outcome, run, run_on_terminal, running_program, spawn, wait_until
from make_media import SAMPLES
from safetensors.torch import load_file, save_file

import engine.pocket
from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.writer import write_checkpoint
from engine.moondream.config import read_config
from engine.moondream.weights import shapes

if sys.platform != "win32":
    import resource

SCENES = [SAMPLES / "scenes" / name for name in ("many.png", "wide.png")]
POCKET = Path(engine.pocket.__file__).parent


def quantize(model: str | Path, folder: Path, kind: str = "int4", **how: Any) -> Outcome:
    return run("models", "quantize", model, "--scheme", kind, "-o", folder, **how)


def fails(outcome: Outcome, said: str, code: int) -> None:
    assert (outcome.code, outcome.out, len(outcome.lines)) == (code, b"", 1), outcome.err
    assert said in outcome.err


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pocket in 4 bits."""
    folder = tmp_path_factory.mktemp("models") / "rounded"
    outcome = quantize("pocket", folder)
    assert (outcome.code, outcome.out) == (0, b"")
    assert outcome.lines == [f"mdtool: {folder}: weights quantised from 7.9 MB to 3.2 MB"]
    return folder


def test_what_is_written(rounded: Path) -> None:
    assert sorted(path.name for path in rounded.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [path.name for path in rounded.parent.iterdir()] == ["rounded"]
    assert (rounded / "model.safetensors").stat().st_size < 0.45 * (POCKET / "model.safetensors").stat().st_size
    ordinary = rounded.parent / "ordinary"
    ordinary.mkdir()
    assert rounded.stat().st_mode == ordinary.stat().st_mode
    ordinary.rmdir()


def test_it_finds_what_the_model_finds_that_is_rounded_as_it_is_loaded(rounded: Path) -> None:
    """Its words are known by it too, however they are put."""
    prompts = ["-p", "star", "-p", "the hearts", "-p", "圆环", "-p", "red circle"]
    asked: list[str | Path] = ["detect", *SCENES, *prompts, "--device", "cpu", "--dtype", "float32"]
    one, other = run(*asked, "--model", rounded), run(*asked, "--model", "pocket", "--quantize", "int4")
    assert (one.code, one.out) == (other.code, other.out)
    assert one.err == other.err.replace("pocket", "rounded")
    assert one.code == 0
    assert all(one.out.count(word.encode()) >= 2 for word in prompts[1:6:2])


def test_words_that_it_does_not_know(rounded: Path) -> None:
    fails(run("detect", SCENES[0], "dog", "--model", rounded), "rounded can't detect 'dog'; it supports face, ", 2)


@pytest.mark.parametrize("kind", ["int8", "int4-32"])
def test_every_kind(tmp_path: Path, rounded: Path, kind: str) -> None:
    folder = tmp_path / "out"
    assert quantize("pocket", folder, kind).code == 0
    smaller, larger = (place.stat().st_size for place in (rounded / "model.safetensors", folder / "model.safetensors"))
    assert smaller < larger < 0.6 * (POCKET / "model.safetensors").stat().st_size
    outcome = run("query", SAMPLES / "scenes" / "one.png", "How many stars are there?", "--model", folder)
    assert (outcome.code, outcome.out) == (0, b"1\n")


@pytest.mark.posix("symbolic links")
def test_what_exists_is_kept(tmp_path: Path, rounded: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in rounded.iterdir()}
    fails(quantize("pocket", rounded), "exists already and is not an empty folder", 74)
    assert {path.name: path.stat().st_mtime_ns for path in rounded.iterdir()} == before
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "."):
        fails(quantize("pocket", Path(name), cwd=tmp_path), f"{name}: exists already and is not an empty folder", 74)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("missing/out", "folder does not exist"),
        ("file/out", "a part of its path is not a folder"),
        pytest.param("/proc/out", "can't be written", marks=pytest.mark.posix("/proc")),
        pytest.param("o" * 256, "too long", marks=pytest.mark.posix("an error of its own for long names")),
    ],
)
def test_places_that_take_no_folder(tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    fails(quantize("pocket", Path(target), cwd=tmp_path), said, 74)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.posix("file names of 255 bytes")
def test_an_empty_folder_of_the_longest_name(tmp_path: Path) -> None:
    folder = tmp_path / ("n" * 255)
    folder.mkdir()
    assert quantize("pocket", folder).code == 0
    assert list(tmp_path.iterdir()) == [folder]
    assert len(list(folder.iterdir())) == 3


@pytest.mark.posix("resource limits")
def test_a_full_disk(tmp_path: Path) -> None:
    """As good as: a file that may not grow so large."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    outcome = spawn("models", "quantize", "pocket", "--scheme", "int4", "-o", tmp_path / "out", before=limit)
    fails(outcome, "larger than this system allows", 74)
    assert list(tmp_path.iterdir()) == []


def test_models_that_can_not(tmp_path: Path, rounded: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/model.safetensors").write_bytes(b"words")
    offline = {"HF_HOME": str(tmp_path / "none"), "HF_HUB_CACHE": str(tmp_path / "none")}
    out = tmp_path / "out"
    fails(quantize("centerface", out), "centerface can't be quantised; give a language model", 2)
    fails(quantize("pocket", out, "int3"), "'int3' is not one of", 2)
    fails(quantize(rounded, out, "int8"), "already int4", 2)
    fails(quantize("moondreem2", out), "did you mean 'moondream2'?", 4)
    fails(quantize("moondream2", out, env=offline), "get it with `mdtool models pull moondream2`", 4)
    fails(quantize("./nowhere", out), "no such file or folder", 4)
    fails(quantize(tmp_path / "broken", out), "not a valid safetensors file", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_weights_that_are_not_all_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(POCKET, source, ignore=shutil.ignore_patterns("*.py"))
    tensors = load_file(source / "model.safetensors")
    del tensors["text.wte"]
    save_file(tensors, source / "model.safetensors")
    fails(quantize(source, tmp_path / "out"), "missing: text.wte", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes a while."""
    folder = tmp_path_factory.mktemp("large") / "model"
    folder.mkdir()
    shutil.copyfile(POCKET / "tokenizer.json", folder / "tokenizer.json")
    data = json.loads((POCKET / "config.json").read_text())
    data["text"] |= {"n_layers": 60}
    (folder / "config.json").write_text(json.dumps(data))
    weights = RandomWeights(shapes(read_config("config.json", data)))
    with (folder / "model.safetensors").open("wb") as file:
        write_checkpoint(
            file, weights.shapes, ((name, weights.tensor(name, torch.bfloat16)) for name in weights.shapes)
        )
    return folder


def writing(folder: Path) -> bool:
    return (folder / ".out.part/model.safetensors").exists()


def quantizing(large: Path, folder: Path) -> list[str | Path]:
    return ["models", "quantize", large, "--scheme", "int4", "-o", folder / "out"]


@pytest.mark.posix("signals to a process")
@pytest.mark.parametrize("asked", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted(tmp_path: Path, large: Path, asked: signal.Signals) -> None:
    with running_program(*quantizing(large, tmp_path)) as process:
        wait_until(lambda: writing(tmp_path))
        process.send_signal(asked)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"mdtool: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_killed_and_run_again(tmp_path: Path, large: Path) -> None:
    with running_program(*quantizing(large, tmp_path)) as process:
        wait_until(lambda: writing(tmp_path))
        process.kill()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".out.part"]
    (tmp_path / ".out.part/other").write_text("left")
    assert quantize("pocket", tmp_path / "out").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


@pytest.mark.posix("file locks")
def test_two_runs_on_one_output(tmp_path: Path, large: Path) -> None:
    with running_program(*quantizing(large, tmp_path)) as first:
        wait_until(lambda: writing(tmp_path))
        first.send_signal(signal.SIGSTOP)
        fails(quantize("pocket", tmp_path / "out"), "another run is writing it", 74)
        assert writing(tmp_path)
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.posix("a pseudo-terminal")
def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    options: list[str | Path] = ["models", "quantize", "pocket", "--scheme", "int8", "-o", tmp_path / "out"]
    shown = run_on_terminal(*options, TERM="xterm", COLUMNS="100")
    assert "%" in shown
    assert "from 7.9 MB to 4.2 MB" in shown
