"""Clients that go away: in the queue, in the prefill, in the decode, streaming or not."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_server import SECONDS, Served, endless, raw_request, served

# How soon a cancelled one is noticed is measured by `bench serve`.
TOKENS = 1_000_000
LONG = {"model": "qwen3-vl", "messages": [{"role": "user", "content": "a"}], "max_tokens": TOKENS}
PROMPT = LONG | {"messages": [{"role": "user", "content": "a " * 2000}]}
MOONDREAM = {"model": "qwen3-vl", "question": "a", "settings": {"max_tokens": TOKENS}}
OLLAMA = {
    "model": "qwen3-vl", "messages": [{"role": "user", "content": "a"}],
    "options": {"num_predict": TOKENS},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(endless_model: Path) -> Iterator[Served]:
    with served(endless(endless_model), batch=1) as running:
        running.post("/v1/chat/completions", LONG | {"max_tokens": 1})  # loads the model
        yield running


def wait_for(condition: Callable[[], bool]) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < SECONDS
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", LONG), ("/v1/query", MOONDREAM), ("/api/chat", OLLAMA | {"stream": False})],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_goes_away_frees_its_place(
    server: Served, path: str, body: dict[str, Any], stream: bool, reset: bool
) -> None:
    before = server.metric("mdtool:cancelled_total")
    connection = raw_request(server.port, path, body | {"stream": stream})
    wait_for(lambda: server.service.engine.running == 1)
    time.sleep(0.05)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    server.wait_until_idle()
    assert server.metric("mdtool:cancelled_total") == before + 1
    assert server.log_lines[-1]["method"] == "GET" or server.log_lines[-1]["status"] == 499


def test_during_the_prefill(server: Served) -> None:
    before = server.metric("mdtool:cancelled_total")
    connection = raw_request(server.port, "/v1/chat/completions", PROMPT)
    wait_for(lambda: server.service.engine.running == 1)
    connection.close()
    server.wait_until_idle()
    assert server.metric("mdtool:cancelled_total") == before + 1


def test_in_the_queue(server: Served) -> None:
    first = raw_request(server.port, "/v1/chat/completions", LONG)
    wait_for(lambda: server.service.engine.running == 1)
    second = raw_request(server.port, "/v1/chat/completions", LONG)
    wait_for(lambda: server.service.engine.waiting == 1)
    second.close()
    wait_for(lambda: server.service.engine.waiting == 0)
    assert server.service.engine.running == 1  # the first goes on
    first.close()
    server.wait_until_idle()


def test_while_the_body_is_sent(server: Served) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
    connection.sendall(b"POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    wait_for(lambda: server.service.lifecycle.active == 1)
    connection.close()
    server.wait_until_idle()


def test_a_client_that_does_not_read_its_stream_holds_no_place_for_ever(server: Served) -> None:
    connection = raw_request(server.port, "/v1/chat/completions", LONG | {"max_tokens": 100, "stream": True})
    server.wait_until_idle()
    connection.close()


def test_afterwards_the_server_answers(server: Served) -> None:
    assert server.post("/v1/chat/completions", LONG | {"max_tokens": 2}).status_code == 200
    assert server.metric("mdtool:num_requests_running") == 0
