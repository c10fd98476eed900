"""Times a model step by step: loading, vision encoder, prefill, decode, and whole requests.

Moondream's steps are here, those of LFM2-VL in `lfm2vl`, and those of other vision-language models in `vlm`.
"""

import copy
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tokenizers
import torch

from engine.catalog.locate import locate
from engine.catalog.published import GgufSource, PublishedModel, published, unknown_model_error
from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.writer import write_checkpoint
from engine.contract import DetectRequest, EngineError, Generation
from engine.generation.steps import ReadToken
from engine.generation.vision_language_model import VisionLanguageModel
from engine.kernels.library import kernels
from engine.layers.kv_cache import PrefixCache
from engine.layers.linear import Linear
from engine.moondream.config import Config
from engine.moondream.model import Moondream
from engine.moondream.preprocess import Crops
from engine.moondream.weights import QUANTIZATION_PLAN, shapes
from engine.quantization.plan import QuantizationPlan, weights_bytes
from mdtool.errors import OutputError, UsageError, write_error_message
from mdtool.jobs.bench import lfm2vl
from mdtool.jobs.bench.eager import eager_seconds
from mdtool.jobs.bench.llama_cpp import beside_llama_cpp, check_shape
from mdtool.jobs.bench.model_timings import ModelTimings, Step, memory_gb
from mdtool.jobs.bench.recipe import machine
from mdtool.jobs.bench.timing import median_seconds, seconds
from mdtool.jobs.bench.vlm import file_bytes, measure_memory, vlm_steps
from mdtool.jobs.inference.embedding_cache import EmbeddingCache, encode
from mdtool.model_selection import ComputeConfig, LoadCallbacks
from mdtool.pipeline.prediction_log import digest_of

LARGE = (3, 4)  # tiles of a large image: thirteen crops
LARGE_SIZE = (2000, 1500)  # size of an image with that many crops, in pixels
CAPTION = Generation(temperature=0, max_tokens=60)
OBJECTS = 2
DECODE_STEPS = 20
PROMPTS = (4, 8)  # that share a step
PHOTO = (1024, 768)  # size in pixels
FOLDER = 16  # images that are captioned in a batch
CONTROL_TOKENS = {  # of all families, with ids that are free in the tokenizer for random weights
    token: 270 + i
    for i, token in enumerate(
        ["<|startoftext|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|image_start|>", "<|image_end|>"]
        + ["<|img_thumbnail|>", "<|vision_start|>", "<|vision_end|>"]
        + [f"<|img_row_{row}_col_{column}|>" for row in range(1, 11) for column in range(1, 11)]
    )
}


@contextmanager
def random_checkpoint(name: str) -> Iterator[Path]:
    """Provide a checkpoint of a published model's shapes with random weights, in a temporary folder.

    Args:
        name: Of the model, for a folder with bfloat16 weights; of Qwen3-VL with a recipe after a colon
            ("qwen3-vl-8b:q4_k_m"), for GGUF files.

    Raises:
        ModelUnavailable: There is no such model.
        UsageError: There is no such recipe.
        EngineError: Its weights are not in safetensors.
        OutputError: The temporary folder has no room for it.
    """
    known, (name, _, recipe) = published(), name.partition(":")
    if name not in known:
        raise unknown_model_error(name, known)
    if isinstance(known[name].source, GgufSource):
        raise EngineError(f"{name} is published in GGUF only, of which there are no random weights")
    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as temporary:
        folder = Path(temporary, name)
        try:
            if recipe:
                yield _random_gguf(known[name], recipe, Path(temporary))
                return
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(known[name].config))
            _byte_tokenizer(known[name].config).save(str(folder / "tokenizer.json"))
            with (folder / "model.safetensors").open("wb") as file:
                _write_weights(known[name], file)
        except OSError as error:
            raise OutputError(f"{write_error_message(error)} in {temporary}; set TMPDIR to another folder") from error
        yield folder


def _random_gguf(model: PublishedModel, recipe: str, folder: Path) -> Path:
    """Write GGUF files of a model's shape, and return the text file."""
    from engine.qwen3vl.config import read_config
    from mdtool.jobs.bench.random_qwen3vl_gguf import RECIPES, write_random_qwen3vl  # needs an optional package

    if model.family != "qwen3vl" or recipe not in RECIPES:
        raise UsageError(
            f"--config {model.name}:{recipe}: random GGUF files can be made of Qwen3-VL, in {', '.join(RECIPES)}"
        )
    return write_random_qwen3vl(folder, model.name, read_config(model.name, model.config), recipe)[0]


