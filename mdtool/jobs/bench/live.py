"""Measures the end-to-end latency of a live redaction, and whether it grows.

A clip is streamed in real time through a socket on this machine, each frame with its number drawn in as black and white
blocks. The received stream is decoded immediately, and the numbers are read: the latency is the time from sending a
frame to having it decoded. The sender and the receiver use some of the machine's CPU time too.
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

from mdtool.errors import MdtoolError, UsageError

HOST = "127.0.0.1"
BITS = 16  # of a frame number
BLOCK = 16  # side of the block of a bit, in pixels
SPARE_SECONDS = 30.0  # allowance for the start


@dataclass
class LatencyResult:
    """Latencies of the frames of a stream.

    Attributes:
        sent: Number of frames sent.
        times: For each frame received: (seconds from the first frame to sending it, latency in seconds).
        told: What `mdtool redact` printed on stderr.
    """

    sent: int
    times: list[tuple[float, float]]
    told: str

    def parts(self, count: int) -> list[np.ndarray]:
        """Split the latencies into `count` parts of equal length, in order."""
        return np.array_split(np.array([delay for _, delay in self.times]), count)


def bench_live(
    clip: Path, options: Sequence[str], *, seconds: float, size: tuple[int, int], rate: int
) -> LatencyResult:
    """Stream a clip through `mdtool redact`.

    Args:
        clip: Video file that is looped.
        options: Further options of `mdtool redact`.
        seconds: Length of the stream.
        size: (width, height) that it is scaled to, in pixels.
        rate: Frames per second.

    Raises:
        UsageError: The frames are too small for their numbers.
        MdtoolError: The redaction failed, or no frame number could be read: what was received is not MPEG-TS, or
            all frames were masked whole.
    """
    if size[0] < BITS * BLOCK or size[1] < BLOCK:
        raise UsageError(f"--size: the frame numbers need at least {BITS * BLOCK}x{BLOCK} pixels")
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
            completed = subprocess.run(
                [*command, "--duration", str(seconds)],
                capture_output=True,
                text=True,
                timeout=seconds + 2 * SPARE_SECONDS,
            )
            told = completed.stderr.strip()
            if completed.returncode:
                raise MdtoolError(f"mdtool redact failed with exit code {completed.returncode}: {told}")
            threads[1].join(SPARE_SECONDS)
    if not received:
        raise MdtoolError(f"no frame number could be read in what was received: {'; '.join(told.splitlines())}")
    start = min(sent[number] for number in received)
    times = [(sent[number] - start, received[number] - sent[number]) for number in sorted(received)]
    return LatencyResult(round((times[-1][0] - times[0][0]) * rate) + 1, times, told)


def table(result: LatencyResult, parts: int = 4) -> Iterator[str]:
    """Yield the latencies as lines of a Markdown table, a row for each of `parts` equal parts of the stream."""
    yield "| part | frames received | median latency | 95th percentile | maximum |"
    yield "|---|---|---|---|---|"
    for number, latencies in enumerate(result.parts(parts), 1):
        if len(latencies):
            median, p95, maximum = np.median(latencies), np.quantile(latencies, 0.95), latencies.max()
            yield f"| {number} of {parts} | {len(latencies)} | {median:.2f} s | {p95:.2f} s | {maximum:.2f} s |"
    yield f"{len(result.times)} of {result.sent} frames were received."
    yield from result.told.splitlines()


def _number(clip: Path, target: Path, frames: int, *, size: tuple[int, int], rate: int) -> None:
    """Encode a copy with frame numbers drawn in, and a keyframe each second, where a receiver can join."""
    width, height = size
    with av.open(str(target), "w") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "g": str(rate)}
        stream = out.add_stream("libx264", rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, frame in enumerate(itertools.islice(_looped(clip), frames)):
            planes = frame.reformat(width, height, "yuv420p").to_ndarray()
            _draw_number(planes[:height], number)
            numbered = av.VideoFrame.from_ndarray(planes, "yuv420p")
            numbered.pts = number
            out.mux(stream.encode(numbered))
        out.mux(stream.encode(None))


def _looped(clip: Path) -> Iterator[av.VideoFrame]:
    while True:
        with av.open(str(clip)) as container:
            yield from container.decode(video=0)


def _draw_number(luma: np.ndarray, number: int) -> None:
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8)
    luma[-BLOCK:, : BITS * BLOCK] = np.repeat(16 + 219 * bits, BLOCK)


def _read_number(luma: np.ndarray) -> int | None:
    """Return the number of a frame; None if its blocks are masked."""
    blocks = luma[-BLOCK:, : BITS * BLOCK].reshape(BLOCK, BITS, BLOCK)[4:-4, :, 4:-4].mean(axis=(0, 2))
    if ((blocks > 60) & (blocks < 190)).any() or not (blocks > 190).any():
        return None
    return sum(1 << bit for bit in range(BITS) if blocks[bit] > 128)


def _send(source: socket.socket, numbered: Path, sent: dict[int, float]) -> None:
    """Stream the clip in real time to each client that connects."""
    with suppress(OSError):
        while True:
            client, _ = source.accept()
            with client, suppress(OSError):
                _play(client, numbered, sent)


def _play(client: socket.socket, numbered: Path, sent: dict[int, float]) -> None:
    out = io.BytesIO()
    with av.open(str(numbered)) as clip, av.open(out, "w", "mpegts") as container:
        stream = container.add_stream_from_template(clip.streams.video[0])
        start, first = time.monotonic(), None
        for number, packet in enumerate(packet for packet in clip.demux(video=0) if packet.dts is not None):
            packet_seconds = float((packet.dts or 0) * packet.time_base)
            first = packet_seconds if first is None else first
            time.sleep(max(0.0, start + packet_seconds - first - time.monotonic()))
            sent[number] = time.monotonic()
            packet.stream = stream
            container.mux(packet)
            client.sendall(out.getvalue())
            out.seek(0)
            out.truncate()


def _receive(sink: socket.socket, size: tuple[int, int], received: dict[int, float]) -> None:
    client, _ = sink.accept()
    with client, client.makefile("rb", buffering=0) as file, suppress(av.FFmpegError, OSError):
        options = {"probesize": "8192", "analyzeduration": "100000"}
        with av.open(file, "r", "mpegts", options=options, buffer_size=4096) as container:
            container.streams.video[0].thread_type = "SLICE"
            for frame in container.decode(video=0):
                luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
                number = _read_number(luma[: size[1], : size[0]])
                if number is not None:
                    received.setdefault(number, time.monotonic())
