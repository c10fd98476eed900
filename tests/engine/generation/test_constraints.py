"""Answers that can only be one of some choices, or a number: whichever token a model would take, and by real models."""

import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import golden
import pytest
import tokenizers
import torch

import engine
from engine.contract import (
    Answer,
    Choices,
    Done,
    EncodedImage,
    Failed,
    Generation,
    LoadOptions,
    Number,
    QueryRequest,
    TextDelta,
)
from engine.generation.constraints import ChoiceConstraint, Constraint, NumberConstraint
from engine.generation.sampling import Sampler
from engine.generation.steps import ReadToken
from engine.generation.tokenizer import Tokenizer, load_tokenizer
from engine.generation.verbs import VisionModel
from engine.pocket.draw import draw
from engine.pocket.evaluation import seeds
from engine.pocket.scene import COLOURS, random_scene

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "tests" / "golden" / "moondream2" / "tokenizer.json", ROOT / "engine" / "pocket" / "tokenizer.json"]
END = 0
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

each_tokenizer = pytest.mark.parametrize("file", FILES, ids=["golden", "pocket"])
each_family = pytest.mark.parametrize("family", golden.FAMILIES)

TEXTS = ("no", "nothing", "not at all", "yes", "Yes", "a red circle", "a red  circle", "红色", "🟥", "naïve", "3", "30")


def tokenizer(file: Path) -> Tokenizer:
    return load_tokenizer(file, 512)


def walked(constraint: Constraint, most: int, chance: random.Random) -> tuple[str, list[int]]:
    """The answer, and its tokens, if a model took any of those allowed."""
    tokens: list[int] = []
    while allowed_token_ids := constraint.allowed_tokens(tokens, most - len(tokens)):
        assert len(set(allowed_token_ids)) == len(allowed_token_ids)
        tokens.append(chance.choice(allowed_token_ids))
    return constraint.answer(tokens), tokens


@each_tokenizer
def test_every_way_leads_to_a_choice_and_every_choice_has_one(file: Path) -> None:
    constraint = ChoiceConstraint(Choices(TEXTS), tokenizer(file), END)
    for most in (0, 1, 500):
        assert {walked(constraint, most, random.Random(seed))[0] for seed in range(500)} == set(TEXTS)


@each_tokenizer
@pytest.mark.parametrize("before", ["", " "])
def test_what_a_model_writes_of_itself_is_allowed(file: Path, before: str) -> None:
    own = tokenizer(file)
    constraint = ChoiceConstraint(Choices(TEXTS), own, END)
    for text in TEXTS:
        tokens: list[int] = []
        for token in (*own.encode(before + text), END):
            if not (allowed_token_ids := constraint.allowed_tokens(tokens, 9)):
                break
            assert token in allowed_token_ids
            tokens.append(token)
        assert constraint.allowed_tokens(tokens, 9) == ()
        assert constraint.answer(tokens) == text


@each_tokenizer
def test_a_choice_that_begins_another_ends_by_the_end_alone(file: Path) -> None:
    own = tokenizer(file)
    constraint = ChoiceConstraint(Choices(("red", "red circle", "red circles")), own, END)
    red = own.encode("red")
    on = {own.encode(longer)[len(red)] for longer in ("red circle", "red circles")}
    assert set(constraint.allowed_tokens(red, 9)) == {END, *on}
    assert (constraint.allowed_tokens([*red, END], 9), constraint.answer([*red, END])) == ((), "red")


def test_nothing_is_asked_once_one_choice_is_left() -> None:
    own = tokenizer(FILES[0])
    constraint = ChoiceConstraint(Choices(("a very long choice", "b")), own, END)
    first = own.encode("a very long choice")[:1]
    assert (constraint.allowed_tokens(first, 9), constraint.answer(first)) == ((), "a very long choice")


