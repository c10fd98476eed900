"""Which tiles an image is split into, how many tokens it costs, and its patches: as the reference has them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from golden_lfm2vl import CASES, GOLDEN, WITH_IMAGES, config, image, tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import ImageBudget
from engine.lfm2vl.config import Config, ImageConfig
from engine.lfm2vl.preprocess import make_tiling, split, within_budget

TABLES: dict[str, Any] = json.loads((GOLDEN / "tiles.json").read_text())


def release(**changed: Any) -> Config:
    return replace(config(), preprocessor_config=ImageConfig(**changed))


def tokens(height: int, width: int, **changed: Any) -> int:
    own = release(**changed)
    return make_tiling((height, width), own).tokens(own)


def spent(height: int, width: int, **budget: Any) -> int:
    """Tokens within a budget for the whole image."""
    own = within_budget(release(), ImageBudget(**budget))
    return make_tiling((height, width), own).tokens(own)


@pytest.mark.parametrize("settings", TABLES)
def test_the_tile_table_of_the_reference(settings: str) -> None:
    table = TABLES[settings]
    for row in table["rows"]:
        own = release(**table["overrides"])
        tiling = make_tiling((row["height"], row["width"]), own)
        assert (tiling.rows or 1, tiling.columns or 1) == (row["rows"], row["cols"]), row
        assert (tiling.rows > 0 and tiling.whole is not None) == row["thumbnail"], row
        if tiling.whole:
            assert tiling.whole == (row["resized_height"], row["resized_width"]), row
        assert tiling.tokens(own) == row["image_tokens"], row


def test_the_published_examples() -> None:
    """Of the model card: 240 is that of 384x640, and 1020 that of a thumbnail of 28x9 tokens."""
    assert (tokens(384, 256), tokens(384, 680), tokens(1000, 3000)) == (96, 252, 1011)
    assert (tokens(384, 640), tokens(1000, 3000, max_image_tokens=270)) == (240, 1020)


def test_a_smaller_limit_can_cost_more_as_the_image_is_split() -> None:
    """The reference's rule: the limit is that of a whole image, and decides too which image is large."""
    assert tokens(512, 512) == 256
    assert tokens(512, 512, max_image_tokens=64) == 4 * 256 + 64


def test_a_budget_bounds_the_whole_image_where_the_rule_would_split_it() -> None:
    assert spent(512, 512, max_tokens=64) == 64
    assert spent(512, 512) == spent(512, 512, max_tokens=256) == 256
    assert spent(1024, 1024) == spent(1024, 1024, max_tokens=1280) == 4 * 256 + 256
    assert spent(1024, 1024, max_tokens=255) <= 255  # no tiles
    assert spent(1024, 1024, max_tokens=575) == 256  # no room for two tiles and a thumbnail
    assert spent(1000, 3000, max_tokens=832) == 3 * 256 + 4 * 13  # the tiles leave 64 for the thumbnail
    assert spent(1000, 3000, max_tokens=600) == 2 * 256 + 5 * 16


def test_tiles_and_the_thumbnail_can_be_turned_off_and_limited() -> None:
    assert spent(1000, 3000, tiles=False) == 243
    assert spent(1000, 3000, thumbnail=False) == 3 * 256
    assert spent(1000, 3000, max_tiles=2) == 2 * 256 + 243
    assert spent(1000, 3000, max_tiles=1) == 243
    assert spent(100, 100, min_tokens=100) == 100
    assert spent(100, 100) == 64


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 3000), st.integers(1, 12), st.booleans())
def test_no_image_costs_more_than_its_budget(height: int, width: int, most: int, tiles: int, thumbnail: bool) -> None:
    budget = {"min_tokens": min(64, most), "max_tokens": most, "max_tiles": tiles, "thumbnail": thumbnail}
    assert 0 < spent(height, width, **budget) <= most


@pytest.mark.parametrize("case", WITH_IMAGES)
def test_the_patches_of_the_reference(case: str) -> None:
    parts = [part for name in CASES[case]["images"] for part in split(image(name), config())]
    assert [list(part.grid) for part in parts] == CASES[case]["tile_patch_grids"]
    pixels = torch.cat([part.pixels for part in parts])
    torch.testing.assert_close(pixels, tensors(case)["pixel_patches"], atol=1e-6, rtol=0)


def test_an_image_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        split(np.zeros((8, 8, 3), np.float32), config())
