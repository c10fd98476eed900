"""Decoder steps in one call of our kernels: what the layers give one by one, and each sequence what it gets alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from caches import keys, values
from golden import GOLDEN, built, config, image
from golden_qwen import FOLDER as QWEN
from golden_qwen import conversation
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

import engine
from engine.contract import EncodedImage, LoadOptions, Message
from engine.generation.chat_prompt import ImagePart, prompt_pieces
from engine.generation.encoded_image import LazyImage
from engine.generation.fused_decoder import FusedAttention, FusedConvolution, FusedLayer, FusedLinear, can_fuse
from engine.generation.vision_language_model import VisionLanguageModel
from engine.generation.vlm_decoder import Pieces
from engine.kernels.structures import MAX_HEAD_DIM
from engine.layers.kernel_linear import KernelLinear
from engine.layers.kv_cache import ConvCache, KeyValueCache, SequenceCache
from engine.layers.linear import Linear
from engine.moondream.model import Moondream
from engine.moondream.weights import QUANTIZATION_PLAN, open_weights
from engine.quantization.formats import quantize_int8
from engine.quantization.plan import QuantizedSource

pytestmark = needs_kernels

FAMILY = "moondream2"
PROMPTS = ([5, 6, 7, 8], [9], [10, 11], [12], [13])


def quantised(kind: str | None, dtype: torch.dtype) -> Moondream:
    if kind is None:  # the golden model's matrices don't have whole panels
        pocket = engine.load("pocket", LoadOptions("cpu", str(dtype).removeprefix("torch.")))
        assert isinstance(pocket, Moondream)
        return pocket
    weights = open_weights(GOLDEN / FAMILY / "model.safetensors", config(FAMILY))
    return built(FAMILY, QuantizedSource(weights, QUANTIZATION_PLAN, kind), dtype)


def off(made: Tensor, wanted: Tensor) -> float:
    return float((made.double() - wanted.double()).square().mean().sqrt() / wanted.double().square().mean().sqrt())


def steps(model: Moondream, prefixes: list[SequenceCache]) -> tuple[Tensor, list[SequenceCache]]:
    """Hidden states of a prompt for each sequence in a batch, and of two more tokens for each."""
    hidden = model.decoder.step([(cache, None, prompt) for cache, prompt in zip(prefixes, PROMPTS, strict=True)])
    more = [model.decoder.step([(cache, None, [token]) for cache in prefixes]) for token in (20, 21)]
    return torch.cat([hidden, *more]), prefixes


def started(model: Moondream) -> list[SequenceCache]:
    """Four sequences after two images, the last after none."""
    first, second = (encoded.prefix for encoded in model.encode([image("img_a"), image("img_b")]))
    return [model.decoder.start(prefix) for prefix in (first, first, second, first, None)]


# Of hidden states: flips of bytes that were near a half, and in bfloat16 the roundings between the layers.
@pytest.mark.parametrize(
    ("kind", "dtype", "most"),
    [(kind, *rest) for kind in ("int4", "int8") for rest in ((torch.float32, 2e-3), (torch.bfloat16, 0.03))]
    + [(None, torch.bfloat16, 0.03)],
)
def test_agrees_with_the_layers_one_by_one(kind: str | None, dtype: torch.dtype, most: float) -> None:
    model = quantised(kind, dtype)
    transformer = model.text.transformer
    fused = transformer._fused
    assert fused
    with torch.inference_mode():
        hidden, caches = steps(model, started(model))
        transformer._fused = None
        wanted, wanted_caches = steps(model, started(model))
    assert off(hidden, wanted) < most
    for mine, theirs in zip(caches, wanted_caches, strict=True):
        assert mine.length == theirs.length
        assert off(keys(mine), keys(theirs)) < most
        assert off(values(mine), values(theirs)) < most


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind in ("int4", "int8") for dtype in (torch.float32, torch.bfloat16)]
    + [(None, torch.bfloat16)],
)
def test_each_sequence_gets_what_it_gets_alone_in_all_instruction_sets(kind: str | None, dtype: torch.dtype) -> None:
    model = quantised(kind, dtype)
    with torch.inference_mode():
        fresh = started(model)
        batch = assert_same_in_all_sets(lambda: steps(model, [cache.fork() for cache in fresh])[0])
        for index, (cache, prompt) in enumerate(zip(fresh, PROMPTS, strict=True)):
            alone = [model.decoder.step([(cache, None, tokens)]) for tokens in (prompt, [20], [21])]
            assert same_bits(torch.cat(alone), batch[index :: len(PROMPTS)])


@torch.inference_mode()
def test_a_prefix_of_small_layers_is_filled_in_one_call() -> None:
    model = quantised(None, torch.bfloat16)
    [embeddings] = model.embed_images([image("img_a")])
    transformer = model.text.transformer
    [mine] = model.prefixes([embeddings])
    fused, transformer._fused = transformer._fused, None
    [theirs] = model.prefixes([embeddings])
    assert fused
    for own, other in zip(mine.fork().layers, theirs.fork().layers, strict=True):
        assert isinstance(own, KeyValueCache)
        assert isinstance(other, KeyValueCache)
        assert off(own.shared[0].keys, other.shared[0].keys) < 0.03
        assert off(own.shared[0].values, other.shared[0].values) < 0.03


MIXED = GOLDEN / "gguf" / "mix-Q4_K_M.gguf"  # q, k and v in different types
LFM2, LFM2_GGUF = GOLDEN / "lfm2-vl", GOLDEN / "gguf" / "lfm2-vl-tiny-Q8_0.gguf"


def loaded(path: Path, kind: str | None, dtype: torch.dtype) -> VisionLanguageModel:
    """Load a model; a GGUF file has its own kind."""
    own = None if path.suffix == ".gguf" else kind
    model = engine.load(str(path), LoadOptions("cpu", str(dtype).removeprefix("torch."), own))
    assert isinstance(model, VisionLanguageModel)
    return model


def after_prompts(model: VisionLanguageModel, case: Sequence[Message] = ()) -> list[SequenceCache]:
    """Four sequences: after a conversation, if there is one, and after texts; computed layer by layer."""

    def parts_of(encoded: EncodedImage) -> Sequence[ImagePart]:
        assert isinstance(encoded, LazyImage)
        return encoded.parts()

    style, decoder = model.style, model.decoder
    prompts: list[Pieces] = [[5, 6, 7], [8, 9, 10, 11], [12], [13, 14]]
    if case:
        prompts[1] = prompt_pieces(case, style.template, model.tokenizer, style.image_token, parts_of=parts_of)
    caches = [decoder.start(None) for _ in prompts]
    transformer = model.text.transformer
    fused, transformer._fused = transformer._fused, None
    for cache, prompt in zip(caches, prompts, strict=True):
        decoder.step([(cache, None, prompt)])
    transformer._fused = fused
    return caches


def continued(model: VisionLanguageModel, caches: list[SequenceCache]) -> Tensor:
    """Hidden states of three more tokens for each sequence, in a batch, and of one more."""
    rows = [model.decoder.step([(cache, None, tokens) for cache in caches]) for tokens in ([20], [21, 22, 23], [24])]
    return torch.stack(rows, 1)


@pytest.mark.parametrize(
    ("kind", "dtype", "most"),
    [("int8", torch.float32, 2e-3), ("int8", torch.bfloat16, 0.05), ("Q4_K_M", torch.bfloat16, 0.05)],
)
def test_grouped_query_layers(kind: str, dtype: torch.dtype, most: float) -> None:
    """As in Qwen3-VL: separate matrices, norms of queries and keys, SwiGLU, M-RoPE after an image."""
    model = loaded(MIXED if kind == "Q4_K_M" else QWEN, kind, dtype)
    check(model, conversation("one_image", model) if model.images else (), most)


# The gates of so narrow a layer multiply what roundings between the layers change.
@pytest.mark.parametrize(
    ("kind", "dtype", "most"),
    [("int8", torch.float32, 2e-3), ("int4", torch.float32, 0.05)]
    + [(kind, torch.bfloat16, 0.2) for kind in ("int8", "int4", "Q8_0")],
)
def test_layers_with_short_convolutions(kind: str, dtype: torch.dtype, most: float) -> None:
    """As in LFM2: some layers have attention, others a gated convolution, whose states are checked too."""
    check(loaded(LFM2_GGUF if kind == "Q8_0" else LFM2, kind, dtype), (), most)


@pytest.mark.parametrize("kind", ["int8", "int4"])
@torch.inference_mode()
def test_short_convolutions_in_bfloat16_are_as_exact_as_the_layers_one_by_one(kind: str) -> None:
    exact, rounded = (loaded(LFM2, kind, dtype) for dtype in (torch.float32, torch.bfloat16))
    exact.text.transformer._fused = None
    wanted, fused = (continued(model, after_prompts(model)) for model in (exact, rounded))
    rounded.text.transformer._fused = None
    assert off(fused, wanted) < 1.1 * off(continued(rounded, after_prompts(rounded)), wanted)


def states(cache: SequenceCache) -> list[Tensor]:
    return [layer.inputs for layer in cache.layers if isinstance(layer, ConvCache)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_short_convolutions_are_the_same_in_all_instruction_sets(dtype: torch.dtype) -> None:
    model = loaded(LFM2, "int4", dtype)
    fresh = [cache.freeze() for cache in after_prompts(model)]
    assert_same_in_all_sets(lambda: continued(model, [cache.fork() for cache in fresh]))


@torch.inference_mode()
def test_a_fork_and_a_repeated_step_go_on_from_the_state_before() -> None:
    model = loaded(LFM2, "int4", torch.bfloat16)
    cache = after_prompts(model)[1]
    kept, before = cache.freeze(), [state.clone() for state in states(cache)]
    first = continued(model, [cache])
    again = continued(model, [kept.fork()])
    assert same_bits(first, again)
    assert all(map(torch.equal, states(kept.fork()), before))
    assert not any(map(torch.equal, states(cache), before))


def check(model: VisionLanguageModel, case: Sequence[Message], most: float) -> None:
    """Compare a batch with its members, to the bit, and with the layers one by one."""
    transformer = model.text.transformer
    assert transformer._fused
    with torch.inference_mode():
        fresh = [cache.freeze() for cache in after_prompts(model, case)]
        mine, theirs = ([cache.fork() for cache in fresh] for _ in range(2))
        hidden = continued(model, mine)
        for index, cache in enumerate(fresh):
            assert same_bits(continued(model, [cache.fork()])[0], hidden[index])
        transformer._fused = None
        wanted = continued(model, theirs)
    assert off(hidden, wanted) < most
    for own, other in zip(mine, theirs, strict=True):
        assert own.length == other.length
        assert off(keys(own), keys(other)) < most
        assert off(values(own), values(other)) < most
        for state, wanted_state in zip(states(own), states(other), strict=True):
            assert off(state, wanted_state) < most


def test_only_layers_that_the_kernels_know_are_fused() -> None:
    linear = KernelLinear(quantize_int8(torch.ones(16, 16)), None)
    before, after = [FusedLinear(linear, "x", "qkv")], [FusedLinear(linear, "attention", "y")]
    layer = FusedLayer(before, FusedAttention(1, 1, 16), after)
    assert can_fuse(layer, torch.bfloat16)
    assert not can_fuse(layer, torch.float16)
    assert not can_fuse(FusedLayer(before, FusedAttention(1, 1, MAX_HEAD_DIM + 8), after), torch.bfloat16)
    convolution = FusedConvolution(torch.ones(3, 16))
    assert can_fuse(FusedLayer(before, convolution, after), torch.float32)
    plain = FusedLinear(Linear(torch.ones(16, 16), None), "x", "gates")
    assert not can_fuse(FusedLayer([plain], convolution, after), torch.float32)