def test_a_choice_that_can_not_be_written_is_named() -> None:
    without_case = load_tokenizer(FILES[0], 512)
    without_case.bpe.normalizer = tokenizers.normalizers.Lowercase()
    with pytest.raises(ValueError, match="the choice 'Yes' can't be tokenized"):
        ChoiceConstraint(Choices(("yes", "Yes")), without_case, END)
    with pytest.raises(ValueError, match="not valid Unicode"):
        ChoiceConstraint(Choices(("yes", "\udcff")), tokenizer(FILES[0]), END)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ((), "two choices"),
        (("yes",), "two choices"),
        (("yes", ""), "empty"),
        (("yes", " "), "empty"),
        (("yes", "no", "yes"), "the choice 'yes' is given twice"),
        (("yes", " no"), "the choice ' no' has leading or trailing whitespace"),
    ],
)
def test_choices_that_are_none(texts: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Choices(texts)


@each_tokenizer
def test_every_way_leads_to_a_number_in_as_many_tokens(file: Path) -> None:
    constraint = NumberConstraint(tokenizer(file).texts(), END)
    made = set()
    for seed in range(1500):
        most = seed % 8
        answer, tokens = walked(constraint, most, random.Random(seed))
        assert NUMBER.fullmatch(answer), answer
        assert len(tokens) <= max(most, 1)
        made.add(answer)
    assert {"-" in one for one in made} == {"." in one for one in made} == {True, False}
    assert {str(digit) for digit in range(10)} < made


def test_tokens_of_several_characters_make_numbers_too() -> None:
    texts = {
        1: " -",
        2: "12",
        3: ".5",
        4: "x",
        5: "1x",
        6: "",
        7: " 3",
        8: "--",
        9: "-.",
        10: "٣",
        11: "\ufffd",
        12: "7",
    }
    constraint = NumberConstraint(texts, END)
    assert constraint.allowed_tokens([], 9) == (1, 2, 7, 12)
    assert constraint.allowed_tokens([], 1) == (2, 7, 12)
    assert constraint.allowed_tokens([1], 9) == (2, 12)
    assert constraint.allowed_tokens([1, 2], 9) == (2, 3, 12, END)
    assert constraint.allowed_tokens([1, 2, 3], 9) == (2, 12, END)
    assert constraint.allowed_tokens([1, 2, 3], 0) == constraint.allowed_tokens([1, 2, 3, END], 9) == ()
    assert constraint.answer([1, 2, 3, END]) == "-12.5"


def test_what_is_drawn_is_allowed_and_follows_the_probabilities_of_the_allowed() -> None:
    own = golden.model("moondream2")
    hidden = torch.randn(1, own.config.text.dim, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        logits = own.text.logits(hidden)[0]
    allowed_token_ids = (7, 3, 200, 41)
    wanted = torch.softmax(logits[list(allowed_token_ids)].double(), 0)
    sampler = Sampler(1.0, 1.0, 5)
    drawn = [
        own.decoder.read([ReadToken(sampler, allowed_token_ids=allowed_token_ids)], hidden)[0] for _ in range(3000)
    ]
    assert set(drawn) <= set(allowed_token_ids)
    for token, probability in zip(allowed_token_ids, wanted.tolist(), strict=True):
        assert drawn.count(token) / 3000 == pytest.approx(probability, abs=0.04)
    assert own.decoder.read([ReadToken(allowed_token_ids=allowed_token_ids)], hidden) == [
        allowed_token_ids[int(wanted.argmax())]
    ]


def permits(allowed: Choices | Number | None, text: str) -> bool:
    if isinstance(allowed, Choices):
        return text in allowed.texts
    return allowed is None or bool(NUMBER.fullmatch(text))


def asked(family: str, how: Generation, reasoning: bool | None = False) -> list[QueryRequest]:
    """Of several kinds, with and without a picture."""
    pictures = [golden.encoded(family, "img_a"), golden.encoded(family, "img_b"), None]
    kinds = (Choices(TEXTS), Number(), None, Choices(("no", "nothing")))
    return [
        QueryRequest(picture, question, reasoning, generation=how, allowed=allowed)
        for picture in pictures
        for question in ("what?", "how many are there?")
        for allowed in kinds
    ]


def results(model: VisionModel, requests: Sequence[QueryRequest], batch: int) -> list[Answer]:
    """In order; and that what was said on the way is the answer."""
    said, made = [""] * len(requests), dict[int, Answer]()
    for event in model.run(requests, batch):
        assert not isinstance(event, Failed), event
        if isinstance(event, TextDelta):
            said[event.index] += event.text
        elif isinstance(event, Done):
            assert isinstance(event.result, Answer)
            made[event.index] = event.result
    answers = [made[index] for index in range(len(requests))]
    assert said == [answer.text for answer in answers]
    return answers


@each_family
@pytest.mark.parametrize(
    "how", [Generation(0, None, 6), Generation(3.0, 1.0, 6, seed=1), Generation(3.0, 1.0, 1)], ids=["0", "3", "one"]
)
def test_a_batch_gives_what_its_members_alone_give_and_nothing_else_than_allowed(family: str, how: Generation) -> None:
    own, requests = golden.model(family), asked(family, how)
    together = results(own, requests, 12)
    for request, answer in zip(requests, together, strict=True):
        assert permits(request.allowed, answer.text)
    assert results(own, requests, 1) == together


@each_family
def test_the_seed_makes_the_choice(family: str) -> None:
    own, picture = golden.model(family), golden.encoded(family, "img_a")

    def drawn(seed: int) -> str:
        how = Generation(8.0, 1.0, seed=seed)
        return own.query([picture], "what?", False, generation=how, allowed=Choices(TEXTS))[0].text

    first = [drawn(seed) for seed in range(12)]
    assert [drawn(seed) for seed in range(12)] == first
    assert len(set(first)) > 2


@each_family
def test_thoughts_are_free(family: str) -> None:
    own = golden.model(family)
    how = Generation(0, None, 12)
    requests = [one for one in asked(family, how, reasoning=True) if one.question == "what?"]
    for first in range(0, len(requests), 4):
        choice, number, free, _ = results(own, requests[first : first + 4], 4)
        assert choice.text in TEXTS
        assert NUMBER.fullmatch(number.text)
        assert free.reasoning
        assert choice.reasoning == number.reasoning == free.reasoning


def test_a_choice_that_can_not_be_written_fails_alone() -> None:
    own, picture = golden.model("moondream2"), golden.encoded("moondream2", "img_a")
    requests = [
        QueryRequest(picture, "what?", False, allowed=allowed) for allowed in (Choices(("\udcff", "b")), Number())
    ]
    events = {event.index: event for event in own.run(requests) if isinstance(event, Done | Failed)}
    assert isinstance(events[0], Failed)
    assert isinstance(events[0].error, ValueError)
    assert isinstance(events[1], Done)


@cache
def pocket(quantize: str | None = None) -> tuple[VisionModel, Sequence[EncodedImage]]:
    """And scenes that it never saw."""
    model = engine.load("pocket", LoadOptions("cpu", quantize=quantize))
    return model, model.encode([draw(random_scene(seed)).pixels for seed in seeds(4)])


def answers(question: str, allowed: Choices | Number | None, quantize: str | None = None) -> list[str]:
    model, scenes = pocket(quantize)
    requests = [
        QueryRequest(scene, question, generation=Generation(temperature=0), allowed=allowed) for scene in scenes
    ]
    return [answer.text for answer in results(model, requests, 4)]


@pytest.mark.parametrize("quantize", [None, "int4"])
@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        ("What colour is the circle?", Choices(tuple(COLOURS))),
        ("Is there a circle?", Choices(("no", "nothing", "yes", "yes, two"))),
        ("How many circles are there?", Choices(tuple(str(number) for number in range(12)))),
        ("How many circles are there?", Number()),
    ],
)
def test_what_pocket_says_freely_it_says_where_that_is_allowed(
    question: str, allowed: Choices | Number, quantize: str | None
) -> None:
    free, bound = answers(question, None, quantize), answers(question, allowed, quantize)
    same = [one == other for one, other in zip(free, bound, strict=True) if permits(allowed, one)]
    assert len(same) >= 3
    assert all(same)
    assert all(permits(allowed, text) for text in bound)


@pytest.mark.parametrize("quantize", [None, "int4"])
def test_pocket_chooses_against_its_liking(quantize: str | None) -> None:
    allowed = Choices(("an elephant", "an ELEPHANT", "象"))
    assert set(answers("What colour is the circle?", allowed, quantize)) <= set(allowed.texts)
    assert all(NUMBER.fullmatch(text) for text in answers("What colour is the circle?", Number(), quantize))
