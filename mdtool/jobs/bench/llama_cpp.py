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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from engine.devices import pick_device
from engine.generation.steps import ReadToken
from engine.moondream.config import TextConfig
from engine.moondream.model import Moondream
from mdtool.errors import MdtoolError, OutputError, UsageError, write_error_message
from mdtool.jobs.bench import llama_cpp_process

PROMPT = 10  # tokens after the prefix, about as many as a prompt has
TOKENS = 10  # decode steps in a turn
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


def beside_llama_cpp(model: Moondream, embeddings: Sequence[Tensor], runs: int) -> tuple[SideBySide, SideBySide]:
    """Time prefill and decode steps of a model and of llama.cpp in turn.

    Args:
        model: Ours.
        embeddings: Of one image, (grid * grid, dim).
        runs: Turns of each side, after one to warm up.

    Returns:
        Of the prefill, and of one token.

    Raises:
        OutputError: There is no room for llama.cpp's weights.
        MdtoolError: llama.cpp failed.
    """
    counts = [model.config.prefix_length, PROMPT, *[1] * (1 + TOKENS)]
    ours, theirs = [], []
    with _llama_cpp(model, sum(counts)) as process:
        for _ in range(1 + runs):
            time.sleep(PAUSE)
            ours.append(_seconds(model, embeddings, counts[1:]))
            time.sleep(PAUSE)
            theirs.append(process.seconds(counts))

    def median(part: slice) -> SideBySide:
        sides = (statistics.median(taken for turn in side[1:] for taken in turn[part]) for side in (ours, theirs))
        return SideBySide(*sides)

    # the first token of a turn reads weights that the other side has displaced from the cache
    return median(slice(1)), median(slice(3, None))


@torch.inference_mode()
def _seconds(model: Moondream, embeddings: Sequence[Tensor], counts: Sequence[int]) -> list[float]:
    """Return the seconds of a prefill, and of each number of tokens that follow one another."""
    decoder, taken = model.decoder, []
    since = time.perf_counter()
    [prefix] = model.prefixes(embeddings)
    taken.append(time.perf_counter() - since)
    sequence = decoder.start(prefix)
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
def _llama_cpp(model: Moondream, positions: int) -> Iterator[LlamaCpp]:
    """Start llama.cpp on random weights of the text model's shape."""
    from mdtool.jobs.bench.random_gguf import write_random_gguf  # needs an optional package

    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as folder:
        path = Path(folder, "random.gguf")
        try:
            write_random_gguf(path, model.config.text)
        except OSError as error:
            raise OutputError(f"{write_error_message(error)} in {folder}; set TMPDIR to another folder") from error
        with started(path, positions) as process:
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