def _write_weights(model: PublishedModel, file: BinaryIO) -> None:
    """Write one tensor at a time, so that the memory of loading can be measured in the same process."""
    family = f"engine.{model.family}"
    config = import_module(f"{family}.config").read_config(model.name, model.config)
    weights = RandomWeights(import_module(f"{family}.weights").shapes(config))
    write_checkpoint(file, weights.shapes, ((name, weights.tensor(name, torch.bfloat16)) for name in weights.shapes))


def _byte_tokenizer(config: dict[str, Any]) -> tokenizers.Tokenizer:
    """Return a byte-level tokenizer without merges, which is enough for random weights.

    For a family with image tokens it has all families' control tokens; that of images has the id in the config.
    """
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: 10 + i for i, letter in enumerate(letters)}
    if image_token := config.get("image_token_id"):
        vocabulary |= CONTROL_TOKENS | dict.fromkeys(("<image>", "<|image_pad|>"), image_token)
        vocabulary.pop("<|image_pad|>" if config["family"] == "lfm2vl" else "<image>")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.add_special_tokens([token for token in vocabulary if len(token) > 1])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


def bench_model(
    name_or_path: str,
    computing: ComputeConfig,
    callbacks: LoadCallbacks,
    *,
    batch: int,
    runs: int,
    cache: bool,
    beside: str | None = None,
) -> ModelTimings:
    """Load a model and time its steps.

    Args:
        name_or_path: The model.
        computing: How the model computes.
        callbacks: Receive messages and progress of loading.
        batch: Number of images at a time.
        runs: Repetitions of each step, of which the median counts.
        cache: Time encoding with and without an `EmbeddingCache`, in place of the steps.
        beside: "llama.cpp": time it too; `mdtool.jobs.bench.llama_cpp.check_llama_cpp` has what it needs.

    Raises:
        EngineError: The model can't be loaded, or is of another kind.
        UsageError: llama.cpp has no model of this shape, or the model's kind has no such option.
        MdtoolError: llama.cpp failed.
        OutputError: There is no room for the cache, or for llama.cpp's weights.
    """
    since = time.perf_counter()
    model = computing.load(name_or_path, callbacks)
    load_seconds = time.perf_counter() - since
    if not isinstance(model, Moondream | VisionLanguageModel):
        raise EngineError(f"{model.name} can't be timed step by step; give a Moondream or vision-language model")
    environment = machine() | {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if model.device.startswith("cuda"):
        environment["gpu"] = torch.cuda.get_device_name(model.device)
    settings = {
        "device": model.device,
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantize": computing.quantize,
        "compile": computing.compile,
        "batch": batch,
        "kernels": kernels().summary if model.device == "cpu" else "torch's kernels",
    }
    if isinstance(model, VisionLanguageModel) and (cache or batch > 1):
        raise UsageError(f"{model.name}: --embedding-cache and --batch-size time Moondream models; leave them out")
    if isinstance(model, VisionLanguageModel) and not isinstance(model.images, lfm2vl.ImageEncoder):
        files = locate(name_or_path, computing.mmproj)
        memory, size = measure_memory(model), 1e-9 * file_bytes(files)
        steps = list(vlm_steps(model, files, runs, beside is not None))
        if beside:
            environment["llama-cpp-python"] = version("llama-cpp-python")
        return ModelTimings(model.name, settings, environment, load_seconds, size, memory, None, steps)
    timed = _moondream(model, batch, runs) if isinstance(model, Moondream) else _lfm2vl(model, runs)
    if beside and isinstance(model, Moondream):
        check_shape(model.config.text)
    timed.first_answer()
    memory = memory_gb()
    rate = _matmul_rate(*timed.gemm, device=model.device, dtype=model.dtype)
    if cache:
        assert isinstance(model, Moondream)
        steps = list(_cache_steps(model, batch, runs))
    else:
        steps = list(timed.steps())
        if beside:
            steps += timed.beside()
            environment["llama-cpp-python"] = version("llama-cpp-python")
    kind = None if computing.quantize == "none" else computing.quantize
    weights = weights_bytes(timed.shapes, model.dtype.itemsize, timed.plan, kind)
    return ModelTimings(model.name, settings, environment, load_seconds, 1e-9 * weights, memory, rate, steps)


@dataclass(frozen=True)
class _Timed:
    """What is timed of a family.

    Attributes:
        shapes: Of all tensors, by name.
        plan: What may be quantised.
        first_answer: After which the memory is measured.
        gemm: Rows, inputs and outputs of a large matrix multiplication of the prefill.
        steps: Times them.
        beside: Times steps in turn with llama.cpp.
    """

    shapes: Mapping[str, tuple[int, ...]]
    plan: QuantizationPlan
    first_answer: Callable[[], object]
    gemm: tuple[int, int, int]
    steps: Callable[[], Iterable[Step]]
    beside: Callable[[], Iterable[Step]]


def _moondream(model: Moondream, batch: int, runs: int) -> _Timed:
    side, text = model.config.vision.crop_size, model.config.text
    rows = model.config.prefix_length * (1 if model.device == "cpu" else 16)  # one image would not fill a GPU

    def caption() -> None:
        model.caption(model.encode([np.zeros((side, side, 3), np.uint8)]), generation=CAPTION)

    return _Timed(
        shapes(model.config), QUANTIZATION_PLAN, caption, (rows, text.dim, text.ff_dim),
        steps=partial(_steps, model, batch, runs), beside=partial(_steps_beside_llama_cpp, model, runs),
    )  # fmt: skip


def _lfm2vl(model: VisionLanguageModel, runs: int) -> _Timed:
    assert isinstance(model.images, lfm2vl.ImageEncoder)
    config, text = model.images.config, model.images.config.text_config
    return _Timed(
        lfm2vl.shapes(config), lfm2vl.QUANTIZATION_PLAN, lambda: lfm2vl.answer(model, lfm2vl.SIDE),
        (lfm2vl.DEPTH, text.hidden_size, text.inner_dim),
        steps=partial(lfm2vl.steps, model, runs), beside=partial(lfm2vl.steps_beside_llama_cpp, model, config, runs),
    )  # fmt: skip


def _steps(model: Moondream, batch: int, runs: int) -> Iterator[Step]:
    vision, decoder = model.config.vision, model.decoder
    rng = np.random.default_rng(0)

    def crops(count: int, tiles: tuple[int, int]) -> list[Crops]:
        shape = (count, vision.crop_size, vision.crop_size, 3)
        return [Crops(rng.integers(0, 256, shape, dtype=np.uint8), tiles) for _ in range(batch)]

    def timed(name: str, work: Callable[[], Any], tflop: float | None = None, eager: float | None = None) -> Step:
        return Step(name, median_seconds(work, model.device, runs), tflop, eager)

    crop, projection, prefix = (batch * tflop for tflop in _tflop(model.config))
    equal = crops(1, (1, 1))  # the second crop equals the first, and is encoded once
    different, large = crops(2, (1, 1)), crops(1 + LARGE[0] * LARGE[1], LARGE)
    eager = eager_seconds(model.config, model.device, model.dtype, batch=batch, runs=runs)
    yield timed(
        "vision, two crops that differ", lambda: model.embeddings(different), 2 * crop + projection, eager.vision
    )
    yield timed(
        "vision, two equal crops (any image of one tile)",
        lambda: model.embeddings(equal),
        crop + projection,
        eager.vision,
    )
    yield timed("vision, thirteen crops", lambda: model.embeddings(large), 13 * crop + projection)
    if batch == 1:
        photo = rng.integers(0, 256, (PHOTO[1], PHOTO[0], 3), dtype=np.uint8)
        yield timed(f"vision, a photo of {PHOTO[0]}x{PHOTO[1]}", lambda: model.embed_images([photo]))
    embeddings = model.embeddings(equal)
    name = f"prefill, {model.config.prefix_length} tokens"
    yield timed(name, lambda: model.prefixes(embeddings), prefix, eager.prefill)

    def decode_seconds(prefixes: Sequence[PrefixCache]) -> float:
        """Time a step of one token of each sequence."""
        sequences = [decoder.start(prefix) for prefix in prefixes]
        decoder.step([(sequence, None, range(10, 20)) for sequence in sequences])  # about as long as a prompt

        def decode() -> None:
            hidden = decoder.step([(sequence, None, [20]) for sequence in sequences])
            decoder.read([ReadToken()] * len(sequences), hidden)

        return median_seconds(decode, model.device, DECODE_STEPS)

    prefixes = model.prefixes(embeddings)
    yield Step("decode, one token", decode_seconds(prefixes), None, eager.decode)
    if batch == 1:
        for count in PROMPTS:
            yield Step(f"decode, {count} prompts on one image", decode_seconds(prefixes * count))
            yield Step(
                f"decode, {count} prompts on an image each",
                decode_seconds([copy.deepcopy(prefixes[0]) for _ in range(count)]),
            )

    def random_images(count: int) -> list[np.ndarray]:
        return list(rng.integers(0, 256, (count, vision.crop_size, vision.crop_size, 3), dtype=np.uint8))

    images = random_images(batch)

    def caption(images: Sequence[np.ndarray]) -> Any:
        return model.caption(model.encode(images), generation=CAPTION)

    yield timed("caption of 60 tokens, from pixels", lambda: caption(images))
    if batch == 1:
        folder = random_images(FOLDER)
        name = f"the same, {FOLDER} images in a batch, per image"
        yield Step(name, seconds(lambda: caption(folder), model.device) / FOLDER)
    else:
        yield timed("the same, one by one", lambda: [caption([image]) for image in images])

    def detect(prompts: int) -> None:
        encoded = model.encode(images)
        list(model.run(DetectRequest(image, "face", OBJECTS) for image in encoded for _ in range(prompts)))

    yield timed(f"detect, {OBJECTS} objects, from pixels", lambda: detect(1))
    yield timed(f"ten prompts, {OBJECTS} objects each, from pixels", lambda: detect(10))


def _steps_beside_llama_cpp(model: Moondream, runs: int) -> list[Step]:
    """Time the text model in turn with llama.cpp."""
    from mdtool.jobs.bench.random_gguf import write_random_gguf  # needs an optional package

    side, prefix = model.config.vision.crop_size, model.config.prefix_length
    embeddings = model.embed_images([np.zeros((side, side, 3), np.uint8)])
    prefill, decode = beside_llama_cpp(
        lambda: model.prefixes(embeddings)[0], model.decoder, prefix, runs,
        write=partial(write_random_gguf, text=model.config.text),
    )  # fmt: skip
    return [
        Step(f"prefill, {prefix} tokens, in turn with llama.cpp", prefill.ours, llama_cpp=prefill.llama_cpp),
        Step("decode, one token, in turn with llama.cpp", decode.ours, llama_cpp=decode.llama_cpp),
    ]


def _cache_steps(model: Moondream, batch: int, runs: int) -> Iterator[Step]:
    """Time the embedding cache; the system's page cache is warm, if it has room for the files."""
    rng, side = np.random.default_rng(0), model.config.vision.crop_size

    def no_room(line: str) -> None:
        raise OutputError(line)

    def timed(name: str, work: Callable[[], Any]) -> Step:
        return Step(name, median_seconds(work, model.device, runs))

    def encoded(images: Sequence[np.ndarray]) -> None:
        encode(model, images, [digest_of(image) for image in images], cache)

    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as folder:
        cache = EmbeddingCache(Path(folder), sys.maxsize, model.embedding_key, no_room)
        for width, height in ((side, side), LARGE_SIZE):
            images = list(rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8))
            yield timed(f"encode {width}x{height}", partial(model.encode, images))
            yield timed(
                f"encode {width}x{height}, known to the cache", partial(encoded, images)
            )  # after the warm-up run
        key, pixels = digest_of(images[0]), images[0]
        embedding = cache.get(key)
        assert embedding is not None
        yield timed(f"digest of {LARGE_SIZE[0]}x{LARGE_SIZE[1]} pixels", lambda: digest_of(pixels))
        yield timed(f"read an embedding of {embedding.nbytes * 1e-6:.2f} MB", lambda: cache.get(key))
        yield timed("write it", lambda: cache.put(key, embedding))


def _tflop(config: Config) -> tuple[float, float, float]:
    """Return the 10^12 operations of the matrix multiplications, attention's included, of a crop, a projection and a
    prefix."""
    vision, text = config.vision, config.text
    patches, prefix = vision.grid**2, config.prefix_length
    weights = {name: shape for name, shape in shapes(config).items() if name.endswith("weight")}

    def used(start: str) -> float:
        """Return the number of weights that each row is multiplied by; of the experts only the selected ones."""
        selected = text.moe.experts_per_token / text.moe.num_experts if text.moe else 1
        used_shapes = [shape for name, shape in weights.items() if name.startswith(start)]
        return sum(math.prod(shape) * (selected if len(shape) == 3 else 1) for shape in used_shapes)

    last = f"text.blocks.{text.n_layers - 1}."  # only its keys and values are computed
    blocks = used("text.blocks.") - used(last) + used(f"{last}attn.qkv")
    vision_attention = 2 * vision.enc_n_layers * patches * patches * vision.enc_dim
    text_attention = 2 * (text.n_layers - 1) * prefix * prefix * text.dim
    encoder = patches * (used("vision.blocks.") + used("vision.patch_emb")) + vision_attention
    return 2e-12 * encoder, 2e-12 * patches * used("vision.proj_mlp"), 2e-12 * (prefix * blocks + text_attention)


def _matmul_rate(rows: int, columns: int, outputs: int, *, device: str, dtype: torch.dtype) -> float:
    """Return the 10^12 operations per second of a matrix multiplication of this shape."""
    weight = torch.randn(outputs, columns, device=device).to(dtype)
    layer, x = Linear(weight, None, packed=True), torch.randn(rows, columns, device=device).to(dtype)
    return 2e-12 * rows * columns * outputs / median_seconds(lambda: layer(x), device, 10)
