"""Decoder steps in one call of our kernels: what the layers give one by one, and each sequence what it gets alone."""

import pytest
import torch
from caches import keys, values
from golden import GOLDEN, built, config, image
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits
from torch import Tensor

from engine.generation.fused_decoder import FusedLayer, FusedLinear, can_fuse
from engine.kernels.structures import MAX_HEAD_DIM
from engine.layers.kernel_linear import KernelLinear
from engine.layers.kv_cache import SequenceCache
from engine.moondream.model import Moondream
from engine.moondream.weights import QUANTIZATION_PLAN, open_weights
from engine.quantization.formats import quantize_int8
from engine.quantization.plan import QuantizedSource

pytestmark = needs_kernels

FAMILY = "moondream2"
PROMPTS = ([5, 6, 7, 8], [9], [10, 11], [12], [13])


def quantised(kind: str, dtype: torch.dtype) -> Moondream:
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
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 2e-3), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_agrees_with_the_layers_one_by_one(kind: str, dtype: torch.dtype, most: float) -> None:
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_each_sequence_gets_what_it_gets_alone_in_all_instruction_sets(kind: str, dtype: torch.dtype) -> None:
    model = quantised(kind, dtype)
    with torch.inference_mode():
        fresh = started(model)
        batch = assert_same_in_all_sets(lambda: steps(model, [cache.fork() for cache in fresh])[0])
        for index, (cache, prompt) in enumerate(zip(fresh, PROMPTS, strict=True)):
            alone = [model.decoder.step([(cache, None, tokens)]) for tokens in (prompt, [20], [21])]
            assert same_bits(torch.cat(alone), batch[index :: len(PROMPTS)])


def test_only_layers_that_the_kernels_know_are_fused() -> None:
    linear = KernelLinear(quantize_int8(torch.ones(16, 16)), None)
    layer = FusedLayer([FusedLinear(linear, "x", "qkv")], [FusedLinear(linear, "attention", "y")], 1, 1, 16)
    assert can_fuse(layer, torch.bfloat16)
    assert not can_fuse(layer, torch.float16)
    large = FusedLayer(layer.before, layer.after, 1, 1, MAX_HEAD_DIM + 8)
    assert not can_fuse(large, torch.bfloat16)
