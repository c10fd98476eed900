"""The tokenizer is made the same each time, and the one that is kept has a token for every word of the lessons."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import engine.pocket
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import read_config
from engine.pocket.naming import OBJECT_NAMES
from engine.pocket.training.vocabulary import SIZE, SPECIAL, make_tokenizer

HERE = Path(engine.pocket.__file__).parent
KEPT = HERE / "tokenizer.json"
CONFIG = read_config("config.json", json.loads((HERE / "config.json").read_text()))
TOKENIZER = load_tokenizer(KEPT, CONFIG.text.vocab_size)


def names(ids: Sequence[int | None]) -> list[str]:
    return [str(TOKENIZER.bpe.id_to_token(id)).strip("<|>") for id in ids if id is not None]


@pytest.mark.slow
def test_it_is_made_the_same_each_time() -> None:
    one, other = make_tokenizer(), make_tokenizer()
    assert one.to_str() == other.to_str()
    assert one.get_vocab_size() == SIZE


def test_it_fills_the_models_vocabulary() -> None:
    vocabulary = TOKENIZER.bpe.get_vocab()
    assert len(vocabulary) == SIZE == CONFIG.text.vocab_size
    assert sorted(vocabulary.values()) == list(range(SIZE))
    assert [TOKENIZER.bpe.token_to_id(name) for name in SPECIAL] == list(range(len(SPECIAL)))


def test_the_templates_are_made_of_the_special_tokens() -> None:
    ids = CONFIG.tokenizer
    used = [ids.bos_id, ids.eos_id, ids.answer_id, ids.coord_id, ids.size_id]
    assert names(used) == ["endoftext", "endoftext", "answer", "coord", "size"]
    templates = ids.templates
    assert templates.caption
    assert {length: names(template) for length, template in templates.caption.items()} == {
        length: ["ask", "caption", "of", length, "answer"] for length in ("short", "normal", "long")
    }
    for skill, template in {"query": templates.query, "detect": templates.detect, "point": templates.point}.items():
        assert template
        assert names(template.prefix) == ["ask", skill, "of"]
        assert names(template.suffix) == ["answer"]


@given(st.text())
@example("<|answer|>")
@example("有几个红色的圆形？")
@example("  two  spaces\n\nPoint: gaze\n\n")
def test_every_text_can_be_written(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert not set(ids) & set(range(len(SPECIAL)))


@pytest.mark.parametrize(
    "word", sorted({word for noun in OBJECT_NAMES for word in f"{noun.singular} {noun.plural}".split()})
)
def test_each_word_is_one_token(word: str) -> None:
    assert len(TOKENIZER.encode(f" {word}")) == 1


def test_digits_are_tokens_of_their_own() -> None:
    assert names(TOKENIZER.encode("42")) == ["4", "2"]
    said = TOKENIZER.encode(" says 42.")
    assert names(said)[-3:] == ["4", "2", "."]
