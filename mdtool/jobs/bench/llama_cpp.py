"""Times a text model beside llama.cpp on the same shape: the two take turns, so that a noisy machine slows down both.

llama.cpp (through llama-cpp-python) gets random weights in Q4_0 (`random_gguf`), the same threads, and the same numbers
of tokens at the same depth. Its keys and values are its default, float16, and its prefix is causal.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import torch

from engine.contract import Answer
from engine.devices import pick_device
from engine.generation.scheduler import Decoder
from engine.generation.steps import ReadToken
from engine.layers.kv_cache import PrefixCache
from engine.moondream.config import TextConfig
from mdtool.errors import MdtoolError, OutputError, UsageError, write_error_message
from mdtool.jobs.bench import llama_cpp_process
from mdtool.jobs.bench.timing import seconds

PROMPT = 10  # tokens after the prefix, about as many as a prompt has
TOKENS = 10  # decode steps in a turn
MARKS = 200  # positions for the control tokens around tiles
PAUSE = 0.05  # seconds before a turn, in which the threads of the side before stop to spin


@dataclass(frozen=True)
class SideBySide:
    """Median seconds of a step on both sides."""

    ours: float
    llama_cpp: float


def check_llama_cpp(device: str, batch: int) -> None:
    """Raise UsageError if llama.cpp is not installed, or would be compared with something else than it does itself."""
    if any(find_spec(name) is None for name in ("llama_cpp", "gguf")):
        raise UsageError("--beside llama.cpp needs llama-cpp-python: pip install 'mdtool[bench]'")
    if pick_device(device) != "cpu":
        raise UsageError("--beside llama.cpp compares on the CPU: add --device cpu")
    if batch > 1:
        raise UsageError("--beside llama.cpp compares one sequence: leave --batch-size out")


def check_shape(text: TextConfig) -> None:
    """Raise UsageError if llama.cpp has no model of this shape in Q4_0."""
    if text.moe:
        raise UsageError("--beside llama.cpp has no counterpart of a mixture of experts: name another model")
    if text.dim % 32 or text.ff_dim % 32:
        raise UsageError(f"--beside llama.cpp needs widths that are multiples of 32, not {text.dim} and {text.ff_dim}")


def beside_llama_cpp(
    prefill: Callable[[], PrefixCache], decoder: Decoder, prefix: int, runs: int, *, write: Callable[[Path], None]
) -> tuple[SideBySide, SideBySide]:
    """Time prefill and decode steps of a model and of llama.cpp in turn.

    Args:
        prefill: Of our model.
        decoder: Ours.
        prefix: Tokens of the prefill.
        runs: Turns of each side, after one to warm up.
        write: Writes random weights of its shape to a GGUF file.

    Returns:
        Of the prefill, and of one token.

    Raises:
        OutputError: There is no room for llama.cpp's weights.
        MdtoolError: llama.cpp failed.
    """
    counts = [prefix, PROMPT, *[1] * (1 + TOKENS)]
    ours, theirs = _in_turn(lambda: _seconds(prefill, decoder, counts[1:]), counts, runs, writers=[write])

    def median(part: slice) -> SideBySide:
        sides = (statistics.median(taken for turn in side for taken in turn[part]) for side in (ours, theirs))
        return SideBySide(*sides)

    # the first token of a turn reads weights that the other side has displaced from the cache
    return median(slice(1)), median(slice(3, None))


def image_beside_llama_cpp(
    answer: Callable[[], Answer], side: int, runs: int, *, writers: Sequence[Callable[[Path], None]]
) -> SideBySide:
    """Time an answer to a square image, from pixels to the last token, in turn with llama.cpp's mtmd.

    Args:
        answer: Ours.
        side: Of the image, in pixels.
        runs: Turns of each side, after one to warm up.
        writers: Of the GGUF files of the text model and of the vision part.

    Raises:
        OutputError: There is no room for llama.cpp's weights.
        MdtoolError: llama.cpp failed.
    """
    known = answer()
    text = known.prompt_tokens - known.image_tokens
    requests: list[int | str] = [f"image {side}", text, *[1] * (len(known.tokens) - 1)]
    ours, theirs = _in_turn(
        lambda: [seconds(answer, "cpu")], requests, runs, writers=writers, image_tokens=known.image_tokens
    )
    return SideBySide(*(statistics.median(map(sum, turns)) for turns in (ours, theirs)))


def _in_turn(
    ours: Callable[[], list[float]],
    requests: Sequence[int | str],
    runs: int,
    *,
    writers: Sequence[Callable[[Path], None]],
    image_tokens: int = 0,
) -> tuple[list[list[float]], list[list[float]]]:
    """Return the seconds of each turn of both sides, without the first; requests: of llama.cpp."""
    turns: list[tuple[list[float], list[float]]] = []
    positions = sum(count for count in requests if isinstance(count, int)) + image_tokens + MARKS
    with _llama_cpp(writers, positions) as process:
        for _ in range(1 + runs):
            time.sleep(PAUSE)
            taken = ours()
            time.sleep(PAUSE)
            turns.append((taken, process.seconds(requests)))
    mine, theirs = zip(*turns[1:], strict=True)
    return list(mine), list(theirs)


@torch.inference_mode()
def _seconds(prefill: Callable[[], PrefixCache], decoder: Decoder, counts: Sequence[int]) -> list[float]:
    """Return the seconds of a prefill, and of each number of tokens that follow one another."""
    since = time.perf_counter()
    sequence = decoder.start(prefill())
    taken = [time.perf_counter() - since]
    for count in counts:
        since = time.perf_counter()
        decoder.read([ReadToken()], decoder.step([(sequence, None, [20 + i % 100 for i in range(count)])]))
        taken.append(time.perf_counter() - since)
    return taken


@dataclass(frozen=True)
class LlamaCpp:
    """llama.cpp in a process of its own; see `started`."""

    process: "subprocess.Popen[bytes]"
    log: TextIO

    def seconds(self, requests: Sequence[int | str]) -> list[float]:
        """Return the seconds of each request; they follow one another from an empty context on.

        Args:
            requests: Numbers of tokens, or what else `llama_cpp_process` knows.

        Raises:
            MdtoolError: llama.cpp failed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # if it has ended, its log says why
            self.process.stdin.write(json.dumps(requests).encode() + b"\n")
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            reason = (self.log.read().strip().splitlines() or [f"exit code {self.process.wait()}"])[-1]
            raise MdtoolError(f"llama.cpp failed: {reason}")
        seconds: list[float] = json.loads(answer)
        return seconds


