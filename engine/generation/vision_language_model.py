"""A vision-language model whose decoder reads image embeddings in place of tokens (Liu et al. 2023, LLaVA).

A family adds its config, its image encoder, its text model and its prompts; everything else is here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from engine.contract import (
    Abilities,
    CaptionRequest,
    ChatCache,
    ChatRequest,
    Choices,
    DetectRequest,
    EncodedImage,
    EngineError,
    GazeRequest,
    Generation,
    ImageBudget,
    Message,
    Number,
    PointRequest,
    QueryRequest,
    Request,
    UnsupportedPrompt,
    normalize_prompt,
)
from engine.devices import free_memory, memory_errors
from engine.generation.chat_prompt import ImagePart, prompt_pieces
from engine.generation.constraints import ChoiceConstraint, Constraint, NumberConstraint
from engine.generation.encoded_image import LazyImage, first_image_end, later_image_ends
from engine.generation.image_features import ImageFeatures
from engine.generation.kept_conversations import Conversation, KeptConversations
from engine.generation.kept_images import KeptImages, pixel_digest
from engine.generation.model_setup import ModelSetup
from engine.generation.peft_adapter import AdapterCache, adapter_file
from engine.generation.prompt_style import ObjectQuestion, PromptStyle, abilities_of
from engine.generation.scheduler import CPU_CHUNKS, GPU_CHUNKS, ContextFull, Flow, Job, Scheduler
from engine.generation.steps import History
from engine.generation.text_flows import constrained_text, decoding_params, free_text
from engine.generation.text_model import TextModel
from engine.generation.tokenizer import Tokenizer
from engine.generation.verbs import VisionModel
from engine.generation.vlm_decoder import Pieces, VlmDecoder
from engine.generation.vlm_flows import objects_flow
from engine.layers.embedding import embedding_lines
from engine.layers.kv_cache import PrefixCache, SequenceCache
from engine.layers.linear import LinearLayer
from engine.layers.lora import LoraAdapter
from engine.resize import check_image
from engine.stepwise import Stepwise, finished

CPU_BATCH, GPU_BATCH = 16, 128  # most sequences in a step; larger batches gain little
TYPICAL_TOKENS = 1280  # of a sequence, for the memory estimate: an image and an answer
KV_CACHE_MEMORY_SHARE = 0.5  # of free memory
TILING = ("tiles", "max_tiles", "thumbnail")  # fields of a budget for models that split images
AS_LOADED = ImageBudget()


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A request whose images are encoded and prefilled.

    Attributes:
        pieces: Its prompt, as inputs of the model.
        prefix: Cache of the first of them, images included; None: of none.
    """

    request: Request
    pieces: Pieces
    prefix: PrefixCache | None
    adapter: LoraAdapter | None


class ImageEncoder(Protocol):
    """What a family provides for images.

    Attributes:
        typical_linear: The layer whose kernel and compilation stand for the encoder's.
        budget: Default of both numbers, and of tiles if large images are split.
    """

    typical_linear: LinearLayer
    budget: ImageBudget

    def encode(self, image: np.ndarray, budget: ImageBudget) -> Stepwise[list[ImagePart]]:
        """Encode an image, and yield between pieces of the work, such as layers.

        Args:
            image: (height, width, 3) uint8 RGB.
            budget: Both of its numbers are set.

        Returns:
            What stands for it in a prompt.

        Raises:
            ValueError: The model can't take an image of this shape.
        """

    def compile(self) -> None:
        """Compile the encoder with torch.compile."""


