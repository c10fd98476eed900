"""Where a model is needed that is not on this machine: a terminal offers to pull it, --pull says yes beforehand."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runner import SECONDS, reset_signal_handlers, run, spawn
from fake_hub import Hub, serve_hub
from make_media import SAMPLES

from mdtool.errors import ExitCode

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

pytestmark = pytest.mark.posix("pseudo terminals")

GOLDEN = Path(__file__).parents[2] / "golden" / "moondream2"
SCENE = SAMPLES / "scenes" / "one.png"
QUESTION = "mdtool: moondream2 is needed and not on this machine (3.9 GB, licence Apache-2.0); download it now? [y/N] "
ADVICE = "`mdtool models pull moondream2` downloads one that can (3.9 GB, licence Apache-2.0)"
# The program, with a catalogue whose moondream2 has the size of the golden model, so that it can be pulled and run.
SMALL = f"""
import json
from dataclasses import replace
from engine.catalog import published
known = published.published()
config = json.loads(open({str(GOLDEN / "config.json")!r}).read())
known["moondream2"] = replace(known["moondream2"], config=known["moondream2"].config | config)
from mdtool.cli import main
main()
"""
NEEDY: dict[str, list[str | Path]] = {
    "caption": ["caption", SCENE, "--length", "short", "--max-tokens", "1"],
    "query": ["query", SCENE, "why?", "--max-tokens", "1"],
    "query of many": ["query", SCENE, "why?", "--max-tokens", "1", "--jsonl", "out.jsonl"],
    "detect": ["detect", SCENE, "dog", "--max-objects", "1"],
    "point": ["point", SCENE, "dog", "--max-objects", "1"],
    "moderate": ["moderate", SCENE, "-p", "dog", "--report-only"],
    "redact": ["redact", SCENE, "-p", "dog", "-o", "out.png"],
    "gaze": ["gaze", SCENE, "-t", "dog", "-o", "out.png"],
    "gaze of the eyes": ["gaze", SCENE, "--accurate", "-o", "out.png"],
    "named": ["caption", SCENE, "--model", "moondream2", "--max-tokens", "1"],
}
CAPTION = NEEDY["caption"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    golden = {name: (GOLDEN / name).read_bytes() for name in ("model.safetensors", "config.json", "tokenizer.json")}
    with serve_hub(
        {
            ("vikhyatk/moondream2", "2025-06-21"): golden,
            ("moondream/starmie-v1", "35192e10a54e36eabe0a7cc57a2c1aab371cafc5"): golden,
        }
    ) as served:
        yield served


@pytest.fixture(autouse=True)
def environment(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)


@dataclass
class Shown:
    text: str
    code: int
    out: bytes

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def on_terminal(*arguments: str | Path, typed: bytes = b"", stdin: int | None = None, piped: bool = False) -> Shown:
    """Run the program on a terminal that controls it, and type at its question; stdin in place of the terminal."""
    leader, follower = pty.openpty()

    def take_terminal() -> None:
        reset_signal_handlers()
        os.setsid()
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-c", SMALL, *arguments],
        stdin=follower if stdin is None else stdin,
        stdout=subprocess.PIPE if piped else subprocess.DEVNULL,
        stderr=follower,
        preexec_fn=take_terminal,
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while chunk := os.read(leader, 1 << 16):
            shown += chunk
            if typed and b"[y/N] " in shown:
                os.write(leader, typed)
                typed = b""
    os.close(leader)
    out, _ = process.communicate(timeout=SECONDS)
    text = shown.decode().replace("\r\n", "\n")
    assert "Traceback" not in text, text
    return Shown(text, process.returncode, out or b"")


def pulled(hub: Hub) -> bool:
    return bool(hub.fetched("model.safetensors"))


@pytest.mark.parametrize("command", NEEDY.values(), ids=NEEDY)
def test_yes_pulls_and_goes_on(command: list[str | Path], hub: Hub) -> None:
    shown = on_terminal(*command, typed=b"y\n")
    assert shown.code == 0, shown.text
    assert shown.text.startswith(QUESTION)
    assert "mdtool: moondream2: on this machine, " in shown.text
    assert pulled(hub)


@pytest.mark.parametrize("typed", [b"n\n", b"\n", b"nope\n", b"\x04"], ids=["n", "enter", "other", "end of file"])
def test_no_is_the_error_that_is_told_without_a_question(typed: bytes, hub: Hub) -> None:
    shown = on_terminal(*CAPTION, typed=typed)
    assert shown.code == ExitCode.MODEL
    assert shown.text.startswith(QUESTION)
    outcome = run(*CAPTION)
    assert (outcome.code, outcome.lines) == (ExitCode.MODEL, [shown.lines[-1]])
    assert ADVICE in outcome.err
    assert not hub.asked


def test_ctrl_c_at_the_question(hub: Hub) -> None:
    shown = on_terminal(*CAPTION, typed=b"\x03")
    assert shown.code == ExitCode.INTERRUPTED
    assert shown.text.endswith("mdtool: interrupted\n")  # the terminal may drop the line break before it
    assert not hub.asked


@pytest.mark.parametrize("command", NEEDY.values(), ids=NEEDY)
def test_nothing_is_asked_where_no_person_is(command: list[str | Path], hub: Hub) -> None:
    outcome = run(*command)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (ExitCode.MODEL, b"", 1), outcome.err
    assert "[y/N]" not in outcome.err
    assert "(3.9 GB, licence Apache-2.0)" in outcome.err
    assert "`mdtool models pull moondream2`" in outcome.err
    assert not hub.asked


def test_data_on_stdin_is_no_answer(hub: Hub) -> None:
    """Even if it says y, and stderr is a terminal."""
    read, write = os.pipe()
    os.write(write, b"y\n" + SCENE.read_bytes())
    os.close(write)
    shown = on_terminal("caption", "-", stdin=read)
    os.close(read)
    assert (shown.code, len(shown.lines)) == (ExitCode.MODEL, 1), shown.text
    assert "[y/N]" not in shown.text
    assert not hub.asked


@pytest.mark.parametrize("command", [["caption", "-"], ["caption", "--files-from", "-"], ["moderate", "-", "-p", "x"]])
def test_a_terminal_that_data_is_expected_from_is_not_asked(command: list[str], hub: Hub) -> None:
    shown = on_terminal(*command)
    assert shown.code != 0
    assert "[y/N]" not in shown.text
    assert not hub.asked


def test_quiet_asks_nothing(hub: Hub) -> None:
    shown = on_terminal(*CAPTION, "--quiet")
    assert (shown.code, len(shown.lines)) == (ExitCode.MODEL, 1), shown.text
    assert "[y/N]" not in shown.text


def test_the_question_is_no_part_of_the_answer(hub: Hub) -> None:
    shown = on_terminal(*CAPTION, "--json", typed=b"y\n", piped=True)
    assert shown.code == 0, shown.text
    assert json.loads(shown.out)["model"] == "moondream2"


@pytest.mark.parametrize("way", ["option", "environment", "file"])
def test_pull_says_yes_beforehand(way: str, hub: Hub, tmp_path: Path) -> None:
    if way == "file":
        (tmp_path / "mdtool.toml").write_text("[defaults]\npull = true\n")
    options = ["--pull"] if way == "option" else []
    environment = {"MDTOOL_PULL": "1"} if way == "environment" else {}
    outcome = spawn(*CAPTION, *options, env=environment)
    assert "[y/N]" not in outcome.err
    assert outcome.lines[0] == "mdtool: moondream2: 3.9 GB, licence Apache-2.0"
    assert outcome.lines[1].startswith("mdtool: moondream2: on this machine, ")
    assert pulled(hub)


def test_pull_on_a_terminal_is_not_asked_again(hub: Hub) -> None:
    shown = on_terminal(*CAPTION, "--pull")
    assert shown.code == 0, shown.text
    assert "[y/N]" not in shown.text
    assert pulled(hub)


def test_a_pull_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    outcome = spawn(*CAPTION, "--pull")
    assert (outcome.code, len(outcome.lines)) == (ExitCode.MODEL, 2), outcome.err
    assert "HF_HUB_OFFLINE forbids downloads" in outcome.err


@pytest.mark.parametrize("command", [["redact", SCENE, "-o", "out.png"], ["caption", SCENE, "--model", "pocket"]])
def test_nothing_is_pulled_that_is_not_needed(command: list[str | Path], hub: Hub) -> None:
    shown = on_terminal(*command, "--pull")
    assert shown.code == 0, shown.text
    assert not hub.asked
