"""Other number types, the compiler, and what must not change a result: the batch, and who asks beside."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caches import keys, of_attention, values
from golden import (
    FAMILIES,
    GOLDEN,
    STATE_TOLERANCE,
    built,
    config,
    encoded,
    expected,
    image,
    model,
    needs_compiler,
    tensors,
)
from tiny_models import small_model

from engine.contract import CaptionRequest, DetectRequest, Done, Generation, ObjectLimitWarning, QueryRequest, Request
from engine.generation.steps import Coordinate, ModelInput, ReadToken, Size
from engine.kernels.library import kernels
from engine.layers.int8_linear import has_int8_gemm
from engine.layers.kv_cache import SequenceCache
from engine.layers.parameters import ParameterReader
from engine.moondream.config import read_config
from engine.moondream.decoder import MoondreamDecoder
from engine.moondream.preprocess import make_crops
from engine.moondream.text import TextModel
from engine.moondream.vision import VisionEncoder
from engine.moondream.weights import QUANTIZATION_PLAN, open_weights
from engine.quantization.plan import QuantizedSource
from engine.resize import resize_with_pillow

both = pytest.mark.parametrize("family", FAMILIES)

# Largest difference of any value from float32, over all golden prompts; the reference's own in bfloat16 is 0.28 and
# 0.23 for moondream2, 0.48 and 1.14 for moondream3. Which values one image's rounding errors add up to is chance: our
# attention gives 0.24 and 0.33 for moondream2 here, torch's 0.16 and 0.30; over eight other images the mean of the
# largest logit errors is 0.36 and 0.38.
HALF_TOLERANCE = {
    ("moondream2", torch.bfloat16): (0.3, 0.4),
    ("moondream3", torch.bfloat16): (0.6, 1.5),
    ("moondream2", torch.float16): (0.05, 0.05),
    ("moondream3", torch.float16): (0.1, 0.2),
}


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_half_precision_stays_near_the_reference(family: str, dtype: torch.dtype) -> None:
    own, wanted = model(family, dtype), tensors(family)
    features, logits = HALF_TOLERANCE[family, dtype]
    projected = own.embeddings([make_crops(image("img_a"), own.config.vision, 12, resize_with_pillow)])[0]
    assert projected.dtype == dtype
    assert (projected[::10].float() - wanted["img_a/projected_rows"]).abs().max() < features
    for name in ("caption_short_img_a", "detect_img_a", "query_img_a"):
        [*made] = expected(family)["flows"][name]["generations"]
        cache = own.decoder.start(encoded(family, "img_a", dtype).prefix)
        hidden = own.decoder.step([(cache, None, made[0]["prompt"])])
        with torch.inference_mode():
            error = own.text.logits(hidden)[0].float() - wanted[f"flow/{name}/prefill_logits_0"]
        assert error.abs().max() < logits, name


@pytest.mark.compile
@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("kind", [None, "int8", "int4"])
def test_the_compiled_model_agrees_with_the_eager_one_and_is_never_compiled_again(kind: str | None) -> None:
    plain = open_weights(GOLDEN / "moondream2" / "model.safetensors", config("moondream2"))
    weights = QuantizedSource(plain, QUANTIZATION_PLAN, kind) if kind else plain
    eager, compiled = (built("moondream2", weights, compile=compile) for compile in (False, True))
    assert compiled.compiled == (kind is not None and has_int8_gemm() and kernels().library is None)
    if not compiled.compiled:
        pytest.skip("nothing to compile: our own kernels round activations")
    assert compiled.embedding_key == eager.embedding_key
    compiled.warm_up()
    with torch.compiler.set_stance("fail_on_recompile"):
        [wanted], [made] = (one.encode([image("img_b")]) for one in (eager, compiled))
        assert torch.equal(keys(made.prefix), keys(wanted.prefix))
        for rows in (1, 47, 100):
            for prefixes in ((wanted.prefix, made.prefix), (None, None)):
                hidden = []
                for one, prefix in zip((eager, compiled), prefixes, strict=True):
                    tails = [one.decoder.start(prefix) for _ in range(2)]
                    hidden.append(one.decoder.step([(cache, None, [3] * rows) for cache in tails]))
                assert torch.equal(*hidden)


@pytest.mark.compile
@pytest.mark.slow
@needs_compiler
def test_what_a_gpu_computes_is_compiled_once_for_any_number_of_rows() -> None:
    """On a CPU, with plain weights as a GPU has them."""
    own = built("moondream2", open_weights(GOLDEN / "moondream2" / "model.safetensors", config("moondream2")))
    given = open_weights(GOLDEN / "moondream2" / "model.safetensors", own.config)
    own.vision = VisionEncoder(own.config.vision, ParameterReader(given, "vision", torch.float32, "cpu"))
    own.text = TextModel(own.config.text, ParameterReader(given, "text", torch.float32, "cpu"))
    own.vision.encoder.compile()
    own.text.transformer.compile()
    own.decoder = MoondreamDecoder(own.text, own.region)
    own.run_warm_up_steps()
    with torch.compiler.set_stance("fail_on_recompile"):
        [picture] = own.encode([image("img_a")])
        for rows in (2, 10, 47, 1):
            for prefix in (None, picture.prefix):
                own.decoder.step([(own.decoder.start(prefix), None, [3] * rows)] * 2)
                own.decoder.step([(own.decoder.start(prefix), None, [3] * rows)])
    torch.testing.assert_close(
        keys(picture.prefix), keys(encoded("moondream2", "img_a").prefix), atol=STATE_TOLERANCE["moondream2"], rtol=0
    )


@pytest.mark.parametrize("third", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [None, "int8", "int4"])
def test_a_step_is_the_same_to_the_last_bit_alone_and_in_a_batch(
    third: bool, dtype: torch.dtype, kind: str | None
) -> None:
    own = small_model(third, dtype, kind)
    pictures = own.encode([image("img_a"), image("img_b")])
    alone_first = own.encode([image("img_b")])[0]
    assert torch.equal(keys(alone_first.prefix), keys(pictures[1].prefix))
    feeds: list[list[list[ModelInput]]] = [
        [[5, 6, 7], [8], [9]],
        [[11], [12, 13], [14]],
        [[Coordinate(0.25), Coordinate(0.5), Size(0.1, 0.9)], [3, 4, 5, 6, 7, 8, 9], [1]],
        [[40] * 30, [41] * 70, [42]],
        [[5, 6, 7], [8], [9]],
    ]  # fmt: skip
    places = [pictures[0], pictures[0], pictures[1], None, pictures[1]]

    def tails() -> list[SequenceCache]:
        return [own.decoder.start(place.prefix if place else None) for place in places]

    together, apart = tails(), tails()
    for turn in range(3):
        batch = own.decoder.step([(cache, None, feed[turn]) for cache, feed in zip(together, feeds, strict=True)])
        alone = [own.decoder.step([(cache, None, feed[turn])]) for cache, feed in zip(apart, feeds, strict=True)]
        assert torch.equal(batch, torch.cat(alone))
        reads = [ReadToken()] * len(feeds)
        assert own.decoder.read(reads, batch) == [own.decoder.read(reads[:1], one)[0] for one in alone]


def test_a_smaller_model_of_the_family_runs_whole() -> None:
    own = small_model(False, torch.float32)
    pictures = own.encode([image("img_a"), np.zeros((1, 1, 3), np.uint8), image("img_c")])
    assert {picture.prefix.length for picture in pictures} == {65}
    short = Generation(temperature=0, max_tokens=5)
    assert len(own.caption(pictures, "short", short)) == 3
    with pytest.warns(ObjectLimitWarning):
        assert len(own.detect(pictures, "face", max_objects=2)) == 3
    assert len(own.query([*pictures, None], "what?", True, generation=short)) == 4


def test_ten_questions_about_a_picture_share_its_keys_and_values() -> None:
    own = small_model(False, torch.float32)
    [picture] = own.encode([image("img_a")])
    places = [layer.shared[0].keys.data_ptr() for layer in of_attention(picture.prefix)]
    tails = [own.decoder.start(picture.prefix) for _ in range(10)]
    own.decoder.step([(cache, None, [1, 2, 3]) for cache in tails])
    for cache in tails:
        assert cache.prefix is picture.prefix
        assert [layer.shared[0].keys.data_ptr() for layer in of_attention(cache)] == places
    own_bytes = sum(layer.keys.nbytes for cache in tails for layer in of_attention(cache))
    assert own_bytes < 10 * keys(picture.prefix).nbytes


def test_several_prompts_at_once_find_what_each_finds_alone() -> None:
    own, prompts = model("moondream2"), ["face", "dog", "red car"]
    pictures = [encoded("moondream2", name) for name in ("img_a", "img_b")]
    alone = [own.detect(pictures, prompt, max_objects=3) for prompt in prompts]
    assert own.detect_each(pictures, prompts, max_objects=3) == alone
    assert own.detect_each(pictures, []) == []
    assert own.detect_each([], prompts) == [[], [], []]


def test_as_many_sequences_share_a_step_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    own = model("moondream2")
    steps: list[int] = []
    step = own.decoder.step

    def counted(feeds: Sequence[Any]) -> torch.Tensor:
        steps.append(len(feeds))
        return step(feeds)

    monkeypatch.setattr(own.decoder, "step", counted)
    picture = encoded("moondream2", "img_a")
    for free, most in ((None, 16), (1 << 40, 16), (2 * 5 * own.sequence_bytes, 5), (0, 1)):
        monkeypatch.setattr("engine.moondream.model.free_memory", lambda device, free=free: free)
        steps.clear()
        own.detect([picture] * 20, "face", max_objects=1)
        assert max(steps) == most, free


def test_requests_are_drawn_as_places_come_free() -> None:
    own = small_model(False, torch.float32)
    [picture] = own.encode([image("img_a")])
    drawn = []

    def requests() -> Iterator[CaptionRequest]:
        for index in range(12):
            drawn.append(index)
            yield CaptionRequest(picture, "short", Generation(temperature=0, max_tokens=3 + index % 4))

    done = 0
    for event in own.run(requests(), batch=3):
        if isinstance(event, Done):
            done += 1
            assert len(drawn) <= done + 3
    assert done == 12


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_pictures_encoded_while_others_are_under_way_give_the_same_to_the_last_bit(threads: int) -> None:
    own, names = model("moondream2"), ["img_a", "img_b", "img_c"] * 2
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ahead = [own.encode([image(name)])[0] for name in names]
        meanwhile = []

        def requests() -> Iterator[CaptionRequest]:
            for name in names:
                meanwhile.extend(own.encode([image(name)]))
                yield CaptionRequest(meanwhile[-1], "short", Generation(temperature=0, max_tokens=6))

        done = {event.index: event.result for event in own.run(requests(), batch=4) if isinstance(event, Done)}
        wanted = [CaptionRequest(picture, "short", Generation(temperature=0, max_tokens=6)) for picture in ahead]
        alone = {event.index: event.result for event in own.run(wanted, batch=1) if isinstance(event, Done)}
    finally:
        torch.set_num_threads(before)
    assert done == alone
    for one, other in zip(meanwhile, ahead, strict=True):
        assert torch.equal(keys(one.prefix), keys(other.prefix))
        assert torch.equal(values(one.prefix), values(other.prefix))


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="batch must be 1 or more"):
        list(model("moondream2").run([CaptionRequest(encoded("moondream2", "img_a"))], batch=0))


def test_images_of_one_batch_equal_the_same_alone() -> None:
    own = model("moondream2")
    names = ["img_a", "img_b", "img_c"]
    together = own.encode([image(name) for name in names])
    for name, picture in zip(names, together, strict=True):
        assert torch.equal(keys(picture.prefix), keys(encoded("moondream2", name).prefix))
    mixed: list[Request] = [QueryRequest(together[0], "what is near the house"), DetectRequest(together[1], "dog", 2)]
    assert len([event for event in own.run(mixed) if isinstance(event, Done)]) == 2


def test_the_published_configs_read() -> None:
    folder = Path(__file__).parents[3] / "configs"
    configs = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("moondream*.json"))}
    own = {name: data for name, data in configs.items() if data.get("family", "moondream") == "moondream"}
    assert len(own) > 2
    for name, data in own.items():
        assert read_config(name, data).prefix_length == 730
