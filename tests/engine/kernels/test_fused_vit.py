"""A small vision transformer in one call of our kernels: what its layers give one by one, and each image alone."""

from dataclasses import replace
from typing import Any

import torch
from golden import image
from kernel_reference import random
from kernel_sets import assert_same_in_all_sets, needs_kernels, same_bits

import engine
from engine.contract import LoadOptions
from engine.generation.fused_vit import fused_vit
from engine.generation.transformer import FUSED_ROWS
from engine.layers.vit import Vit
from engine.moondream.model import Moondream

pytestmark = needs_kernels

BFLOAT16 = torch.bfloat16


def loaded(**options: Any) -> Moondream:
    model = engine.load("pocket", LoadOptions("cpu", **{"dtype": "bfloat16", **options}))
    assert isinstance(model, Moondream)
    return model


@torch.inference_mode()
def test_agrees_with_the_layers_one_by_one_and_each_image_alone() -> None:
    vision = loaded().vision
    assert vision.fused
    patches, dim = vision.config.grid**2, vision.config.enc_dim
    x = random(3 * patches, dim, seed=1, dtype=BFLOAT16)
    y = assert_same_in_all_sets(lambda: vision.fused(x, 3))  # type: ignore[misc]
    wanted = vision.encoder(x, 3).double()
    assert (y.double() - wanted).square().mean() < (0.02 * wanted.square().mean().sqrt()) ** 2
    alone = [vision.fused(part, 1) for part in x.split(patches)]
    assert same_bits(torch.cat(alone), y)


@torch.inference_mode()
def test_it_is_nearer_to_float32_than_the_layers_one_by_one() -> None:
    half, exact = loaded().vision, loaded(dtype="float32").vision
    x = random(half.config.grid**2, half.config.enc_dim, seed=1, dtype=BFLOAT16)
    wanted = exact.encoder(x.float(), 1)
    assert half.fused
    assert (half.fused(x, 1) - wanted).norm() <= (half.encoder(x, 1) - wanted).norm()


def test_a_model_encodes_the_crops_of_an_image_together() -> None:
    model = loaded()
    wide = image("img_a")
    [whole] = model.embed_images([wide])
    fused, model.vision.fused = model.vision.fused, None
    [apart] = model.embed_images([wide])
    assert fused
    assert (whole.double() - apart.double()).norm() < 0.02 * apart.double().norm()


def test_what_gains_nothing_is_left_to_the_layers() -> None:
    assert loaded(dtype="float32").vision.fused is None
    assert loaded(quantize="int8").vision.fused is None
    encoder = loaded().vision.encoder
    assert fused_vit(encoder, 10, BFLOAT16, "cpu")
    assert fused_vit(encoder, FUSED_ROWS, BFLOAT16, "cpu") is None
    assert fused_vit(encoder, 10, BFLOAT16, "cuda") is None
    exact = [replace(block, activation="gelu") for block in encoder.blocks]
    assert fused_vit(Vit(exact, encoder.heads), 10, BFLOAT16, "cpu") is None
