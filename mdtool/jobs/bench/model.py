"""Times a Moondream step by step: loading, seeing, reading the picture, writing tokens, and whole requests."""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tokenizers
import torch

from engine.catalog.published import published, unknown_model_error
from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.writer import write_checkpoint
from engine.contract import DetectRequest, EngineError, Generation
from engine.generation.steps import ReadToken
from engine.layers.linear import Linear
from engine.moondream.config import Config, read_config
from engine.moondream.model import Moondream
from engine.moondream.preprocess import Crops
from engine.moondream.weights import QUANTIZATION_PLAN, shapes
from engine.quantization.plan import weights_bytes
from mdtool.errors import OutputError, write_error_message
from mdtool.jobs.bench.eager import eager_seconds
from mdtool.jobs.bench.recipe import machine
from mdtool.jobs.bench.timing import median_seconds, peak_memory
from mdtool.jobs.inference.embedding_cache import EmbeddingCache, encode
from mdtool.model_selection import ComputeConfig, LoadCallbacks
from mdtool.pipeline.prediction_log import digest_of

LARGE = (3, 4)  # tiles of a large picture: thirteen crops
PHOTO = (2000, 1500)  # pixels, which give as many
CAPTION = Generation(temperature=0, max_tokens=60)
OBJECTS = 2
DECODED = 20  # tokens


@dataclass(frozen=True)
class Step:
    """seconds: the median. tflop: what its products come to, in 10^12 operations, where that is known.

    eager: seconds of the same by plain torch, as the reference does it, where that is known.
    """

    name: str
    seconds: float
    tflop: float | None = None
    eager: float | None = None


@dataclass(frozen=True)
class ModelTimings:
    """memory_gb: of the process after a caption of one picture, as the first thing it does. tflops: 10^12 operations
    a second in one product of the prefill's shape, the ceiling for the steps."""

    model: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    load_seconds: float
    weights_gb: float
    memory_gb: float
    tflops: float
    steps: list[Step]


@contextmanager
def random_checkpoint(name: str) -> Iterator[Path]:
    """A published model as a folder of its name: the real shapes, in bfloat16, never trained.

    ModelUnavailable if there is no such model; OutputError if the temporary folder has no room for it.
    """
    known = published()
    if name not in known:
        raise unknown_model_error(name, known)
    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as temporary:
        folder = Path(temporary, name)
        try:
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(known[name].config))
            _byte_tokenizer().save(str(folder / "tokenizer.json"))
            with (folder / "model.safetensors").open("wb") as file:
                _write_weights(read_config(name, known[name].config), file)
        except OSError as error:
            raise OutputError(f"{write_error_message(error)} in {temporary}; TMPDIR may name another place") from error
        yield folder


def _write_weights(config: Config, file: BinaryIO) -> None:
    """One tensor at a time, so that the memory of loading can be measured in the same process."""
    weights = RandomWeights(shapes(config))
    write_checkpoint(file, weights.shapes, ((name, weights.tensor(name, torch.bfloat16)) for name in weights.shapes))


