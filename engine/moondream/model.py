"""Moondream as a LanguageModel: pictures encoded once, any number of questions about them, in batches."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from engine.catalog.locate import Located
from engine.checkpoints.source import Source
from engine.compiling import keep_compiled_code, told
from engine.contract import (
    UNLIMITED,
    Answer,
    Box,
    CaptionRequest,
    Choices,
    DetectRequest,
    Done,
    EngineError,
    Failed,
    Found,
    GazeRequest,
    Generation,
    Number,
    Piece,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    warn_of_limit,
)
from engine.devices import arithmetic, check_compiler, free_memory, in_chunks, pick_device, pick_dtype
from engine.generation.scheduler import Flow, Job, Scheduler, run_requests
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.layers.int8_linear import MANY
from engine.layers.kv_cache import Prefix
from engine.layers.linear import gains_by_compiling, kernel_of
from engine.layers.lora import Adapter, find_adapter, read_adapter
from engine.layers.parameters import Take
from engine.moondream.abilities import abilities_of
from engine.moondream.config import Config, read_config
from engine.moondream.decoder import MoondreamDecoder
from engine.moondream.flows import Flows
from engine.moondream.gaze import agreed, eyes_in_face
from engine.moondream.preprocess import Crops, make_crops
from engine.moondream.region import Region
from engine.moondream.text import Text
from engine.moondream.vision import Vision
from engine.moondream.weights import open_weights
from engine.quantization.matrices import KINDS, Quantised
from engine.resize import Resize, resizer, version

CPU_BATCH, GPU_BATCH = 16, 128  # the most sequences that share a step; more hardly gain
ANSWER = 256  # positions that an answer is reckoned with
SHARE = 0.5  # of the free memory that is for keys and values
GPU_CROPS, GPU_PICTURES = 32, 16  # that are encoded at once; one by one on a CPU, which loses nothing by it


@dataclass(frozen=True, eq=False)
class Encoded:
    """A picture as the text model has read it: good for any number of prompts."""

    prefix: Prefix


def load(
    located: Located,
    device: str,
    dtype: str | None,
    quantize: str | None,
    compile: bool,
    detail: str | int,
    resize: Literal["vips", "pillow"] | None,
) -> "Moondream":
    """The model whose files were located. See `engine.load`."""
    if quantize is not None and quantize not in KINDS:
        raise EngineError(
            f"{located.name} can't be quantized to {quantize!r}: quantize must be one of {', '.join(KINDS)}"
        )
    device = pick_device(device)
    if compile:
        check_compiler(device)
    config = read_config(located.config_source, located.config)
    tokenizer = load_tokenizer(located.tokenizer, config.text.vocab_size)
    weights: Source = open_weights(located.weights, config)
    if quantize is not None:
        weights = Quantised(weights, quantize)
    return Moondream(
        located.name,
        config,
        weights,
        tokenizer,
        device,
        pick_dtype(dtype, device),
        compile,
        detail,
        resizer(resize),
        located.revision,
        quantize,
    )


class Moondream:
    """Moondream 2 or 3. See `engine.contract.LanguageModel` for the methods that are not explained here."""

    def __init__(
        self,
        name: str,
        config: Config,
        weights: Source,
        tokenizer: Tokenizer,
        device: str,
        dtype: torch.dtype,
        compile: bool = False,
        detail: str | int = "auto",
        resize: Resize | None = None,
        revision: str = "",
        quantize: str | None = None,
    ) -> None:
        """quantize: what `weights` were quantized to."""
        self.name, self.revision = name, revision
        self.config = config
        self.abilities = abilities_of(config)
        self.device, self.dtype = device, dtype
        self.pictures_at_once = 1 if device == "cpu" else GPU_PICTURES
        rounded = (f"weights rounded to {quantize}",) if quantize else ()
        self.max_crops = max_crops(config, detail)
        self._resize = resize or resizer()
        fused = compile and device != "cpu"  # on a CPU compiled code gives the same bits
        decides = (revision, quantize, config.vision, dtype, fused, self.max_crops, version(self._resize))
        self.sight = hashlib.sha256(repr((*decides, arithmetic(device))).encode()).hexdigest()[:16]
        packed = device == "cpu" or not compile  # the compiler takes plain weights only
        with torch.inference_mode():
            vision, text, region = (
                Take(weights, part, dtype, device, packed, compile) for part in ("vision", "text", "region")
            )
            self.vision = Vision(config.vision, vision)
            self.text = Text(config.text, text)
            self.region = Region(config.region, region)
        gains = device != "cpu" or gains_by_compiling(self.vision.blocks[0].qkv)
        self.compiled = compile and gains
        if self.compiled:
            keep_compiled_code()
        if compile and device != "cpu":
            self.vision.compile()
            self.text.compile()
        arranged = ", ".join((device, str(dtype).removeprefix("torch."), *rounded))
        parts = {"vision": self.vision.blocks[0].qkv, "text": self.text.blocks[0].qkv}
        kernels = ", ".join(f"{part} by {kernel_of(linear)}" for part, linear in parts.items())
        self.setup: tuple[str, ...] = (arranged, kernels, told(device, compile, gains))
        self.decoder = MoondreamDecoder(self.text, self.region)
        self._flows = Flows(name, config, tokenizer)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compiles what is compiled, so that no answer waits for it."""
        if self.device == "cpu":  # products of many rows only, and one of each part brings about all
            for linear, columns in (
                (self.vision.blocks[0].qkv, self.config.vision.enc_dim),
                (self.text.blocks[0].qkv, self.config.text.dim),
            ):
                linear(torch.ones(MANY, columns, dtype=self.dtype))
        else:
            self.take_every_step()

    @torch.inference_mode()
    def take_every_step(self) -> None:
        """Of a blank picture: vision, prefix, a prompt, a token, a batch."""
        side = self.config.vision.crop_size
        [picture] = self.encode([np.zeros((side, side, 3), np.uint8)])
        first, second = (self.decoder.start(picture.prefix) for _ in range(2))
        for feeds in ([(first, None, [1, 2, 3])], [(first, None, [4])], [(first, None, [5]), (second, None, [1, 2])]):
            self.decoder.step(feeds)

    def adapter(self, name_or_path: str) -> Adapter:
        """A LoRA variant, from a file or from where the reference keeps them, for this model's requests."""
        return read_adapter(find_adapter(name_or_path), self.config, self.dtype, self.device)

    def encode(self, images: Sequence[np.ndarray], adapter: Adapter | None = None) -> list[Encoded]:
        """images: HxWx3 uint8 RGB, of any sizes; ValueError for any other array."""
        return in_chunks(images, self.pictures_at_once, lambda some: self._encode(self._see(some), adapter))

    def see(self, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """The image embeddings of each picture, as `embeddings` gives them. images: as for `encode`."""
        return in_chunks(images, self.pictures_at_once, self._see)

    def encode_seen(self, seen: Sequence[torch.Tensor]) -> list[Encoded]:
        return in_chunks(seen, self.pictures_at_once, self._encode)

    def _see(self, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
        return self.embeddings(
            [make_crops(image, self.config.vision, self.max_crops, self._resize) for image in images]
        )

    def _encode(self, seen: Sequence[torch.Tensor], adapter: Adapter | None = None) -> list[Encoded]:
        return [Encoded(prefix) for prefix in self.prefixes([one.to(self.device) for one in seen], adapter)]

    @torch.inference_mode()
    def embeddings(self, crops: Sequence[Crops]) -> list[torch.Tensor]:
        """The image embeddings of each picture, (grid * grid, dim)."""
        pixels = [one for picture in crops for one in picture.pixels]
        at_once = 1 if self.device == "cpu" else GPU_CROPS
        features = iter(in_chunks(pixels, at_once, lambda some: list(self.vision.features(np.stack(some)))))
        return [
            self.vision.project(torch.stack([next(features) for _ in picture.pixels]), picture.tiling)
            for picture in crops
        ]

    @torch.inference_mode()
    def prefixes(self, embeddings: Sequence[torch.Tensor], adapter: Adapter | None = None) -> list[Prefix]:
        """What the text model keeps of each picture, from its image embeddings."""
        start = self.text.embed([self.config.tokenizer.bos_id])
        return self.text.prefixes(torch.stack([torch.cat([start, one]) for one in embeddings]), adapter)

    def caption(
        self,
        encoded: Sequence[Encoded],
        length: str = "normal",
        generation: Generation = Generation(),
        stream: bool = False,
    ) -> list[str] | Iterator[Piece]:
        requests = [CaptionRequest(image, length, generation) for image in encoded]
        return self._pieces(requests) if stream else [answer.text for answer in self._results(requests)]

    def query(
        self,
        encoded: Sequence[Encoded | None],
        question: str,
        reasoning: bool | None = None,
        references: Sequence[tuple[float, ...]] = (),
        generation: Generation = Generation(),
        stream: bool = False,
        allowed: Choices | Number | None = None,
    ) -> list[Answer] | Iterator[Piece]:
        """An image None is a question without a picture. The reasoning is not streamed."""
        places = tuple(references)
        requests = [QueryRequest(image, question, reasoning, places, generation, allowed=allowed) for image in encoded]
        return self._pieces(requests) if stream else self._results(requests)

    def detect(
        self,
        encoded: Sequence[Encoded],
        prompt: str,
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[Box]]:
        """Boxes may reach out of the picture, as in the reference. EngineError for a threshold: there are no scores."""
        self._check_threshold(threshold)
        return self._lists([DetectRequest(image, prompt, max_objects) for image in encoded], max_objects)

    def detect_each(
        self,
        encoded: Sequence[Encoded],
        prompts: Sequence[str],
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[list[Box]]]:
        self._check_threshold(threshold)
        asked = [DetectRequest(image, prompt, max_objects) for image in encoded for prompt in prompts]
        found = self._lists(asked, max_objects)
        return [found[number :: len(prompts)] for number in range(len(prompts))]

    def point(self, encoded: Sequence[Encoded], prompt: str, max_objects: int | None = None) -> list[list[Point]]:
        return self._lists([PointRequest(image, prompt, max_objects) for image in encoded], max_objects)

    def detect_gaze(self, encoded: Sequence[Encoded], eyes: Sequence[tuple[float, float]]) -> list[Point | None]:
        return self._results([GazeRequest(image, eye) for image, eye in zip(encoded, eyes, strict=True)])

    def detect_gaze_accurately(
        self, encoded: Sequence[Encoded], mirrored: Sequence[Encoded], faces: Sequence[Box], seed: int = 0
    ) -> list[Point | None]:
        """Where the person with each face looks, from twenty looks at it.

        mirrored: the same pictures, encoded from left to right. The same seed gives the same result.
        """
        gazes = []
        for image, mirror, face in zip(encoded, mirrored, faces, strict=True):
            plain, flipped = eyes_in_face(face, seed)
            looks = [(image, eye) for eye in plain] + [(mirror, eye) for eye in flipped]
            found = self._results([GazeRequest(*look) for look in looks])
            gazes.append(agreed(found[: len(plain)], found[len(plain) :]))
        return gazes

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Piece | Done | Failed]:
        if batch is None:
            batch = self._fitting()
        return run_requests(Scheduler(self.decoder, batch, self._job), requests)

    def _fitting(self) -> int:
        """As many sequences as memory has room for, each with a picture of its own."""
        most, free = CPU_BATCH if self.device == "cpu" else GPU_BATCH, free_memory(self.device)
        return most if free is None else max(1, min(most, int(SHARE * free) // self.sequence_bytes))

    @property
    def sequence_bytes(self) -> int:
        """Of the keys and values of a picture and an answer."""
        text = self.config.text
        each = 2 * text.n_layers * text.n_kv_heads * text.head_dim * self.dtype.itemsize
        return each * min(self.config.prefix_length + ANSWER, text.max_context)

    def _job(self, request: Request) -> Job:
        prefix = None if request.image is None else request.image.prefix
        adapter = None if isinstance(request, GazeRequest) else request.adapter
        return Job(lambda: self._flow(request), prefix, adapter)

    def _flow(self, request: Request) -> Flow:
        flows = self._flows
        if isinstance(request, QueryRequest):
            seen = request.image is not None
            return flows.query(
                request.question, request.reasoning, request.references, request.generation, seen, request.allowed
            )
        if request.image is None:
            return flows.unseen()
        if isinstance(request, CaptionRequest):
            return flows.caption(request.length, request.generation)
        if isinstance(request, DetectRequest):
            return flows.detect(request.prompt, request.max_objects)
        if isinstance(request, PointRequest):
            return flows.point(request.prompt, request.max_objects)
        return flows.gaze(request.eye)

    def _results(self, requests: Sequence[Request]) -> list[Any]:
        """In order. Raises the error of the first that failed."""
        results: dict[int, Any] = {}
        for event in self.run(requests):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                results[event.index] = event.result
        return [results[index] for index in range(len(requests))]

    def _pieces(self, requests: Sequence[Request]) -> Iterator[Piece]:
        for event in self.run(requests):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Piece):
                yield event

    def _check_threshold(self, threshold: float | None) -> None:
        if threshold is not None:
            raise EngineError(f"{self.name} gives no scores: leave the threshold out")

    def _lists(self, requests: Sequence[Request], max_objects: int | None) -> list[list[Any]]:
        found: list[Found] = self._results(requests)
        if not all(one.complete for one in found):
            if max_objects == UNLIMITED:
                raise EngineError(f"{self.name} found no end of objects in a picture: its answer can't be trusted")
            warn_of_limit(self.config.defaults.max_objects if max_objects is None else max_objects)
        return [one.items for one in found]


def max_crops(config: Config, detail: str | int) -> int:
    """Most windows a picture is cut into, for "low" (1: the picture as a whole), "auto" (as trained), "high", or N."""
    named = {"low": 1, "auto": config.vision.max_crops, "high": 2 * config.vision.max_crops}
    crops = named.get(detail, 0) if isinstance(detail, str) else detail
    if crops < 1:
        raise ValueError(f"detail must be low, auto, high or a number of crops from 1 on, not {detail!r}")
    return crops
