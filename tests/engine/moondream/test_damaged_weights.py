"""Weights that compute NaN or infinity: an error, whichever tensor has them, whatever the skill and the quantisation.

Never an empty list or a text that looks like an answer. Where a wrong number is not used, the answer is the right one.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from golden import GOLDEN
from tiny_models import small

from engine.checkpoints.random_weights import RandomWeights
from engine.contract import Choices, Generation, LoadOptions, ModelUnavailable, NonFiniteOutput, Number
from engine.generation.next_token import sample_tokens
from engine.generation.sampling import Sampler
from engine.generation.steps import ReadToken
from engine.generation.tokenizer import load_tokenizer
from engine.layers import parameters
from engine.moondream.model import EncodedPrefix, Moondream
from engine.moondream.weights import QUANTIZATION_PLAN, shapes
from engine.quantization.formats import Matrix
from engine.quantization.plan import QuantizedSource
from engine.quantization.tensor_source import TensorSource

GREEDY, SAMPLED = Generation(temperature=0, max_tokens=2), Generation(temperature=1, max_tokens=2)
SKILLS = ("caption", "sampled", "choices", "number", "refer", "detect", "point", "gaze")
TENSORS = (
    r"vision\.patch_emb\.weight", r"vision\.blocks\.1\.attn\.qkv\.weight", r"vision\.blocks\.1\.ln2\.bias",
    r"vision\.post_ln\.weight", r"vision\.proj_mlp\.fc2\.weight", r"text\.blocks\.0\.ln\.weight",
    r"text\.blocks\.1\.attn\.qkv\.weight", r"text\.blocks\.1\.attn\.proj\.bias", r"text\.blocks\.0\.mlp\.fc1\.weight",
    r"text\.blocks\.1\.mlp\.fc2\.weight",
    r"text\.post_ln\.weight", r"text\.lm_head\.weight", r"text\.lm_head\.bias",
)  # fmt: skip


SATURATING = (r"text\.blocks\.\d\.mlp\.router\.(weight|bias)", r"text\.blocks\.\d\.attn\.tau\..*")


@pytest.fixture
def as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tensors for those of a large model, most of which are not read through when it is loaded."""
    monkeypatch.setattr(parameters, "MAX_CHECKED_WEIGHTS", 0)


@dataclass(frozen=True)
class Damaged:
    """Weights with one wrong number: in each row of a tensor, or at one place of it."""

    source: TensorSource
    name: str
    number: float
    at: int | None = None

    def has(self, name: str) -> bool:
        return self.source.has(name)

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> torch.Tensor:
        tensor = self.source.tensor(name, dtype, device).clone()
        if name == self.name and self.at is None:
            tensor[..., 0] = self.number
        elif name == self.name:
            tensor.view(-1)[self.at] = self.number
        return tensor

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        return self.tensor(name, dtype, device)

    def row_table(self, name: str) -> None:
        return None


@cache
def plain(third: bool) -> RandomWeights:
    return RandomWeights(shapes(small(third)), 3)


def built(third: bool, weights: TensorSource, scheme: str | None = None, dtype: str = "float32") -> Moondream:
    tokenizer = load_tokenizer(GOLDEN / "moondream2" / "tokenizer.json", 512)
    source = QuantizedSource(weights, QUANTIZATION_PLAN, scheme) if scheme else weights
    return Moondream("small", small(third), source, tokenizer, options=LoadOptions("cpu", dtype, resize="pillow"))


def encoded(model: Moondream) -> EncodedPrefix:
    [image] = model.encode([np.random.default_rng(0).integers(0, 256, (80, 64, 3), np.uint8)])
    return image


def answer(model: Moondream, skill: str, image: EncodedPrefix | None = None) -> Any:
    image = image or encoded(model)
    if skill in ("caption", "sampled"):
        return model.caption([image], "short", GREEDY if skill == "caption" else SAMPLED)
    if skill in ("choices", "number"):
        allowed = Choices(("day", "night")) if skill == "choices" else Number()
        return model.query([image], "why?", False, generation=GREEDY, allowed=allowed)
    if skill == "refer":
        return model.query([image], "why?", False, [(0.1, 0.1, 0.5, 0.5)], generation=GREEDY)
    if skill == "gaze":
        return model.detect_gaze([image], [(0.4, 0.4)])
    return (model.detect if skill == "detect" else model.point)([image], "eye", max_objects=2)


