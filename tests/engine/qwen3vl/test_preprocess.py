"""Sizes that images are resized to, and what a patch holds."""

import json

import numpy as np
import pytest
from golden_qwen import FOLDER, model

from engine.contract import ImageBudget
from engine.qwen3vl.preprocess import make_patches, smart_resize
from engine.qwen3vl.vision import VisionEncoder

RELEASE = ImageBudget(64, 16_384)


def test_every_size_of_the_reference() -> None:
    for row in json.loads((FOLDER / "smart_resize.json").read_text())["rows"]:
        wanted = row["resized_height"], row["resized_width"]
        assert smart_resize(row["height"], row["width"], 32, RELEASE) == wanted, row


@pytest.mark.parametrize(("height", "width"), [(1, 201), (4021, 20)])
def test_an_image_that_is_far_too_narrow_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{width} x {height} pixels is too narrow"):
        smart_resize(height, width, 32, RELEASE)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (7, 300), (64, 64), (5000, 300)])
def test_any_other_size_keeps_to_its_budget(size: tuple[int, int]) -> None:
    budget = ImageBudget(6, 40)
    height, width = smart_resize(*size, 32, budget)
    assert height % 32 == width % 32 == 0
    assert 6 <= height * width // 32**2 <= max(40, -(-max(size) // min(size)))


def test_rows_are_blocks_of_two_by_two_patches_with_the_channels_first() -> None:
    encoder = model().images
    assert isinstance(encoder, VisionEncoder)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    patches, grid = make_patches(image, encoder.config, encoder.image, ImageBudget(1, 100))
    assert grid == (4, 6)
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3), (0, 4), (0, 5), (1, 4), (1, 5), (2, 0)]
    for row, (y, x) in enumerate(order):
        patch = image[16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
        wanted = ((patch / 255 - 0.5) / 0.5).transpose(2, 0, 1).ravel()
        np.testing.assert_allclose(patches[row].numpy(), wanted, atol=1e-6)
