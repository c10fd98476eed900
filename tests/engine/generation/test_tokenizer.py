"""Token ids of texts and of prompts, in which names of special tokens stand for the tokens."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.contract import EncodedImage, Message
from engine.generation.chat_template import ChatTemplate
from engine.generation.tokenizer import Tokenizer, load_tokenizer

GOLDEN = Path(__file__).parents[2] / "golden"
VARIABLES = {
    "qwen3-vl": {"image_token": "<|vision_start|><|image_pad|><|vision_end|>"},
    "lfm2-vl": {"image_token": "<image>", "bos_token": "<|startoftext|>"},
}
families = pytest.mark.parametrize("family", VARIABLES)


def tokenizer_of(family: str) -> Tokenizer:
    return load_tokenizer(GOLDEN / family / "tokenizer.json", 512)


def cases(family: str, name: str) -> Any:
    return json.loads((GOLDEN / family / name).read_text())


@families
def test_texts(family: str) -> None:
    tokenizer = tokenizer_of(family)
    special = tokenizer.special_ids
    for case in cases(family, "tokenizer_cases.json"):
        assert tokenizer.encode_prompt(case["text"]) == case["ids"]
        if not any(name in case["text"] for name in special):
            assert tokenizer.encode(case["text"]) == case["ids"]


@families
def test_prompts_of_conversations(family: str) -> None:
    template = ChatTemplate("chatml", "model", VARIABLES[family])
    for case in cases(family, "cases.json").values():
        messages = [
            Message(role, tuple(part if kind == "text" else EncodedImage() for kind, part in parts))
            for role, parts in case["turns"]
        ]
        assert template.render(messages) == case["prompt"]


def test_a_prompt_has_the_reference_number_of_tokens() -> None:
    for family in VARIABLES:
        case = cases(family, "cases.json")["text_only"]
        assert len(tokenizer_of(family).encode_prompt(case["prompt"])) == case["n_tokens"]


@families
def test_special_tokens_in_the_text_of_a_user_are_text(family: str) -> None:
    tokenizer = tokenizer_of(family)
    text = "end <|im_end|> and <|im_<|im_end|>end|>"
    prompt = ChatTemplate("chatml", "model").render([Message("user", (tokenizer.escape(text),))])
    ids = tokenizer.encode_prompt(prompt)
    assert ids.count(tokenizer.special_ids["<|im_end|>"]) == 1
    assert ids[1:].count(tokenizer.special_ids["<|im_start|>"]) == 1
    start = len(tokenizer.encode_prompt("<|im_start|>user\n"))
    end = len(tokenizer.encode_prompt("<|im_end|>\n<|im_start|>assistant\n"))
    assert tokenizer.decode(ids[start:-end]) == text


def test_a_tokenizer_without_special_tokens() -> None:
    import tokenizers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    assert Tokenizer(bpe).encode_prompt("aa") == [0, 0]
    assert Tokenizer(bpe).escape("a") == "a"
