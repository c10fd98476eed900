"""Crops as the reference makes them, and features put together again as they were cut."""

import hashlib
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import numpy as np
import PIL
import pytest
import torch
from golden import expected, image, tensors, with_window
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.moondream.config import VisionConfig
from engine.moondream.preprocess import Crops, make_crops, normalize_pixels, pool, select_tiling, stitch, tiling
from engine.resize import resizer

Library = Literal["vips", "pillow"]
EXPECTED, TENSORS = expected("moondream2"), tensors("moondream2")
IMAGES = pytest.mark.parametrize("name", ["img_a", "img_b", "img_c"])
VISION = VisionConfig()
SMALL = VisionConfig(crop_size=40, enc_patch_size=4, overlap_margin=2)  # 10 patches a side, windows of 24 pixels
SIDES = st.integers(1, 90) | st.integers(1, 5000) | st.sampled_from([377, 378, 379, 644, 645])


def of_golden(name: str, library: Library, vision: VisionConfig = VISION, max_crops: int = 12) -> Crops:
    return make_crops(image(name), vision, max_crops, resizer(library))


def test_tilings_are_the_references() -> None:
    cases = EXPECTED["tiling"]["image_size_to_tiling"]
    assert (cases["max_crops"], cases["overlap_margin"]) == (VISION.max_crops, VISION.overlap_margin)
    for height, width, rows, columns in cases["rows"]:
        assert tiling(VISION, height, width, 12) == (rows, columns), (height, width)
    for height, width, window, max_crops, rows, columns in EXPECTED["tiling"]["select_tiling_raw"]["rows"]:
        assert select_tiling(height, width, window, max_crops) == (rows, columns), (height, width, window, max_crops)


@IMAGES
def test_crops_are_the_references(name: str) -> None:
    known = EXPECTED["crops"][name]
    crops = of_golden(name, "pillow")
    pixels = with_window(crops)
    assert crops.tiling == tuple(known["tiling"])
    assert pixels.shape == (known["n_crops"], 378, 378, 3)
    if PIL.__version__ == EXPECTED["made_with"]["pillow"]:
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == known["sha256_pil"]
    assert (samples_off(pixels, name, "pil") <= 1).all()


@IMAGES
def test_crops_by_libvips_are_the_references(name: str) -> None:
    off = samples_off(with_window(of_golden(name, "vips")), name, "vips")
    assert (off <= 2).all()
    assert (off <= 1).mean() >= 0.99


def samples_off(pixels: np.ndarray, name: str, library: str) -> np.ndarray:
    """How far the pixels are from those that the reference is known by."""
    step = EXPECTED["crops"][name]["sample_step"]
    pairs = (("sample", pixels[:, ::step, ::step]), ("corner", pixels[:, -8:, -8:]))
    known = ((TENSORS[f"{name}/crops_{what}_{library}"].numpy(), ours) for what, ours in pairs)
    return np.concatenate([abs(theirs.astype(int) - ours).ravel() for theirs, ours in known])


@IMAGES
def test_low_detail_is_the_global_crop_alone(name: str) -> None:
    crops = of_golden(name, "pillow", max_crops=1)
    assert crops.tiling == (1, 1)
    assert len(crops.pixels) == 1
    assert np.array_equal(crops.pixels[0], of_golden(name, "pillow").pixels[0])


def test_the_same_crop_is_held_once() -> None:
    crops = of_golden("img_a", "pillow")
    assert (crops.tiling, len(crops.pixels)) == ((1, 1), 1)
    many = of_golden("img_b", "pillow")
    assert len(many.pixels) == 1 + many.tiling[0] * many.tiling[1] > 2


