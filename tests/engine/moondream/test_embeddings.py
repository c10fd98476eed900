"""Encoding in two steps, and what tells one model's sight from another's."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from caches import keys, values
from golden import GOLDEN, image
from models_made import small_model

import engine
from engine.contract import LoadOptions, Seeing


@pytest.mark.parametrize("third", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [1, 2])
def test_the_two_steps_are_the_whole_to_the_last_bit(third: bool, dtype: torch.dtype, at_once: int) -> None:
    own = small_model(third, dtype)
    assert isinstance(own, Seeing)
    images = [image("img_a"), np.zeros((1, 1, 3), np.uint8), image("img_b")]
    plain = own.encode(images)
    own.pictures_at_once = at_once
    seen = own.see(images)
    assert [(one.dtype, tuple(one.shape)) for one in seen] == [(dtype, (64, 256))] * 3
    again = own.encode_seen([*seen[1:], seen[0].clone()])
    for one, other in zip(again, [*plain[1:], plain[0]], strict=True):
        assert torch.equal(keys(one.prefix), keys(other.prefix))
        assert torch.equal(values(one.prefix), values(other.prefix))
    assert own.see([]) == own.encode_seen([]) == []


def test_what_is_no_picture_is_not_seen() -> None:
    with pytest.raises(ValueError, match="must be an HxWx3 uint8 array"):
        small_model(False, torch.float32).see([np.zeros((4, 4), np.uint8)])


def sight(path: str | Path = "pocket", **options) -> str:
    model = engine.load(str(path), LoadOptions("cpu", **{"dtype": "float32", **options}))
    assert isinstance(model, Seeing)
    return model.sight


def test_all_that_sees_otherwise_has_another_sight(tmp_path: Path) -> None:
    own = sight()
    others = [
        sight(dtype="bfloat16"), sight(detail="low"), sight(detail=7), sight(resize="pillow"), sight(quantize="int8"),
        sight(quantize="int4"), sight(GOLDEN / "moondream2"), sight(GOLDEN / "moondream3"),
    ]  # fmt: skip
    assert len({own, *others}) == 1 + len(others)
    assert sight(detail="auto") == own
    copied = shutil.copytree(GOLDEN / "moondream2", tmp_path / "model", ignore=shutil.ignore_patterns("expected.*"))
    assert sight(copied / "model.safetensors") in others
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 0x3F
    (copied / "model.safetensors").write_bytes(weights)
    assert sight(copied / "model.safetensors") not in others
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert sight() != own
    finally:
        torch.set_num_threads(threads)


def test_one_that_sees_in_one_step_has_none() -> None:
    assert not isinstance(engine.load("centerface"), Seeing)