def _byte_tokenizer() -> tokenizers.Tokenizer:
    """Texts as their bytes: the weights know no words anyway."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({letter: 10 + i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


def bench_model(
    name_or_path: str, computing: ComputeConfig, callbacks: LoadCallbacks, *, batch: int, runs: int, cache: bool
) -> ModelTimings:
    """batch: pictures at a time. cache: encoding with and without `EmbeddingCache`, in place of the steps.

    Raises what `engine.load` raises, EngineError for a model of another family, OutputError where there is no room.
    """
    begin = time.perf_counter()
    model = computing.load(name_or_path, callbacks)
    loaded = time.perf_counter() - begin
    if not isinstance(model, Moondream):
        raise EngineError(f"{model.name} has no steps that could be timed; give a Moondream")
    side = model.config.vision.crop_size
    model.caption(model.encode([np.zeros((side, side, 3), np.uint8)]), generation=CAPTION)
    memory = _memory_gb()
    rate = _matmul_rate(model)
    where = machine() | {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if model.device.startswith("cuda"):
        where["gpu"] = torch.cuda.get_device_name(model.device)
    settings = {
        "device": model.device,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantize": computing.quantize,
        "compile": computing.compile,
        "batch": batch,
    }
    kind = None if computing.quantize == "none" else computing.quantize
    weights = weights_bytes(shapes(model.config), model.dtype.itemsize, QUANTIZATION_PLAN, kind)
    return ModelTimings(
        model.name, settings, where, loaded, 1e-9 * weights, memory, rate,
        list((_cache_steps if cache else _steps)(model, batch, runs)),
    )  # fmt: skip


def _steps(model: Moondream, batch: int, runs: int) -> Iterator[Step]:
    vision, decoder = model.config.vision, model.decoder
    draw = np.random.default_rng(0)

    def crops(count: int, tiles: tuple[int, int]) -> list[Crops]:
        shape = (count, vision.crop_size, vision.crop_size, 3)
        return [Crops(draw.integers(0, 256, shape, dtype=np.uint8), tiles) for _ in range(batch)]

    def timed(name: str, work: Callable[[], Any], tflop: float | None = None, eager: float | None = None) -> Step:
        return Step(name, median_seconds(work, model.device, runs), tflop, eager)

    crop, projection, prefix = (batch * tflop for tflop in _tflop(model.config))
    once = crops(1, (1, 1))
    different, large = crops(2, (1, 1)), crops(1 + LARGE[0] * LARGE[1], LARGE)
    eager = eager_seconds(model.config, model.device, model.dtype, batch=batch, runs=runs)
    yield timed(
        "vision, two crops that differ", lambda: model.embeddings(different), 2 * crop + projection, eager.vision
    )
    yield timed(
        "vision, two equal crops (any picture of one tile)",
        lambda: model.embeddings(once),
        crop + projection,
        eager.vision,
    )
    yield timed("vision, thirteen crops", lambda: model.embeddings(large), 13 * crop + projection)
    embeddings = model.embeddings(once)
    name = f"prefill, {model.config.prefix_length} tokens"
    yield timed(name, lambda: model.prefixes(embeddings), prefix, eager.prefill)

    tails = [decoder.start(prefix) for prefix in model.prefixes(embeddings)]
    decoder.step([(tail, None, range(10, 20)) for tail in tails])  # about as long as a prompt

    def write() -> None:
        decoder.read([ReadToken()] * batch, decoder.step([(tail, None, [20]) for tail in tails]))

    yield Step("decode, one token", median_seconds(write, model.device, DECODED), None, eager.decode)

    images = list(draw.integers(0, 256, (batch, vision.crop_size, vision.crop_size, 3), dtype=np.uint8))

    def caption(some: Sequence[np.ndarray]) -> Any:
        return model.caption(model.encode(some), generation=CAPTION)

    yield timed("caption of 60 tokens, from pixels", lambda: caption(images))
    if batch > 1:
        yield timed("the same, one by one", lambda: [caption([image]) for image in images])

    def detect(prompts: int) -> None:
        encoded = model.encode(images)
        list(model.run(DetectRequest(image, "face", OBJECTS) for image in encoded for _ in range(prompts)))

    yield timed(f"detect, {OBJECTS} objects, from pixels", lambda: detect(1))
    yield timed(f"ten prompts, {OBJECTS} objects each, from pixels", lambda: detect(10))


def _cache_steps(model: Moondream, batch: int, runs: int) -> Iterator[Step]:
    """Files are read from the system's memory, if that has room for them."""
    draw, side = np.random.default_rng(0), model.config.vision.crop_size

    def no_room(line: str) -> None:
        raise OutputError(line)

    def timed(name: str, work: Callable[[], Any]) -> Step:
        return Step(name, median_seconds(work, model.device, runs))

    def encoded(images: Sequence[np.ndarray]) -> None:
        encode(model, images, [digest_of(image) for image in images], cache)

    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as folder:
        cache = EmbeddingCache(Path(folder), sys.maxsize, model.embedding_key, no_room)
        for width, height in ((side, side), PHOTO):
            images = list(draw.integers(0, 256, (batch, height, width, 3), dtype=np.uint8))
            yield timed(f"encode {width}x{height}", partial(model.encode, images))
            yield timed(f"encode {width}x{height}, known to the cache", partial(encoded, images))  # once it has run
        key, pixels = digest_of(images[0]), images[0]
        seen = cache.get(key)
        assert seen is not None
        yield timed(f"digest of {PHOTO[0]}x{PHOTO[1]} pixels", lambda: digest_of(pixels))
        yield timed(f"read {seen.nbytes * 1e-6:.2f} MB that were seen", lambda: cache.get(key))
        yield timed("write them", lambda: cache.put(key, seen))


