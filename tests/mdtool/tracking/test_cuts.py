"""Where shots begin."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from synthetic_video import HEIGHT, WIDTH, MovingObject, Scene, texture

from mdtool.tracking import cuts
from mdtool.tracking.cuts import BLOCKS, CutDetector, is_cut, luma_grid


def change(before: np.ndarray, after: np.ndarray) -> float:
    return cuts.change(luma_grid(before), luma_grid(after))


@pytest.mark.parametrize(("size", "shape"), [((320, 180), BLOCKS), ((180, 320), BLOCKS[::-1]), ((100, 100), BLOCKS)])
def test_coarse_pictures_lie_as_their_picture_does(size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert luma_grid(texture(1, size=size)).shape == shape


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (320, 1), (1, 320), (1920, 1080)])
def test_coarse_pictures_of_any_size(size: tuple[int, int]) -> None:
    width, height = size
    grey = luma_grid(np.full((height, width), 77, np.uint8))
    assert grey.dtype == np.float32
    assert np.allclose(grey, 77)


@pytest.mark.parametrize("recent", [[], [0.5] * 8, [5.0] * 8])
def test_another_scene_is_a_cut(recent: list[float]) -> None:
    assert is_cut(change(texture(1), texture(2)), recent)


@pytest.mark.parametrize("light", [0.5, 0.2])
def test_another_scene_is_a_cut_in_the_dark_too(light: float) -> None:
    one, other = ((texture(number) * light).astype(np.uint8) for number in (1, 2))
    assert is_cut(change(one, other), [0.2] * 8)


def test_noise_in_the_dark_is_no_cut() -> None:
    random = np.random.default_rng(0)
    one, other = (random.normal(12, 8, (HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8) for _ in range(2))
    assert not is_cut(change(one, other), [])


@pytest.mark.parametrize("recent", [[], [0.0] * 8])
def test_the_same_scene_is_no_cut(recent: list[float]) -> None:
    assert not is_cut(change(texture(1), texture(1)), recent)


def test_moving_things_are_no_cut() -> None:
    pictures = list(Scene(20, [MovingObject(lambda i: (20 + 15 * i, 90), size=(60, 80))]).pictures())
    changes = [change(a, b) for a, b in pairwise(pictures)]
    assert not any(is_cut(one, changes[:n]) for n, one in enumerate(changes))


def test_a_slow_fade_is_no_cut() -> None:
    one, other = texture(1).astype(float), texture(2).astype(float)
    pictures = [(one + (other - one) * n / 30).astype(np.uint8) for n in range(31)]
    changes = [change(a, b) for a, b in pairwise(pictures)]
    assert not any(is_cut(one, changes[max(0, n - 8) : n]) for n, one in enumerate(changes))


def test_a_cut_after_a_pan_is_still_one() -> None:
    pictures = [np.roll(texture(1), n, axis=1) for n in range(9)]
    changes = [change(a, b) for a, b in pairwise(pictures)]
    assert not is_cut(changes[-1], changes[:-1])
    assert is_cut(change(pictures[-1], 255 - texture(2)), changes)


def test_a_picture_that_goes_dark_is_a_cut() -> None:
    assert is_cut(change(texture(1), np.zeros((HEIGHT, WIDTH), np.uint8)), [1.0] * 8)


def lit(number: int, gain: float = 1.0, offset: float = 0.0) -> np.ndarray:
    noise = np.random.default_rng(number).normal(0, 2, (HEIGHT, WIDTH))
    return (texture(number) * gain + offset + noise).clip(0, 255).astype(np.uint8)


def cuts_and_lights(pictures: Iterable[np.ndarray]) -> tuple[list[int], list[int]]:
    """(frames that begin a shot, frames where the light changes)"""
    detector = CutDetector()
    found = [detector.next(luma_grid(picture)) for picture in pictures]
    return [n for n, (cut, _) in enumerate(found) if cut], [n for n, (_, light) in enumerate(found) if light]


@pytest.mark.parametrize(
    "dark", [{"gain": 0.5}, {"gain": 0.1}, {"gain": 0}, {"gain": 0.2, "offset": 200}, {"offset": 255}]
)
@pytest.mark.parametrize("period", [2, 3, 5])
def test_a_strobe_changes_the_light_and_cuts_nothing(dark: dict[str, float], period: int) -> None:
    cuts, lights = cuts_and_lights(lit(1, **(dark if n % period else {})) for n in range(30))
    assert cuts == [0]
    assert lights == [n for n in range(1, 30) if (n % period == 0) != ((n - 1) % period == 0)]


@pytest.mark.parametrize("blank", [0, 255])
def test_a_cut_behind_blank_frames(blank: int) -> None:
    pictures = [lit(1)] * 5 + [np.full((HEIGHT, WIDTH), blank, np.uint8)] * 4 + [lit(2)] * 5
    assert cuts_and_lights(pictures) == ([0, 9], [5, 9])


def test_a_dark_shot_is_seen_after_a_bright_one() -> None:
    cuts, lights = cuts_and_lights([lit(1)] * 5 + [lit(2, 0.15)] * 20 + [lit(3, 0.15)] * 5)
    assert 5 in cuts + lights
    assert 25 in cuts


def test_a_fast_fade_changes_the_light_on_each_of_its_frames() -> None:
    gains = [1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert cuts_and_lights(lit(1, gain) for gain in gains) == ([0], [2, 3, 4, 5])


def test_motion_is_no_change_of_light() -> None:
    assert cuts_and_lights(np.roll(texture(1), 3 * n, axis=1) for n in range(20))[1] == []


def test_shots_of_three_frames() -> None:
    assert cuts_and_lights(lit(n // 3) for n in range(30))[0] == [*range(0, 30, 3)]
