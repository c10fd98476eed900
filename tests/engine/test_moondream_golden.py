"""Every token, box and point equal to the reference's, and the numbers on the way within its tolerances."""

import json
from functools import partial
from itertools import takewhile
from operator import ne
from typing import Any

import numpy as np
import pytest
import torch
from caches import keys, values
from golden import (
    FAMILIES,
    GOLDEN,
    STATE_TOLERANCE,
    TOLERANCE,
    as_reference,
    built,
    config,
    encoded,
    expected,
    generation,
    image,
    model,
    tensors,
)

from engine.contract import (
    UNLIMITED,
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    EngineError,
    Generation,
    ObjectLimitWarning,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    UnsupportedPrompt,
)
from engine.generation.gaze import drop_outliers
from engine.generation.sampling import top_p_filter
from engine.generation.steps import ReadToken
from engine.layers.rotary import rotary_table, rotate
from engine.moondream.experts import Experts
from engine.moondream.preprocess import make_crops
from engine.moondream.weights import open_weights

both = pytest.mark.parametrize("family", FAMILIES)
SPECIAL = {"query_reasoning_grounded", "gaze_prioritize_accuracy", "gaze_force", "gaze"}
PLAIN = [name for name in expected("moondream2")["flows"] if name not in SPECIAL and not name.startswith("lora")]


def close(actual: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, wanted, atol=tolerance, rtol=0)


def request(call: dict[str, Any], picture: Any, adapter: Any = None) -> Request:
    """One call of the reference as a request to us."""
    skill = call["skill"]
    if skill == "caption":
        return CaptionRequest(picture, call["length"], generation(call), adapter)
    if skill == "query":
        places = tuple(tuple(place) for place in call.get("spatial_refs", ()))
        return QueryRequest(picture, call["question"], call.get("reasoning"), places, generation(call), adapter)
    kind = DetectRequest if skill == "detect" else PointRequest
    return kind(picture, call["object"], call["settings"]["max_objects"], adapter)


def in_reference_form(request: Request, result: Any) -> Any:
    if isinstance(request, CaptionRequest):
        return {"caption": result.text}
    if isinstance(result, ObjectList):
        if result.items and isinstance(result.items[0], Box):
            keys = ("x_min", "y_min", "x_max", "y_max")
            return {"objects": [{key: getattr(box, key) for key in keys} for box in result.items]}
        return {"points": [{"x": point.x, "y": point.y} for point in result.items if isinstance(point, Point)]}
    return as_reference(result)


def results(family: str, requests: list[Request], batch: int | None = None, **options: Any) -> list[Any]:
    done = {e.index: e.result for e in model(family, **options).run(requests, batch) if isinstance(e, Done)}
    return [done[index] for index in range(len(requests))]


def flow_requests(family: str, names: list[str]) -> list[Request]:
    calls = [expected(family)["flows"][name]["calls"][0] for name in names]
    return [request(call, encoded(family, call["image"]) if call["image"] else None) for call in calls]


@both
@pytest.mark.parametrize("flow", PLAIN)
def test_each_skill_gives_the_references_result(family: str, flow: str) -> None:
    wanted = expected(family)["flows"][flow]["result"]
    [request] = flow_requests(family, [flow])
    [result] = results(family, [request])
    got = in_reference_form(request, result)
    assert got == wanted or (not result.items and list(wanted.values()) == [[]])


