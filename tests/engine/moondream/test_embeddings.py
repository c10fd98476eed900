"""Encoding in two steps, and what tells one model's sight from another's."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caches import keys, values
from golden import GOLDEN, image
from tiny_models import small_model

import engine
from engine.contract import ImageEmbedder, LoadOptions


@pytest.mark.parametrize("third", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [1, 2])
def test_the_two_steps_are_the_whole_to_the_last_bit(third: bool, dtype: torch.dtype, at_once: int) -> None:
    own = small_model(third, dtype)
    assert isinstance(own, ImageEmbedder)
    images = [image("img_a"), np.zeros((1, 1, 3), np.uint8), image("img_b")]
    plain = own.encode(images)
    own.image_batch_size = at_once
    seen = own.embed_images(images)
    assert [(one.dtype, tuple(one.shape)) for one in seen] == [(dtype, (64, 256))] * 3
    again = own.encode_embeddings([*seen[1:], seen[0].clone()])
    for one, other in zip(again, [*plain[1:], plain[0]], strict=True):
        assert torch.equal(keys(one.prefix), keys(other.prefix))
        assert torch.equal(values(one.prefix), values(other.prefix))
    assert own.embed_images([]) == own.encode_embeddings([]) == []


def test_what_is_no_picture_is_not_seen() -> None:
    with pytest.raises(ValueError, match="must be an HxWx3 uint8 array"):
        small_model(False, torch.float32).embed_images([np.zeros((4, 4), np.uint8)])


def embedding_key(path: str | Path = "pocket", **options: Any) -> str:
    given: dict[str, Any] = {"dtype": "float32", **options}
    model = engine.load(str(path), LoadOptions("cpu", **given))
    assert isinstance(model, ImageEmbedder)
    return model.embedding_key


@pytest.mark.slow
def test_all_that_sees_otherwise_has_another_sight(tmp_path: Path) -> None:
    own = embedding_key()
    others = [
        embedding_key(dtype="bfloat16"), embedding_key(detail="low"), embedding_key(detail=7),
        embedding_key(resize="pillow"),
        embedding_key(quantize="int8"),
        embedding_key(quantize="int4"), embedding_key(GOLDEN / "moondream2"), embedding_key(GOLDEN / "moondream3"),
    ]  # fmt: skip
    assert len({own, *others}) == 1 + len(others)
    assert embedding_key(detail="auto") == own
    copied = shutil.copytree(GOLDEN / "moondream2", tmp_path / "model", ignore=shutil.ignore_patterns("expected.*"))
    assert embedding_key(copied / "model.safetensors") in others
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 0x3F
    (copied / "model.safetensors").write_bytes(weights)
    assert embedding_key(copied / "model.safetensors") not in others
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert embedding_key() != own
    finally:
        torch.set_num_threads(threads)


def test_one_that_sees_in_one_step_has_none() -> None:
    assert not isinstance(engine.load("centerface"), ImageEmbedder)