def _tflop(config: Config) -> tuple[float, float, float]:
    """Of the products, attention's too, for one crop, one projection and one prefix."""
    vision, text = config.vision, config.text
    patches, prefix = vision.grid**2, config.prefix_length
    weights = {name: shape for name, shape in shapes(config).items() if name.endswith("weight")}

    def used(start: str) -> float:
        """Weights that each row goes through; of the experts only the chosen."""
        chosen = text.moe.experts_per_token / text.moe.num_experts if text.moe else 1
        of = [shape for name, shape in weights.items() if name.startswith(start)]
        return sum(math.prod(shape) * (chosen if len(shape) == 3 else 1) for shape in of)

    last = f"text.blocks.{text.n_layers - 1}."  # only its keys and values are computed
    blocks = used("text.blocks.") - used(last) + used(f"{last}attn.qkv")
    seen = 2 * vision.enc_n_layers * patches * patches * vision.enc_dim
    read = 2 * (text.n_layers - 1) * prefix * prefix * text.dim
    encoder = patches * (used("vision.blocks.") + used("vision.patch_emb")) + seen
    return 2e-12 * encoder, 2e-12 * patches * used("vision.proj_mlp"), 2e-12 * (prefix * blocks + read)


def _matmul_rate(model: Moondream) -> float:
    text = model.config.text
    rows = model.config.prefix_length * (1 if model.device == "cpu" else 16)  # one picture would not fill a GPU
    weight = torch.randn(text.ff_dim, text.dim, device=model.device).to(model.dtype)
    layer, x = Linear(weight, None, packed=True), torch.randn(rows, text.dim, device=model.device).to(model.dtype)
    return 2e-12 * rows * text.dim * text.ff_dim / median_seconds(lambda: layer(x), model.device, 10)


def _memory_gb() -> float:
    """What the process holds in memory; at its highest, where the system does not tell what it is now."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return peak_memory() * 1e-9
    return next(int(line.split()[1]) * 1024e-9 for line in status.splitlines() if line.startswith("VmRSS"))


def table(timings: ModelTimings) -> Iterator[str]:
    """Lines in Markdown."""
    for part in (timings.settings, timings.machine):
        yield ", ".join(f"{name} {value}" for name, value in part.items())
    yield (
        f"{timings.model} loaded in {timings.load_seconds:.1f} s; weights {timings.weights_gb:.2f} GB, "
        f"the process {timings.memory_gb:.2f} GB; one product of the prefill's shape {timings.tflops:.2f} TFLOP/s"
    )
    yield ""
    yield "| step | time | share of that rate | plain torch | times as fast |"
    yield "|---|---|---|---|---|"
    for step in timings.steps:
        share = f"{step.tflop / step.seconds / timings.tflops:.0%}" if step.tflop else ""
        eager, ratio = (_shown(step.eager), f"{step.eager / step.seconds:.1f}x") if step.eager else ("", "")
        yield f"| {step.name} | {_shown(step.seconds)} | {share} | {eager} | {ratio} |"


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
