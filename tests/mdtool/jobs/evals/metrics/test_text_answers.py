"""Scores of answers in words, beside the rules of the official scripts written down a second time."""

import re
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdtool.jobs.evals.metrics.text_answers import (
    anls,
    exact_match,
    levenshtein,
    multiple_choice,
    number,
    relaxed_accuracy,
    vqa_accuracy,
    vqa_normalized,
    yes_no,
)

WORDS = [
    "a", "an", "the", "The", "two", "none", "ten", "eleven", "Yes", "dont", "couldnt've", "couldn'tve", "somebody'd",
    "red", "x", "5", "1,000", "3.5", ".", "..", ",", "?", "!", "-", "/", "(", ")", "'", " ", "  ", "\n", "\t", "",
]  # fmt: skip
mixed_texts = st.lists(st.sampled_from(WORDS), max_size=7).map("".join)
CONTRACTIONS = {
    "dont": "don't", "couldnt've": "couldn't've", "couldn'tve": "couldn't've", "somebody'd": "somebodyd",
    "aint": "ain't", "yall": "y'all", "y'allll": "y'all'll", "twas": "'twas", "oclock": "o'clock", "thered": "there'd",
}  # fmt: skip
NUMBERS = {
    "none": 0, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10,
}  # fmt: skip


def official_normalisation(text: str) -> str:
    """processPunctuation and processDigitArticle of the VQA evaluation, on the contractions above."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    output = text
    for mark in [
        ";",
        "/",
        "[",
        "]",
        '"',
        "{",
        "}",
        "(",
        ")",
        "=",
        "+",
        "\\",
        "_",
        "-",
        ">",
        "<",
        "@",
        "`",
        ",",
        "?",
        "!",
    ]:
        if (mark + " " in text or " " + mark in text) or re.search(r"(\d)(\,)(\d)", text):
            output = output.replace(mark, "")
        else:
            output = output.replace(mark, " ")
    output = re.sub(r"(?!<=\d)(\.)(?!\d)", "", output)
    kept = []
    for word in output.lower().split():
        word = str(NUMBERS[word]) if word in NUMBERS else word
        if word not in ["a", "an", "the"]:
            kept.append(CONTRACTIONS.get(word, word))
    return " ".join(kept)


def official_accuracy(answer: str, truths: Sequence[str]) -> float:
    said, true = official_normalisation(answer), [official_normalisation(truth) for truth in truths]
    scores = []
    for place in range(len(true)):
        others = true[:place] + true[place + 1 :]
        scores.append(min(1, float(len([other for other in others if other == said])) / 3))
    return sum(scores) / len(scores)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Two.", "2"),
        ("None", "0"),
        ("eleven", "eleven"),
        ("The  red\ncar", "red car"),
        ("an apple", "apple"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("1,000", "1000"),
        ("1,000-ton", "1000ton"),
        ("3.5", "3.5"),
        ("5.", "5"),
        (".5", ".5"),
        ("st. mary", "st mary"),
        ("what?", "what"),
    ],
)
def test_normalisation_of_vqa(text: str, normalised: str) -> None:
    assert vqa_normalized(text) == normalised


@given(mixed_texts)
def test_normalisation_is_the_official_scripts(text: str) -> None:
    assert vqa_normalized(text) == official_normalisation(text)


@pytest.mark.parametrize(("short", "whole"), CONTRACTIONS.items())
def test_contractions(short: str, whole: str) -> None:
    assert vqa_normalized(short.upper()) == whole


@pytest.mark.parametrize(
    ("alike", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)]
)  # of ten people; each is left out once
def test_people_who_agree_of_ten(alike: int, score: float) -> None:
    truths = ["two"] * alike + ["three"] * (10 - alike)
    assert vqa_accuracy("2", truths) == pytest.approx(score)


@given(mixed_texts, st.lists(mixed_texts, min_size=2, max_size=12), st.integers(0, 12))
def test_vqa_accuracy_is_the_official_scripts(answer: str, truths: list[str], repeated: int) -> None:
    truths = truths + [answer] * repeated
    assert vqa_accuracy(answer, truths) == pytest.approx(official_accuracy(answer, truths), abs=1e-12)


def test_one_true_answer_alone() -> None:
    assert vqa_accuracy("The cat", ["cat"]) == 1
    assert vqa_accuracy("dog", ["cat"]) == 0
    with pytest.raises(ValueError, match="no true answers"):
        vqa_accuracy("dog", [])


@cache
def edits(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return edits(a[1:], b[1:])
    return 1 + min(edits(a[1:], b), edits(a, b[1:]), edits(a[1:], b[1:]))


short_texts = st.text("abc ", max_size=7)


@given(short_texts, short_texts)
def test_edit_distance(a: str, b: str) -> None:
    assert levenshtein(a, b) == edits(a, b)


@pytest.mark.parametrize(
    ("answer", "truths", "score"),
    [
        ("Total", ["total"], 1),
        ("  two   words ", ["two words"], 1),
        ("abcd", ["abcx"], 0.75),
        ("abcd", ["abxy"], 0.5),  # the threshold itself counts
        ("abcd", ["axyz"], 0),
        ("abcde", ["abxyz"], 0),  # 0.4
        ("abcd", ["zzzz", "abcx", "abxy"], 0.75),
        ("", [""], 1),
        ("", ["a"], 0),
    ],
)
def test_anls(answer: str, truths: list[str], score: float) -> None:
    assert anls(answer, truths) == pytest.approx(score)


@given(st.text("abc", max_size=6), st.lists(st.text("abc", max_size=6), min_size=1, max_size=3))
def test_anls_is_the_official_scripts(answer: str, truths: list[str]) -> None:
    values = []
    for truth in truths:
        length = max(len(truth), len(answer))
        values.append(0.0 if length == 0 else edits(truth, answer) / length)
    score = 1 - min(values)
    assert anls(answer, truths) == pytest.approx(0 if score < 0.5 else score)


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("105", "100", True),
        ("95", "100", True),
        ("105.1", "100", False),
        ("94.9", "100", False),
        ("-105", "-100", True),
        ("105", "-100", False),
        ("12%", "12%", True),
        ("12.5%", "12%", True),
        ("0.12", "12%", True),
        ("12", "12%", False),
        ("12", "0.12", False),
        ("0", "0", True),
        ("0.0", "0", False),  # a truth of 0 is text
        ("Blue", "blue ", True),
        ("blueish", "blue", False),
        ("1e2", "100", True),
        ("1,000", "1000", False),
        ("nan", "nan", True),
        ("inf", "100", False),
        ('[1, "B"]', '[1.02, "b"]', True),
        ('["b", 1]', '[1, "b"]', False),
        ("[1]", "[1, 2]", False),
        ("[1, 2]", "[1, 2]", True),
        ("1", "[1]", False),
    ],
)
def test_relaxed_accuracy(answer: str, truth: str, right: bool) -> None:
    assert relaxed_accuracy(answer, truth) == right


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6).filter(bool))
def test_relaxed_accuracy_of_numbers(answer: float, truth: float) -> None:
    assert relaxed_accuracy(str(answer), str(truth)) == (abs(answer - truth) / abs(truth) <= 0.05)


def test_exact_match() -> None:
    assert exact_match(" A Red Car. ", "a red car") == 1
    assert exact_match("a red cars", "a red car") == 0
    assert exact_match("", "a") == 0


OPTIONS = {"A": "a cat", "B": "a dog", "C": "a bird", "D": "a hot dog stand"}


@pytest.mark.parametrize(
    ("answer", "letter", "letter_by_words"),
    [
        ("B", "B", "B"),
        ("b", "B", "B"),
        (" (C). ", "C", "C"),
        ("B.", "B", "B"),
        ("D) a hot dog stand", "D", "D"),
        ("B: the dog", "B", "B"),
        ("**C**", "C", "C"),
        ("The answer is B.", "B", "B"),
        ("Answer: (D)", "D", "D"),
        ("I would choose option C, not A", "C", "C"),
        ("a dog", None, "B"),
        ("A bird.", None, "C"),
        ("It is a cat", None, "A"),
        ("I think B is right", "B", "B"),
        ("A is right", "A", "A"),
        ("A or B", None, None),
        ("both A and B", None, None),
        ("A zebra stands here", None, None),
        ("E", None, None),
        ("", None, None),
        ("none of these", None, None),
    ],
)
def test_multiple_choice(answer: str, letter: str | None, letter_by_words: str | None) -> None:
    assert multiple_choice(answer, "ABCD") == letter
    assert multiple_choice(answer, OPTIONS) == letter_by_words


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ("Yes", True),
        ("yes.", True),
        ("Yes, there is no doubt", True),
        ("NO", False),
        ("No, yes is wrong", False),
        ("There isn't one. Yes?", False),
        ("There isn’t one", False),
        ("It is not there", False),
        ("maybe", None),
        ("There is a knot", None),
        ("Norway", None),
        ("", None),
        ("I think so. Yes", None),
    ],
)
def test_yes_or_no(answer: str, meaning: bool | None) -> None:
    assert yes_no(answer) is meaning


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("3", 3),
        ("There are 3 dogs and 2 cats.", 3),
        ("1,250", 1250),
        ("3.0", 3),
        ("3.5", None),
        ("three", 3),
        ("Twenty-one.", 21),
        ("twenty one dogs", 21),
        ("a dozen eggs", 12),
        ("two dozen", 24),
        ("one hundred and five", 105),
        ("two hundred thousand and six", 200_006),
        ("two, three", 2),
        ("two and three", 2),
        ("none", 0),
        ("No dogs", 0),
        ("There are no dogs in the image.", 0),
        ("There are none.", 0),
        ("There is no way to tell.", None),
        ("No, there are 4", 4),
        ("zero", 0),
        ("many", None),
        ("", None),
    ],
)
def test_numbers(answer: str, value: int | None) -> None:
    assert number(answer) == value


def spelled(value: int) -> str:
    """Spell a number below a thousand million."""
    if value >= 1_000_000:
        return (
            spelled(value // 1_000_000) + " million" + (f" {spelled(value % 1_000_000)}" if value % 1_000_000 else "")
        )
    if value >= 1000:
        return spelled(value // 1000) + " thousand" + (f" {spelled(value % 1000)}" if value % 1000 else "")
    if value >= 100:
        return spelled(value // 100) + " hundred" + (f" and {spelled(value % 100)}" if value % 100 else "")
    if value >= 20:
        tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"][value // 10 - 2]
        return tens + (f"-{spelled(value % 10)}" if value % 10 else "")
    units = (
        "zero,one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve,thirteen,fourteen,fifteen,sixteen,"
        "seventeen,eighteen,nineteen"
    )
    return units.split(",")[value]


@given(st.integers(0, 1200) | st.integers(0, 999_999_999))
def test_numbers_in_words(value: int) -> None:
    assert number(f"There are {spelled(value)} of them, or 7.") == value
    assert number(f"{value:,}") == value
