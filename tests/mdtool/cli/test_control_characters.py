"""Nothing that comes from outside, such as a file's name, gives orders to the terminal that it is printed on."""

import html
import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_runner import COMMAND, run
from hypothesis import given
from hypothesis import strategies as st
from make_findings import findings_jsonl
from make_media import SAMPLES

from mdtool.escaping import html_escaped, one_line, several_lines
from mdtool.records.findings import FrameFindings
from mdtool.stdout import json_text
from recipes.regions import Region

pytestmark = pytest.mark.posix("terminals, and names of any characters")
# Sets the title; C1's CSI; moves the cursor, deletes, rings; hides what comes before; reorders; breaks the line.
ORDERS = ["\x1b]0;owned\x07", "\x1b[31m", "\x9b31m", "\x08\x7f", "\r", "\u202e", "\u2066", "\u2028", "\n"]
ODD = "a" + "".join(ORDERS) + "[red]b"


def obeyed(shown: str) -> list[str]:
    """Return the orders in what a terminal got; the progress bar has its own, but none of these."""
    return [order for order in ORDERS[:-1] if order != "\r" and order in shown]


def shown_on_terminal(*arguments: str | Path, cwd: Path) -> str:
    """Return what stdout and stderr print together on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=follower, stdout=follower, stderr=follower, cwd=cwd,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "400"},
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 1 << 16):
            shown += chunk
    except OSError:
        pass  # how a terminal ends
    os.close(leader)
    process.wait(60)
    return shown.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(SAMPLES / "portrait.jpg", tmp_path / f"{ODD}.jpg")
    (tmp_path / f"{ODD}.png").write_bytes(b"no picture")
    shutil.copy(SAMPLES / "phone.mp4", tmp_path / f"{ODD}.mp4")
    found = FrameFindings([Region(0.1, 0.1, 0.5, 0.5, ODD)])
    (tmp_path / "findings.jsonl").write_text(findings_jsonl(ODD, [found], still=True))
    return tmp_path


NAMES = [f"{ODD}.jpg", f"{ODD}.png"]
COMMANDS: dict[str, list[str]] = {
    "redact": ["redact", *NAMES, "-o", f"{ODD}.out"],
    "redact again": ["redact", f"{ODD}.jpg", "-o", f"{ODD}.mkv"],
    "prompt": ["redact", f"{ODD}.jpg", "-p", ODD, "--model", "centerface"],
    "dry run": ["redact", *NAMES, "--dry-run"],
    "json": ["redact", *NAMES, "-o", "out", "--json"],
    "moderate": ["moderate", *NAMES, "-p", "face", "--report-only", "--report", f"{ODD}.html"],
    "policy": ["moderate", f"{ODD}.jpg", "--policy", ODD],
    "gaze": ["gaze", *NAMES, "-o", f"{ODD}.out"],
    "render": ["render", "findings.jsonl"],
    "report": ["report", "findings.jsonl", "-o", f"{ODD}.html"],
    "detect": ["detect", *NAMES, "face", "--model", "centerface"],
    "detect --json": ["detect", *NAMES, "face", "--model", "centerface", "--json"],
    "detect --jsonl": ["detect", *NAMES, "face", "--model", "centerface", "--jsonl", "-"],
    "point": ["point", *NAMES, ODD, "--model", "pocket"],
    "query": ["query", *NAMES, ODD, "--model", "pocket"],
    "query --json": ["query", *NAMES, ODD, "--model", "pocket", "--json"],
    "chat": ["chat", f"{ODD}.jpg", "--model", ODD],
    "address": ["detect", f"http://127.0.0.1:1/{ODD.split()[0]}", "face", "--model", "centerface"],
    "no address": ["detect", f"http://{ODD}.example/", "face", "--model", "centerface"],
    "caption": ["caption", f"{ODD}.jpg", "--model", ODD],
    "eval": ["eval", "redact", f"{ODD}.mp4"],
    "eval sampling": ["eval", "sampling", f"{ODD}.mkv"],
    "models": ["models", "path", ODD],
    "models show": ["models", "show", ODD],
    "models pull": ["models", "pull", ODD],
    "models rm": ["models", "rm", ODD],
    "models quantize": ["models", "quantize", ODD, "--scheme", "int8", "-o", "out"],
    "serve": ["serve", "--model", ODD],
    "bench": ["bench", "redact", f"{ODD}.mkv"],
    "config": ["config", "show", ODD],
    "wrong option": ["redact", f"--{ODD}"],
    "wrong command": [ODD],
    "wrong value": ["redact", f"{ODD}.jpg", "--sample", ODD],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_message_gives_orders(command: str, folder: Path) -> None:
    outcome = run(*COMMANDS[command], cwd=folder)
    assert not obeyed(outcome.err + outcome.out.decode())
    assert "owned" in outcome.err + outcome.out.decode()  # it is told, as text


@pytest.mark.parametrize("command", ["redact", "moderate", "detect"])
def test_neither_bars_nor_tables_do(command: str, folder: Path) -> None:
    video = [f"{ODD}.mp4"] if command != "detect" else []
    shown = shown_on_terminal(*COMMANDS[command], *video, cwd=folder)
    assert not obeyed(shown)
    assert "[red]b" in shown


pieces = st.one_of(
    st.sampled_from([*ORDERS, "\x1b]8;;http://evil.example\x1b\\", "\x1bP", "\x84", "\u200e", "\u061c", "\U000e0041"]),
    st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")),
    st.sampled_from("<>&\"'[]a1"),
)
hostile = st.lists(pieces, max_size=40).map("".join)
CONTROLS = set(map(chr, [*range(32), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]))


@given(hostile)
def test_no_place_gets_what_it_would_obey(text: str) -> None:
    assert not CONTROLS & set(one_line(text))
    assert not CONTROLS - {"\n", "\t"} & set(several_lines(text))
    assert not CONTROLS & set(json_text({text: [text]}))
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves are one character
    assert json.loads(json_text({text: [text]})) == {whole: [whole]}
    page = html_escaped(text)
    assert not CONTROLS & set(page)
    assert html.unescape(page) == one_line(text)
    assert not set("<>\"'") & set(page)
    for shown in (one_line(text), several_lines(text), page, json_text(text)):
        shown.encode()


@pytest.mark.parametrize("text", [ODD, *ORDERS, "\udcff", "\x00", "\u2029", "\u202a"])
def test_escaped_text_is_obeyed_by_no_terminal(text: str) -> None:
    assert one_line(text).isprintable()
    assert not obeyed(several_lines(text))
    several_lines(text).encode()


@pytest.mark.parametrize("text", ["naïve 猫\u3000犬", "👨\u200d👩\u200d👧 🏴", "می\u200cخواهم", "שלום", "a b"])
def test_other_text_is_unchanged(text: str) -> None:
    assert several_lines(text) == text
    assert one_line(text.replace("\u3000", "")) == text.replace("\u3000", "")
