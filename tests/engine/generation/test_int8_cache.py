"""The KV cache in int8: near the one in floats, half as large, and each gets in a batch what it gets alone."""

import pytest
import torch
from golden import GOLDEN, image

import engine
from engine.contract import EngineError, Generation, LoadOptions
from engine.layers.kv_cache import KeyValueCache, as_floats
from engine.moondream.model import Moondream

CAPTION = Generation(temperature=0, max_tokens=12)


def loaded(kv: str | None, quantize: str | None, dtype: str = "bfloat16") -> Moondream:
    model = engine.load(str(GOLDEN / "moondream2"), LoadOptions("cpu", dtype, quantize, kv=kv))
    assert isinstance(model, Moondream)
    return model


def test_what_is_written_is_read_back_to_one_part_in_127() -> None:
    cache = KeyValueCache.new(2, 8, torch.int8, "cpu")
    cache.reserve(5)
    keys = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    keys[1, 3] = 0
    cache.write(keys, 100 * keys)
    cache.commit(5)
    read, scaled = (as_floats(x[:, :5], torch.float32) for x in (cache.keys, cache.values))
    step = keys.abs().amax(-1, keepdim=True) / 127
    assert ((read - keys).abs() <= 0.51 * step).all()
    assert ((scaled - 100 * keys).abs() <= 51 * step).all()


@pytest.mark.parametrize("quantize", [None, "int4"])
def test_a_batch_gives_each_what_it_gets_alone(quantize: str | None) -> None:
    model = loaded("int8", quantize)
    images = model.encode([image(name) for name in ("img_a", "img_b", "img_c")])
    assert model.caption(images, generation=CAPTION) == [model.caption([one], generation=CAPTION)[0] for one in images]


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_answers_stay_near(quantize: str | None) -> None:
    """With our kernels, which read int8, and without them, where it is widened."""
    hidden = []
    for kv in (None, "int8"):
        model = loaded(kv, quantize, "float32")
        [encoded] = model.encode([image("img_a")])
        with torch.inference_mode():
            hidden.append(model.decoder.step([(model.decoder.start(encoded.prefix), None, [5, 6, 7])]))
    error = (hidden[1] - hidden[0]).square().mean().sqrt() / hidden[0].square().mean().sqrt()
    assert 0 < error < 0.05, float(error)


def test_it_takes_half_of_the_memory_of_bfloat16() -> None:
    sizes = [loaded(kv, None).text.transformer.position_bytes for kv in (None, "int8")]
    head_dim = loaded(None, None).config.text.head_dim
    assert sizes[1] / sizes[0] == pytest.approx((head_dim + 4) / (2 * head_dim))


def test_other_types_and_models_without_a_cache_are_refused() -> None:
    with pytest.raises(ValueError, match="kv must be int8"):
        loaded("int4", None)
    with pytest.raises(EngineError, match="no KV cache"):
        engine.load("centerface", LoadOptions(kv="int8"))
