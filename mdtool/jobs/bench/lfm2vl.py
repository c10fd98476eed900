"""Times an LFM2-VL step by step: images, prefill, decode steps of several sequences, and answers from pixels on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from engine.contract import Answer, Generation
from engine.generation.steps import ReadToken
from engine.generation.vision_language_model import VisionLanguageModel
from engine.layers.kv_cache import PrefixCache, SequenceCache
from engine.lfm2vl.config import Config
from engine.lfm2vl.images import ImageEncoder as ImageEncoder
from engine.lfm2vl.weights import QUANTIZATION_PLAN as QUANTIZATION_PLAN
from engine.lfm2vl.weights import shapes as shapes
from engine.stepwise import finished
from mdtool.jobs.bench.llama_cpp import beside_llama_cpp, image_beside_llama_cpp
from mdtool.jobs.bench.model_timings import Step
from mdtool.jobs.bench.timing import median_seconds

SIDE, LARGE_SIDE = 512, 1024  # of square images, in pixels
DEPTH = 730  # tokens of a prefill
SEQUENCES = (1, 4, 16)  # that share a step
DIAL = (64, 256)  # --max-image-tokens
DECODE_STEPS = 20
QUESTION = "What is in this image?"
GREEDY = Generation(temperature=0, min_p=0, repetition_penalty=1, max_tokens=100)
BY_DEFAULT = Generation(max_tokens=100)  # the model card's sampling


def answer(model: VisionLanguageModel, side: int, generation: Generation = GREEDY) -> Answer:
    """Answer a question about an image of noise, from pixels on."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    [made] = model.query(model.encode([image]), QUESTION, generation=generation)
    return made


def steps(model: VisionLanguageModel, runs: int) -> Iterator[Step]:
    """Time the steps of a model."""
    decoder, first = model.decoder, replace(GREEDY, max_tokens=1)
    yield Step(f"prefill, {DEPTH} tokens", median_seconds(partial(_prefill, model), model.device, runs))
    for count in SEQUENCES:
        caches = [decoder.start(_prefill(model)) for _ in range(count)]

        seconds = median_seconds(partial(_decode, model, caches), model.device, DECODE_STEPS)
        yield Step(f"decode, {count} sequence{'s' if count > 1 else ''}", seconds)
    for side in (SIDE, LARGE_SIDE):
        for name, generation in (("first token", first), ("100 tokens", GREEDY), ("100 tokens, sampled", BY_DEFAULT)):
            seconds = median_seconds(partial(answer, model, side, generation), model.device, runs)
            yield Step(f"an image of {side}x{side}, {name}, from pixels", seconds)
    own = model.default_budget
    for most in DIAL:
        model.default_budget = replace(own, min_tokens=min(own.min_tokens or 1, most), max_tokens=most)
        seconds = median_seconds(partial(answer, model, SIDE, first), model.device, runs)
        yield Step(f"the first token with --max-image-tokens {most}", seconds)
    model.default_budget = own


def steps_beside_llama_cpp(model: VisionLanguageModel, config: Config, runs: int) -> Iterator[Step]:
    """Time the text model, and an answer about a large image, in turn with llama.cpp."""
    from mdtool.jobs.bench.random_gguf import write_random_lfm2, write_random_mmproj  # needs an optional package

    text, vision = (partial(write, config=config) for write in (write_random_lfm2, write_random_mmproj))
    prefill, decode = beside_llama_cpp(partial(_prefill, model), model.decoder, DEPTH, runs, write=text)
    yield Step(f"prefill, {DEPTH} tokens, in turn with llama.cpp", prefill.ours, llama_cpp=prefill.llama_cpp)
    yield Step("decode, one token, in turn with llama.cpp", decode.ours, llama_cpp=decode.llama_cpp)
    for side in (SIDE, LARGE_SIDE):
        both = image_beside_llama_cpp(partial(answer, model, side), side, runs, writers=[text, vision])
        name = f"an image of {side}x{side}, 100 tokens, in turn with llama.cpp"
        yield Step(name, both.ours, llama_cpp=both.llama_cpp)


def _decode(model: VisionLanguageModel, caches: Sequence[SequenceCache]) -> None:
    """Take a step of one token of each sequence."""
    hidden = model.decoder.step([(cache, None, [20]) for cache in caches])
    model.decoder.read([ReadToken()] * len(caches), hidden)


def _prefill(model: VisionLanguageModel) -> PrefixCache:
    with torch.inference_mode():
        return finished(model.decoder.prefill_in_steps([20 + i % 100 for i in range(DEPTH)]))
