"""The vision encoder and the projector: the reference's numbers, and the same for a sub-image alone and with others."""

from functools import cache

import pytest
import torch
from golden_lfm2vl import CASES, GOLDEN, WITH_IMAGES, close, config, tensors

from engine.layers.parameters import ParameterReader
from engine.lfm2vl.vision import Projector, VisionEncoder
from engine.lfm2vl.weights import open_weights
from engine.stepwise import finished


def reader(part: str) -> ParameterReader:
    return ParameterReader(open_weights(GOLDEN / "model.safetensors", config()), part, torch.float32, "cpu", True)


@cache
def encoder() -> VisionEncoder:
    return VisionEncoder(config(), reader("vision_tower"))


@cache
def projector() -> Projector:
    return Projector(config(), reader("multi_modal_projector"))


def sub_images(case: str) -> list[tuple[torch.Tensor, tuple[int, int]]]:
    grids = [(rows, columns) for rows, columns in CASES[case]["tile_patch_grids"]]
    pixels = tensors(case)["pixel_patches"].split([rows * columns for rows, columns in grids])
    return list(zip(pixels, grids, strict=True))


@pytest.mark.parametrize("case", WITH_IMAGES)
@torch.inference_mode()
def test_positions_features_and_projections_of_the_reference(case: str) -> None:
    """It pads its sub-images to one length; here none is padded."""
    parts, wanted = sub_images(case), tensors(case)
    close(torch.cat([encoder().position_embeddings(grid) for _, grid in parts]), wanted["vision_pos_embed"])
    features = [finished(encoder().features([pixels], grid)) for pixels, grid in parts]
    close(torch.cat([one[0] for one in features]), wanted["vision_hidden"])
    projected = [projector()(one, grid)[0] for one, (_, grid) in zip(features, parts, strict=True)]
    close(torch.cat(projected), wanted["image_embeds"])


@torch.inference_mode()
def test_sub_images_of_one_size_can_be_encoded_together() -> None:
    (first, grid), (second, other), *_ = sub_images("two_images")
    assert grid == other
    together = projector()(finished(encoder().features([first, second], grid)), grid)
    for pixels, both in zip((first, second), together, strict=True):
        close(projector()(finished(encoder().features([pixels], grid)), grid)[0], both, 1e-5)


@torch.inference_mode()
def test_the_projector_joins_two_by_two_patches_row_by_row() -> None:
    joined: list[torch.Tensor] = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        joined.append(x)
        return x

    only_joins = Projector.__new__(Projector)
    only_joins.factor, only_joins.norm = 2, None
    only_joins.linear_1 = only_joins.linear_2 = keep
    only_joins(torch.arange(24).float().view(1, 24, 1), (4, 6))
    wanted = [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11], [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23]]
    assert joined[0].tolist() == wanted
