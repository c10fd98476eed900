"""No command but `models`, `serve`, and those that are given an address connects to anything, nor does an import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import mdtool.cli

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
MEDIA, SCENES = ROOT / "sample_media", ROOT / "sample_media" / "scenes"
SECONDS = 600
# Runs commands, each a list of words, in a process of which nothing may look up a name or use a socket.
PROGRAM = """
import json, os, pkgutil, socket, sys

def guard(event, arguments):
    if event in {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
                 "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request", "http.client.connect"}:
        os.write(2, f"{event} {arguments}".encode())
        os._exit(99)

sys.addaudithook(guard)
import engine, mdtool, mdtool.cli, recipes
for package in (engine, mdtool, recipes):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not any(part in module.name for part in ("__main__", "_native", "training", "lmms_eval")):
            __import__(module.name)
for words in json.loads(sys.argv[1]):
    sys.stdin = open(words.pop(0))
    if code := mdtool.cli.run(words):
        sys.exit(f"{words}: exit code {code}")
try:
    socket.create_connection(("127.0.0.1", 9))
finally:
    print("the guard is asleep")
"""
ONE = str(SCENES / "one.png")
CLIP = str(MEDIA / "vfr.mp4")
COMMANDS = [
    ["redact", CLIP, "-o", "redacted.mp4", "--to", "2", "--findings", "found.jsonl", "--preset", "ultrafast"],
    ["moderate", CLIP, "-p", "face", "--to", "2", "--report-only"],
    ["gaze", ONE, "--model", "pocket", "--report-only"],
    ["render", "found.jsonl", CLIP, "-o", "rendered.mp4", "--preset", "ultrafast"],
    ["report", "found.jsonl", "-o", "report.html"],
    ["caption", ONE, "--model", "pocket"],
    ["query", ONE, "what is this?", "--model", "pocket"],
    ["detect", ONE, "circle", "--model", "pocket", "--jsonl", "records.jsonl"],
    ["caption", str(SCENES), "--model", "pocket", "--shard", "1/1", "--jsonl", "part.jsonl"],
    ["merge", "merged.jsonl", "part.jsonl"],
    ["detect", str(MEDIA / "portrait.jpg"), "face"],
    ["point", ONE, "circle", "--model", "pocket"],
    ["eval", "redact", str(MEDIA / "vfr.mp4")],
    ["config", "show", "redact"],
    ["models", "list"],
    ["models", "show", "pocket"],
    ["models", "quantize", str(GOLDEN / "moondream2"), "--scheme", "int8", "-o", "quantized"],
    ["caption", ONE, "--model", "quantized", "--max-tokens", "2"],
    ["chat", ONE, "--model", str(GOLDEN / "lfm2-vl"), "--max-tokens", "2"],
    ["bench", "model", "--model", "pocket", "--runs", "1"],
    ["bench", "batch", ONE, "--images", "2", "--size", "64x48"],
]
OTHERS = {"serve"}  # which connects, if only to this machine


def test_every_command_is_here() -> None:
    group = typer.main.get_command(mdtool.cli.app)
    assert {words[0] for words in COMMANDS} | OTHERS == set(group.commands)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_nothing_is_connected_to(tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    said.write_text("what is this?\n")
    words = json.dumps([[str(said) if command[0] == "chat" else os.devnull, *command] for command in COMMANDS])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    # The last word is the guard's, on the connection that is made on purpose.
    assert done.stderr.endswith("socket.getaddrinfo ('127.0.0.1', 9, 0, 1, 0)"), done.stderr[-3000:]
    assert (done.returncode, "asleep" in done.stdout) == (99, False)
