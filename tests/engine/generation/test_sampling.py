"""How a token is chosen: the nucleus against its definition, draws against their probabilities, seeds, limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.generation.sampling import GREEDY, Sampler, nucleus


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
    made = nucleus(torch.tensor(probabilities, dtype=torch.float64), top_p / 64)
    assert made.tolist() == pytest.approx(kept(probabilities, top_p / 64), abs=1e-12)


def test_nucleus_of_several_rows_is_that_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.softmax(4 * torch.randn(5, 300, generator=generator), -1)
    together = nucleus(rows, 0.6)
    for row, made in zip(rows, together, strict=True):
        assert torch.equal(nucleus(row, 0.6), made)
        assert made.tolist() == pytest.approx(kept(row.tolist(), 0.6), abs=1e-5)
    torch.testing.assert_close(together.sum(-1), torch.ones(5))


@pytest.mark.parametrize("size", [1, 8, 51200])
def test_the_ends_of_top_p(size: int) -> None:
    equal = torch.full((size,), 1 / size)
    assert nucleus(equal, 0.0).tolist() == [1.0] + [0.0] * (size - 1)
    torch.testing.assert_close(nucleus(equal, 1.0), equal)
    falling = torch.softmax(-torch.arange(float(size)) / 7, -1)
    torch.testing.assert_close(nucleus(falling.flip(0), 1.0), falling.flip(0))


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
    ],
)
def test_what_is_out_of_range_is_said_in_one_line(options: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
        Sampler(**options)
    assert len(str(error.value).splitlines()) == 1


def test_the_ends_of_the_ranges_are_in_them() -> None:
    Sampler(0.0, 0.0, -(2**63))
    Sampler(1e300, 1.0, 2**64 - 1)
    assert GREEDY.temperature == 0
