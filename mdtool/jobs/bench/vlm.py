"""Times a vision-language model step by step, and llama.cpp on the same GGUF files in turn."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from engine.catalog.locate import ModelFiles
from engine.checkpoints.shards import is_gguf
from engine.contract import Generation
from engine.generation.steps import ReadToken
from engine.generation.vision_language_model import VisionLanguageModel
from engine.stepwise import finished
from mdtool.errors import UsageError
from mdtool.jobs.bench.llama_cpp import PAUSE, LlamaCpp, started
from mdtool.jobs.bench.model_timings import Step, memory_gb

SIDE = 768  # of the image, in pixels
PREFILLS = (300, 1000)  # tokens
TOKENS = 10  # decode steps in a turn
CONTEXT = 2048  # tokens, at which the memory is measured
QUESTIONS = ("What is this?", "And that?")
QUESTION_TOKENS = 15  # of llama.cpp's, about as many as a question has in its template
ANSWER = 100  # tokens


@dataclass(frozen=True)
class _Turn:
    """Steps that follow one another.

    Attributes:
        names: Of the steps.
        ours: Returns the seconds of each.
        requests: What llama.cpp is asked for; see `llama_cpp_process`.
        theirs: Its seconds of each request -> those of each step, None where it has no such step.
    """

    names: Sequence[str]
    ours: Callable[[], Sequence[float]]
    requests: Sequence[int | str]
    theirs: Callable[[Sequence[float]], Sequence[float | None]]


def measure_memory(model: VisionLanguageModel) -> float:
    """Return the memory of the process with `CONTEXT` tokens in the KV cache, in 10^9 bytes."""
    sequence = _prefill(model, CONTEXT)
    assert sequence
    return memory_gb()


def vlm_steps(model: VisionLanguageModel, files: ModelFiles, runs: int, beside: bool) -> Iterator[Step]:
    """Time the steps.

    Args:
        model: Loaded from these files.
        files: GGUF files, if llama.cpp is timed too.
        runs: Turns of each side, after one to warm up.
        beside: Whether to time llama.cpp.

    Raises:
        UsageError: llama.cpp can't load the files.
        MdtoolError: llama.cpp failed.
    """
    if beside and not is_gguf(files.weights):
        raise UsageError("--beside llama.cpp needs a GGUF file: give one, or --config NAME:TYPE with --random-weights")
    with started(files.weights, CONTEXT, files.mmproj) if beside else nullcontext() as llama_cpp:
        for turn in _turns(model):
            yield from _timed(turn, llama_cpp, runs)


def file_bytes(files: ModelFiles) -> int:
    """Return the size of a model's weights on disk, all parts together."""
    paths = {files.weights, *([files.mmproj] if files.mmproj else [])}
    if files.weights.suffix == ".json":  # the index of shards
        paths = set(files.weights.parent.glob("*.safetensors"))
    return sum(path.stat().st_size for path in paths)


def _timed(turn: _Turn, llama_cpp: LlamaCpp | None, runs: int) -> Iterator[Step]:
    ours, theirs = [], []
    for _ in range(1 + runs):
        time.sleep(PAUSE)
        ours.append(turn.ours())
        if llama_cpp:
            time.sleep(PAUSE)
            theirs.append(turn.theirs(llama_cpp.seconds(turn.requests)))
    for i, name in enumerate(turn.names):
        other = [seconds for run in theirs[1:] if (seconds := run[i]) is not None]
        own = statistics.median(run[i] for run in ours[1:])
        yield Step(name, own, llama_cpp=statistics.median(other) if other else None)


def _turns(model: VisionLanguageModel) -> Iterator[_Turn]:
    room = model.text.max_context - TOKENS - 1
    if model.images:
        yield _Turn(
            [f"vision, an image of {SIDE}x{SIDE}"], partial(_vision, model), [f"vision {SIDE}"], lambda taken: taken[:1]
        )
    for count in (min(count, room) for count in PREFILLS):
        yield _Turn(
            [f"prefill, {count} tokens", f"decode, one token after {count}"],
            partial(_text, model, count),
            [count, *[1] * (1 + TOKENS)],
            # the first token reads weights that the other side has displaced from the cache
            lambda taken: [taken[0], statistics.median(taken[2:])],
        )
    if model.images:
        yield _Turn(
            [
                f"first token of an answer, from an image of {SIDE}x{SIDE}",
                f"each of its {ANSWER} tokens",
                "first token of a second question on the image",
            ],
            partial(_answers, model),
            [f"image {SIDE}", QUESTION_TOKENS, *[1] * ANSWER],
            lambda taken: [taken[0] + taken[1], statistics.mean(taken[2:]), None],
        )


def _image() -> np.ndarray:
    """Return a new image, so that nothing of it is kept from before."""
    return np.random.default_rng().integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _seconds(work: Callable[[], Any]) -> float:
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


@torch.inference_mode()
def _vision(model: VisionLanguageModel) -> list[float]:
    images, image = model.images, _image()
    assert images
    return [_seconds(lambda: finished(images.encode(image, model.default_budget)))]


@torch.inference_mode()
def _prefill(model: VisionLanguageModel, count: int) -> Any:
    decoder = model.decoder
    sequence = decoder.start(None)
    tokens = [20 + i % 100 for i in range(min(count, decoder.room(sequence) - TOKENS - 1))]
    decoder.read([ReadToken()], decoder.step([(sequence, None, tokens)]))
    return sequence


@torch.inference_mode()
def _text(model: VisionLanguageModel, count: int) -> list[float]:
    decoder, since = model.decoder, time.perf_counter()
    sequence = _prefill(model, count)
    taken = [time.perf_counter() - since]

    def token() -> None:
        decoder.read([ReadToken()], decoder.step([(sequence, None, [20])]))

    return [*taken, statistics.median([_seconds(token) for _ in range(1 + TOKENS)][1:])]


def _answers(model: VisionLanguageModel) -> list[float]:
    """Time an answer on a new image, its tokens, and the first token of another answer on it."""
    image = model.encode([_image()])

    def answer(question: str, count: int) -> tuple[float, int]:
        since = time.perf_counter()
        [result] = model.query(image, question, generation=Generation(temperature=0, max_tokens=count))
        return time.perf_counter() - since, len(result.tokens)

    first, _ = answer(QUESTIONS[0], 1)
    second, _ = answer(QUESTIONS[1], 1)
    whole, count = answer(QUESTIONS[1], ANSWER)
    return [first, (whole - second) / max(1, count - 1), second]
