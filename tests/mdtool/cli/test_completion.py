"""Completion in the shells, asked for as they ask."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runner import COMMAND, run

ROOT = Path(__file__).parents[3]
STYLES = ["blur", "pixelate", "solid", "obfuscate"]
MODELS = {"auto", "centerface", "pocket", "moondream2", "moondream3-preview"}
HEAVY = {"torch", "cv2", "av", "pyvips", "PIL", "huggingface_hub", "safetensors", "tokenizers"}

PROGRAM = """
import json, sys
from mdtool.cli import run
try:
    run([])
finally:
    print(json.dumps([*sys.modules]))
"""

Complete = Callable[..., set[str]]


def by_bash(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> set[str]:
    """What comes for the last of these words, as the function asks that bash is given."""
    asked = {"_MDTOOL_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    outcome = run(cwd=cwd, env={**asked, **(env or {})})
    assert (outcome.code, outcome.err) == (0, "")
    return set(outcome.out.decode().split())


def by_zsh(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> set[str]:
    """Of the function that zsh is given: a command for its _arguments, with "value" or "value":"help" a line."""
    asked = {"_MDTOOL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": " ".join(words)}
    outcome = run(cwd=cwd, env={**asked, **(env or {})})
    assert (outcome.code, outcome.err) == (0, "")
    text = outcome.out.decode().strip()
    if text == "_files":
        return set()
    assert text.startswith("_arguments '*: :((\"")
    return {line.split('"')[1] for line in text.removeprefix("_arguments '*: :((").splitlines() if line[:1] == '"'}


@pytest.fixture(params=[by_bash, by_zsh], ids=["bash", "zsh"])
def complete(request: pytest.FixtureRequest) -> Complete:
    asked: Complete = request.param
    return asked


def test_commands(complete: Complete) -> None:
    every = {
        *("redact", "moderate", "gaze", "render", "report", "caption", "query", "detect", "point", "models"),
        *("eval", "bench", "config"),
    }
    assert every <= complete("mdtool", "")
    assert complete("mdtool", "re") & every == {"redact", "render", "report"}
    assert complete("mdtool", "bench", "") == {"redact", "moderate", "live", "batch", "model", "dial", "serve"}
    assert complete("mdtool", "config", "") == {"show", "path"}


def test_options(complete: Complete) -> None:
    assert complete("mdtool", "redact", "--st") == {"--style", "--strength"}


@pytest.mark.parametrize("command", ["redact", "gaze", "caption", "query", "detect", "point"])
def test_models(complete: Complete, command: str) -> None:
    assert complete("mdtool", command, "--model", "") >= MODELS


def test_models_that_begin_so(complete: Complete) -> None:
    found = complete("mdtool", "caption", "photo.jpg", "--model", "moondream3")
    assert found == {"moondream3-preview", "moondream3.1"}


def test_a_path_of_weights_is_left_to_the_shell(complete: Complete) -> None:
    assert complete("mdtool", "caption", "--model", "./my") == set()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["redact", "--style", ""], {*STYLES}),
        (["redact", "--style", "p"], {"pixelate"}),
        (["moderate", "--policy", ""], {"broadcast", "family", "workplace"}),
        (["moderate", "--action", "c"], {"cover", "cut"}),
        (["caption", "--length", ""], {"short", "normal", "long"}),
        (["caption", "photo.jpg", "--device", ""], {"auto", "cpu", "cuda", "mps"}),
        (["bench", "model", "--device", "c"], {"cpu", "cuda"}),
        (["query", "--dtype", "b"], {"bfloat16"}),
        (["caption", "--quantize", ""], {"none", "int8", "int4", "int4-64", "int4-32", "int4-all"}),
        (["config", "show", "b"], {"bench"}),
        (["config", "show", "bench", ""], {"redact", "moderate", "live", "batch", "model", "dial", "serve"}),
        (["config", "show", "caption", ""], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values(complete: Complete, words: list[str], values: set[str]) -> None:
    assert complete("mdtool", *words) == values


def test_settings_that_are_wrong_are_no_matter(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "mdtool.toml").write_text("[redact\n")
    env = {"MDTOOL_NONSENSE": "1", "MDTOOL_REDACT_STYLE": "nonsense"}
    assert complete("mdtool", "redact", "--style", "", cwd=tmp_path, env=env) == {*STYLES}


@pytest.mark.parametrize(
    "words",
    ["mdtool caption --model ", "mdtool redact --style ", "mdtool caption --device ", "mdtool moderate --policy "],
)
def test_nothing_heavy_is_loaded(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "_MDTOOL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words},
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    *completed, modules = done.stdout.splitlines()
    assert completed[0].startswith(b"_arguments")
    assert not {name.partition(".")[0] for name in json.loads(modules)} & HEAVY


# The scripts


@pytest.mark.posix("shell scripts")
@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_itself(tmp_path: Path) -> None:
    script = run("--show-completion", "bash")
    assert (script.code, script.err) == (0, "")
    (tmp_path / "mdtool").write_text(f'#!/bin/sh\nexec {COMMAND[0]} -m mdtool "$@"\n')
    (tmp_path / "mdtool").chmod(0o755)
    asks = 'COMP_WORDS=(mdtool redact --style "") COMP_CWORD=3; _mdtool_completion mdtool; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script.out.decode()}\n{asks}\ncomplete -p mdtool"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [" ".join(STYLES), "complete -o default -F _mdtool_completion mdtool"]


def test_the_script_for_zsh() -> None:
    script = run("--show-completion", "zsh").out.decode()
    assert script.startswith("#compdef mdtool\n")
    assert "_MDTOOL_COMPLETE=complete_zsh" in script


@pytest.mark.posix("shells whose files are in $HOME")
@pytest.mark.parametrize(
    ("shell", "files"), [("bash", {".bashrc", ".bash_completions/mdtool.sh"}), ("zsh", {".zshrc", ".zfunc/_mdtool"})]
)
def test_it_is_installed_in_the_home(tmp_path: Path, shell: str, files: set[str]) -> None:
    outcome = run("--install-completion", shell, env={"HOME": str(tmp_path)})
    assert (outcome.code, outcome.err) == (0, "")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == files
