"""How a token is chosen: the nucleus against its definition, draws against their probabilities, seeds, limits."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.generation.next_token import sample_tokens
from engine.generation.sampling import GREEDY, Sampler, top_p_filter
from engine.generation.steps import History, ReadToken


def kept(probabilities: list[float], top_p: float) -> list[float]:
    """From the likeliest on, of equals the first, until those before make up more than top_p."""
    chosen, before = set(), 0.0
    for index in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        if before > top_p:
            break
        chosen.add(index)
        before += probabilities[index]
    total = sum(probabilities[i] for i in chosen)
    return [p / total if i in chosen else 0.0 for i, p in enumerate(probabilities)]


# parts of 64, so that sums are exact and ties and sums on the line happen
@given(st.lists(st.integers(0, 64), min_size=1, max_size=40).filter(any), st.integers(0, 64))
def test_nucleus_is_its_definition(parts: list[int], top_p: int) -> None:
    unit = 2.0 ** -math.ceil(math.log2(sum(parts)))
    probabilities = [part * unit for part in parts]
    probabilities[0] += 1 - sum(probabilities)
    made = top_p_filter(torch.tensor(probabilities, dtype=torch.float64), top_p / 64)
    assert made.tolist() == pytest.approx(kept(probabilities, top_p / 64), abs=1e-12)


def test_nucleus_of_several_rows_is_that_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.softmax(4 * torch.randn(5, 300, generator=generator), -1)
    together = top_p_filter(rows, 0.6)
    for row, made in zip(rows, together, strict=True):
        assert torch.equal(top_p_filter(row, 0.6), made)
        assert made.tolist() == pytest.approx(kept(row.tolist(), 0.6), abs=1e-5)
    torch.testing.assert_close(together.sum(-1), torch.ones(5))


@pytest.mark.parametrize("size", [1, 8, 51200])
def test_the_ends_of_top_p(size: int) -> None:
    equal = torch.full((size,), 1 / size)
    assert top_p_filter(equal, 0.0).tolist() == [1.0] + [0.0] * (size - 1)
    torch.testing.assert_close(top_p_filter(equal, 1.0), equal)
    falling = torch.softmax(-torch.arange(float(size)) / 7, -1)
    torch.testing.assert_close(top_p_filter(falling.flip(0), 1.0), falling.flip(0))


@pytest.mark.parametrize("temperature", [0.01, 1e-6, 1e-30, 1e-42, 5e-324])
def test_near_temperature_0_the_likeliest_is_drawn(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    for seed in range(20):
        logits = 30 * torch.randn(500, generator=generator)
        assert Sampler(temperature, 1.0, seed).draw(logits) == int(logits.argmax())


def test_top_p_0_draws_the_first_of_the_likeliest_at_any_temperature() -> None:
    logits = torch.tensor([1.0, 5.0, -torch.inf, 5.0, 4.9])
    assert {Sampler(temperature, 0.0, seed).draw(logits) for temperature in (0.1, 1, 100) for seed in range(20)} == {1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_draws_follow_the_probabilities(dtype: torch.dtype) -> None:
    logits = torch.tensor([2.0, 1.0, -torch.inf, 0.0, 1.5, -3.0], dtype=dtype)
    for temperature, top_p in ((0.7, 1.0), (2.0, 0.8), (1.0, 0.5)):
        weights = [math.exp(x / temperature) for x in logits.tolist()]
        wanted = kept([weight / sum(weights) for weight in weights], top_p)
        sampler = Sampler(temperature, top_p, seed=5)
        counts = torch.bincount(torch.tensor([sampler.draw(logits) for _ in range(4000)]), minlength=6)
        for count, probability in zip(counts.tolist(), wanted, strict=True):
            spread = math.sqrt(probability * (1 - probability) / 4000)
            assert abs(count / 4000 - probability) <= 5 * spread


def test_a_seed_repeats_and_others_differ() -> None:
    logits = torch.zeros(1000)

    def drawn(seed: int) -> tuple[int, ...]:
        sampler = Sampler(1.0, 1.0, seed)
        return tuple(sampler.draw(logits) for _ in range(10))

    first = drawn(3)
    torch.rand(5)  # draws of others do not count
    assert drawn(3) == first
    assert len({drawn(seed) for seed in (-1, 0, 1, 2, 2**31)}) == 5


def test_drawing_leaves_the_logits_as_they_are() -> None:
    logits = torch.randn(50)
    before = logits.clone()
    Sampler(0.5, 0.3).draw(logits)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        *[({"temperature": value}, "temperature") for value in (-0.1, math.inf, -math.inf, math.nan)],
        *[({"top_p": value}, "top_p") for value in (-0.01, 1.01, math.inf, math.nan)],
        *[({"seed": value}, "seed") for value in (2**64, -(2**63) - 1, 10**30)],
        *[({"top_k": value}, "top_k") for value in (0, -1, 1.5)],
        *[({"min_p": value}, "min_p") for value in (-0.01, 1.01, math.inf, math.nan)],
        *[({"repetition_penalty": value}, "repetition_penalty") for value in (0.0, -1.0, math.inf, math.nan)],
        *[({"presence_penalty": value}, "presence_penalty") for value in (-2.1, 2.1, math.inf, math.nan)],
    ],
)
def test_what_is_out_of_range_is_said_in_one_line(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
        Sampler(**options)
    assert len(str(error.value).splitlines()) == 1


def test_the_ends_of_the_ranges_are_in_them() -> None:
    Sampler(0.0, 0.0, -(2**63))
    Sampler(1e300, 1.0, 2**64 - 1)
    assert GREEDY.temperature == 0


def penalised(
    logits: Sequence[float], prompt: Sequence[int], generated: Sequence[int], repetition: float, presence: float
) -> list[float]:
    """By the definitions: transformers' RepetitionPenaltyLogitsProcessor, then OpenAI's presence penalty."""
    made = []
    for token, logit in enumerate(logits):
        if token in prompt or token in generated:
            logit = logit * repetition if logit < 0 else logit / repetition
        made.append(logit - presence * (token in generated))
    return made


def distribution(
    logits: Sequence[float], temperature: float, top_k: int | None, top_p: float, min_p: float | None
) -> list[float]:
    """By the definitions of transformers' warpers, one after another, each on what the one before left."""

    def softmax(scores: Sequence[float]) -> list[float]:
        weights = [math.exp(score - max(scores)) for score in scores]
        return [weight / math.fsum(weights) for weight in weights]

    scores = [logit / temperature for logit in logits]
    if top_k is not None:
        least = sorted(scores, reverse=True)[min(top_k, len(scores)) - 1]
        scores = [score if score >= least else -math.inf for score in scores]
    probabilities = kept(softmax(scores), top_p)
    if min_p is not None:
        probabilities = [p if p >= min_p * max(probabilities) else 0.0 for p in probabilities]
    return [p / math.fsum(probabilities) for p in probabilities]


