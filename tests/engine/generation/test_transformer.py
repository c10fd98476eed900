"""The layer loop and its caches, on a decoder of another structure than Moondream's, against plain float64."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from caches import of_attention
from tiny_decoder import DIM, HEAD_DIM, HEADS, INNER, LAYERS, Attention, decoder, reference_hidden_states
from torch import Tensor

from engine.generation.transformer import Deepstack, SequenceRun, Transformer
from engine.layers.attention import FULL_ATTENTION_MIN_ROWS
from engine.layers.kv_cache import PrefixCache, SequenceCache
from engine.layers.lora import LoraAdapter

TOLERANCE = 2e-5


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def drawn(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(100 * seed + rows))


def close(made: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(made.double(), wanted, atol=TOLERANCE, rtol=TOLERANCE)


def read(model: Transformer, cache: SequenceCache, x: Tensor, **options: Any) -> Tensor:
    return model.extend(x, [SequenceRun(cache, slice(0, len(x)), **options)])


def prefix_of(model: Transformer, chunks: Sequence[tuple[Tensor, bool]]) -> PrefixCache:
    """chunks: embeddings, and whether they are causal."""
    cache = model.new_cache()
    for x, causal in chunks:
        model.prefill(x, [SequenceRun(cache, slice(0, len(x)), causal=causal)])
    return cache.freeze()


@pytest.mark.parametrize("pieces", [[40], [1] * 40, [17, 23], [1, 38, 1], [2, 30, 5, 3]])
@pytest.mark.parametrize("prefilled", [0, 1, 2])
def test_a_text_in_pieces_is_that_of_one_pass(pieces: list[int], prefilled: int) -> None:
    """prefilled: how many of the pieces are a prefix, which is shared."""
    model, x = decoder(), drawn(40)
    wanted, parts = reference_hidden_states(x), x.split(pieces)
    cache = prefix_of(model, [(part, True) for part in parts[:prefilled]]).fork() if prefilled else model.new_cache()
    first = cache.length
    assert first == sum(pieces[:prefilled])
    for part in parts[prefilled:]:
        close(read(model, cache, part), wanted[first : first + len(part)])
        first += len(part)
    assert cache.length == cache.next_position == 40


def test_a_long_text_at_once_and_in_pieces() -> None:
    model, x = decoder(), drawn(FULL_ATTENTION_MIN_ROWS + 40)
    wanted = reference_hidden_states(x)
    for pieces in ([FULL_ATTENTION_MIN_ROWS + 40], [FULL_ATTENTION_MIN_ROWS, 40], [100, 196]):
        cache = model.new_cache()
        close(torch.cat([read(model, cache, part) for part in x.split(pieces)]), wanted)


def test_a_picture_between_tokens() -> None:
    """Tokens, then a block whose rows all see each other, then tokens, all of it a prefix; prompts go on from that."""
    model = decoder()
    before, picture, after = drawn(5, 1), drawn(30, 2), drawn(3, 3)
    prefix = prefix_of(model, [(before, True), (picture, False), (after, True)])
    assert prefix.length == prefix.next_position == 38
    for count in (1, 9, 70):
        prompt = drawn(count, 4)
        x = torch.cat([before, picture, after, prompt])
        seen = torch.ones(len(x), len(x), dtype=torch.bool).tril()
        seen[5:35, 5:35] = True
        close(read(model, prefix.fork(), prompt), reference_hidden_states(x, seen)[38:])


def test_the_hidden_states_of_a_picture_in_a_text() -> None:
    """Not a prefix: with the hidden states of its rows, as a later turn of a conversation has it."""
    model, cache = decoder(), decoder().new_cache()
    before, picture = drawn(5, 1), drawn(30, 2)
    x = torch.cat([before, picture])
    seen = torch.ones(35, 35, dtype=torch.bool).tril()
    seen[5:, 5:] = True
    made = torch.cat([read(model, cache, before), read(model, cache, picture, causal=False)])
    close(made, reference_hidden_states(x, seen))


def test_hidden_states_are_added_to_given_rows_after_given_layers() -> None:
    model, x = decoder(), drawn(20)
    rows = torch.tensor([3, 4, 5, 9, 11])
    states = {0: drawn(5, 1), 1: drawn(5, 2), len(LAYERS) - 1: drawn(5, 3)}
    added = {layer: torch.zeros(20, DIM).index_copy(0, rows, state) for layer, state in states.items()}
    wanted = reference_hidden_states(x, added=added)
    alone = read(model, model.new_cache(), x, deepstack=Deepstack(rows, states))
    close(alone, wanted)
    others = [drawn(6, 5), drawn(1, 6)]
    runs = [
        SequenceRun(model.new_cache(), slice(0, 6)),
        SequenceRun(model.new_cache(), slice(6, 26), deepstack=Deepstack(rows, states)),
        SequenceRun(model.new_cache(), slice(26, 27)),
    ]
    together = model.extend(torch.cat([others[0], x, others[1]]), runs)
    assert torch.equal(together[6:26], alone)
    for other, part in zip(others, (together[:6], together[26:]), strict=True):
        assert torch.equal(read(model, model.new_cache(), other), part)
    cache = model.new_cache()
    model.prefill(x[:15], [SequenceRun(cache, slice(0, 15), deepstack=Deepstack(rows, states))])
    close(read(model, cache.freeze().fork(), x[15:]), wanted[15:])


def test_positions_that_are_no_counts() -> None:
    """Text, a picture of 4 x 6 patches as in M-RoPE, text: the picture moves the position on by 6."""
    model, x = decoder(), drawn(3 + 24 + 5)
    grid = torch.stack([torch.zeros(24), torch.arange(24) // 6, torch.arange(24) % 6], 1).long()
    positions = torch.cat(
        [torch.arange(3)[:, None].expand(-1, 3), 3 + grid, 9 + torch.arange(5)[:, None].expand(-1, 3)]
    )
    wanted = reference_hidden_states(x, positions=positions)
    cache = model.new_cache()
    close(read(model, cache, x[:27], positions=positions[:27]), wanted[:27])
    assert (cache.length, cache.next_position) == (27, 9)
    fork = cache.fork()
    close(read(model, fork, x[27:28]), wanted[27:28])
    close(read(model, fork, x[28:]), wanted[28:])
    assert (fork.length, fork.next_position) == (32, 14)
    assert (cache.length, cache.next_position) == (27, 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_is_the_same_to_the_last_bit_alone_and_in_a_batch(dtype: torch.dtype) -> None:
    model = decoder(dtype)
    first, second = (prefix_of(model, [(drawn(4, n).to(dtype), True), (drawn(50, n).to(dtype), False)]) for n in (1, 2))
    starts = [first, first, second, None, None, second, None]
    counts = [
        (1, 3, 1),
        (5, 1, 1),
        (7, 1, 70),
        (70, 1, 2),
        (FULL_ATTENTION_MIN_ROWS, 2, 1),
        (1, 1, 1),
        (FULL_ATTENTION_MIN_ROWS + 1, 1, 1),
    ]
    together, apart = ([model.new_cache(start) for start in starts] for _ in range(2))
    for turn in range(3):
        texts = [drawn(count[turn], number).to(dtype) for number, count in enumerate(counts)]
        runs, end = [], 0
        for cache, text in zip(together, texts, strict=True):
            runs.append(SequenceRun(cache, slice(end, end + len(text)), causal=len(text) != 7))
            end += len(text)
        batch = model.extend(torch.cat(texts), runs)
        alone = [read(model, cache, text, causal=len(text) != 7) for cache, text in zip(apart, texts, strict=True)]
        assert torch.equal(batch, torch.cat(alone))


def test_prefixes_that_are_read_together_are_those_read_alone() -> None:
    model, texts = decoder(), [drawn(30, 1), drawn(30, 2), drawn(44, 3)]
    caches = [model.new_cache() for _ in texts]
    rows = [slice(0, 30), slice(30, 60), slice(60, 104)]
    model.prefill(torch.cat(texts), [SequenceRun(*one, causal=False) for one in zip(caches, rows, strict=True)])
    for cache, text in zip(caches, texts, strict=True):
        together, alone = cache.freeze(), prefix_of(model, [(text, False)])
        for one, other in zip(of_attention(together), of_attention(alone), strict=True):
            assert torch.equal(one.shared[0].keys, other.shared[0].keys)
            assert torch.equal(one.shared[0].values, other.shared[0].values)
        assert torch.equal(read(model, together.fork(), drawn(3)), read(model, alone.fork(), drawn(3)))


def test_forks_of_a_conversation_go_on_by_themselves() -> None:
    model, start, turns = decoder(), drawn(12, 1), [drawn(5, 2), drawn(1, 3), drawn(80, 4)]
    trunk = prefix_of(model, [(start, True)]).fork()
    told = [start]
    for turn in turns:
        for other in (drawn(9, 7), turn):  # one way, and back, and the other
            close(read(model, trunk.fork(), other), reference_hidden_states(torch.cat([*told, other]))[-len(other) :])
        read(model, trunk, turn)
        told.append(turn)
    close(read(model, trunk, drawn(2, 8)), reference_hidden_states(torch.cat([*told, drawn(2, 8)]))[-2:])


def test_a_step_that_failed_half_way_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = decoder(), decoder().new_cache()
    x, wanted = drawn(12), reference_hidden_states(drawn(12))
    close(read(model, cache, x[:5]), wanted[:5])

    def full(*given: object) -> Tensor:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(Attention, "after_attention", full)
        with pytest.raises(RuntimeError, match="no memory"):
            read(model, cache, drawn(70))
    assert cache.length == cache.next_position == 5
    close(read(model, cache, x[5:]), wanted[5:])


def test_adapters_add_to_the_linears_that_they_name() -> None:
    model = decoder()
    shapes = {"layers.0.q": (DIM, HEADS * HEAD_DIM), "layers.1.down": (INNER, DIM), "layers.3.down": (INNER, DIM)}
    draw = torch.Generator().manual_seed(1)
    pairs = {
        name: (torch.randn(3, inputs, generator=draw), torch.randn(outputs, 3, generator=draw))
        for name, (inputs, outputs) in shapes.items()
    }
    adapter, texts = LoraAdapter(pairs), [drawn(6, 1), drawn(9, 2)]
    runs = [SequenceRun(model.new_cache(), slice(0, 6)), SequenceRun(model.new_cache(), slice(6, 15), adapter=adapter)]
    made = model.extend(torch.cat(texts), runs)
    close(made[:6], reference_hidden_states(texts[0]))
    close(made[6:], reference_hidden_states(texts[1], adapters=pairs))
    assert not torch.allclose(made[6:].double(), reference_hidden_states(texts[1]), atol=1e-2)


def test_rows_that_would_change_the_kernel_of_others_go_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attention, "few_rows", 8)
    model, counted = decoder(), []
    before = Attention.before_attention

    def counting(block: Attention, x: Tensor, *given: Any, adapt: Any) -> tuple[Tensor, ...]:
        counted.append(len(x))
        return before(block, x, *given, adapt=adapt)

    monkeypatch.setattr(Attention, "before_attention", counting)
    runs, texts, end = [], [], 0
    for count in (3, 4, 1, 20, 2, 2):
        texts.append(drawn(count, end))
        runs.append(SequenceRun(model.new_cache(), slice(end, end + count)))
        end += count
    made = model.extend(torch.cat(texts), runs)
    assert counted[::3] == [7, 1, 20, 4]
    close(made, torch.cat([reference_hidden_states(text) for text in texts]))