@contextmanager
def _llama_cpp(writers: Sequence[Callable[[Path], None]], positions: int) -> Iterator[LlamaCpp]:
    """Start llama.cpp on the GGUF files that `writers` write: the text model, and perhaps the vision part."""
    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as folder:
        paths = [Path(folder, f"random-{part}.gguf") for part in range(len(writers))]
        try:
            for write, path in zip(writers, paths, strict=True):
                write(path)
        except OSError as error:
            raise OutputError(f"{write_error_message(error)} in {folder}; set TMPDIR to another folder") from error
        with started(paths[0], positions, *paths[1:]) as process:
            yield process


@contextmanager
def started(path: Path, positions: int, mmproj: Path | None = None) -> Iterator[LlamaCpp]:
    """Start llama.cpp.

    Args:
        path: A GGUF file.
        positions: Most tokens of the context.
        mmproj: The vision part of the file.
    """
    with tempfile.TemporaryFile("w+") as log:
        arguments = [str(path), str(positions), str(torch.get_num_threads()), *([str(mmproj)] if mmproj else [])]
        command = [sys.executable, "-m", llama_cpp_process.__name__, *arguments]
        pipe = subprocess.PIPE
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}  # it finds what this process does
        # unbuffered, so that nothing is left to be written to a process that has ended
        with subprocess.Popen(
            command, bufsize=0, stdin=pipe, stdout=pipe, stderr=log, env=os.environ | paths
        ) as process:
            yield LlamaCpp(process, log)
