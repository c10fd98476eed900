"""The engine against a second implementation, on models that the golden files do not cover.

The engine computes in float32, `plain_moondream` in float64: what stands between is the engine's rounding.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import tokenizers
import torch
from reference_moondream import Pairs, ReferenceModel, ReferenceSession
from reference_moondream import tiling as plain_tiling
from safetensors.torch import save_file
from torch import Tensor

from engine.contract import (
    UNLIMITED,
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    EngineError,
    Failed,
    GazeRequest,
    Generation,
    LoadOptions,
    ObjectLimitWarning,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    UnsupportedPrompt,
)
from engine.generation.scheduler import EmitText, Flow, Forward
from engine.generation.steps import Coordinate, ModelInput, ReadToken, Size
from engine.generation.tokenizer import Tokenizer
from engine.layers.parameters import ParameterReader
from engine.moondream.config import (
    Config,
    Defaults,
    MoeConfig,
    RegionConfig,
    TextConfig,
    TokenizerConfig,
    VisionConfig,
)
from engine.moondream.decoder import MoondreamDecoder
from engine.moondream.flows import Flows
from engine.moondream.model import EncodedPrefix, Moondream
from engine.moondream.preprocess import make_crops, tiling
from engine.moondream.region import RegionHeads
from engine.moondream.templates import Template, Templates
from engine.moondream.text import TextModel
from engine.moondream.weights import shapes
from engine.resize import resize_with_pillow

TOLERANCE = 5e-5  # of features, embeddings, hidden states and logits, in units of their standard deviation
MARGIN = 1e-3  # every decision that is compared is clearer than this, so that rounding can't turn it
MOST_TOKENS, MOST_OBJECTS = 7, 3

Raised = Mapping[int | None, float]  # what is added to the bias of tokens in the head

NEW = TokenizerConfig(
    templates=Templates(
        caption={"short": (1, 300, 2, 310, 3), "normal": (1, 300, 2, 311, 3)},
        query=Template((1, 301, 2), (3,)),
        detect=Template((1, 302, 303, 2), (3,)),
        point=Template((1, 304, 2), (3,)),
    )
)
OLD = TokenizerConfig(
    bos_id=511,
    eos_id=511,
    answer_id=None,
    thinking_id=None,
    coord_id=None,
    size_id=None,
    start_ground_points_id=None,
    end_ground_id=None,
    templates=Templates(
        caption={"short": (198, 198, 438, 305, 25)},
        query=Template((198, 198, 361, 25), (198, 198, 406, 25)),
        detect=Template((198, 198, 504, 25), (62, 8)),
        point=Template((198, 198, 127, 25), (62, 8)),
    ),
)


def sized(
    heads: tuple[int, int, int],
    crop: tuple[int, int, int, int],
    eye: tuple[int, int],
    ids: TokenizerConfig = NEW,
    moe: MoeConfig | None = None,
    bins: int = 1024,
    layers: int = 2,
) -> Config:
    """heads: number, of keys and values, dims of one; crop: its size, its patch, margin, most crops; eye: heads of the
    encoder, dims of one."""
    number, kv, dims = heads
    dim = number * dims
    text = TextConfig(
        dim=dim, ff_dim=96, n_layers=layers, n_heads=number, n_kv_heads=kv, vocab_size=512, max_context=256,
        moe=moe, tau=moe is not None, rope_theta=1.5e6 if moe else 1e4,
    )  # fmt: skip
    size, patch, margin, most = crop
    vision = VisionConfig(
        enc_dim=eye[0] * eye[1], enc_n_layers=2, enc_ff_dim=54, enc_n_heads=eye[0], proj_inner_dim=72, proj_out_dim=dim,
        crop_size=size, enc_patch_size=patch, max_crops=most, overlap_margin=margin,
    )  # fmt: skip
    region = RegionConfig(
        dim=dim, coord_feat_dim=22, coord_out_dim=bins, size_feat_dim=34, size_out_dim=2 * bins,
        inner_dim=None if moe else 56,
    )  # fmt: skip
    defaults = Defaults(top_p=0.9, max_objects=150, reasoning=True) if moe else Defaults()
    return Config(text, vision, region, ids, defaults)


# The numbers after each are the seed of its weights, and whether they have a norm before the region decoders.
MODELS = {
    "two queries to a key": (sized((4, 2, 32), (56, 14, 1, 6), (2, 16)), 1, False),
    "four to a key, old ids": (sized((4, 1, 64), (64, 8, 2, 4), (2, 20), OLD), 2, False),
    "eight to a key": (sized((8, 1, 16), (64, 8, 3, 5), (5, 9)), 12, False),
    "heads of 128, no margin, old ids": (sized((2, 2, 128), (56, 14, 0, 3), (3, 12), OLD, bins=300), 4, False),
    "one expert from layer 0": (sized((4, 4, 32), (56, 14, 1, 4), (2, 13), moe=MoeConfig(5, 0, 1, 24)), 3, True),
    "all experts from layer 1": (sized((2, 2, 64), (64, 8, 3, 6), (6, 7), moe=MoeConfig(3, 1, 3, 20)), 2, False),
    "experts in the last of three, heads of 128": (
        sized((2, 2, 128), (64, 8, 1, 2), (1, 30), moe=MoeConfig(6, 2, 2, 18), bins=200, layers=3),
        8,
        True,
    ),
    "one crop": (sized((3, 3, 32), (48, 8, 1, 1), (2, 10)), 21, False),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The matrices are too small to be shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


every_model = pytest.mark.parametrize("name", MODELS)


class Given:
    """Tensors as a TensorSource."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def has(self, name: str) -> bool:
        return name in self.tensors

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        return self.tensors[name].to(device, dtype, copy=True)

    matrix = tensor

    def row_table(self, name: str) -> None:
        return None


def drawn(config: Config, seed: int, region_norm: bool, raised: Raised) -> dict[str, Tensor]:
    """Random weights of which none can be left out unseen: norms, biases and tau's alpha too."""
    generator = torch.Generator().manual_seed(seed)
    wanted = shapes(config)
    if region_norm:
        wanted |= {"region.ln.weight": (config.region.dim,), "region.ln.bias": (config.region.dim,)}
    made = {name: scale(name, shape) * torch.randn(shape, generator=generator) for name, shape in wanted.items()}
    for name in made:
        if re.search(r"ln\d?\.weight$", name):
            made[name] += 1
    for token, more in raised.items():
        if token is not None:
            made["text.lm_head.bias"][token] += more
    return made


def scale(name: str, shape: Sequence[int]) -> float:
    if name.endswith(("alpha", "_features")):
        return 1
    if len(shape) == 1 or name.endswith(("wte", "pos_emb")):
        return 0.3
    sharpness = 2 if name.endswith("qkv.weight") else 1  # so that it matters where a row looks
    return sharpness * float(shape[-1] ** -0.5)


@cache
def tokenizer() -> Tokenizer:
    path = Path(__file__).parents[2] / "golden" / "moondream2" / "tokenizer.json"
    bpe = tokenizers.Tokenizer.from_file(str(path))
    bpe.encode_special_tokens = True
    return Tokenizer(bpe)


def pair(config: Config, seed: int, region_norm: bool, raised: Raised) -> tuple[Moondream, ReferenceModel]:
    tensors = drawn(config, seed, region_norm, raised)
    options = LoadOptions("cpu", "float32", resize="pillow")
    own = Moondream("drawn", config, Given(tensors), tokenizer(), options=options)
    return own, ReferenceModel(config, {name: tensor.double() for name, tensor in tensors.items()}, tokenizer())


def unpacked(name: str) -> MoondreamDecoder:
    own, plain = models(name)
    given = Given(plain.tensors)
    return MoondreamDecoder(
        TextModel(own.config.text, ParameterReader(given, "text", torch.float32, "cpu")),
        RegionHeads(own.config.region, ParameterReader(given, "region", torch.float32, "cpu")),
    )


@cache
def models(name: str) -> tuple[Moondream, ReferenceModel]:
    config, seed, region_norm = MODELS[name]
    ids = config.tokenizer
    often = {ids.eos_id: 2.5, ids.answer_id: 1.5, ids.coord_id: 3.0, ids.start_ground_points_id: 2.0}
    return pair(config, seed, region_norm, often)


@cache
def pictures() -> list[np.ndarray]:
    """Of odd sizes, up to several crops each way, with edges and gradients."""
    random = np.random.default_rng(4)
    made = []
    for height, width in ((37, 53), (151, 97), (83, 301), (1, 1), (211, 189)):
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / a + y / b) for a, b in random.uniform(3, 30, (3, 2))]
        spots = random.integers(0, 90, (height, width, 3))
        made.append((80 * np.stack(waves, -1) + 80 + spots).clip(0, 255).astype(np.uint8))
    return made


@cache
def seen(name: str) -> tuple[list[EncodedPrefix], list[Tensor]]:
    """The pictures as the engine has encoded them together, and their plain embeddings."""
    own, plain = models(name)
    return own.encode(pictures()), [plain.see(picture) for picture in pictures()]


def close(actual: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(actual.double(), wanted, atol=TOLERANCE * float(wanted.std()), rtol=0)


def same(result: Any, wanted: Any) -> None:
    """Sizes of boxes are rounded to float32; the rest must be equal."""
    if isinstance(wanted, ObjectList) and wanted.items:
        assert result.complete == wanted.complete
        assert len(result.items) == len(wanted.items)
        items: list[Box | Point] = [*wanted.items]
        for item, other in zip(result.items, items, strict=True):
            assert astuple(item) == pytest.approx(astuple(other), abs=1e-6)
    else:
        assert result == wanted


def adapters(own: Moondream, folder: Path, ranks: Sequence[int]) -> Sequence[tuple[Any, Pairs]]:
    """Adapters of these ranks as the engine reads them from files, and as plain pairs."""
    made = []
    for rank in ranks:
        generator = torch.Generator().manual_seed(rank)
        text = own.config.text
        qkv = (text.n_heads + 2 * text.n_kv_heads) * text.head_dim
        sizes = {"attn.qkv": (text.dim, qkv), "attn.proj": (text.dim, text.dim)}
        sizes |= {"mlp.fc1": (text.dim, text.ff_dim), "mlp.fc2": (text.ff_dim, text.dim)}
        pairs = {
            f"text.blocks.{layer}.{part}": (
                torch.randn(rank, inputs, generator=generator) * inputs**-0.5,
                torch.randn(outputs, rank, generator=generator) * rank**-0.5,
            )
            for layer in range(text.n_layers)
            for part, (inputs, outputs) in sizes.items()
        }
        path = folder / f"{rank}.safetensors"
        save_file({f"{name}.{part}": t for name, ab in pairs.items() for part, t in zip("AB", ab, strict=True)}, path)
        made.append((str(path), {name: (a.double(), b.double()) for name, (a, b) in pairs.items()}))
    return made


def make_answer(talk: ReferenceSession, request: Request) -> Any:
    """The plain model's result."""
    if isinstance(request, CaptionRequest):
        return talk.caption(request.length, request.generation.max_tokens or 0)
    if isinstance(request, QueryRequest):
        reasoning = talk.model.config.is_moondream3 if request.reasoning is None else request.reasoning
        most = request.generation.max_tokens or 0
        return talk.query(request.question, reasoning, request.references, most)
    if isinstance(request, DetectRequest):
        return talk.detect(request.prompt, request.max_objects or 0)
    if isinstance(request, PointRequest):
        return talk.point(request.prompt, request.max_objects or 0)
    assert isinstance(request, GazeRequest)
    return talk.gaze(request.eye)


def results(own: Moondream, requests: Sequence[Request], batch: int | None = None) -> list[Any]:
    """In order; a Failed stands for itself."""
    ended = {event.index: event for event in own.run(requests, batch) if isinstance(event, Done | Failed)}
    return [event.result if isinstance(event, Done) else event for _, event in sorted(ended.items())]


def test_tilings() -> None:
    random = np.random.default_rng(0)
    for _ in range(3000):
        crop, patch, margin = [(56, 14, 1), (64, 8, 3), (378, 14, 4), (56, 14, 0)][random.integers(4)]
        vision = VisionConfig(crop_size=crop, enc_patch_size=patch, overlap_margin=margin)
        height, width = (int(size) for size in random.integers(1, 6 * crop, 2))
        most = int(random.integers(2, 13))
        edge = 2 * margin * patch
        wanted = plain_tiling(height - edge, width - edge, crop - edge, most)
        assert tiling(vision, height, width, most) == wanted, (height, width, crop, margin, most)


@every_model
def test_features_and_embeddings_of_pictures(name: str) -> None:
    own, plain = models(name)
    cut = [make_crops(picture, own.config.vision, own.max_crops, resize_with_pillow) for picture in pictures()]
    for picture, crops, embeddings in zip(pictures(), cut, own.embeddings(cut), strict=True):
        pixels, shape = plain.crops(picture)
        assert crops.tiling == shape
        wanted = plain.features(pixels)
        with torch.inference_mode():
            close(own.vision.features(golden.with_window(crops)), wanted)
        close(embeddings, plain.project(wanted, shape))


@every_model
@pytest.mark.parametrize("packed", [True, False])
def test_hidden_states_and_logits_of_a_mixed_batch(name: str, packed: bool, tmp_path: Path) -> None:
    """Prompts of several lengths, with and without a picture, fed in several turns, each with an adapter of its own.

    packed: with the weights in the CPU's layout, or as other machines have them.
    """
    own, plain = models(name)
    decoder = own.decoder if packed else unpacked(name)
    (first, first_pairs), (second, second_pairs) = adapters(own, tmp_path, (2, 5))
    encoded, embedded = seen(name)
    adapted = own.encode(pictures()[1:2], first)[0]
    tails = [decoder.start(prefix) for prefix in (adapted.prefix, encoded[2].prefix, None, encoded[2].prefix)]
    talks = [
        ReferenceSession(plain, embedded[1], second_pairs, first_pairs),
        ReferenceSession(plain, embedded[2], first_pairs),
        ReferenceSession(plain, None, first_pairs),
        ReferenceSession(plain, embedded[2]),
    ]
    turns: list[list[list[ModelInput]]] = [
        [[5, 6, 7], [Coordinate(0.3), Coordinate(1.25), Size(0.1, 0.9), 8], list(range(20, 50)), [400]],
        [[Coordinate(0.0)], [9], [Size(0.002, 1.0)], [1, 2, 3]],
        [[11], [12], [13], [14]],
    ]
    for turn in turns:
        feeds = zip(tails, map(own.adapter, (second, first, first, None)), turn, strict=True)
        hidden = decoder.step(list(feeds))
        for talk, pieces in zip(talks, turn, strict=True):
            talk.feed(*(embedding(talk, piece) for piece in pieces))
        close(hidden, torch.stack([talk.hidden for talk in talks]))
        with torch.inference_mode():
            close(decoder.text.logits(hidden), torch.stack([plain.logits(talk.hidden) for talk in talks]))
            coordinates, sizes = decoder.region.coordinate_logits(hidden), decoder.region.size_logits(hidden)
        close(coordinates, torch.cat([plain.decoded("coord", talk.hidden) for talk in talks]))
        close(sizes, torch.stack([plain.decoded("size", talk.hidden) for talk in talks]))


def embedding(talk: ReferenceSession, piece: ModelInput) -> Tensor:
    if isinstance(piece, int):
        return talk.tokens([piece])
    if isinstance(piece, Coordinate):
        return talk.model.encoded("coord", piece.value)
    return talk.model.encoded("size", piece.width, piece.height)


@every_model
def test_every_skill_in_one_batch(name: str, tmp_path: Path) -> None:
    own, plain = models(name)
    encoded, embedded = seen(name)
    short = Generation(temperature=0, max_tokens=MOST_TOKENS)
    (first, first_pairs), (second, second_pairs) = adapters(own, tmp_path, (3, 6))
    plain_pairs: dict[Any, Pairs] = {None: {}, first: first_pairs, second: second_pairs}
    places = ((0.25, 0.5), (0.1, 0.2, 0.4, 0.9), (0.75, 0.625))
    asked: list[tuple[int | None, Any]] = [
        (0, CaptionRequest(encoded[0], "short", short)),
        (1, CaptionRequest(encoded[1], "short", short, first)),
        (2, QueryRequest(encoded[2], "what is it?", False, generation=short)),
        (1, QueryRequest(encoded[1], "and here?", False, places, short, second)),
        (None, QueryRequest(None, "who are you?", False, generation=short)),
        (4, DetectRequest(encoded[4], "dog", MOST_OBJECTS)),
        (2, DetectRequest(encoded[2], "red car", MOST_OBJECTS, first)),
        (3, PointRequest(encoded[3], "eye", MOST_OBJECTS)),
        (1, PointRequest(encoded[1], "left hand", MOST_OBJECTS, second)),
        (0, GazeRequest(encoded[0], (0.5, 0.125))),
        (4, GazeRequest(encoded[4], (0.3, 0.7))),
    ]
    if own.config.tokenizer.reasons:
        asked += [
            (0, QueryRequest(encoded[0], "why?", True, generation=short)),
            (4, QueryRequest(encoded[4], "how many?", True, places[1:], short, first)),
            (None, QueryRequest(None, "why not?", True, generation=short)),
            (2, QueryRequest(encoded[2], "where?", generation=short)),
        ]
    got = results(own, [request for _, request in asked], batch=6)
    margins = []
    for (picture, request), result in zip(asked, got, strict=True):
        adapter = getattr(request, "adapter", None)
        talk = ReferenceSession(plain, None if picture is None else embedded[picture], plain_pairs[adapter])
        same(result, make_answer(talk, request))
        margins.append(talk.margin)
    print(f"{name}: closest decision {min(margins):.1e}")
    assert min(margins) > MARGIN
    # The seeds are such that lists end in both ways, and some thoughts speak of places.
    assert {result.complete for result in got if isinstance(result, ObjectList)} == {True, False}
    assert own.config.tokenizer.reasons == any(result.grounding for result in got if isinstance(result, Answer))


SMALL = sized((4, 2, 16), (56, 14, 1, 2), (2, 8))
SMALL_WITH_EXPERTS = sized((2, 2, 32), (56, 14, 1, 2), (2, 8), moe=MoeConfig(4, 1, 2, 16))
SMALL_OLD = replace(SMALL, tokenizer=OLD)
both = pytest.mark.parametrize("config", [SMALL, SMALL_WITH_EXPERTS], ids=["second", "third"])


def inclined(config: Config, raised: Raised) -> tuple[Moondream, EncodedPrefix, ReferenceSession]:
    """A model that says, or never says, some token; a picture, and a talk about it."""
    own, plain = pair(config, 5, False, raised)
    return own, own.encode(pictures()[:1])[0], ReferenceSession(plain, plain.see(pictures()[0]))


def short(most: int) -> Generation:
    return Generation(temperature=0, max_tokens=most)


@both
def test_reasoning_may_begin_with_a_place_and_speak_of_places(config: Config) -> None:
    """Where the reference fails: on a first token that is a coordinate, and on references with reasoning."""
    own, picture, talk = inclined(config, {NEW.coord_id: 100})
    [answer] = own.query([picture], "where?", True, [(0.25, 0.5)], generation=short(5))
    assert answer == talk.query("where?", True, [(0.25, 0.5)], 5)
    assert talk.margin > MARGIN
    [grounding] = answer.grounding
    assert (grounding.start, grounding.end, len(grounding.points)) == (0, 0, 2)  # the fifth coordinate has no partner


@both
def test_a_size_has_no_place_in_thoughts_after_the_first_token(config: Config) -> None:
    own, picture, talk = inclined(config, {NEW.size_id: 100})
    [answer] = own.query([picture], "where?", True, generation=short(5))
    assert answer == talk.query("where?", True, (), 5)
    assert answer.reasoning
    assert talk.margin > MARGIN


def read_out(flow: Flow, tokens: Sequence[int], coordinates: Sequence[float]) -> tuple[Any, list[list[Any]]]:
    """The flow's result where a model would choose these tokens and coordinates, and what the flow has fed to it."""
    next_token, next_coordinate, fed = iter(tokens), iter(coordinates), []
    step = next(flow)
    while True:
        reply = None
        if isinstance(step, Forward):
            fed.append(list(step.pieces))
        elif not isinstance(step, EmitText):
            reply = next(next_token if isinstance(step, ReadToken) else next_coordinate)
        try:
            step = flow.send(reply)
        except StopIteration as end:
            return end.value, fed


@pytest.mark.parametrize("family", golden.FAMILIES)
def test_passages_of_scripted_thoughts(family: str) -> None:
    """What the reference makes of thoughts that were given to it."""
    own = golden.config(family)
    coord, end = own.tokenizer.coord_id, own.tokenizer.eos_id
    for script in golden.expected(family)["scripted_reasoning"]:
        values = [bin / 1024 for bin in script["coord_bins"]]
        flow = Flows(family, own, tokenizer()).query("where?", True, (), short(100), has_image=True)
        answer, fed = read_out(flow, [*script["ids"], end], values)
        assert answer.reasoning == script["text"]
        places = [(g.start, g.end, [[p.x, p.y] for p in g.points]) for g in answer.grounding]
        assert places == [(g["start_idx"], g["end_idx"], g["points"]) for g in script["grounding"]]
        read = iter(values)
        thoughts = [Coordinate(next(read)) if token == coord else token for token in script["ids"][:-1]]
        assert fed[1:] == [*([one] for one in thoughts), [3]]


@both
def test_a_first_answer_token_counts_but_has_no_text(config: Config) -> None:
    own, picture, talk = inclined(config, {NEW.answer_id: 100})
    [text] = own.caption([picture], "short", short(4))
    templates = config.tokenizer.templates
    assert templates.caption
    talk.feed(talk.tokens(templates.caption["short"]))
    first, *others = talk.text(4)
    assert first == NEW.answer_id
    assert len(others) == 3
    assert NEW.answer_id not in others
    assert text == tokenizer().decode(others) != ""
    assert own.caption([picture], "short", short(1)) == [""]
    [answer] = own.query([picture], "why?", True, generation=short(1))
    assert (answer.text, answer.reasoning, answer.grounding) == ("", "", ())
    assert (answer.tokens, answer.finish) == ((NEW.answer_id,), "length")


@both
def test_thoughts_go_on_after_a_first_end_of_text(config: Config) -> None:
    own, picture, talk = inclined(config, {NEW.eos_id: 100})
    [answer] = own.query([picture], "why?", True, generation=short(4))
    assert answer == talk.query("why?", True, (), 4)
    assert answer.reasoning
    assert not answer.text
    assert own.detect_gaze([picture], [(0.5, 0.5)]) == [None]


@both
def test_a_first_token_of_no_meaning_goes_on_to_an_object(config: Config) -> None:
    own, picture, talk = inclined(config, {17: 100})
    [found] = results(own, [DetectRequest(picture, "dog", 4)])
    same(found, talk.detect("dog", 4))
    assert found.items
    assert talk.margin > MARGIN


@both
def test_no_tokens_no_text(config: Config) -> None:
    own, picture, _ = inclined(config, {})
    assert own.caption([picture], "short", short(0)) == [""]
    for reasoning in (False, True):
        for answer in own.query([picture, None], "why?", reasoning, generation=short(0)):
            assert answer == Answer("", prompt_tokens=answer.prompt_tokens, finish="length")


def test_old_releases_do_not_reason() -> None:
    own, picture, talk = inclined(SMALL_OLD, {})
    assert own.query([picture], "why?", generation=short(4)) == [talk.query("why?", False, (), 4)]
    with pytest.raises(UnsupportedPrompt, match="reason"):
        own.query([picture], "why?", True)
    with pytest.raises(UnsupportedPrompt, match="it supports short"):
        own.caption([picture], "normal")


@both
def test_a_question_that_is_too_long_fails_alone(config: Config) -> None:
    own, picture, talk = inclined(config, {})
    good = QueryRequest(None, "who?", False, generation=short(3))
    places = ((0.5, 0.5),) * 200
    bad: list[Request] = [
        QueryRequest(picture, "what is it? " * 300, generation=short(3)),
        QueryRequest(None, "what is it? " * 300, False, generation=short(3)),
        QueryRequest(picture, "what is it?", False, places, short(3)),
        DetectRequest(picture, "dog " * 400),
    ]
    got = results(own, [good, *bad, good])
    wanted = ReferenceSession(talk.model, None).query("who?", False, (), 3)
    assert got[0] == got[-1] == wanted
    for failed in got[1:-1]:
        assert isinstance(failed.error, EngineError)
        assert str(failed.error) == "the text is too long for the model's context: make it shorter"


def with_room(config: Config, after: int, room: int) -> Config:
    """The same with a context of `room` after a picture and a prompt of `after` tokens."""
    return replace(config, text=replace(config.text, max_context=config.prefix_length + after + room))


@both
@pytest.mark.parametrize("skill", ["detect", "point"])
def test_a_list_that_outgrows_the_context_is_incomplete(config: Config, skill: str) -> None:
    never: Raised = {NEW.eos_id: -100}
    _, _, talk = inclined(config, never)
    wanted = getattr(talk, skill)("dog", 4).items
    template = getattr(NEW.templates, skill)
    prompt = len([*template.prefix, *tokenizer().encode(" dog"), *template.suffix])
    each = 3 if skill == "detect" else 2
    for room in range(8):
        own, picture, _ = inclined(with_room(config, prompt, room), never)
        request = DetectRequest if skill == "detect" else PointRequest
        [found] = results(own, [request(picture, "dog", UNLIMITED)])
        whole = sum(each * place + 2 <= room for place in range(4))  # both coordinates had to be read
        same(found, ObjectList(wanted[:whole], complete=False))
        assert len(found.items) == whole
        with pytest.raises(EngineError, match="did not stop listing objects"):
            getattr(own, skill)([picture], "dog", max_objects=UNLIMITED)
        with pytest.warns(ObjectLimitWarning):
            getattr(own, skill)([picture], "dog", max_objects=40)
    own, picture, _ = inclined(with_room(config, prompt, -1), never)
    with pytest.raises(EngineError, match="too long"):
        getattr(own, skill)([picture], "dog")


@both
def test_a_text_that_outgrows_the_context_ends_there(config: Config) -> None:
    never: Raised = {NEW.eos_id: -100}
    _, _, talk = inclined(config, never)
    templates = NEW.templates.caption
    assert templates
    talk.feed(talk.tokens(templates["short"]))
    tokens = talk.text(6)
    for room in (0, 1, 5):
        own, picture, _ = inclined(with_room(config, len(templates["short"]), room), never)
        assert own.caption([picture], "short", short(50)) == [tokenizer().decode(tokens[: room + 1])]


@both
def test_thoughts_that_outgrow_the_context_are_an_error(config: Config) -> None:
    own, picture, _ = inclined(config, {NEW.answer_id: -100})
    with pytest.raises(EngineError, match="context"):
        own.query([picture], "why?", True, generation=short(1000))
