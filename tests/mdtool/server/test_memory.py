"""A server with little memory answers or refuses: it is never killed for its memory, nor does it end by itself."""

import base64
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from cli_runner import COMMAND, SECONDS
from make_images import encode_image

if sys.platform != "win32":
    import resource

CGROUPS = Path("/sys/fs/cgroup")
CLIENTS = 24
PIXELS = (4000, 5000)  # 60 MB as pixels, and several times that while they are decoded

pytestmark = [pytest.mark.slow, pytest.mark.posix("limits of a process")]


@contextmanager
def cgroup(limit: int) -> Iterator[Path]:
    """Make a cgroup with so many bytes of memory, of version 2 or 1; skip the test where that can't be."""
    second = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if second else CGROUPS / "memory") / f"mdtool-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(limit))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no cgroup with a limit of memory can be made here: {error}")
    try:
        with suppress(OSError):  # no swap
            (group / ("memory.swap.max" if second else "memory.swappiness")).write_text("0")
        yield group
        events = (group / ("memory.events" if second else "memory.oom_control")).read_text()
        killed = re.search(r"^oom_kill (\d+)$", events, re.MULTILINE)
        assert killed is None or killed[1] == "0", events
    finally:
        group.rmdir()


def check_it_answers_or_refuses(within: list[str], limit: int | None = None) -> None:
    """Send a server more large images at once than its memory holds."""

    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    process = subprocess.Popen(
        [*within, *COMMAND, "serve", "--port", "0", "--model", "pocket"],
        stderr=subprocess.PIPE, text=True, preexec_fn=limited, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stderr
        line = next(line for line in process.stderr if "serving" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        found = re.search(r"https?://\S+", line)
        assert found
        image = base64.b64encode(encode_image(np.zeros((*PIXELS, 3), np.uint8), "PNG")).decode()

        def ask(path: str) -> int:
            reply = httpx.post(f"{found[0]}{path}", json={"image_url": image}, timeout=SECONDS)
            assert "Traceback" not in reply.text
            return reply.status_code

        with ThreadPoolExecutor(CLIENTS) as clients:
            codes = list(clients.map(ask, ["/v1/caption", "/v1/redact", "/v1/caption"] * (CLIENTS // 3)))
        assert set(codes) <= {200, 413, 503}, codes
        assert 200 in codes
        assert ask("/v1/caption") == 200
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(SECONDS)


def test_in_a_cgroup() -> None:
    with cgroup(1_500_000_000) as group:
        check_it_answers_or_refuses(["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"])


def test_with_a_limit_of_its_address_space() -> None:
    check_it_answers_or_refuses([], 6_000_000_000)