def test_windows_are_as_many_as_allowed_or_follow_a_long_picture() -> None:
    window = 7
    for height, width, max_crops in product(range(-3, 60), range(-3, 60), (1, 2, 3, 5, 6, 9, 12, 13, 24)):
        rows, columns = select_tiling(height, width, window, max_crops)
        count = rows * columns
        assert min(rows, columns) >= 1
        assert count <= max_crops or 1 in (rows, columns)  # more only in one line
        assert count <= max(1, max_crops, (max_crops * -(-max(height, width) // window)) ** 0.5)
        assert select_tiling(width, height, window, max_crops) == (columns, rows)


def test_exact_squares_are_not_lost_to_rounding() -> None:
    assert 22 * (49 / 22) < 49
    assert select_tiling(49, 22, 20, 22) == (7, 3)


@given(SIDES, SIDES)
def test_one_crop_is_the_global_one_for_any_shape(height: int, width: int) -> None:
    assert tiling(VISION, height, width, 1) == (1, 1)
    assert tiling(VISION, 400 + height, 4000, 1) == tiling(VISION, 4000, 400 + width, 1) == (1, 1)


@given(SIDES, st.integers(2, 30))
def test_a_picture_no_wider_than_a_crop_is_one_crop(side: int, max_crops: int) -> None:
    for narrow in (1, 111, 112, 113, 378):
        assert tiling(VISION, side, narrow, max_crops) == tiling(VISION, narrow, side, max_crops) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 12), st.sampled_from([0, 1, 2, 4]))
def test_crops_cover_the_picture_and_can_be_stitched(height: int, width: int, max_crops: int, margin: int) -> None:
    """Each pixel of a patch says where the patch lies, so stitched patches must count up without a gap or a repeat."""
    vision = replace(SMALL, overlap_margin=margin)
    patch = vision.enc_patch_size

    def places(image: np.ndarray, width: int, height: int) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width] // patch
        return np.stack([y % 256, x % 256, 16 * (y // 256) + x // 256], axis=2).astype(np.uint8)

    crops = make_crops(np.zeros((height, width, 3), np.uint8), vision, max_crops, places)
    rows, columns = crops.tiling
    patches = torch.from_numpy(with_window(crops)[1:, ::patch, ::patch].astype(np.float32))
    whole = stitch(patches, crops.tiling, margin)
    inner = vision.grid - 2 * margin
    shape = (rows * inner + 2 * margin, columns * inner + 2 * margin)
    assert whole.shape == (*shape, 3)
    assert np.array_equal(whole.numpy(), places(crops.pixels, shape[1] * patch, shape[0] * patch)[::patch, ::patch])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (380, 9000), (9000, 380), (2, 2)])
@pytest.mark.parametrize("library", ["pillow", "vips"])
def test_extreme_pictures_have_crops(size: tuple[int, int], library: Library) -> None:
    crops = make_crops(np.full((*size, 3), 77, np.uint8), VISION, 12, resizer(library))
    rows, columns = crops.tiling
    assert with_window(crops).shape == (1 + rows * columns, 378, 378, 3)
    assert (abs(crops.pixels.astype(int) - 77) <= 1).all()


def test_what_is_no_picture_has_no_crops() -> None:
    pictures: list[Any] = [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), None]
    for broken in pictures:
        with pytest.raises(ValueError, match="HxWx3 uint8"):
            make_crops(broken, VISION, 12, resizer("pillow"))


def test_every_window_lies_where_its_place_in_the_list_says() -> None:
    """Read from the list in the order of the sheet: 1 + row * columns + column, a window apart."""
    crops = of_golden("img_b", "pillow", replace(VISION, overlap_margin=0))
    large = resizer("pillow")(image("img_b"), crops.tiling[1] * 378, crops.tiling[0] * 378)
    for row in range(crops.tiling[0]):
        for column in range(crops.tiling[1]):
            window = large[378 * row :, 378 * column :][:378, :378]
            assert np.array_equal(crops.pixels[1 + row * crops.tiling[1] + column], window)


def test_pixels_in_bfloat16_are_rounded_as_in_the_reference() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    normal = normalize_pixels(ramp, torch.bfloat16)
    assert (normal.shape, normal.dtype) == ((1, 3, 16, 16), torch.bfloat16)
    for channel in normal[0]:
        assert torch.equal(channel.flatten().float(), TENSORS["pixel_norm_bf16_table"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pixels_become_channels_first_between_minus_one_and_one(dtype: torch.dtype) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    normal = normalize_pixels(pixels, dtype)
    assert normal.is_contiguous()
    assert torch.equal(normal, normalize_pixels(torch.from_numpy(pixels), dtype))
    wanted = torch.from_numpy(pixels.transpose(0, 3, 1, 2) / 127.5 - 1).float()
    torch.testing.assert_close(normal.float(), wanted, atol=2 * torch.finfo(dtype).eps, rtol=0)
    assert pixels.max() > 200  # it was not changed in place


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9))
def test_pooled_cells_are_the_means_of_their_part(height: int, width: int, grid: int) -> None:
    features = torch.from_numpy(np.random.default_rng(height * width).random((height, width, 2)))
    pooled = pool(features, grid)
    assert pooled.shape == (grid, grid, 2)
    for y in range(grid):
        for x in range(grid):
            part = features[height * y // grid : -(-height * (y + 1) // grid), width * x // grid :]
            mean = part[:, : -(-width * (x + 1) // grid) - width * x // grid].mean(dim=(0, 1))
            torch.testing.assert_close(pooled[y, x], mean)


def test_one_window_is_its_own_map() -> None:
    features = TENSORS["img_a/vision_features"][1:].unflatten(1, (27, 27))
    whole = stitch(features, (1, 1), 4)
    assert torch.equal(whole, features[0])
    assert torch.equal(pool(whole, 27), whole)


def test_the_stitched_map_is_the_references() -> None:
    """Of the features of img_b the first column of each crop is known: those the map holds must be there unchanged."""
    rows, columns = EXPECTED["crops"]["img_b"]["tiling"]
    features = torch.full((rows * columns, 27, 27, 32), torch.nan)
    features[:, :, 0] = TENSORS["img_b/vision_features_rows"][1:]
    whole = stitch(features, (rows, columns), 4)
    assert list(whole.shape) == EXPECTED["reconstructed_img_b_shape"]
    ours, theirs = whole[::2, ::2], TENSORS["img_b/reconstructed_rows"]
    known = ~ours.isnan()
    assert known[:, 0].all()  # the left border: of the first column's windows
    assert torch.equal(ours[known], theirs[known])
