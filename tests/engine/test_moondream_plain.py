"""The engine against a second implementation, on models that the golden files do not cover.

The engine computes in float32, `plain_moondream` in float64: what stands between is the engine's rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from plain_moondream import Pairs, Plain, Talk
from plain_moondream import tiling as plain_tiling
from safetensors.torch import save_file
from torch import Tensor

from engine.contract import (
    CaptionRequest,
    DetectRequest,
    Done,
    Failed,
    Found,
    GazeRequest,
    Generation,
    PointRequest,
    QueryRequest,
    Request,
)
from engine.moondream.config import (
    Config,
    Defaults,
    MoeConfig,
    RegionConfig,
    Template,
    Templates,
    TextConfig,
    TokenizerConfig,
    VisionConfig,
)
from engine.moondream.crops import make_crops, tiling
from engine.moondream.model import Encoded, Moondream
from engine.moondream.steps import Coordinate, Fed, Size
from engine.moondream.tokenizer import Tokenizer
from engine.moondream.weights import shapes
from engine.resize import with_pillow

TOLERANCE = 1e-4  # of features, embeddings, hidden states and logits, which are of the order of 1
MARGIN = 1e-3  # every decision that is compared is clearer than this, so that rounding can't turn it
MOST_TOKENS, MOST_OBJECTS = 7, 3

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
    "four to a key, old ids": (sized((4, 1, 64), (64, 8, 2, 4), (2, 20), OLD), 1, False),
    "eight to a key": (sized((8, 1, 16), (64, 8, 3, 5), (5, 9)), 1, False),
    "heads of 128, no margin, old ids": (sized((2, 2, 128), (56, 14, 0, 3), (3, 12), OLD, bins=300), 1, False),
    "one expert from layer 0": (sized((4, 4, 32), (56, 14, 1, 4), (2, 13), moe=MoeConfig(5, 0, 1, 24)), 1, True),
    "all experts from layer 1": (sized((2, 2, 64), (64, 8, 3, 6), (6, 7), moe=MoeConfig(3, 1, 3, 20)), 1, False),
    "experts in the last of three, heads of 128": (
        sized((2, 2, 128), (64, 8, 1, 2), (1, 30), moe=MoeConfig(6, 2, 2, 18), bins=200, layers=3),
        1,
        True,
    ),
    "one crop": (sized((3, 3, 32), (48, 8, 1, 1), (2, 10)), 1, False),
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
    """Tensors as a Source."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def has(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        return self.tensors[name].to(device, dtype, copy=True)


