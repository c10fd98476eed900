"""The commands of README.md and of the pages in docs: all are understood, and those of some pages run as they stand.

No Moondream is here: what the README says needs one has to say so, and on the page of batches `pocket` takes its place.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from mdtool.cli import app
from mdtool.cli.evaluate_sets import TaskGroup

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_media"
README, BATCH, IMAGES = ROOT / "README.md", ROOT / "docs" / "batch.md", ROOT / "docs" / "images.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SECONDS = 60
WATCHED_SECONDS = 12  # after which what goes on for ever is interrupted
NEEDS_MODEL = "needs moondream2"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The lines of a page that call mdtool, each once."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    shown = [
        line.removeprefix("$ ") for block in blocks(page, "console") for line in block.splitlines() if line[:1] == "$"
    ]
    return list(dict.fromkeys(line for line in [*lines, *shown] if "mdtool " in line))


def calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of mdtool in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += ":,"
    for is_operator, words in groupby(lexer, key=lambda word: set(word) <= set("|&;")):
        command = [] if is_operator else list(words)
        while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
            command.pop(0)
        if command[:1] == ["mdtool"]:
            yield command[1 : command.index("<")] if "<" in command else command[1:]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(SAMPLES, folder / "sample_media")
    for name in ("photos", "copies", "inbox"):
        (folder / name).mkdir()
        shutil.copy(SAMPLES / "scenes" / "one.png", folder / name)
    shutil.copy(SAMPLES / "portrait.jpg", folder / "photos")
    for name in ("clip.mp4", "in.mp4"):
        shutil.copy(SAMPLES / "blink.mp4", folder / name)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.write(SAMPLES / "scenes" / "one.png", "one.png")
        archive.write(SAMPLES / "scenes" / "look.png", "look.png")
    (folder / "bin").mkdir()
    program = folder / "bin" / "mdtool"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mdtool "$@"\n')
    program.chmod(0o755)
    return folder


def run(command: str, here: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    if " jq " in command and not shutil.which("jq"):
        pytest.skip("jq is not here")
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MDTOOL_")},
        "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(here),
        "HF_HOME": str(here / "no-models"),
        "XDG_CONFIG_HOME": str(here / "no-settings"),
        **variables,
    }
    done = subprocess.run(["bash", "-c", command], cwd=here, env=env, capture_output=True, text=True, timeout=SECONDS)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_program_understands_every_command(page: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    for line in commands(page):
        for words in calls(line):
            command = get_command(app)
            while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
                words = command.with_command(words) if isinstance(command, TaskGroup) else words
                command = command.commands[words.pop(0)]
            if not isinstance(command, TyperGroup):
                command.make_context("mdtool", words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_readme_is_short_and_names_targets_of_make() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"make ([\w-]+)", text)) <= set(targets)


@pytest.mark.posix("shell scripts")
@pytest.mark.parametrize("line", [line for line in commands(README) if "models pull" not in line])
def test_a_command_of_the_readme_runs(line: str, here: Path) -> None:
    done = run(line, here)
    assert done.returncode == (4 if NEEDS_MODEL in line else 0), done.stderr
    assert ("`mdtool models pull moondream2`" in done.stderr) == (NEEDS_MODEL in line)
    if "exit code $?" in line:
        assert done.stdout == "exit code 5\n"


@pytest.mark.posix("shell scripts")
@pytest.mark.parametrize("line", [line for line in commands(BATCH) if "s3://" not in line])
def test_a_command_of_the_page_on_batches_runs(line: str, here: Path) -> None:
    command = re.sub(r"\s+#.*", "", line)
    watches = "--watch" in command
    if watches:
        command = f"timeout --signal INT {WATCHED_SECONDS} {command}"
    done = run(command, here, MDTOOL_CAPTION_MODEL="pocket", MDTOOL_QUERY_MODEL="pocket")
    assert done.returncode == (124 if watches else 0), done.stderr
    if outcome := re.search(r"--jsonl ([\w.]+\.jsonl)", command):
        assert (here / outcome[1]).read_text().startswith('{"schema":"mdtool.batch/1"')


@pytest.mark.slow
@pytest.mark.posix("shell scripts")
def test_the_console_of_the_page_on_images(here: Path) -> None:
    (shown,) = blocks(IMAGES, "console")
    lines = shown.splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    done = run("\n".join(typed), here)
    assert done.stdout.splitlines() == [line for line in lines if not line.startswith("$ ")]