LOGITS = st.lists(st.integers(-40, 40).map(lambda n: n / 8) | st.just(-math.inf), min_size=2, max_size=30).filter(
    lambda logits: max(logits) > -math.inf
)


@given(LOGITS, st.data())
def test_penalties_are_their_definitions(logits: list[float], data: st.DataObject) -> None:
    tokens = st.lists(st.integers(0, len(logits) - 1), max_size=10)
    prompt, generated = data.draw(tokens), data.draw(tokens)
    repetition = data.draw(st.sampled_from([0.25, 0.8, 1.0, 1.1, 1.5, 4.0]))
    presence = data.draw(st.sampled_from([-2.0, -0.3, 0.0, 0.7, 2.0]))
    own, given_logits = Sampler(repetition_penalty=repetition, presence_penalty=presence), torch.tensor(logits)
    wanted = penalised(logits, prompt, generated, repetition, presence)
    made = own.apply_penalties(given_logits, prompt, generated)
    assert made.tolist() == wanted
    assert own.sample(made) == wanted.index(max(wanted))
    assert given_logits.tolist() == logits


# Odd numbers, so that no sum of probabilities lies on the line of top_p or min_p.
@given(
    LOGITS,
    st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    st.none() | st.integers(1, 40),
    st.sampled_from([0.0, 0.21347, 0.58723, 0.93871, 1.0]),
    st.none() | st.sampled_from([0.0, 0.03917, 0.31729, 0.77713, 1.0]),
)
def test_what_is_drawn_from_is_the_definitions(
    logits: list[float], temperature: float, top_k: int | None, top_p: float, min_p: float | None
) -> None:
    own = Sampler(temperature, top_p, top_k=top_k, min_p=min_p)
    made = own.probabilities(torch.tensor(logits))
    made /= made.sum()
    assert made.tolist() == pytest.approx(distribution(logits, temperature, top_k, top_p, min_p), abs=1e-12)
    token = own.draw(torch.tensor(logits))
    assert made[token] > 0


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(("top_p", "min_p"), [(0.0, None), (0.3, None), (0.95, None), (0.9, 0.15), (1.0, 0.15)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # with many ties in bfloat16
def test_of_a_large_vocabulary_the_same_tokens_are_kept_as_by_sorting_all(
    temperature: float, top_p: float, min_p: float | None, dtype: torch.dtype
) -> None:
    logits = (3 * torch.randn(65536, generator=torch.Generator().manual_seed(7))).to(dtype)
    made = Sampler(temperature, top_p, min_p=min_p).probabilities(logits)
    wanted = torch.softmax(logits.double() / temperature, -1)
    wanted = top_p_filter(wanted, top_p) if top_p < 1 else wanted
    wanted[wanted < (min_p or 0) * wanted.max()] = 0
    assert torch.equal(made > 0, wanted > 0)
    torch.testing.assert_close(made / made.sum(), wanted / wanted.sum())


def test_what_changes_nothing_draws_the_same() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = [4 * torch.randn(300, generator=generator) for _ in range(50)]
    neutral: dict[str, Any] = {"top_k": 300, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
    plain, other = Sampler(0.9, 0.7, 4), Sampler(0.9, 0.7, 4, **neutral)
    assert [plain.draw(row) for row in logits] == [other.draw(other.apply_penalties(row, [1], [2])) for row in logits]


def test_each_row_is_chosen_by_its_own_sampler_and_history() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(6, 40, generator=generator)
    best = logits.argmax(-1).tolist()

    def reads() -> list[ReadToken]:
        greedy = Sampler(repetition_penalty=3.0, presence_penalty=2.0)
        return [
            ReadToken(),
            ReadToken(greedy, history=History(prompt=[best[1]], generated=[5])),
            ReadToken(greedy, history=History(generated=[best[2]])),
            ReadToken(Sampler(1.5, 1.0, 3, top_k=4), history=History(prompt=[1, 2])),
            ReadToken(Sampler(1.5, 1.0, 3, repetition_penalty=1.3), (best[4],), history=History(prompt=[1, 2])),
            ReadToken(greedy, allowed_token_ids=(best[5], 3, 7), history=History(generated=[best[5]])),
        ]

    together = sample_tokens(reads(), logits.clone())
    assert together == [sample_tokens([read], row[None].clone())[0] for read, row in zip(reads(), logits, strict=True)]
    assert together[0] == best[0]
    assert together[1:3] != best[1:3]
    assert together[4] != best[4]
    assert together[5] in (3, 7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [1, 17, 480, 51200])
def test_of_equal_logits_the_first_is_taken(dtype: torch.dtype, size: int) -> None:
    logits = torch.randint(0, 5, (4, size), generator=torch.Generator().manual_seed(size)).to(dtype)
    first = [row.index(max(row)) for row in logits.tolist()]
    assert sample_tokens([ReadToken()] * 4, logits) == first
