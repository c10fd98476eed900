"""Tokenizers from the metadata of GGUF files: equal ids on every golden text."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoints.gguf import GgufFile, read_gguf
from engine.contract import EncodedImage, Message, ModelUnavailable
from engine.generation.chat_template import ChatTemplate
from engine.generation.gguf_tokenizer import begin_token, chat_template, gguf_bpe, stop_ids
from engine.generation.tokenizer import load_tokenizer

GOLDEN = Path(__file__).parents[2] / "golden"
families = pytest.mark.parametrize("family", ["qwen3-vl", "lfm2-vl"])


def header(family: str, **changes: Any) -> GgufFile:
    file = read_gguf(GOLDEN / "gguf" / f"{family}-tiny-F16.gguf")
    changed = dict(file.metadata) | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return replace(file, metadata={key: value for key, value in changed.items() if value is not None})


@families
def test_golden_texts(family: str) -> None:
    tokenizer = load_tokenizer(header(family).path, 512)
    for case in json.loads((GOLDEN / family / "tokenizer_cases.json").read_text()):
        assert tokenizer.encode_prompt(case["text"]) == case["ids"]
        assert tokenizer.bpe.decode(case["ids"], skip_special_tokens=False) == case["decoded"]


@families
def test_the_chat_template(family: str) -> None:
    file = header(family)
    template = ChatTemplate(chat_template(file) or "", "model.gguf", {"bos_token": begin_token(file)})
    for case in json.loads((GOLDEN / family / "cases.json").read_text()).values():
        messages = [
            Message(role, tuple(part if kind == "text" else EncodedImage() for kind, part in parts))
            for role, parts in case["turns"]
        ]
        assert template.render(messages) == case["prompt"]


def test_special_tokens() -> None:
    assert stop_ids(header("qwen3-vl")) == (322, 320)
    assert stop_ids(header("lfm2-vl")) == (7, 2)
    assert begin_token(header("qwen3-vl")) == ""
    assert begin_token(header("lfm2-vl")) == "<|startoftext|>"
    assert begin_token(header("lfm2-vl", add_bos_token=None)) == "<|startoftext|>"
    assert begin_token(header("lfm2-vl", bos_token_id=10**6)) == ""


def test_without_a_pre_tokenizer_texts_are_cut_as_by_gpt_2() -> None:
    pieces = gguf_bpe(header("qwen3-vl", pre=None)).pre_tokenizer.pre_tokenize_str("it's 123 (red)")
    assert [piece for piece, _ in pieces] == ["it", "'s", "Ġ123", "Ġ(", "red", ")"]


BROKEN = [
    ({"model": "llama"}, "tokenizer 'llama'"),
    ({"pre": "nobody"}, "pre-tokenizer 'nobody'"),
    ({"tokens": None}, "lack tokenizer.ggml.tokens"),
    ({"tokens": [1, 2]}, "must be a list of str"),
    ({"token_type": [1]}, "not as many types as tokens"),
    ({"merges": ["zz yy"]}, "its tokenizer is broken"),
    ({"merges": ["a"]}, "its tokenizer is broken"),
]


@pytest.mark.parametrize(("changes", "message"), BROKEN)
def test_broken_metadata(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message):
        gguf_bpe(header("qwen3-vl", **changes))


def test_a_vocabulary_larger_than_the_embeddings() -> None:
    with pytest.raises(ModelUnavailable, match="has token id 356, but the model's vocabulary has 300"):
        load_tokenizer(header("qwen3-vl").path, 300)