def drawn(config: Config, seed: int, region_norm: bool, raised: Mapping[int | None, float]) -> dict[str, Tensor]:
    """Random weights of which none can be left out unseen: norms, biases and tau's alpha too.

    raised: added to the bias of a token, so that what ends or grounds a text comes up.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = shapes(config)
    if region_norm:
        wanted |= {"region.ln.weight": (config.region.dim,), "region.ln.bias": (config.region.dim,)}
    made = {}
    for name, shape in wanted.items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("qkv.weight"):
            values *= 2 * shape[-1] ** -0.5  # so that it matters where a row looks
        elif len(shape) > 1 and not name.endswith(("wte", "pos_emb", "_features")):
            values *= shape[-1] ** -0.5
        elif name.rsplit(".", 2)[-2].startswith(("ln", "post_ln")) and name.endswith(".weight"):
            values = 1 + 0.3 * values
        elif not name.endswith("alpha"):
            values *= 0.4
        made[name] = values
    made["text.wte"] *= 0.3
    for token, more in raised.items():
        if token is not None:
            made["text.lm_head.bias"][token] += more
    return made


@cache
def tokenizer() -> Tokenizer:
    path = Path(__file__).parents[1] / "golden" / "moondream2" / "tokenizer.json"
    bpe = tokenizers.Tokenizer.from_file(str(path))
    bpe.encode_special_tokens = True
    return Tokenizer(bpe)


def pair(
    config: Config, seed: int, region_norm: bool = False, raised: Mapping[int | None, float] = {}
) -> tuple[Moondream, Plain]:
    tensors = drawn(config, seed, region_norm, raised)
    own = Moondream("drawn", config, Given(tensors), tokenizer(), "cpu", torch.float32, resize=with_pillow)
    return own, Plain(config, {name: tensor.double() for name, tensor in tensors.items()}, tokenizer())


@cache
def models(name: str) -> tuple[Moondream, Plain]:
    config, seed, region_norm = MODELS[name]
    ids = config.tokenizer
    often = {ids.eos_id: 1.5, ids.answer_id: 1.5, ids.coord_id: 3.0, ids.start_ground_points_id: 2.0}
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
def seen(name: str) -> tuple[list[Encoded], list[Tensor]]:
    """The pictures as the engine has encoded them together, and their plain embeddings."""
    own, plain = models(name)
    return own.encode(pictures()), [plain.see(picture) for picture in pictures()]


def close(actual: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(actual.double(), wanted, atol=TOLERANCE, rtol=0)


def same(result: Any, wanted: Any) -> None:
    """Sizes of boxes are rounded to float32; the rest must be equal."""
    if isinstance(wanted, Found) and wanted.items:
        assert result.complete == wanted.complete
        assert len(result.items) == len(wanted.items)
        for item, other in zip(result.items, wanted.items, strict=True):
            assert astuple(item) == pytest.approx(astuple(other), abs=1e-6)
    else:
        assert result == wanted


def adapters(own: Moondream, folder: Path, ranks: Sequence[int]) -> list[tuple[Any, Pairs]]:
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
        made.append((own.adapter(str(path)), {name: (a.double(), b.double()) for name, (a, b) in pairs.items()}))
    return made


def answered(talk: Talk, request: Request) -> Any:
    """The plain model's result."""
    if isinstance(request, CaptionRequest):
        return talk.caption(request.length, request.generation.max_tokens or 0)
    if isinstance(request, QueryRequest):
        reasoning = talk.model.config.third if request.reasoning is None else request.reasoning
        most = request.generation.max_tokens or 0
        return talk.query(request.question, reasoning, request.references, most)
    if isinstance(request, DetectRequest):
        return talk.detect(request.prompt, request.max_objects or 0)
    if isinstance(request, PointRequest):
        return talk.point(request.prompt, request.max_objects or 0)
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
    cut = [make_crops(picture, own.config.vision, own.max_crops, with_pillow) for picture in pictures()]
    for picture, crops, embeddings in zip(pictures(), cut, own.see(cut), strict=True):
        pixels, shape = plain.crops(picture)
        assert crops.tiling == shape
        wanted = plain.features(pixels)
        with torch.inference_mode():
            close(own.vision.features(crops.as_reference()), wanted)
        close(embeddings, plain.project(wanted, shape))


@every_model
def test_hidden_states_and_logits_of_a_mixed_batch(name: str, tmp_path: Path) -> None:
    """Prompts of several lengths, with and without a picture, fed in several turns, each with an adapter of its own."""
    own, plain = models(name)
    (first, first_pairs), (second, second_pairs) = adapters(own, tmp_path, (2, 5))
    encoded, embedded = seen(name)
    adapted = own.encode(pictures()[1:2], first)[0]
    tails = [own.decoder.start(prefix) for prefix in (adapted.prefix, encoded[2].prefix, None, encoded[2].prefix)]
    talks = [
        Talk(plain, embedded[1], second_pairs, first_pairs),
        Talk(plain, embedded[2], first_pairs),
        Talk(plain, None, first_pairs),
        Talk(plain, embedded[2]),
    ]
    turns: list[list[list[Fed]]] = [
        [[5, 6, 7], [Coordinate(0.3), Coordinate(1.25), Size(0.1, 0.9), 8], list(range(20, 50)), [400]],
        [[Coordinate(0.0)], [9], [Size(0.002, 1.0)], [1, 2, 3]],
        [[11], [12], [13], [14]],
    ]
    for turn in turns:
        feeds = zip(tails, (second, first, first, None), turn, strict=True)
        hidden = own.decoder.step(list(feeds))
        for talk, pieces in zip(talks, turn, strict=True):
            talk.feed(*(embedding(talk, piece) for piece in pieces))
        close(hidden, torch.stack([talk.hidden for talk in talks]))
        with torch.inference_mode():
            close(own.text.logits(hidden), torch.stack([plain.logits(talk.hidden) for talk in talks]))
            coordinates, sizes = own.region.coordinate_logits(hidden), own.region.size_logits(hidden)
        close(coordinates, torch.cat([plain.decoded("coord", talk.hidden) for talk in talks]))
        close(sizes, torch.stack([plain.decoded("size", talk.hidden) for talk in talks]))


def embedding(talk: Talk, piece: Fed) -> Tensor:
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
        talk = Talk(plain, None if picture is None else embedded[picture], plain_pairs[adapter])
        same(result, answered(talk, request))
        margins.append(talk.margin)
    print(f"{name}: closest decision {min(margins):.1e}")
    assert min(margins) > MARGIN
