"""How long after it was filmed a picture comes out of a live redaction, and whether that grows.

A clip plays at its own rate through a socket on this machine, each picture with its number drawn in as black and white
blocks. What comes back is decoded at once and its numbers are read: the delay is from when a picture was sent to when
it could be shown again. The sender and the receiver take their share of the machine too.
"""

import io
import itertools
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from mdtool.errors import MdtoolError

HOST = "127.0.0.1"
BITS = 16  # of a picture's number
BLOCK = 16  # pixels a side, of each bit
SPARE_SECONDS = 30.0  # that starting may take


@dataclass
class LatencyResult:
    """sent: pictures; times: (when it was sent, seconds since the first; delay in seconds) of those read again.

    told: what the redaction says of itself.
    """

    sent: int
    times: list[tuple[float, float]]
    told: str

    def parts(self, count: int) -> list[np.ndarray]:
        """The delays in so many stretches of the same length, in their order."""
        return np.array_split(np.array([delay for _, delay in self.times]), count)


def bench_live(
    clip: Path, options: Sequence[str], *, seconds: float, size: tuple[int, int], rate: int
) -> LatencyResult:
    """The clip, over and over, for so long, scaled to size (width, height), at rate pictures a second.

    MdtoolError where the redaction fails.
    """
    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as folder:
        numbered = Path(folder, "numbered.ts")
        _number(clip, numbered, round((seconds + SPARE_SECONDS) * rate), size=size, rate=rate)
        with socket.create_server((HOST, 0)) as source, socket.create_server((HOST, 0)) as sink:
            sent: dict[int, float] = {}
            received: dict[int, float] = {}
            threads = [
                threading.Thread(target=_send, args=(source, numbered, sent), daemon=True),
                threading.Thread(target=_receive, args=(sink, size, received), daemon=True),
            ]
            for thread in threads:
                thread.start()
            addresses = [f"tcp://{HOST}:{end.getsockname()[1]}" for end in (source, sink)]
            command = [sys.executable, "-m", "mdtool", "redact", addresses[0], "-o", addresses[1], *options]
            done = subprocess.run(
                [*command, "--duration", str(seconds)],
                capture_output=True,
                text=True,
                timeout=seconds + 2 * SPARE_SECONDS,
            )
            threads[1].join(SPARE_SECONDS)
    if done.returncode:
        raise MdtoolError(f"redact ended with code {done.returncode}: {done.stderr.strip()}")
    begin = min(sent[number] for number in received) if received else 0.0
    times = [(sent[number] - begin, received[number] - sent[number]) for number in sorted(received)]
    lasted = times[-1][0] - times[0][0] if times else 0.0
    return LatencyResult(round(lasted * rate) + 1, times, done.stderr.strip())


def table(delays: LatencyResult, stretches: int = 4) -> Iterator[str]:
    """Lines of a table in Markdown."""
    yield "| pictures | shown again | delay, median | 95 % within | most |"
    yield "|---|---|---|---|---|"
    for number, part in enumerate(delays.parts(stretches), 1):
        if len(part):
            middle, most = np.median(part), part.max()
            within = np.quantile(part, 0.95)
            name = f"stretch {number} of {stretches}"
            yield f"| {name} | {len(part)} | {middle:.2f} s | {within:.2f} s | {most:.2f} s |"
    yield f"{len(delays.times)} of {delays.sent} pictures could be read again. {delays.told}"


def _number(clip: Path, target: Path, frames: int, *, size: tuple[int, int], rate: int) -> None:
    """A copy in which each picture bears its number; with a key frame each second, where it can be joined."""
    width, height = size
    with av.open(str(target), "w") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "g": str(rate)}
        stream = out.add_stream("libx264", rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(itertools.islice(_endless(clip), frames)):
            picture = frame.reformat(width, height, "yuv420p").to_ndarray()
            _draw_number(picture[:height], number)
            made = av.VideoFrame.from_ndarray(picture, "yuv420p")
            made.pts = number
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))


def _endless(clip: Path) -> Iterator[av.VideoFrame]:
    while True:
        with av.open(str(clip)) as container:
            yield from container.decode(video=0)


def _draw_number(luma: np.ndarray, number: int) -> None:
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8)
    luma[-BLOCK:, : BITS * BLOCK] = np.repeat(16 + 219 * bits, BLOCK)


def _read_number(luma: np.ndarray) -> int | None:
    """None where the blocks are hidden."""
    blocks = luma[-BLOCK:, : BITS * BLOCK].reshape(BLOCK, BITS, BLOCK)[4:-4, :, 4:-4].mean(axis=(0, 2))
    if ((blocks > 60) & (blocks < 190)).any() or not (blocks > 190).any():
        return None
    return sum(1 << bit for bit in range(BITS) if blocks[bit] > 128)


def _send(source: socket.socket, numbered: Path, sent: dict[int, float]) -> None:
    """Each picture when it is due, to whoever connects."""
    with suppress(OSError):
        while True:
            client, _ = source.accept()
            with client, suppress(OSError):
                _play(client, numbered, sent)


def _play(client: socket.socket, numbered: Path, sent: dict[int, float]) -> None:
    out = io.BytesIO()
    with av.open(str(numbered)) as clip, av.open(out, "w", "mpegts") as container:
        stream = container.add_stream_from_template(clip.streams.video[0])
        begin, first = time.monotonic(), None
        for number, packet in enumerate(packet for packet in clip.demux(video=0) if packet.dts is not None):
            packet_seconds = float((packet.dts or 0) * packet.time_base)
            first = packet_seconds if first is None else first
            time.sleep(max(0.0, begin + packet_seconds - first - time.monotonic()))
            sent[number] = time.monotonic()
            packet.stream = stream
            container.mux(packet)
            client.sendall(out.getvalue())
            out.seek(0)
            out.truncate()


def _receive(sink: socket.socket, size: tuple[int, int], received: dict[int, float]) -> None:
    client, _ = sink.accept()
    with client, client.makefile("rb") as file, suppress(av.FFmpegError, OSError):
        options = {"fflags": "nobuffer", "probesize": "8192", "analyzeduration": "100000"}
        with av.open(file, "r", "mpegts", options=options, buffer_size=4096) as container:
            container.streams.video[0].thread_type = "SLICE"
            for frame in container.decode(video=0):
                luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
                number = _read_number(luma[: size[1], : size[0]])
                if number is not None:
                    received.setdefault(number, time.monotonic())