@both
def test_an_answer_has_the_references_tokens_and_tells_what_ended_it(family: str) -> None:
    """Where the reference stops at max_tokens, it has chosen one token more."""
    ended = set()
    for name in PLAIN:
        flow = expected(family)["flows"][name]
        if flow["calls"][0]["skill"] not in ("caption", "query"):
            continue
        [answer] = results(family, flow_requests(family, [name]))
        most = flow["calls"][0]["settings"]["max_tokens"]
        ids, [first, *_] = config(family).tokenizer, flow["generations"]
        ends = [ids.answer_id] * (len(flow["generations"]) - 1) + [ids.eos_id]  # of thoughts and of the answer
        made = [
            list(takewhile(partial(ne, end), one["tokens"][:most]))
            for one, end in zip(flow["generations"], ends, strict=True)
        ]
        assert answer.tokens == tuple(token for tokens in made for token in tokens), name
        assert answer.prompt_tokens == first["start_pos"] + len(first["prompt"]), name
        assert answer.finish == ("length" if len(made[-1]) == most else "stop"), name
        ended.add(answer.finish)
    assert ended == {"length", "stop"}


@both
def test_tokens_and_logits_of_each_prompt(family: str) -> None:
    """Inputs token by token as the reference recorded them, so that each step's choice is compared by itself."""
    decoder = model(family).decoder
    for name in PLAIN:
        flow = expected(family)["flows"][name]
        call = flow["calls"][0]
        if call["skill"] not in ("caption", "query") or call.get("reasoning") or call.get("spatial_refs"):
            continue
        [made] = flow["generations"]
        picture = encoded(family, call["image"]) if call["image"] else None
        cache = decoder.start(picture.prefix if picture else None)
        assert cache.next_position == made["start_pos"]
        hidden = decoder.step([(cache, None, made["prompt"])])
        with torch.inference_mode():
            close(model(family).text.logits(hidden)[0], tensors(family)[f"flow/{name}/prefill_logits_0"],
                  TOLERANCE[family])  # fmt: skip
        suppressed: tuple[int, ...] = ()
        for token in made["tokens"]:
            assert decoder.read([ReadToken(suppressed=suppressed)], hidden) == [token], name
            suppressed = (config(family).tokenizer.answer_id or 0,)
            hidden = decoder.step([(cache, None, [token])])


@both
def test_a_batch_of_all_skills_gives_what_each_gives_alone(family: str) -> None:
    """Sixteen flows and more through five places: each place is taken again and again."""
    requests = flow_requests(family, PLAIN)
    together = results(family, requests, batch=5)
    assert together == [results(family, [one])[0] for one in requests]


@both
def test_vision_projection_and_prefix(family: str) -> None:
    own, wanted = model(family), tensors(family)
    for name in ("img_a", "img_b", "img_c"):
        crops = make_crops(image(name), own.config.vision, own.max_crops, own._resize)
        with torch.inference_mode():
            features = own.vision.features(crops.pixels)
            projected = own.vision.project(features, crops.tiling)
        if name == "img_a":
            close(features[0], wanted["img_a/vision_features"][0], TOLERANCE[family])
        else:
            close(features[:, ::27], wanted[f"{name}/vision_features_rows"], TOLERANCE[family])
        close(projected[::10], wanted[f"{name}/projected_rows"], TOLERANCE[family])
        close(own.embeddings([crops])[0], projected, 0)
    start = own.text.embed([own.config.tokenizer.bos_id])
    with torch.inference_mode():
        projected = own.embeddings([make_crops(image("img_a"), own.config.vision, 12, own._resize)])[0]
        [prefix] = own.text.prefixes(torch.cat([start, projected])[None])
    for kind, cached in (("k", keys(prefix)), ("v", values(prefix))):
        close(cached[0, :, ::10], wanted[f"img_a/prefix_{kind}_layer0_rows"], STATE_TOLERANCE[family])
        close(cached[-1, :, ::73], wanted[f"img_a/prefix_{kind}_last_rows"], STATE_TOLERANCE[family])


@both
def test_cached_decoding_equals_one_pass_over_the_whole_text(family: str) -> None:
    decoder = model(family).decoder
    tokens = list(range(20, 60))
    prefix = encoded(family, "img_a").prefix
    at_once = decoder.start(prefix)
    whole = decoder.step([(at_once, None, tokens)])
    by_piece = decoder.start(prefix)
    for size in (7, 1, 1, 25, 1, 5):
        last = decoder.step([(by_piece, None, tokens[:size])])
        tokens = tokens[size:]
    assert not tokens
    close(last, whole, STATE_TOLERANCE[family])
    close(keys(by_piece)[:, :, -40:], keys(at_once)[:, :, -40:], STATE_TOLERANCE[family])


