"""Streamed text equals the reference's pieces; half a character is never let out; user text stays text."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from golden import FAMILIES, GOLDEN, config, expected
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import ModelUnavailable
from engine.generation.detokenizer import IncrementalDetokenizer, StopStringDetokenizer
from engine.generation.tokenizer import load_tokenizer

FILE = GOLDEN / "moondream2" / "tokenizer.json"
VOCABULARY = 512


TOKENIZER = load_tokenizer(FILE, VOCABULARY)
# The byte-level alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100 on.
PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
OTHERS = iter(range(0x100, 0x200))
VOCABULARY_IDS = TOKENIZER.bpe.get_vocab()
BYTES = [VOCABULARY_IDS[chr(byte if byte in PRINTABLE else next(OTHERS))] for byte in range(256)]
IDS = st.lists(st.integers(0, VOCABULARY - 1), max_size=60)
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \n中文字か한é😀\ufffd㐀䶿\U0002f800\U0002fa1f"),
    max_size=40,
)


def pieces(ids: Iterable[int], decode: Callable[[Sequence[int]], str] = TOKENIZER.decode) -> list[str]:
    words = IncrementalDetokenizer(decode)
    return [piece for piece in [*map(words.push, ids), words.flush()] if piece]


def by_the_sheet(ids: Iterable[int]) -> list[str]:
    """The reference's rules word for word: all ids since the last new line are decoded each time."""
    pending: list[int] = []
    given_out: list[str] = []
    done, text = 0, ""
    for token in ids:
        pending.append(token)
        text = TOKENIZER.decode(pending)
        if text.endswith("\n"):
            given_out.append(text[done:])
            pending, done, text = [], 0, ""
            continue
        last = ord(text[-1]) if text else 0
        if 0x4E00 <= last <= 0x9FFF or 0x3400 <= last <= 0x4DBF or 0x2F800 <= last <= 0x2FA1F:
            end = len(text)
        else:
            end = max(done, text.rfind(" ", done) + 1)
        given_out.append(text[done:end])
        done = end
    return [piece for piece in [*given_out, text[done:]] if piece]


@pytest.mark.parametrize("model", FAMILIES)
def test_streams_are_the_references(model: str) -> None:
    cases = expected(model)
    for case in cases["streaming"]:
        assert pieces(case["ids"]) == case["chunks"], case["text"]
    for case in cases["stop_by_length"]:
        assert pieces(case["ids"][: case["max_tokens"]]) == case["chunks"], case["max_tokens"]


@settings(max_examples=300)
@given(IDS)
def test_any_ids_stream_as_by_the_sheet(ids: list[int]) -> None:
    assert pieces(ids) == by_the_sheet(ids)
    assert "".join(pieces(ids)) == TOKENIZER.decode(ids)


@settings(max_examples=200)
@given(TEXTS)
def test_half_a_character_is_never_let_out(text: str) -> None:
    """Each byte comes alone, which cuts every character that has more than one."""
    ids = [BYTES[byte] for byte in text.encode()]
    assert "".join(pieces(ids)) == text
    assert pieces(ids) == by_the_sheet(ids)
    words, shown = IncrementalDetokenizer(TOKENIZER.decode), ""
    for token in ids:
        shown += words.push(token)
        assert text.startswith(shown)
        assert shown == "" or shown[-1] in " \n" or "\u3400" <= shown[-1] <= "\U0002fa1f"


@pytest.mark.parametrize(("first", "last"), [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x2F800, 0x2FA1F)])
def test_an_ideograph_is_given_out_at_once(first: int, last: int) -> None:
    for code, known in ((first - 1, False), (first, True), (last, True), (last + 1, False)):
        text = f"a{chr(code)}b"
        assert pieces(BYTES[byte] for byte in text.encode()) == ([text[:2], "b"] if known else [text])


def test_what_is_incomplete_at_the_end_comes_with_the_rest() -> None:
    words = IncrementalDetokenizer(TOKENIZER.decode)
    start = [BYTES[byte] for byte in "a 😀".encode()[:-1]]
    assert "".join(map(words.push, start)) == "a "
    assert words.flush() == "\ufffd"
    assert words.flush() == ""
    assert words.push(BYTES[0x0A]) == "\n"  # a new text


def test_a_token_that_starts_a_character_after_a_space_lets_the_word_go() -> None:
    parts = {1: b"sun", 2: b" \xf0\x9f", 3: b"\x98\x80 and", 4: b"\xe3\x81", 5: b"\x82\xe3", 6: b"\x81\x84 "}

    def decode(ids: Sequence[int]) -> str:
        return b"".join(parts[token] for token in ids).decode("utf-8", "replace")

    words = IncrementalDetokenizer(decode)
    assert [words.push(token) for token in (1, 2, 3, 4, 5, 6)] == ["", "sun ", "😀 ", "", "", "andあい "]


