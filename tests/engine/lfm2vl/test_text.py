"""The text model: every number of the reference, in one pass, in chunks, token by token and after a fork."""

from functools import cache

import pytest
import torch
from golden_lfm2vl import CASES, GOLDEN, LAYER_TOLERANCE, STEP_TOLERANCE, close, config, tensors
from torch import Tensor

from engine.generation.text_model import TextModel
from engine.generation.transformer import SequenceRun, Transformer
from engine.layers.kv_cache import ConvCache, SequenceCache
from engine.layers.parameters import ParameterReader
from engine.lfm2vl.text import text_model
from engine.lfm2vl.weights import open_weights

CONV_LAYERS = (0, 1, 3, 4)


@cache
def text() -> TextModel:
    weights = open_weights(GOLDEN / "model.safetensors", config())
    return text_model(config().text_config, ParameterReader(weights, "language_model", torch.float32, "cpu", True))


def extend(cache: SequenceCache, embeddings: Tensor) -> Tensor:
    return text().transformer.extend(embeddings, [SequenceRun(cache, slice(0, len(embeddings)))])


def states(cache: SequenceCache) -> list[Tensor]:
    return [layer.inputs.T for layer in cache.layers if isinstance(layer, ConvCache)]


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_each_layer_the_logits_and_the_states_of_the_reference(case: str) -> None:
    wanted, whole = tensors(case), text().transformer
    for layer in range(6):
        first = Transformer(whole.blocks[: layer + 1], whole.rotary, whole.dtype, whole.device)
        run = SequenceRun(first.new_cache(), slice(0, len(wanted["inputs_embeds"])))
        close(first.extend(wanted["inputs_embeds"], [run]), wanted[f"text_layer_{layer}"], LAYER_TOLERANCE)
    cache = whole.new_cache()
    close(text().logits(extend(cache, wanted["inputs_embeds"])), wanted["logits"])
    for layer, state in zip(CONV_LAYERS, states(cache), strict=True):
        close(state, wanted[f"conv_state_{layer}"], LAYER_TOLERANCE)


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_greedy_decoding_gives_the_ids_of_the_reference(case: str) -> None:
    wanted, cache, ids = tensors(case), text().transformer.new_cache(), []
    logits = text().logits(extend(cache, wanted["inputs_embeds"]))[-1]
    for step in range(16):
        ids.append(int(logits.argmax()))
        logits = text().logits(extend(cache, text().embed(ids[-1:])))[0]
        close(logits, wanted["logits_full_16"][step], STEP_TOLERANCE)
    assert ids == CASES[case]["greedy_ids"]


@pytest.mark.parametrize("chunk", [1, 2, 7, 40])
@torch.inference_mode()
def test_prefill_in_chunks_equals_the_full_pass(chunk: int) -> None:
    wanted, cache = tensors("two_images"), text().transformer.new_cache()
    hidden = torch.cat([extend(cache, part) for part in wanted["inputs_embeds"].split(chunk)])
    close(text().logits(hidden), wanted["logits"], STEP_TOLERANCE)
    for layer, state in zip(CONV_LAYERS, states(cache), strict=True):
        close(state, wanted[f"conv_state_{layer}"], LAYER_TOLERANCE)


@torch.inference_mode()
def test_a_prompt_shorter_than_the_kernel_starts_from_zeros() -> None:
    wanted, cache = tensors("text_only"), text().transformer.new_cache()
    close(text().logits(extend(cache, wanted["inputs_embeds"][:1])), wanted["logits"][:1])
    assert all(not state[:, 0].any() for state in states(cache))


@torch.inference_mode()
def test_forks_of_a_prefix_go_on_from_its_state_and_leave_it_as_it_was() -> None:
    wanted, cache = tensors("text_only"), text().transformer.new_cache()
    prompt, middle = wanted["inputs_embeds"], 20
    extend(cache, prompt[:middle])
    prefix = cache.freeze()
    first, second = prefix.fork(), prefix.fork()
    extend(second, torch.randn(3, 64))
    for fork in (first, prefix.fork(), cache):  # as if the second had never been
        close(text().logits(extend(fork, prompt[middle:])), wanted["logits"][middle:], STEP_TOLERANCE)


@torch.inference_mode()
def test_rewinding_to_a_kept_prefix_repeats_the_same_bits() -> None:
    prompt, cache = tensors("text_only")["inputs_embeds"], text().transformer.new_cache()
    extend(cache, prompt[:9])
    kept = cache.freeze()
    runs = [kept.fork() for _ in range(2)]
    once, again = (extend(run, prompt[9:]) for run in runs)
    assert torch.equal(once, again)


@torch.inference_mode()
def test_sequences_in_a_batch_have_the_bits_that_they_have_alone() -> None:
    cases = [tensors(case)["inputs_embeds"] for case in CASES]
    alone = [extend(text().transformer.new_cache(), one) for one in cases]
    runs, end = [], 0
    for one in cases:
        runs.append(SequenceRun(text().transformer.new_cache(), slice(end, end + len(one))))
        end += len(one)
    together = text().transformer.extend(torch.cat(cases), runs)
    for run, hidden in zip(runs, alone, strict=True):
        assert torch.equal(together[run.rows], hidden)
    steps = torch.randn(len(runs), 64)
    next_runs = [SequenceRun(run.cache, slice(row, row + 1)) for row, run in enumerate(runs)]
    batch = text().transformer.extend(steps, next_runs)
    for row, one in enumerate(cases):
        cache = text().transformer.new_cache()
        extend(cache, one)
        assert torch.equal(extend(cache, steps[row : row + 1])[0], batch[row])


def test_the_head_is_tied_to_the_embeddings_unless_the_checkpoint_has_one() -> None:
    class Untied:
        def __init__(self) -> None:
            self.tied = open_weights(GOLDEN / "model.safetensors", config())

        def has(self, name: str) -> bool:
            return name == "language_model.lm_head.weight" or self.tied.has(name)

        def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
            return (
                self.tied.tensor(name, dtype, device) if name != "language_model.lm_head.weight" else torch.eye(447, 64)
            )

        matrix = tensor

        def row_table(self, name: str) -> None:
            return None

    untied = text_model(config().text_config, ParameterReader(Untied(), "language_model", torch.float32, "cpu"))
    hidden = torch.randn(3, 64)
    assert torch.equal(untied.logits(hidden)[:, 64:], torch.zeros(3, 447 - 64))
    assert text().logits(hidden)[:, 64:].any()
