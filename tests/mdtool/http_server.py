"""A real server on loopback, in a thread of the test."""

import asyncio
import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from mdtool.model_selection import ComputeConfig
from mdtool.server.access_log import AccessLog
from mdtool.server.app import create_app
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.run_server import Listening, listener_at, uvicorn_config
from mdtool.server.served_models import ServedModel, ServedModels
from mdtool.server.server_settings import ServerSettings
from mdtool.server.service import Service

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "sample_media" / "scenes"
GOLDEN = ROOT / "tests" / "golden"
SECONDS = 120  # more than anything here takes on a busy machine; what hangs fails
CPU = ComputeConfig("cpu")

POCKET = {"pocket": ServedModel("pocket", CPU)}
CHAT = {"qwen3-vl": ServedModel(str(GOLDEN / "qwen3-vl"), CPU)}

MOONDREAM = {"moondream2": ServedModel(str(GOLDEN / "moondream2"), CPU)}


def endless(folder: Path) -> dict[str, ServedModel]:
    """Return what serves the model of the fixture `endless_model` under the name "qwen3-vl"."""
    return {"qwen3-vl": ServedModel(str(folder), CPU)}


@dataclass
class Served:
    """A server that is up."""

    url: str
    app: FastAPI
    log: io.StringIO = field(repr=False)

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def logged(self, reply: httpx.Response) -> dict[str, Any]:
        """The log's line of a request, which is written after its reply."""
        begin = time.monotonic()
        while time.monotonic() - begin < SECONDS:
            for line in self.log_lines:
                if line["request_id"] == reply.headers["x-request-id"]:
                    return line
            time.sleep(0.01)
        raise AssertionError("the request was not logged")

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=SECONDS, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        given = options if body is None else {"json": body, **options}
        return httpx.post(self.url + path, timeout=SECONDS, **given)

    def lines(self, path: str, body: Any) -> list[str]:
        """The lines of a streamed response."""
        with httpx.stream("POST", self.url + path, json=body, timeout=SECONDS) as response:
            assert response.status_code == 200, response.read()
            return [line for line in response.iter_lines() if line]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def wait_until_idle(self, seconds: float = SECONDS) -> float:
        """Wait until the engine has no request; return how long that took."""
        begin = time.monotonic()
        while self.service.engine.running or self.service.engine.waiting or self.service.lifecycle.active:
            assert time.monotonic() - begin < seconds, "a request did not leave the engine"
            time.sleep(0.002)
        return time.monotonic() - begin


@contextmanager
def served(
    models: dict[str, ServedModel] | None = None,
    settings: ServerSettings | None = None,
    *,
    log_prompts: bool = False,
    **engine_options: Any,
) -> Iterator[Served]:
    known = ServedModels(models or POCKET)
    engine = EngineLoop(known, **engine_options)
    log = io.StringIO()
    app = create_app(engine, known, settings or ServerSettings(), AccessLog(log, log_prompts))
    engine.start()
    listening = Listening(port=0)
    listener = listener_at(listening)
    server = uvicorn.Server(uvicorn_config(app, listening))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app, log)
    finally:
        app.state.service.jobs.close()  # while there is an event loop, which their requests to models need
        server.should_exit = True
        thread.join(SECONDS)
        engine.close()
    assert not thread.is_alive()


def data_url(path: Path) -> str:
    return f"data:image/{path.suffix[1:]};base64,{base64_of(path)}"


def base64_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def image_message(url: str, text: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}],
    }


def raw_request(port: int, path: str, body: Any) -> socket.socket:
    """Send a request over a socket of its own, which is returned before there is an answer."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection
