"""Moondream as an `engine.contract.Model`: encodes images once, and serves requests on them in batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.catalog.locate import ModelFiles
from engine.compiling import compile_summary, set_compile_cache_dir
from engine.contract import (
    Abilities,
    CaptionRequest,
    ChatRequest,
    DetectRequest,
    EncodedImage,
    EngineError,
    GazeRequest,
    ImageBudget,
    LoadOptions,
    PointRequest,
    QueryRequest,
    Request,
    UnsupportedPrompt,
)
from engine.devices import check_compiler, chunks_in_steps, free_memory, in_chunks, numerics_id, pick_device, pick_dtype
from engine.generation.scheduler import CPU_CHUNKS, GPU_CHUNKS, Flow, Job, Scheduler
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.verbs import VisionModel
from engine.kernels.library import kernels as cpu_kernels
from engine.layers.embedding import embedding_lines
from engine.layers.int8_linear import LARGE_BATCH_ROWS
from engine.layers.kv_cache import PrefixCache
from engine.layers.linear_dispatch import benefits_from_compile, kernel_summary
from engine.layers.lora import LoraAdapter
from engine.layers.parameters import ParameterReader
from engine.moondream.abilities import abilities_of
from engine.moondream.adapter import find_adapter, read_adapter
from engine.moondream.config import Config, read_config
from engine.moondream.decoder import MoondreamDecoder
from engine.moondream.flows import Flows
from engine.moondream.preprocess import Crops, make_crops
from engine.moondream.region import RegionHeads
from engine.moondream.text import TextModel
from engine.moondream.vision import VisionEncoder
from engine.moondream.weights import QUANTIZATION_PLAN, open_weights
from engine.quantization.plan import QUANTIZATION_SCHEMES, QuantizedSource
from engine.quantization.tensor_source import TensorSource
from engine.resize import resizer, version
from engine.stepwise import Stepwise, finished

CPU_BATCH, GPU_BATCH = 16, 128  # most sequences in a step; larger batches gain little
RESERVED_ANSWER_TOKENS = 256  # positions that the memory estimate allows for an answer
MAX_CACHED_ADAPTERS = 5
KV_CACHE_MEMORY_SHARE = 0.5  # of free memory
# encoded together; a CPU gains nothing from batches of images, nor of crops unless its kernels encode them in one call
CROP_BATCH, GPU_IMAGE_BATCH = 32, 16


@dataclass(frozen=True, eq=False)
class EncodedPrefix(EncodedImage):
    """An encoded image: the text model's key-value cache of it, for any number of prompts.

    Attributes:
        prefix: The cache.
        embedding_key: That of the model which encoded it; a model with another one refuses it.
    """

    prefix: PrefixCache
    embedding_key: str

    @property
    def nbytes(self) -> int:
        """Size of the cache."""
        return self.prefix.nbytes


def load(model_files: ModelFiles, options: LoadOptions) -> "Moondream":
    """Load a model from its files. See `engine.load`.

    Raises:
        ModelUnavailable: A file is missing or broken.
        EngineError: An option can't be honoured.
    """
    config = read_config(model_files.config_source, model_files.config)
    tokenizer = load_tokenizer(model_files.tokenizer, config.text.vocab_size)
    weights = open_weights(model_files.weights, config)
    return Moondream(model_files.name, config, weights, tokenizer, options=options, revision=model_files.revision)


class Moondream(VisionModel):
    """Moondream 2 or 3. See `engine.contract` for the methods of `Model`, `ImageEmbedder` and `Compilable`."""

    def __init__(
        self,
        name: str,
        config: Config,
        weights: TensorSource,
        tokenizer: Tokenizer,
        *,
        options: LoadOptions = LoadOptions(),
        revision: str = "",
    ) -> None:
        """Build the model.

        Args:
            name: Of the model.
            config: Its architecture.
            weights: Read, and quantised if the options require it.
            tokenizer: The checkpoint's.
            options: See `LoadOptions`.
            revision: Of the weights.

        Raises:
            EngineError: An option can't be honoured.
            ValueError: An option is invalid.
        """
        self.name, self.revision = name, revision
        self.config = config
        quantize = options.quantize
        if quantize is not None and quantize not in QUANTIZATION_SCHEMES:
            raise EngineError(
                f"{name} can't be quantised to {quantize!r}: quantize must be one of {', '.join(QUANTIZATION_SCHEMES)}"
            )
        if options.image_budget != ImageBudget():
            raise EngineError(
                f"{name} encodes every image to the same number of tokens: leave limits of tokens and tiles out"
            )
        self.device = device = pick_device(options.device)
        self.dtype = dtype = pick_dtype(options.dtype, device)
        if options.compile:
            check_compiler(device)
        if quantize is not None:
            weights = QuantizedSource(weights, QUANTIZATION_PLAN, quantize)
        self._abilities = abilities_of(config)
        self.image_batch_size = 1 if device == "cpu" else GPU_IMAGE_BATCH
        self.max_crops = max_crops(config, options.detail)
        self._resize = resizer(options.resize)
        fused = options.compile and device != "cpu"  # on a CPU compiled code gives identical bits
        numerics = (revision, quantize, options.kv, config.vision, dtype, fused, self.max_crops, version(self._resize))
        self.embedding_key = hashlib.sha256(
            repr((*numerics, numerics_id(device), cpu_kernels().summary)).encode()
        ).hexdigest()[:16]
        packed = device == "cpu" or not options.compile  # torch.compile needs plain weights
        with torch.inference_mode():
            vision, text, region = (
                ParameterReader(weights, part, dtype, device, packed, options.compile)
                for part in ("vision", "text", "region")
            )
            self.vision = VisionEncoder(config.vision, vision)
            self._crop_batch = CROP_BATCH if self.vision.fused or device != "cpu" else 1
            self.text = TextModel(config.text, text)
            self.text.transformer.quantize_cache(options.kv)
            self.region = RegionHeads(config.region, region)
        gains = device != "cpu" or benefits_from_compile(self.vision.encoder.blocks[0].qkv)
        self.compiled = options.compile and gains
        if self.compiled:
            set_compile_cache_dir()
        if fused:
            self.vision.encoder.compile()
            self.text.transformer.compile()
        quantized = [
            f"{what} quantised to {to}" for what, to in (("weights", quantize), ("KV cache", options.kv)) if to
        ]
        placement = ", ".join((device, str(dtype).removeprefix("torch."), *quantized))
        parts = {"vision": self.vision.encoder.blocks[0].qkv, "text": self.text.blocks[0].qkv}
        kernels = ", ".join(f"{part} by {kernel_summary(linear)}" for part, linear in parts.items())
        on_cpu = (f"quantised weights on this CPU: {cpu_kernels().summary}",) if device == "cpu" else ()
        self.setup: tuple[str, ...] = (
            *(placement, kernels, *on_cpu, compile_summary(device, options.compile, gains)),
            *embedding_lines(self.text.embeddings),
        )
        self.decoder = MoondreamDecoder(self.text, self.region)
        self._flows = Flows(name, config, tokenizer)
        self._adapters: dict[str, LoraAdapter] = {}
        self._default_adapter = options.adapter
        if options.adapter is not None:
            self.adapter(None)  # a broken one must fail on load
            # After `embedding_key`, which it must not change: it adapts the text model only.
            self.revision += "+" + hashlib.sha256(find_adapter(options.adapter).read_bytes()).hexdigest()[:8]

    @property
    def abilities(self) -> Abilities:
        """The skills that the config has prompts for."""
        return self._abilities

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compile ahead of the first request."""
        if self.device == "cpu":  # only GEMMs of many rows are compiled; one in each part triggers all of them
            for linear, columns in (
                (self.vision.encoder.blocks[0].qkv, self.config.vision.enc_dim),
                (self.text.blocks[0].qkv, self.config.text.dim),
            ):
                linear(torch.ones(LARGE_BATCH_ROWS, columns, dtype=self.dtype))
        else:
            self.run_warm_up_steps()

    @torch.inference_mode()
    def run_warm_up_steps(self) -> None:
        """Run each compiled shape once, on a blank image: vision, prefix, a prompt, a token, a batch."""
        side = self.config.vision.crop_size
        [image] = self.encode([np.zeros((side, side, 3), np.uint8)])
        first, second = (self.decoder.start(image.prefix) for _ in range(2))
        for feeds in ([(first, None, [1, 2, 3])], [(first, None, [4])], [(first, None, [5]), (second, None, [1, 2])]):
            self.decoder.step(feeds)

    def adapter(self, name_or_path: str | None) -> LoraAdapter | None:
        """Return a LoRA adapter, from the cache if it was used recently.

        Args:
            name_or_path: See `find_adapter`; None: the default adapter.

        Returns:
            The adapter; None: there is no default.

        Raises:
            ModelUnavailable: There is no such adapter, or it does not fit the model.
        """
        name = self._default_adapter if name_or_path is None else name_or_path
        if name is None:
            return None
        if name not in self._adapters:
            if len(self._adapters) == MAX_CACHED_ADAPTERS:
                self._adapters.pop(next(iter(self._adapters)))
            self._adapters[name] = read_adapter(find_adapter(name), self.config, self.dtype, self.device)
        return self._adapters[name]

    def encode(self, images: Sequence[np.ndarray], adapter: str | None = None) -> list[EncodedPrefix]:
        """Encode images once, for any number of requests.

        Args:
            images: (height, width, 3) uint8 RGB each, of any sizes.
            adapter: LoRA adapter of the text model that encodes them; None: the default.

        Raises:
            ValueError: An array is of another shape or type.
        """
        lora = self.adapter(adapter)
        return in_chunks(images, self.image_batch_size, lambda chunk: self._encode(self._embed_images(chunk), lora))

    def embed_images(self, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Compute the embeddings of images, (grid * grid, dim) each: the first part of `encode`."""
        return in_chunks(images, self.image_batch_size, self._embed_images)

    def encode_embeddings(self, embeddings: Sequence[torch.Tensor]) -> list[EncodedPrefix]:
        """Encode images from their embeddings, on any device: the second part of `encode`."""
        adapter = self.adapter(None)
        return in_chunks(embeddings, self.image_batch_size, lambda chunk: self._encode(chunk, adapter))

    def _embed_images(self, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
        return self.embeddings(
            [make_crops(image, self.config.vision, self.max_crops, self._resize) for image in images]
        )

    def _encode(self, embeddings: Sequence[torch.Tensor], adapter: LoraAdapter | None) -> list[EncodedPrefix]:
        return [
            EncodedPrefix(prefix, self.embedding_key)
            for prefix in self.prefixes([e.to(self.device) for e in embeddings], adapter)
        ]

    @torch.inference_mode()
    def embeddings(self, crops: Sequence[Crops]) -> list[torch.Tensor]:
        """Compute the embeddings of images from their crops, (grid * grid, dim) each."""
        pixels = [crop for image in crops for crop in image.pixels]
        features = iter(finished(chunks_in_steps(pixels, self._crop_batch, self._features_in_steps)))
        return [
            self.vision.project(torch.stack([next(features) for _ in image.pixels]), image.tiling) for image in crops
        ]

    @torch.inference_mode()
    def prefixes(self, embeddings: Sequence[torch.Tensor], adapter: LoraAdapter | None = None) -> list[PrefixCache]:
        """Prefill the text model with image embeddings, (grid * grid, dim) each; return the cache of each."""
        return self.text.prefixes(self._prefix_inputs(embeddings), adapter)

    def _prefix_inputs(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        start = self.text.embed([self.config.tokenizer.bos_id])
        return torch.stack([torch.cat([start, image]) for image in embeddings])

    @torch.inference_mode()
    def encode_in_steps(self, image: np.ndarray, adapter: str | None = None) -> Stepwise[EncodedPrefix]:
        """Encode an image as `encode` does, and yield between layers; see `StepwiseEncoder`."""
        lora = self.adapter(adapter)
        crops = make_crops(image, self.config.vision, self.max_crops, self._resize)
        yield
        features = yield from chunks_in_steps(list(crops.pixels), self._crop_batch, self._features_in_steps)
        embedding = self.vision.project(torch.stack(features), crops.tiling)
        yield
        [prefix] = yield from self.text.prefixes_in_steps(self._prefix_inputs([embedding]), lora)
        return EncodedPrefix(prefix, self.embedding_key)

    def _features_in_steps(self, pixels: Sequence[np.ndarray]) -> Stepwise[list[torch.Tensor]]:
        return list((yield from self.vision.features_in_steps(np.stack(pixels))))

    def check(self, request: Request) -> None:
        """Raise the error that `run` would give as a Failed event, as far as it is known without running the model."""
        super().check(request)
        if not isinstance(request, ChatRequest | GazeRequest):
            self.adapter(request.adapter)
        flow = self._flow(request, has_image=True)
        next(flow, None)  # a flow raises all errors of its request before its first step
        flow.close()

    def scheduler(self, batch: int | None = None) -> Scheduler[Request]:
        """Create a scheduler of at most `batch` sequences a step; None: as many as fit into memory."""
        chunks, most = CPU_CHUNKS if self.device == "cpu" else GPU_CHUNKS, self._max_batch() if batch is None else batch
        return Scheduler(self.decoder, most, self._job, chunks_per_step=chunks)

    def _max_batch(self) -> int:
        """Return how many sequences fit into memory, each with an image of its own."""
        limit, free = CPU_BATCH if self.device == "cpu" else GPU_BATCH, free_memory(self.device)
        return limit if free is None else max(1, min(limit, int(KV_CACHE_MEMORY_SHARE * free) // self.sequence_bytes))

    @property
    def sequence_bytes(self) -> int:
        """Size of the key-value cache of an image and an answer."""
        tokens = min(self.config.prefix_length + RESERVED_ANSWER_TOKENS, self.config.text.max_context)
        return self.text.transformer.position_bytes * tokens

    def _job(self, request: Request) -> Job:
        image = None if isinstance(request, ChatRequest) else request.image
        if image is not None and not (isinstance(image, EncodedPrefix) and image.embedding_key == self.embedding_key):
            raise ValueError(f"the image was not encoded by this {self.name}")
        adapter = None if isinstance(request, GazeRequest) else request.adapter
        has_image = image is not None
        return Job(lambda: self._flow(request, has_image), image.prefix if image else None, self.adapter(adapter))

    def _flow(self, request: Request, has_image: bool) -> Flow:
        flows = self._flows
        if isinstance(request, QueryRequest):
            if request.system is not None:
                raise UnsupportedPrompt(f"{self.name} takes no system message: leave it out")
            return (
                yield from flows.query(
                    request.question,
                    request.reasoning,
                    request.references,
                    request.generation,
                    has_image=has_image,
                    allowed=request.allowed,
                )
            )
        if isinstance(request, ChatRequest):
            raise UnsupportedPrompt(f"{self.name} can't chat: it answers one question about one image, with query")
        if not has_image:
            raise ValueError("the request has no image: only query works without one")
        if isinstance(request, CaptionRequest):
            return (yield from flows.caption(request.length, request.generation))
        if isinstance(request, DetectRequest):
            if request.threshold is not None:
                raise EngineError(f"{self.name} returns no scores: leave the threshold out")
            return (yield from flows.detect(request.prompt, request.max_objects))
        if isinstance(request, PointRequest):
            return (yield from flows.point(request.prompt, request.max_objects))
        return (yield from flows.gaze(request.eye))


def max_crops(config: Config, detail: str | int) -> int:
    """Return the most crops that an image is split into.

    Args:
        config: Of the model.
        detail: "low" (1: only the whole image), "auto" (as trained), "high" (twice that), or the number itself.

    Raises:
        ValueError: The detail is none of these.
    """
    named = {"low": 1, "auto": config.vision.max_crops, "high": 2 * config.vision.max_crops}
    crops = named.get(detail, 0) if isinstance(detail, str) else detail
    if crops < 1:
        raise ValueError(f"detail must be low, auto, high or a number of crops, 1 or more, not {detail!r}")
    return crops
