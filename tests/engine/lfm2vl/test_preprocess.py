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

from engine.lfm2vl.config import Config, ImageConfig
from engine.lfm2vl.preprocess import make_patches, make_tiling

TABLES: dict[str, Any] = json.loads((GOLDEN / "tiles.json").read_text())


def release(**changed: Any) -> Config:
    return replace(config(), image_config=ImageConfig(**changed))


def tokens(height: int, width: int, **changed: Any) -> int:
    return sum(make_tiling((height, width), release(**changed)).tokens(32))


@pytest.mark.parametrize("settings", TABLES)
def test_the_tile_table_of_the_reference(settings: str) -> None:
    table = TABLES[settings]
    for row in table["rows"]:
        tiling = make_tiling((row["height"], row["width"]), release(**table["overrides"]))
        assert (tiling.rows, tiling.columns, tiling.thumbnail) == (row["rows"], row["cols"], row["thumbnail"]), row
        assert tiling.whole == (row["resized_height"], row["resized_width"]), row
        assert sum(tiling.tokens(32)) == row["image_tokens"], row


def test_the_published_examples() -> None:
    """Of the model card: 240 is that of 384x640, and 1020 that of a thumbnail of 28x9 tokens."""
    assert (tokens(384, 256), tokens(384, 680), tokens(1000, 3000)) == (96, 252, 1011)
    assert (tokens(384, 640), tokens(1000, 3000, max_image_tokens=270)) == (240, 1020)


def test_a_smaller_limit_can_cost_more_as_the_image_is_split() -> None:
    """The reference's rule: the limit is that of a whole image, and decides too which image is large."""
    assert tokens(512, 512) == 256
    assert tokens(512, 512, max_image_tokens=64) == 4 * 256 + 64


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 400), st.integers(1, 12))
def test_tokens_stay_within_their_limits(height: int, width: int, most: int, tiles: int) -> None:
    own = release(min_image_tokens=1, max_image_tokens=most, max_tiles=max(2, tiles))
    tiling = make_tiling((height, width), own)
    counts = tiling.tokens(32)
    assert len(counts) == tiling.tiles + (tiling.thumbnail or not tiling.tiles)
    assert tiling.tiles <= own.image_config.max_tiles
    whole = tiling.whole[0] // 32 * (tiling.whole[1] // 32)
    assert whole <= max(most, max(tiling.whole) // 32)  # a very long image has one row of tokens


@pytest.mark.parametrize("case", WITH_IMAGES)
def test_the_patches_of_the_reference(case: str) -> None:
    patches = [make_patches(image(name), config()) for name in CASES[case]["images"]]
    assert [list(grid) for one in patches for grid in one.grids] == CASES[case]["tile_patch_grids"]
    pixels = torch.cat([part for one in patches for part in one.pixels])
    torch.testing.assert_close(pixels, tensors(case)["pixel_patches"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", WITH_IMAGES)
def test_the_placeholders_of_the_reference(case: str) -> None:
    pieces = CASES[case]["prompt"].split("<image>")
    filled = pieces[0]
    for name, piece in zip(CASES[case]["images"], pieces[1:], strict=True):
        filled += make_patches(image(name), config()).tiling.placeholder(32) + piece
    assert filled == CASES[case]["expanded_prompt"]


def test_without_marks_only_the_image_tokens_remain() -> None:
    tiling = make_tiling((1000, 3000), release())
    assert tiling.placeholder(32, marked=False) == "<image>" * 1011


def test_an_image_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        make_patches(np.zeros((8, 8, 3), np.float32), config())
