"""Nothing heavy is loaded before it is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from make_media import SAMPLES

HEAVY = {"torch", "cv2", "av", "numpy", "pyvips", "PIL", "huggingface_hub", "safetensors", "tokenizers"}
PROGRAM = """
import json, sys
from mdtool.cli import run
code = run(sys.argv[1:])
print("\\n" + json.dumps([int(code), sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments: str | Path) -> set[str]:
    """Top-level modules that are loaded after mdtool did this."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[3],
        stdin=subprocess.DEVNULL,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["redact", "--help"],
        ["moderate", "--help"],
        ["gaze", "--help"],
        ["render", "--help"],
        ["report", "--help"],
        ["eval", "redact", "--help"],
        ["models", "--help"],
        ["models", "list"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    modules = loaded_by(*arguments)
    assert "typer" in modules
    assert not modules & (HEAVY if "list" not in arguments else HEAVY - {"numpy"})


@pytest.mark.parametrize("name", ["group.png", "portrait.jpg", "animation.gif", "blink.mp4"])
def test_redact_never_loads_torch(tmp_path: Path, name: str) -> None:
    modules = loaded_by("redact", SAMPLES / name, "-o", tmp_path / name, "--sample", "60")
    assert (tmp_path / name).exists()
    assert "cv2" in modules
    assert not modules & {"torch", "huggingface_hub", "tokenizers", "safetensors", "skimage"}


def test_the_direction_of_heads_never_loads_torch(tmp_path: Path) -> None:
    modules = loaded_by("gaze", SAMPLES / "group.png", "-o", tmp_path / "out.png", "--heatmap", tmp_path / "heat.png")
    assert (tmp_path / "heat.png").exists()
    assert not modules & {"torch", "tokenizers", "safetensors", "skimage", "matplotlib", "rich"}


def test_redact_loads_no_terminal_graphics_where_there_is_no_terminal(tmp_path: Path) -> None:
    assert "rich" not in loaded_by("redact", SAMPLES / "group.png", "-o", tmp_path / "out.png")


@pytest.mark.parametrize("skill", ["caption", "query", "detect", "point"])
def test_help_and_faces_load_nothing_they_do_not_need(skill: str) -> None:
    assert not loaded_by(skill, "--help") & HEAVY
    if skill in ("detect", "point"):
        modules = loaded_by(skill, SAMPLES / "group.png", "face")
        assert not modules & {"torch", "huggingface_hub", "tokenizers", "safetensors", "rich"}
