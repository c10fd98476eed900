"""What `--sample` may say, and how far apart looks are then."""

import pytest

from mdtool.errors import UsageError
from mdtool.tracking.sampling import AUTO_FRAMES, Sampling, parse_sampling


@pytest.mark.parametrize(
    ("text", "sampling"),
    [
        ("auto", Sampling()),
        ("every", Sampling(stride=1)),
        ("1", Sampling(stride=1)),
        ("10", Sampling(stride=10)),
        ("fps=2", Sampling(fps=2)),
        ("fps=0.5", Sampling(fps=0.5)),
        ("fps=.5", Sampling(fps=0.5)),
        ("fps=2.", Sampling(fps=2)),
    ],
)
def test_what_it_may_be(text: str, sampling: Sampling) -> None:
    assert parse_sampling(text) == sampling


@pytest.mark.parametrize(
    "text",
    ["", "0", "-3", "1.5", "often", "AUTO", " auto", "fps", "fps=", "fps=0", "fps=0.0", "fps=-1", "fps=nan", "fps=inf",
     "fps=1e3", "every 2", "10\n", "+3", "012"],
)  # fmt: skip
def test_what_it_may_not_be(text: str) -> None:
    with pytest.raises(UsageError, match=r"every, auto, a number of frames .* fps=2"):
        parse_sampling(text)


@pytest.mark.parametrize(
    ("sampling", "rate", "frames"),
    [
        (Sampling(stride=1), 30, 1),
        (Sampling(stride=25), 30, 25),
        (Sampling(fps=2), 30, 15),
        (Sampling(fps=2), 29.97, 15),
        (Sampling(fps=0.25), 24, 96),
        (Sampling(fps=60), 30, 1),
        (Sampling(fps=1000), 30, 1),
    ],
)
def test_frames_between_looks(sampling: Sampling, rate: float, frames: int) -> None:
    assert not sampling.auto
    assert sampling.frames_between(rate) == frames


@pytest.mark.parametrize("rate", [1, 10, 24, 30, 60, 240])
def test_auto_stays_within_bounds(rate: float) -> None:
    assert Sampling().auto
    assert AUTO_FRAMES[0] <= Sampling().frames_between(rate) <= AUTO_FRAMES[1]


@pytest.mark.parametrize("text", ["auto", "every", "10", "fps=5"])
@pytest.mark.parametrize(("looks", "frames"), [(1, 1), (1, 1000), (7, 1000), (100, 1000), (5000, 1000)])
def test_limited_spreads_looks_over_all_frames(text: str, looks: int, frames: int) -> None:
    sampling = parse_sampling(text)
    limited = sampling.limited(looks, frames)
    assert limited.auto == sampling.auto
    assert limited.frames_between(30) >= sampling.frames_between(30)
    assert -(-frames // limited.frames_between(30)) <= looks


def test_limited_changes_nothing_where_looks_are_plenty() -> None:
    assert parse_sampling("10").limited(1000, 300).frames_between(30) == 10