class VisionLanguageModel(VisionModel):
    """A VLM. See `engine.contract` for the methods of `Model`, `Chatting` and `Compilable`."""

    def __init__(
        self,
        name: str,
        text: TextModel,
        images: ImageEncoder | None,
        style: PromptStyle,
        *,
        tokenizer: Tokenizer,
        setup: ModelSetup,
        typical_linear: LinearLayer,
        revision: str = "",
    ) -> None:
        """Join the parts of a model.

        Args:
            name: Of the model.
            text: The decoder.
            images: The image encoder; None: the model was loaded without its vision part, and answers text only.
            style: How it is asked.
            tokenizer: The checkpoint's.
            setup: That text and images were built with.
            typical_linear: The layer whose kernel and compilation stand for the decoder's.
            revision: Of the weights.

        Raises:
            EngineError: An option can't be honoured.
            ModelUnavailable: The tokenizer lacks a token of the prompts.
        """
        self.name, self.revision = name, revision
        self.text, self.images, self.style, self.tokenizer = text, images, style, tokenizer
        options = setup.options
        if options.resize == "vips":
            raise EngineError(f"{name} has its own resizing: leave resize out")
        self.image_batch_size = 1
        self.device, self.dtype = setup.device, setup.dtype
        self.adapters = AdapterCache(
            name, _adaptable(text, setup), options.adapter, dtype=self.dtype, device=self.device
        )
        if self.adapters.get(None) and options.adapter:  # a broken one must fail on load
            self.revision += "+" + hashlib.sha256(adapter_file(options.adapter).read_bytes()).hexdigest()[:8]
        self.decoder = VlmDecoder(text)
        self.stop_ids = tuple(tokenizer.special(token) for token in style.stop)
        self.default_budget = self._whole_budget(options.image_budget, _detail_budget(options.detail))
        self.longest_side = _longest_side(style, setup) if images else None
        if self.longest_side:
            self.revision += f"+{self.longest_side}px"
        self.model_key = setup.numerics_key(name, self.revision)
        text.transformer.quantize_cache(setup.options.kv)
        limit = options.kept_image_bytes
        self._kept_images = KeptImages[LazyImage](limit) if limit else None
        self.compiled = setup.compiled(typical_linear)
        if setup.fused:
            if images:
                images.compile()
            text.transformer.compile()
        linears = {"vision": images.typical_linear} if images else {}
        self.setup = setup.summary(linears | {"text": typical_linear}) + embedding_lines(text.embeddings)

    @cached_property
    def abilities(self) -> Abilities:
        """The skills that the style has prompts for."""
        return abilities_of(self.style, self.images is not None)

    def warm_up(self) -> None:
        """Compile ahead of the first request, by a request."""
        image = self.encode([np.zeros((256, 256, 3), np.uint8)])[0] if self.images else None
        self.query([image], "?", generation=Generation(max_tokens=2))

    def encode(self, images: Sequence[np.ndarray], budget: ImageBudget = AS_LOADED) -> list[EncodedImage]:
        """Prepare images for any number of requests; each is encoded when a request first needs it.

        Args:
            images: (height, width, 3) uint8 RGB each, of any sizes.
            budget: How many tokens each may become; what it leaves open is as the model was loaded.

        Raises:
            ValueError: An array is of another shape or type.
            EngineError: The model has no vision.
        """
        if self.images is None:
            raise EngineError(f"{self.name} answers text only: its vision is in an mmproj file; give that as --mmproj")
        for image in images:
            check_image(image)
        whole = self._whole_budget(budget, self.default_budget)
        longest = self.longest_side if budget == AS_LOADED else None

        def new(image: np.ndarray) -> LazyImage:
            return LazyImage(image.copy(), whole, self._encode, self.model_key, longest)

        def found(image: np.ndarray, kept: KeptImages[LazyImage]) -> LazyImage:
            key = pixel_digest(image), whole, longest
            one = kept.get(key) or new(image)
            kept.put(key, one)
            return one

        kept = self._kept_images
        return [new(image) if kept is None else found(image, kept) for image in images]

    def _whole_budget(self, budget: ImageBudget, default: ImageBudget) -> ImageBudget:
        if self.images is None:
            return AS_LOADED
        if self.images.budget.tiles is None and any(getattr(budget, name) is not None for name in TILING):
            raise EngineError(f"{self.name} doesn't split images into tiles: leave their options out")
        return _filled(budget, default, self.images.budget)

    @torch.inference_mode()
    def _encode(self, image: np.ndarray, budget: ImageBudget) -> Stepwise[Sequence[ImagePart]]:
        assert self.images
        return (yield from self.images.encode(image, budget))

    def check(self, request: Request) -> None:
        """Raise the error that `run` would give as a Failed event, as far as it is known without running the model."""
        super().check(request)
        self._check(request)

    def scheduler(self, batch: int | None = None) -> Scheduler[Request | _Prepared]:
        """Create a scheduler of at most `batch` sequences a step; None: as many as fit into memory."""
        chunks, most = CPU_CHUNKS if self.device == "cpu" else GPU_CHUNKS, self._max_batch() if batch is None else batch
        return Scheduler(self.decoder, most, self._job, chunks_per_step=chunks)

    def _max_batch(self) -> int:
        limit, free = CPU_BATCH if self.device == "cpu" else GPU_BATCH, free_memory(self.device)
        sequence = self.text.transformer.position_bytes * min(TYPICAL_TOKENS, self.text.max_context)
        return limit if free is None else max(1, min(limit, int(KV_CACHE_MEMORY_SHARE * free) // sequence))

    def prepare_in_steps(self, request: Request) -> Stepwise[_Prepared]:
        """Encode and prefill the images of a request, and yield between layers; see `StepwiseStarter`."""
        self.check(request)
        assert not isinstance(request, GazeRequest)  # refused by `check`
        adapter = self.adapters.get(request.adapter)
        messages, question = self._messages(request), self._object_question(request)
        images = [self._own(part) for message in messages for part in message.parts if isinstance(part, EncodedImage)]
        least = question.min_image_tokens if question else 0
        with memory_errors():
            for image in images:
                yield from image.parts_in_steps(least)
            pieces = self._pieces(messages, least, question.answer_start if question else "")
            if len(pieces) >= self.text.max_context:
                raise ContextFull
            prefix = self._kept(request.cache, pieces, adapter) if isinstance(request, ChatRequest) else None
            if images:
                end = first_image_end(pieces, images[0].parts(least))
                if prefix is None or prefix.length < end:
                    prefix = yield from self._prefix_in_steps(images[0], pieces[:end], adapter)
                for end in later_image_ends(pieces, prefix.length):
                    prefix = yield from self.decoder.prefill_in_steps(pieces[prefix.length : end], adapter, prefix)
        if self._kept_images:
            self._kept_images.trim()
        return _Prepared(request, pieces, prefix, adapter)

    def _job(self, request: Request | _Prepared) -> Job:
        prepared = request if isinstance(request, _Prepared) else finished(self.prepare_in_steps(request))
        pieces, prefix = prepared.pieces, prepared.prefix
        done = prefix.length if prefix else 0
        image_tokens = sum(not isinstance(piece, int) for piece in pieces)
        history = History(done, [piece for piece in pieces[:done] if isinstance(piece, int)], image_tokens=image_tokens)
        chat_cache = prepared.request.cache if isinstance(prepared.request, ChatRequest) else None

        def keep(cache: SequenceCache) -> None:
            if chat_cache:
                sequence = [*pieces, *history.generated][: cache.length]
                prompt = min(len(pieces), cache.length)
                conversation = Conversation(sequence, prompt, cache.freeze(), self.model_key, prepared.adapter)
                _kept_in(chat_cache).keep(conversation, chat_cache.limit_bytes)

        return Job(lambda: self._flow(prepared.request, pieces[done:], history), prefix, prepared.adapter, keep=keep)

    def _kept(self, chat_cache: ChatCache | None, pieces: Pieces, adapter: LoraAdapter | None) -> PrefixCache | None:
        """Return the cache of the longest beginning of a conversation that is kept; None if there is none."""
        kept = _kept_in(chat_cache).beginnings(pieces, self.model_key, adapter) if chat_cache else []
        found = (self.decoder.beginning(each.pieces, each.cache, length) for length, each in kept)
        return next((prefix for prefix in found if prefix), None)

    def _pieces(self, messages: Sequence[Message], least: int = 0, answer_start: str = "") -> list[int | ImageFeatures]:
        return prompt_pieces(
            messages,
            self.style.template,
            self.tokenizer,
            self.style.image_token,
            parts_of=lambda image: self._own(image).parts(least),
            answer_start=answer_start,
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a conversation has up to the assistant's next turn; see `Chatting`."""
        _check_messages(messages)
        return len(self._pieces(messages))

    def _own(self, image: EncodedImage) -> LazyImage:
        if not isinstance(image, LazyImage) or image.model_key != self.model_key:
            raise ValueError(f"the image was not encoded by this {self.name}")
        return image

    def _prefix_in_steps(self, image: LazyImage, pieces: Pieces, adapter: LoraAdapter | None) -> Stepwise[PrefixCache]:
        """Return the cache of a prompt up to the end of its first image, from the image if it was the same before."""
        key = [adapter, *pieces]
        if image.prefix is None or image.prefix[0] != key:
            image.prefix = key, (yield from self.decoder.prefill_in_steps(pieces, adapter))
        return image.prefix[1]

    def _messages(self, request: Request) -> Sequence[Message]:
        if isinstance(request, ChatRequest):
            return request.messages
        assert not isinstance(request, GazeRequest)
        if isinstance(request, QueryRequest):
            text = request.question
        elif isinstance(request, CaptionRequest):
            text = self.style.captions[normalize_prompt(request.length)]
        else:
            question = self._object_question(request)
            assert question
            text = question.instruction.replace("{prompt}", request.prompt.strip())
        if request.image is None and not isinstance(request, QueryRequest):
            raise ValueError("the request has no image: only query and chat work without one")
        system = request.system if isinstance(request, QueryRequest) else None
        before = [] if system is None else [Message("system", (system,))]
        return [*before, Message("user", (text,) if request.image is None else (request.image, text))]

    def _object_question(self, request: Request) -> ObjectQuestion | None:
        if isinstance(request, DetectRequest):
            return self.style.detect
        return self.style.point if isinstance(request, PointRequest) else None

    def _check(self, request: Request) -> None:
        """Raise for a request that can't be served, whatever its image."""
        if isinstance(request, GazeRequest):
            return  # refused by the abilities
        self.adapters.get(request.adapter)
        if isinstance(request, DetectRequest | PointRequest):
            if isinstance(request, DetectRequest) and request.threshold is not None:
                raise EngineError(f"{self.name} returns no scores: leave the threshold out")
            if not request.prompt.strip():
                raise ValueError("the prompt is empty: name what to find")
            if request.max_objects is not None and request.max_objects < 0:
                raise ValueError(f"max_objects must be 0 or more, not {request.max_objects}")
            return
        decoding_params(request.generation, self.style.defaults, stop_ids=self.stop_ids)
        if isinstance(request, QueryRequest):
            if not request.question.strip():
                raise ValueError("the question is empty: give one")
            if request.references:
                raise UnsupportedPrompt(f"{self.name} takes no references: describe the place in the question")
            if request.reasoning:
                raise UnsupportedPrompt(f"{self.name} was not trained to reason: leave reasoning off")
        if isinstance(request, ChatRequest):
            _check_messages(request.messages)
        if not isinstance(request, CaptionRequest):
            self._constraint(request.allowed)

    def _flow(self, request: Request, pieces: Sequence[object], history: History) -> Flow:
        decode, defaults = self.tokenizer.decode, self.style.defaults
        if isinstance(request, DetectRequest | PointRequest):
            question = self._object_question(request)
            assert question
            greedy = Generation(temperature=0.0, top_p=1.0, max_tokens=self.style.max_object_tokens)
            limit = self.style.max_objects if request.max_objects is None else request.max_objects
            params = decoding_params(Generation(), greedy, stop_ids=self.stop_ids)
            return (
                yield from objects_flow(
                    pieces, params, decode, question, history=history, label=request.prompt, limit=limit
                )
            )
        assert not isinstance(request, GazeRequest)
        params = decoding_params(request.generation, defaults, stop_ids=self.stop_ids)
        constraint = None if isinstance(request, CaptionRequest) else self._constraint(request.allowed)
        if constraint:
            return (yield from constrained_text(pieces, params, constraint, history))
        return (yield from free_text(pieces, params, decode, history, strip=self.style.strip))

    @cached_property
    def _number_constraint(self) -> NumberConstraint:
        return NumberConstraint(self.tokenizer.texts(), self.stop_ids[0])

    def _constraint(self, allowed: Choices | Number | None) -> Constraint | None:
        if isinstance(allowed, Choices):
            return ChoiceConstraint(allowed, self.tokenizer, self.stop_ids[0])
        return self._number_constraint if allowed else None


def _kept_in(chat_cache: ChatCache) -> KeptConversations:
    if not isinstance(chat_cache.content, KeptConversations):
        chat_cache.content = KeptConversations()
    return chat_cache.content


def _adaptable(text: TextModel, setup: ModelSetup) -> dict[str, tuple[int, ...]]:
    """Return (outputs, inputs) of the linear layers in the layers of the text model, by name."""
    layers = tuple(f"{block.name}." for block in text.transformer.blocks if block.adaptable)
    matrices = {name.removesuffix(".weight"): shape for name, shape in setup.shapes.items() if len(shape) == 2}
    return {name: shape for name, shape in matrices.items() if name.startswith(layers)}


def _check_messages(messages: Sequence[Message]) -> None:
    if not messages or messages[-1].role != "user":
        raise ValueError("a conversation must end with a message of the user")
    for message in messages:
        if message.role not in ("system", "user", "assistant"):
            raise ValueError(f"the role of a message must be system, user or assistant, not {message.role!r}")
        if isinstance(message.parts, str) or not all(isinstance(part, str | EncodedImage) for part in message.parts):
            raise ValueError("the parts of a message must be a tuple of texts and encoded images")


def _detail_budget(detail: str | int) -> ImageBudget:
    """Return the budget of a level of detail: a number is the most tokens.

    Raises:
        ValueError: There is no such level.
    """
    named: dict[str | int, ImageBudget] = {
        "low": ImageBudget(None, 256),
        "auto": ImageBudget(),
        "high": ImageBudget(1024, None),
    }
    if isinstance(detail, int) and detail >= 1:
        return ImageBudget(None, detail)
    if detail not in named:
        raise ValueError(f"detail must be low, auto, high or a number of image tokens, 1 or more, not {detail!r}")
    return named[detail]


def _longest_side(style: PromptStyle, setup: ModelSetup) -> int | None:
    """Return what images are reduced to on a CPU, if that is wanted and no option says how large they may be."""
    options = setup.options
    open_size = options.detail == "auto" and not (options.image_budget.min_tokens or options.image_budget.max_tokens)
    return style.cpu_longest_side if options.reduce_images and setup.device == "cpu" and open_size else None


def _filled(budget: ImageBudget, *defaults: ImageBudget) -> ImageBudget:
    """Complete a budget by the first default that has a number; what was asked for moves the other default with it."""
    for default in defaults:
        least, most = budget.min_tokens, budget.max_tokens
        if least is None and default.min_tokens is not None:
            least = default.min_tokens if most is None else min(default.min_tokens, most)
        if most is None and default.max_tokens is not None:
            most = default.max_tokens if budget.min_tokens is None else max(default.max_tokens, budget.min_tokens)
        tiling = {name: getattr(default, name) for name in TILING if getattr(budget, name) is None}
        budget = replace(budget, min_tokens=least, max_tokens=most, **tiling)
    return budget