@both
def test_gaze(family: str) -> None:
    flow = expected(family)["flows"]["gaze"]
    eyes = [tuple(eye) for eye in flow["eyes"]]
    found = model(family).detect_gaze([encoded(family, "img_a")] * 3, eyes)
    assert [point and {"x": point.x, "y": point.y} for point in found] == flow["result"]


@both
def test_accurate_gaze_repeats_the_references_draws(family: str) -> None:
    flow = expected(family)["flows"]["gaze_prioritize_accuracy"]
    face = Box(**flow["calls"][0]["face"])
    own = model(family)
    mirrored = own.encode([np.ascontiguousarray(image("img_a")[:, ::-1])])
    [point] = own.detect_gaze_accurately([encoded(family, "img_a")], mirrored, [face], seed=flow["random_seed"])
    wanted = flow["result"]["gaze"]
    assert point is not None
    assert (point.x, point.y) == pytest.approx((wanted["x"], wanted["y"]), abs=1e-6)


@both
def test_outliers(family: str) -> None:
    for case in expected(family)["remove_outliers"]:
        kept = drop_outliers([tuple(point) for point in case["points"]])
        assert np.allclose(sorted(kept), sorted(map(tuple, case["kept"])), atol=1e-6)


class Louder:
    """Weights with some biases of the head raised."""

    def __init__(self, family: str, added: dict[str, float]) -> None:
        self.weights = open_weights(GOLDEN / family / "model.safetensors", config(family))
        self.added = {int(token): value for token, value in added.items()}

    def has(self, name: str) -> bool:
        return self.weights.has(name)

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> torch.Tensor:
        tensor = self.weights.tensor(name, dtype, device)
        if name == "text.lm_head.bias":
            for token, value in self.added.items():
                tensor[token] += value
        return tensor

    matrix = tensor

    def row_table(self, name: str) -> None:
        return None


@both
def test_reasoning_grounded_in_places(family: str) -> None:
    flow = expected(family)["flows"]["query_reasoning_grounded"]
    call = flow["calls"][0]
    own = built(family, Louder(family, flow["lm_head_bias_added"]))
    [answer] = own.query(own.encode([image(call["image"])]), call["question"], True, generation=generation(call))
    assert answer.grounding
    assert as_reference(answer) == flow["result"]


@both
def test_adapters(family: str) -> None:
    own = model(family)
    adapter = str(GOLDEN / family / "lora.safetensors")
    flows, wanted = expected(family)["flows"], tensors(family)
    [adapted] = own.encode([image("img_a")], adapter)
    close(keys(adapted.prefix)[-1, :, ::73], wanted["lora/prefix_k_last_rows"], STATE_TOLERANCE[family])
    plain = encoded(family, "img_a")
    names = ("lora_caption", "lora_detect", "lora_caption_on_plain_image")
    pictures = (adapted, adapted, plain)
    requests = [
        request(flows[name]["calls"][0], picture, adapter) for name, picture in zip(names, pictures, strict=True)
    ]
    # others without an adapter in the same batch
    requests += flow_requests(family, ["caption_short_img_a", "detect_img_b"])
    got = [in_reference_form(*one) for one in zip(requests, results(family, requests), strict=True)]
    assert got == [flows[name]["result"] for name in (*names, "caption_short_img_a", "detect_img_b")]


@both
def test_regions_alone(family: str) -> None:
    region, wanted = model(family).region, tensors(family)
    with torch.inference_mode():
        close(region.embed_coordinates(wanted["region/coords_in"].flatten().tolist()),
              wanted["region/coords_emb"].flatten(0, -2), 1e-5)  # fmt: skip
        close(region.embed_sizes(wanted["region/sizes_in"].tolist()), wanted["region/sizes_emb"], 1e-5)
        hidden = wanted["region/hidden"].view(-1, config(family).region.dim)
        close(region.coordinate_logits(hidden).flatten(), wanted["region/coord_logits"].flatten(), 1e-5)
        close(region.size_logits(hidden).flatten(), wanted["region/size_logits"].flatten(), 1e-5)


@both
def test_rotary_alone(family: str) -> None:
    wanted = tensors(family)
    text = config(family).text
    cos, sin = rotary_table(text.rotary_dim, text.rope_theta, text.max_context, "cpu")
    close(torch.stack([cos[:8], sin[:8]], -1), wanted["rope/table_first_8"], 1e-5)
    positions = wanted["rope/positions"].long()
    x = wanted["rope/x"].view(-1, len(positions), 64).transpose(0, 1)
    y = rotate(x, cos[positions], sin[positions], interleaved=True)
    close(y.transpose(0, 1), wanted["rope/y"].view(-1, len(positions), 64), 1e-5)


@both
def test_nucleus_alone(family: str) -> None:
    wanted = tensors(family)
    cases = [name for name in wanted if name.startswith("top_p/out_")]
    assert cases
    for name in cases:
        kept = top_p_filter(wanted["top_p/probs"], float(name.removeprefix("top_p/out_")))
        close(kept, wanted[name], 1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_experts_alone(packed: bool) -> None:
    wanted = tensors("moondream3")
    weights = open_weights(GOLDEN / "moondream3" / "model.safetensors", config("moondream3"))
    fc1, fc2 = (weights.tensor(f"text.blocks.2.mlp.fc{i}.weight", torch.float32) for i in (1, 2))
    experts = model("moondream3").text.blocks[2].mlp
    assert isinstance(experts, Experts)
    own = Experts(experts.router, fc1, fc2, per_token=experts.per_token, packed=packed)
    x = wanted["moe/x"].flatten(0, 1)
    with torch.inference_mode():
        close(own(x), wanted["moe/y"].flatten(0, 1), 1e-5)
        close(own(x[:1]), wanted["moe/y_single"].flatten(0, 1), 1e-5)


def test_few_rows_through_gathered_experts_or_one_by_one_are_equal() -> None:
    weights = open_weights(GOLDEN / "moondream3" / "model.safetensors", config("moondream3"))
    fc1, fc2 = (weights.tensor(f"text.blocks.3.mlp.fc{i}.weight", torch.float32) for i in (1, 2))
    experts = model("moondream3").text.blocks[3].mlp
    assert isinstance(experts, Experts)
    own = Experts(experts.router, fc1, fc2, per_token=experts.per_token, packed=False)
    x, chosen = torch.randn(5, 128), torch.tensor([[0, 3, 1], [7, 6, 5], [0, 1, 2], [2, 1, 0], [4, 4, 4]])
    close(own.forward_gathered(x, chosen), own.forward_by_expert(x, chosen), 1e-5)


@both
def test_an_object_limit_is_told_and_unlimited_goes_on_to_the_end(family: str) -> None:
    own, picture = model(family), encoded(family, "img_a")
    with pytest.warns(ObjectLimitWarning, match="stopped at 1"):
        [one] = own.detect([picture], "person", max_objects=1)
    [every] = own.detect([picture], "person", max_objects=UNLIMITED)
    assert len(every) > 1
    assert every[:1] == one


@pytest.mark.slow
def test_a_model_that_never_stops_is_not_trusted_without_a_limit() -> None:
    own = built("moondream2", Louder("moondream2", {"0": -1e4}))
    with pytest.raises(EngineError, match="did not stop listing objects"):
        own.detect(own.encode([image("img_a")]), "person", max_objects=UNLIMITED)


@pytest.mark.slow
def test_a_text_ends_with_the_context() -> None:
    own = built("moondream2", Louder("moondream2", {"0": -1e4}))
    [text] = own.caption(own.encode([image("img_a")]), "short", generation=generation(
        {"settings": {"temperature": 0, "max_tokens": 100_000}}))  # fmt: skip
    assert text


def test_what_was_not_trained_or_makes_no_sense_is_said() -> None:
    own, picture = model("moondream2"), encoded("moondream2", "img_a")
    nothing: Any = None
    with pytest.raises(UnsupportedPrompt, match="short, normal, long"):
        own.caption([picture], "tiny")
    with pytest.raises(ValueError, match="question is empty"):
        own.query([picture], " ")
    with pytest.raises(ValueError, match="2 numbers"):
        own.query([picture], "what is it?", references=[(1.0, 2.0, 3.0)])
    with pytest.raises(ValueError, match="finite"):
        own.query([picture], "what is it?", references=[(0.5, float("nan"))])
    with pytest.raises(ValueError, match="finite"):
        own.detect_gaze([picture], [(float("inf"), 0.5)])
    with pytest.raises(ValueError, match="the request has no image"):
        own.detect([nothing], "face")
    with pytest.raises(EngineError, match="too long"):
        own.query([picture], "what is it? " * 2000)
    with pytest.raises(EngineError, match="no scores"):
        own.detect([picture], "face", threshold=0.5)
    with pytest.raises(ValueError, match="temperature"):
        own.caption([picture], generation=generation({"settings": {"temperature": -1, "max_tokens": 3}}))


@both
def test_one_request_that_fails_does_not_take_the_others_with_it(family: str) -> None:
    picture = encoded(family, "img_a")
    good = CaptionRequest(picture, "short", generation({"settings": {"temperature": 0, "max_tokens": 20}}))
    events = list(model(family).run([good, CaptionRequest(picture, "tiny"), good]))
    failed = [event for event in events if not hasattr(event, "text") and not hasattr(event, "result")]
    assert [event.index for event in failed] == [1]
    wanted = expected(family)["flows"]["caption_short_img_a"]["result"]["caption"]
    answers = [event.result for event in events if isinstance(event, Done)]
    assert [answer.text for answer in answers if isinstance(answer, Answer)] == [wanted, wanted]


@both
def test_streamed_pieces_are_the_text(family: str) -> None:
    call = expected(family)["flows"]["caption_short_img_b"]["calls"][0]
    pictures = [encoded(family, "img_b"), encoded(family, "img_a")]
    pieces = list(model(family).stream_caption(pictures, "short", generation(call)))
    for index, name in enumerate(("caption_short_img_b", "caption_short_img_a")):
        text = "".join(piece.text for piece in pieces if piece.index == index)
        assert text == expected(family)["flows"][name]["result"]["caption"]
    assert all(piece.text for piece in pieces)


@both
def test_a_seed_repeats_a_drawn_text_alone_or_in_a_batch(family: str) -> None:
    picture = encoded(family, "img_a")

    def drawn(seed: int) -> Request:
        return CaptionRequest(picture, "normal", Generation(temperature=2.0, top_p=0.99, max_tokens=12, seed=seed))

    alone = [results(family, [drawn(seed)])[0] for seed in range(4)]
    assert len(set(alone)) > 1
    assert results(family, [drawn(seed) for seed in range(4)]) == alone


@both
def test_detail_low_sees_the_picture_once(family: str) -> None:
    own = model(family)
    assert len(make_crops(image("img_b"), own.config.vision, 1, own._resize).pixels) == 1
    assert len(make_crops(image("img_b"), own.config.vision, own.max_crops, own._resize).pixels) == 9


def test_golden_files_are_the_ones_described() -> None:
    for family in FAMILIES:
        assert json.loads((GOLDEN / family / "config.json").read_text())["text"]["dim"] == config(family).text.dim
