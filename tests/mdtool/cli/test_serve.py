"""`mdtool serve` as a process: its lines, its exit codes, and its end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_runner import COMMAND, ROOT, SECONDS, run
from http_server import raw_request

from mdtool.errors import ExitCode

SCENE = ROOT / "sample_media" / "scenes" / "one.png"
TOKENS = 100
SHORT = {"messages": [{"role": "user", "content": "a"}], "max_tokens": TOKENS}
ENDLESS = SHORT | {"max_tokens": 1_000_000}
CHAT_PATH = "/v1/chat/completions"

pytestmark = pytest.mark.posix("signals")


class Process:
    def __init__(self, *options: str, **environment: str) -> None:
        environment = os.environ | environment
        command = [*COMMAND, "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self.url = ""
        threading.Thread(target=self._read, daemon=True).start()

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: any("serving" in line for line in self.lines))
        found = re.search(r"https?://\S+", next(line for line in self.lines if "serving" in line))
        assert found
        self.url = found[0]

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line)

    def wait_for(self, condition: Any) -> None:
        begin = time.monotonic()
        while not condition():
            assert time.monotonic() - begin < SECONDS, self.lines
            time.sleep(0.01)

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=SECONDS)

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", timeout=SECONDS).text
        found = re.search(rf"^mdtool:{name} (\S+)$", text, re.MULTILINE)
        assert found
        return float(found[1])

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[Process]:
    server = Process(*options, **environment)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def in_background(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def note() -> None:
        try:
            results.append(work())
        except httpx.HTTPError as error:
            results.append(error)

    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    return thread, results


def test_it_says_where_it_serves_what_and_ends_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    with serving("--model", "pocket", "--access-log", str(log)) as server:
        assert server.lines == [f"mdtool: serving pocket, centerface on {server.url}\n"]
        assert httpx.get(f"{server.url}/ready").json()["models"] == ["pocket", "centerface"]
        assert server.end() == ExitCode.OK
    assert [json.loads(line)["path"] for line in log.read_text().splitlines()] == ["/ready"]
    assert len(server.lines) == 1


def test_without_a_model_that_answers_only_faces_are_found(tmp_path: Path) -> None:
    with serving(HF_HOME=str(tmp_path)) as server:
        assert server.lines[0].startswith("mdtool: only faces can be found: no model on this machine")
        assert "mdtool models pull moondream2" in server.lines[0]
        assert server.lines[1:] == [f"mdtool: serving centerface on {server.url}\n"]


def test_a_signal_under_load_loses_no_accepted_request(endless_model: Path) -> None:
    with serving("--model", str(endless_model), "--batch", "1", "--queue", "32") as server:
        with raw_request(int(server.url.rpartition(":")[2]), CHAT_PATH, ENDLESS):  # the others wait for its end
            server.wait_for(lambda: server.metric("num_requests_running") == 1)
            streams = [in_background(lambda: server.post(CHAT_PATH, SHORT | {"stream": True})) for _ in range(3)]
            whole = [in_background(lambda: server.post(CHAT_PATH, SHORT)) for _ in range(3)]
            server.wait_for(lambda: server.metric("num_requests_waiting") == 6)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(lambda: httpx.get(f"{server.url}/ready").status_code == 503)
            refused = server.post(CHAT_PATH, SHORT)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
        assert server.process.wait(SECONDS) == ExitCode.OK
        for thread, results in [*streams, *whole]:
            thread.join(SECONDS)
            assert results[0].status_code == 200
        assert all(results[0].text.rstrip().endswith("data: [DONE]") for _, results in streams)
        assert all(results[0].json()["usage"]["completion_tokens"] == TOKENS for _, results in whole)


@pytest.mark.slow
def test_what_takes_longer_than_the_drain_is_cut_off_and_counted(endless_model: Path) -> None:
    with serving("--model", str(endless_model), "--drain", "0.1s") as server:
        thread, results = in_background(lambda: server.post(CHAT_PATH, ENDLESS))
        server.wait_for(lambda: server.metric("num_requests_running") == 1)
        assert server.end() == ExitCode.SOME_FAILED
        thread.join(SECONDS)
        assert results[0].status_code == 503
        message = "mdtool: 1 requests were cut off after 0.1 s; --drain gives them longer\n"
        server.wait_for(lambda: message in server.lines)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: int, endless_model: Path) -> None:
    with serving("--model", str(endless_model)) as server:
        thread, _ = in_background(lambda: server.post(CHAT_PATH, ENDLESS))
        server.wait_for(lambda: server.metric("num_requests_running") == 1)
        server.process.send_signal(number)
        server.wait_for(lambda: httpx.get(f"{server.url}/ready").status_code == 503)
        begin = time.monotonic()
        assert server.end(number) == ExitCode.INTERRUPTED
        assert time.monotonic() - begin < 5
        thread.join(SECONDS)


def test_keys_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the team\nfrom-file\n\n")
    with serving("--model", "pocket", "--api-key-file", str(file), MDTOOL_API_KEY="from-environment") as server:
        for key, status in (("from-file", 200), ("from-environment", 200), ("other", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == status


@pytest.mark.slow
def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    try:
        subprocess.run(openssl, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    with serving("--model", "pocket", "--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert httpx.get(f"{server.url}/health", verify=False).json()["status"] == "ok"
        assert server.end(signal.SIGINT) == ExitCode.OK


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        outcome = run("serve", "--model", "pocket", "--port", port)
    assert outcome.code == ExitCode.USAGE
    assert outcome.err == (
        f"mdtool: can't listen on 127.0.0.1:{port}: address already in use; give another --port or --host\n"
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "nosuch"], ExitCode.MODEL, "no model 'nosuch'"),
        (["--model", "pocket", "--model", "pocket"], ExitCode.USAGE, "another model is served as pocket already"),
        (["--model", "pocket", "--root-path", "x"], ExitCode.USAGE, "--root-path x: must begin with /"),
        (["--model", "pocket", "--ssl-keyfile", "x"], ExitCode.USAGE, "--ssl-keyfile: only with --ssl-certfile"),
        (["--model", "pocket", "--ssl-certfile", "nosuch.pem", "--port", "0"], ExitCode.USAGE, "can't be used"),
        (["--model", "pocket", "--api-key", " "], ExitCode.USAGE, "--api-key: empty"),
        (["--model", "pocket", "--api-key-file", "nosuch"], ExitCode.USAGE, "can't be read"),
        (["--model", "pocket", "--api-key-file", os.devnull], ExitCode.USAGE, "has no key"),
        (["--model", "pocket", "--max-body", "big"], ExitCode.USAGE, "--max-body: 'big' is not a size"),
        (["--model", "pocket", "--request-timeout", "0"], ExitCode.USAGE, "--request-timeout: must be more than 0"),
        (["--model", "pocket", "--drain", "soon"], ExitCode.USAGE, "--drain: 'soon' is not a time"),
        (["--model", "pocket", "--host", "no.such.invalid"], ExitCode.USAGE, "--host no.such.invalid"),
        (["--model", "pocket", "--access-log", "no/such/file"], ExitCode.CANT_WRITE, "folder does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(options: list[str], code: ExitCode, message: str) -> None:
    outcome = run("serve", *options)
    assert outcome.code == code
    assert message in outcome.lines[-1]


def test_another_host_without_a_key_is_warned_of() -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:  # so that it ends at once
        outcome = run("serve", "--model", "pocket", "--host", "0.0.0.0", "--port", str(other.getsockname()[1]))
    assert "warning: --host 0.0.0.0 lets other machines use this server without a key" in outcome.lines[0]


def test_the_server_is_not_imported_for_other_commands() -> None:
    names = ("fastapi", "uvicorn", "pydantic", "asyncio")
    code = f"import sys, mdtool.cli; print([name for name in {names} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
