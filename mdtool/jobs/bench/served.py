"""A server of one's own to measure: a process on loopback, and the requests that it gets."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from engine.pocket.draw import draw
from engine.pocket.scene import random_scene
from mdtool.errors import MdtoolError

QUALITY = 95  # of JPEG, as Moondream's client has it
TIMEOUT = 600.0  # seconds


@dataclass(frozen=True)
class Picture:
    """An image as a client sends it, and as a server decodes it."""

    url: str
    pixels: np.ndarray

    @classmethod
    def drawn(cls, seed: int, width: int, height: int) -> "Picture":
        """Return a drawn scene, in which pocket finds objects; another seed gives another one."""
        file = io.BytesIO()
        scene = Image.fromarray(draw(random_scene(seed)).pixels)
        scene.resize((width, height), Image.Resampling.BICUBIC).save(file, "jpeg", quality=QUALITY)
        url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        return cls(url, np.array(Image.open(file).convert("RGB")))


@dataclass(frozen=True)
class ServerProcess:
    """A server that listens.

    Attributes:
        url: Its address.
    """

    process: "subprocess.Popen[str]"
    url: str

    @property
    def resident_bytes(self) -> int:
        """Its resident memory; 0 where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> int:
        """End it as a service manager does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


@contextmanager
def server_process(arguments: Sequence[str]) -> Iterator[ServerProcess]:
    """Start `mdtool serve` with these options on a free port, and kill it at the end.

    Raises:
        MdtoolError: It did not start.
    """
    command = [sys.executable, "-m", "mdtool", "serve", "--port", "0", "--access-log", os.devnull, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        told = []
        for line in process.stderr:
            told.append(line.rstrip())
            if found := re.search(r"serving .* on (http\S+)", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()  # or its pipe would fill
                yield ServerProcess(process, found[1])
                return
        raise MdtoolError(f"the server did not start: {told[-1] if told else 'it printed nothing'}")
    finally:
        process.kill()
        process.wait()


class Client:
    """Requests to a server, over as many connections as needed."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, skill: str, picture: Picture, **fields: Any) -> Any:
        """Return the body of the answer to a request.

        Raises:
            MdtoolError: It has another status than 200.
        """
        reply = await self.post(skill, {"image_url": picture.url, **fields})
        if reply.status_code != 200:
            raise MdtoolError(f"the server answered {skill} with status {reply.status_code}: {reply.text[:200]}")
        return reply.json()

    async def post(self, skill: str, body: Any) -> httpx.Response:
        """Return the response to a request of Moondream's API; a body of bytes is sent as it is."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._client.post(f"/v1/{skill}", content=content, headers={"Content-Type": "application/json"})

    @asynccontextmanager
    async def stream(self, skill: str, picture: Picture, **fields: Any) -> AsyncIterator[AsyncIterator[str]]:
        """Provide the lines of a streamed answer; the connection is closed at the end."""
        body = {"image_url": picture.url, "stream": True, **fields}
        async with self._client.stream("POST", f"/v1/{skill}", json=body) as reply:
            yield reply.aiter_lines()

    async def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        text = (await self._client.get("/metrics")).text
        values = re.findall(rf"^mdtool:{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))