def matching(third: bool, patterns: tuple[str, ...]) -> list[str]:
    return [name for name in plain(third).shapes if any(re.fullmatch(pattern, name) for pattern in patterns)]


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("scheme", [None, "int8", "int4"])
@pytest.mark.parametrize("third", [False, True])
def test_wherever_it_is(third: bool, scheme: str | None) -> None:
    names = matching(third, TENSORS)
    assert len(names) > 10
    for turn, name in enumerate(names):
        number = (math.nan, math.inf, -math.inf)[turn % 3]
        with pytest.raises(ModelUnavailable, match=r"NaN or infinity"):
            answer(built(third, Damaged(plain(third), name, number), scheme), SKILLS[turn % len(SKILLS)])


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("skill", SKILLS)
def test_whatever_is_asked(skill: str) -> None:
    """In the vision encoder alone: the text is as it should be, but for the picture."""
    with pytest.raises(NonFiniteOutput):
        answer(built(False, Damaged(plain(False), "vision.blocks.0.mlp.fc1.weight", math.nan)), skill)


@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["coord_decoder", "size_decoder", "coord_encoder", "size_encoder"])
def test_in_the_region_heads(part: str, number: float) -> None:
    [name, *_] = matching(False, (rf"region\.{part}(\.fc2)?\.weight",))
    with pytest.raises(NonFiniteOutput):
        answer(built(False, Damaged(plain(False), name, number)), "detect")


@pytest.mark.usefixtures("as_large")
def test_in_the_embedding_of_a_token_only_texts_with_it_fail() -> None:
    """Here the first that the model writes, so that the failure comes in the middle of an answer."""
    model = built(False, plain(False))
    [image] = model.encode([np.zeros((64, 64, 3), np.uint8)])
    [wanted] = model.query([image], "why?", False, generation=Generation(temperature=0, max_tokens=4))
    first, dim = wanted.tokens[0], model.config.text.dim
    damaged = built(False, Damaged(plain(False), "text.wte", math.nan, first * dim))
    [image] = damaged.encode([np.zeros((64, 64, 3), np.uint8)])
    [one] = damaged.query([image], "why?", False, generation=Generation(temperature=0, max_tokens=1))
    assert one.tokens == (first,)
    with pytest.raises(NonFiniteOutput):
        damaged.query([image], "why?", False, generation=Generation(temperature=0, max_tokens=4))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_infinity_that_a_bounded_function_hides_is_found_when_the_model_is_loaded(number: float) -> None:
    """The logits would be finite, and wrong."""
    names = matching(True, SATURATING)
    assert len(names) == 8
    for name in names:
        with pytest.raises(ModelUnavailable, match=re.escape(name)):
            built(True, Damaged(plain(True), name, number))


@pytest.mark.slow
@pytest.mark.usefixtures("as_large")
@pytest.mark.parametrize("third", [False, True])
@pytest.mark.parametrize("scheme", [None, "int8", "int4-32"])
def test_every_tensor_fails_or_has_no_part_in_the_answer(third: bool, scheme: str | None) -> None:
    whole = built(third, plain(third), scheme)
    wanted = {skill: answer(whole, skill) for skill in SKILLS}
    hidden = matching(third, SATURATING)
    for name in plain(third).shapes.keys() - hidden:
        for number in (math.nan, math.inf):
            try:
                damaged = built(third, Damaged(plain(third), name, number), scheme)
                image = encoded(damaged)
            except ModelUnavailable:
                continue
            for skill in SKILLS:
                try:
                    found = answer(damaged, skill, image)
                except ModelUnavailable:
                    continue
                assert found == wanted[skill], (name, number, skill)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "read",
    [
        ReadToken(),
        ReadToken(suppressed=(7,)),
        ReadToken(allowed_token_ids=(1, 2)),
        ReadToken(Sampler(1.0)),
        ReadToken(Sampler(1.0), allowed_token_ids=(1, 2)),
    ],
    ids=["greedy", "suppressed", "constrained", "sampled", "sampled and constrained"],
)
def test_one_logit_of_one_sequence_is_enough(read: ReadToken, number: float) -> None:
    logits = torch.zeros(3, 16)
    sample_tokens([read] * 3, logits.clone())
    logits[1, 7] = number
    with pytest.raises(NonFiniteOutput):
        sample_tokens([read] * 3, logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_logits_are_no_damage(dtype: torch.dtype) -> None:
    largest = min(torch.finfo(dtype).max, 1e30)
    logits = torch.full((2, 5000), largest, dtype=dtype)
    logits[:, 3] = -largest
    assert sample_tokens([ReadToken()] * 2, logits) == [0, 0]


@pytest.mark.parametrize("scheme", ["int8", "int4"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_damaged_weights_are_not_quantised(scheme: str, number: float) -> None:
    name = "text.blocks.0.attn.qkv.weight"
    source = QuantizedSource(Damaged(plain(False), name, number), QUANTIZATION_PLAN, scheme)
    with pytest.raises(ModelUnavailable, match=f"damaged.*: {name} has NaN or infinity"):
        source.matrix(name, torch.float32)
