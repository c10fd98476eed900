"""What the server refuses, and how early."""

import base64
import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from http_server import CHAT, SCENES, SECONDS, Served, base64_of, data_url, endless, image_message, raw_request, served
from make_images import camera_exif, encode_image, smooth

from mdtool.server import streaming
from mdtool.server.server_settings import ServerSettings

ONE = data_url(SCENES / "one.png")
LIMITS = ServerSettings(max_body_bytes=300_000, max_pixels=100_000, max_images=2)
LONG = {"model": "qwen3-vl", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1_000_000}
QUESTION = {"model": "qwen3-vl", "question": "hi", "settings": {"max_tokens": 1_000_000}}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(settings=LIMITS) as running:
        yield running


def url_of(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    connection.putrequest("POST", "/v1/caption")
    connection.putheader("Content-Length", "20000000")
    connection.endheaders()  # and no byte of the body
    reply = connection.getresponse()
    assert reply.status == 413
    assert json.loads(reply.read())["error"]["code"] == "request_too_large"
    connection.close()


def test_a_body_of_unknown_length_is_refused_while_it_arrives(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
        connection.sendall(b"POST /v1/caption HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")  # though the body never ends


def test_a_client_that_sends_a_large_body_reads_the_refusal(server: Served) -> None:
    reply = server.post("/v1/caption", {"image_url": "x" * 20_000_000})
    assert reply.status_code == 413
    assert "0.3 MB" in reply.json()["error"]["message"]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(server: Served) -> None:
    blank = encode_image(np.zeros((8000, 8000, 3), np.uint8), "PNG")  # 190 kB, that would be 192 MB
    begin = time.monotonic()
    reply = server.post("/v1/caption", {"image_url": url_of(blank)})
    assert reply.status_code == 413
    assert "8000 x 8000 pixels" in reply.json()["error"]["message"]
    assert time.monotonic() - begin < 5


def test_too_many_images() -> None:
    message = {"role": "user", "content": [image_message(ONE, "x")["content"][0]] * 3}
    with served(CHAT, LIMITS) as other:
        reply = other.post("/v1/chat/completions", {"messages": [message]})
    assert reply.status_code == 400
    assert "has 3 images; this server reads at most 2" in reply.json()["error"]["message"]


def test_images_are_turned_upright(server: Served) -> None:
    turned = encode_image(np.rot90(smooth(48, 64)).copy(), "PNG", exif=camera_exif(6))
    reply = server.post("/v1/detect", {"image_url": url_of(turned), "object": "face"})
    assert server.logged(reply)["images"] == ["64x48"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "image_url: Field required"),
        (b'{"image_url": null}', "image_url: Input should be a valid string"),
        (b'{"image_url": "", "length": "endless"}', "length: Input should be 'short', 'normal' or 'long'"),
        (b'{"image_url": ""}', "the image can't be read: empty"),
        (b'{"image_url": "!!!"}', "not valid base64"),
        (b'{"image_url": "data:image/png,abc"}', "not base64"),
        (b'{"image_url": "file:///etc/passwd"}', "send it as a data URL"),
        (b'{"image_url": "http://127.0.0.1/x.png"}', "fetches no URLs"),
        (b'{"image_url": "data:image/png;base64,iVBORw0KGgo="}', "the image can't be read: damaged"),
        (b'{"image_url": "", "settings": {"temperature": NaN}}', "settings.temperature"),
        (rb'{"image_url": "\ud800"}', "not valid base64"),
        (b'{"image_url": "", "settings": {"max_tokens": "many"}}', "settings.max_tokens"),
    ],
)
def test_bad_requests_get_a_line_that_says_why(server: Served, body: bytes, message: str) -> None:
    reply = server.post("/v1/caption", content=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_truncated_image_is_the_clients_fault(server: Served, form: str, cut: float) -> None:
    data = encode_image(smooth(), form)
    reply = server.post("/v1/caption", {"image_url": url_of(data[: int(len(data) * cut)])})
    assert reply.status_code == 400
    assert "the image can't be read" in reply.json()["error"]["message"]


def test_an_image_of_one_pixel(server: Served) -> None:
    tiny = url_of(encode_image(np.zeros((1, 1, 3), np.uint8), "PNG"))
    assert server.post("/v1/caption", {"image_url": tiny}).status_code == 200


def test_nothing_of_an_image_comes_back(server: Served) -> None:
    secret = base64_of(SCENES / "one.png")
    bodies: list[dict[str, Any]] = [
        {"image_url": [secret]},
        {"image_url": {"url": secret}, "length": secret},
        {"image_url": secret[: len(secret) // 2]},
        {"image_url": secret, "model": secret},
        {"image_url": secret, "object": secret},
    ]
    for path in ("/v1/caption", "/v1/detect", "/v1/chat/completions", "/api/chat", "/nope"):
        for body in bodies:
            reply = server.post(path, body)
            assert reply.status_code in (400, 404, 200)
            assert secret[:600] not in reply.text
            assert len(reply.text) < 2000
    assert secret[100:200] not in server.log.getvalue()


def test_other_methods_and_routes(server: Served) -> None:
    reply = server.get("/v1/caption")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["message"]
    assert server.post("/v1/nope", {}).json()["error"]["type"] == "not_found_error"
    assert server.post("/api/nope", {}).json() == {"error": "no such route; /docs lists all"}


def test_a_full_queue_says_when_to_come_back(endless_model: Path) -> None:
    with served(endless(endless_model), queue_size=1, batch=1) as server:
        server.post("/v1/chat/completions", LONG | {"max_tokens": 1})  # loads the model
        sockets = [raw_request(server.port, "/v1/chat/completions", LONG)]
        _wait_for(lambda: server.service.engine.running == 1)
        sockets.append(raw_request(server.port, "/v1/chat/completions", LONG))
        _wait_for(lambda: server.service.engine.waiting == 1)
        reply = server.post("/v1/chat/completions", LONG)
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.json()["error"]["code"] == "queue_full"
        assert server.metric("mdtool:requests_rejected_total") == 1
        for each in sockets:
            each.close()
        server.wait_until_idle()
        assert server.post("/v1/chat/completions", LONG | {"max_tokens": 1}).status_code == 200


def test_more_requests_than_are_read_at_a_time(endless_model: Path) -> None:
    with served(endless(endless_model), ServerSettings(max_requests=1)) as server:
        connection = raw_request(server.port, "/v1/chat/completions", LONG)
        _wait_for(lambda: server.service.lifecycle.active == 1)
        assert server.post("/v1/chat/completions", LONG).status_code == 429
        assert server.get("/health").status_code == 200
        connection.close()


def test_a_deadline_ends_a_request(endless_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(endless(endless_model), ServerSettings(request_timeout=0.1)) as server:
        server.post("/v1/chat/completions", LONG | {"max_tokens": 1})
        until = time.monotonic() + SECONDS
        while not server.service.models.loaded:
            assert time.monotonic() < until
            time.sleep(0.01)
        reply = server.post("/v1/chat/completions", LONG)
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "timeout"
        monkeypatch.setattr(streaming, "PING_SECONDS", 0.001)
        held_back = {"stop": "and on " * 50 + "."}  # the answer, which may become this: the stream is silent
        lines = server.lines("/v1/chat/completions", LONG | held_back | {"stream": True})
        assert ": running" in lines
        last = [line for line in lines if not line.startswith(":")][-1]
        assert "longer than the server allows" in json.loads(last.removeprefix("data: "))["error"]["message"]
        lines = server.lines("/v1/query", QUESTION | {"stream": True})
        *_, error, last = (line for line in lines if not line.startswith(":"))
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "timeout"
        assert last == "data: error"  # no JSON: what makes Moondream's client raise
        server.wait_until_idle()
        assert server.metric("mdtool:num_requests_running") == 0


def test_a_body_that_never_comes() -> None:
    with served(settings=ServerSettings(request_timeout=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as connection:
            connection.sendall(b"POST /v1/caption HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        server.wait_until_idle()


def test_bad_requests_among_good_ones(server: Served) -> None:
    def ask(number: int) -> int:
        image = ONE if number % 2 else ONE[:-300]
        return server.post("/v1/detect", {"image_url": image, "object": "star"}).status_code

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(24))) == [400, 200] * 12
    assert server.service.lifecycle.active == 0


def test_an_error_nobody_expected_is_not_tried_again(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(submission: object) -> None:
        raise RuntimeError("a secret place in the code")

    monkeypatch.setattr(server.service.engine, "submit", broken)
    reply = server.post("/v1/caption", {"image_url": ONE})
    assert reply.status_code == 500
    assert reply.headers["x-should-retry"] == "false"
    assert "secret" not in reply.text
    assert reply.headers["x-request-id"] in reply.text
    assert "a secret place" in server.logged(reply)["traceback"]


def _wait_for(condition: Any) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < SECONDS
        time.sleep(0.005)


def test_streams_are_not_compressed(server: Served) -> None:
    body = {"image_url": ONE, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/caption", json=body, headers={"Accept-Encoding": "gzip"}) as reply:
        assert "content-encoding" not in reply.headers
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.read().startswith(b"data: ")


def test_images_of_many_requests_take_no_more_memory_than_there_is() -> None:
    url = url_of(encode_image(smooth(900, 1200), "PNG"))  # 3.2 MB as pixels, several times that while it is decoded
    most = 40_000_000
    with served(settings=ServerSettings(memory=most)) as running, ThreadPoolExecutor(24) as clients:
        memory, peak = running.service.memory, [0]
        add = memory.add

        def watched(size: int) -> None:
            add(size)
            peak[0] = max(peak[0], memory.alive)

        memory.add = watched  # type: ignore[method-assign]
        replies = list(clients.map(lambda _: running.post("/v1/caption", {"image_url": url}), range(48)))
        running.wait_until_idle()
        codes = {reply.status_code for reply in replies}
        assert 200 in codes
        assert codes <= {200, 503}
        assert all("Retry-After" in reply.headers for reply in replies if reply.status_code == 503)
        assert 1_000_000 < peak[0] <= most
        assert running.post("/v1/caption", {"image_url": url}).status_code == 200, "what was taken is given back"


@pytest.mark.parametrize("path", ["/v1/caption", "/v1/redact"])
def test_an_image_waits_for_the_memory_of_others_and_then_has_to_come_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdtool.server.images.PATIENCE_SECONDS", 0.2)
    with served(settings=ServerSettings(memory=1_000_000)) as running:
        body = {"image_url": data_url(SCENES / "one.png")}
        running.service.memory.add(990_000)  # as another request would
        reply = running.post(path, body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_memory")
        running.service.memory.add(-990_000)
        assert running.post(path, body).status_code == 200


def test_images_that_do_not_fit_together_are_no_matter_of_waiting() -> None:
    url = url_of(encode_image(smooth(300, 400), "PNG"))
    with served(settings=ServerSettings(memory=1_000_000), models=CHAT) as running:
        content = [{"type": "image_url", "image_url": {"url": url}}] * 4
        reply = running.post("/v1/chat/completions", {"messages": [{"role": "user", "content": content}]})
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "image_too_large")


def test_bodies_count_too_until_their_requests_end() -> None:
    with served(settings=ServerSettings(memory=1_000_000)) as running:
        running.service.memory.add(900_000)
        reply = running.post("/v1/caption", {"image_url": "x" * 200_000})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_memory")
        running.wait_until_idle()
        assert running.service.memory.alive == 900_000