def test_a_long_text_costs_no_more_a_token_than_a_short_one() -> None:
    """Without a space or a line in it, so that nothing can be given out before the end."""
    decoded = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return TOKENIZER.decode(ids)

    units = [*map(TOKENIZER.encode, ("word", "かな", "😀")), [BYTES[0xF0]], [BYTES[0x80]], [0]]
    for unit in units:
        decoded, ids = 0, unit * 5000
        start = time.monotonic()
        assert "".join(pieces(ids, decode)) == TOKENIZER.decode(ids)
        assert decoded <= 4 * len(ids)
        assert time.monotonic() - start < 5


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Up to the stop string that is complete first, of several the longest; character by character."""
    for end in range(1, len(text) + 1):
        ended = [one for one in stop if text[:end].endswith(one)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


# Few characters, so that stop strings come, overlap and begin again.
SHORT = st.text(st.sampled_from("ab \n中é\ufffd"), max_size=30)
STOPS = st.lists(st.text(st.sampled_from("ab \n中é"), min_size=1, max_size=5), max_size=3)


@settings(max_examples=400)
@given(SHORT, STOPS, st.data())
def test_text_ends_before_the_first_stop_string_however_it_is_cut_into_tokens(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    whole = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)))))
    parts = [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]

    def decode(ids: Sequence[int]) -> str:
        return b"".join(parts[token] for token in ids).decode("utf-8", "replace")

    stream, shown = StopStringDetokenizer(IncrementalDetokenizer(decode), stop), ""
    wanted, stops = cut(text, stop)
    for token in range(len(parts)):
        shown += stream.push(token)
        assert wanted.startswith(shown)
        if stream.stopped:
            break
        assert not stops or cut(decode(range(token + 1)).rstrip("\ufffd"), stop)[1] is False
        assert shown == "" or shown[-1] in " \n中"
    assert shown + stream.flush() == wanted
    assert stream.stopped == stops


@settings(max_examples=100)
@given(IDS)
def test_without_stop_strings_pieces_are_those_of_the_words(ids: list[int]) -> None:
    for stop in ([], ["\x00 never"]):
        stream = StopStringDetokenizer(IncrementalDetokenizer(TOKENIZER.decode), stop)
        assert [piece for piece in [*map(stream.push, ids), stream.flush()] if piece] == pieces(ids)


@pytest.mark.parametrize("model", FAMILIES)
def test_prompts_and_replies_are_the_references(model: str) -> None:
    settings = config(model)
    tokenizer = load_tokenizer(GOLDEN / model / "tokenizer.json", settings.text.vocab_size)
    seen = set()
    for name, flow in expected(model)["flows"].items():
        for call, generation in zip(flow["calls"], flow.get("generations", ()), strict=False):
            prompt = generation["prompt"]
            said = call.get("question") or (" " + call["object"] if "object" in call else None)
            if said:
                words = tokenizer.encode(said)
                assert any(prompt[i : i + len(words)] == words for i in range(len(prompt))), name
                seen.add(call["skill"])
            if "caption" in flow["result"]:
                assert tokenizer.decode(generation["tokens"][:-1]) == flow["result"]["caption"], name
                seen.add("caption")
    assert seen == {"query", "detect", "point", "caption"}


@given(TEXTS)
def test_text_comes_back_as_it_was(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.lists(st.sampled_from(["<|endoftext|>", "<|special_3|>", "<|special_15|>", " ", "a"]), min_size=1))
def test_the_name_of_a_special_token_is_only_text(parts: list[str]) -> None:
    text = "".join(parts)
    ids = TOKENIZER.encode(text)
    assert min(ids) > 15
    assert TOKENIZER.decode(ids) == text


def test_special_tokens_have_no_text() -> None:
    assert TOKENIZER.decode([0, *TOKENIZER.encode("so"), *range(16), *TOKENIZER.encode(" it")]) == "so it"


def test_text_without_a_utf8_form_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not valid Unicode"):
        TOKENIZER.encode("face\udcff")


def edited(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(FILE.read_text()) | changes))
    return path


def test_a_file_that_cuts_or_pads_does_not(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    pad = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip
    tokenizer = load_tokenizer(edited(tmp_path, truncation=cut, padding=pad), VOCABULARY)
    text = "the quick brown fox"
    assert tokenizer.encode(text) == TOKENIZER.encode(text)


def refused(path: Path, vocabulary: int = VOCABULARY) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        load_tokenizer(path, vocabulary)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_tokenizer_that_does_not_belong_to_the_weights_is_refused() -> None:
    assert "511" in refused(FILE, vocabulary=511)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "{", '{"model": 3}', '{"version": "9.0"}', "\x00"])
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    assert "tokenizer" in refused(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.json")
    assert "can't be read" in refused(tmp_path)  # a folder
    binary = tmp_path / "tokenizer.json"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not text" in refused(binary)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_works(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = FILE.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, 40) | st.just(len(content)))
    damaged = content[:place] + data.draw(st.binary(max_size=4)) + content[place + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(damaged)
    with contextlib.suppress(ModelUnavailable):
        tokenizer = load_tokenizer(path, VOCABULARY)
        tokenizer.decode(tokenizer.encode("the quick <|endoftext|>"))
