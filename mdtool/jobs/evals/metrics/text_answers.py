"""Scores of answers in words, and what an answer in words says: an option, yes or no, a number."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

ANLS_THRESHOLD = 0.5
RELAXED_TOLERANCE = 0.05
VQA_AGREEMENT = 3  # of the other people's answers, for full marks

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = {"a", "an", "the"}
_UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS, _TENS = _UNIT_WORDS.split(), _TEN_WORDS.split()
_VQA_NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(_UNITS[:11])}
_NUMBER_WORDS = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_MULTIPLIERS = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000}

# The contractions of the VQA evaluation. It reads each with one of its apostrophes left out as the whole.
_CONTRACTION_WORDS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've "
    "we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's "
    "who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've "
    "you'll you're you've"
)
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTION_WORDS.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
_NO_ARTICLE = r"(?!A (?!(?:and|or|is)\b)[a-z])"  # what stands here is not the article, as of "A dog"


def vqa_normalized(text: str) -> str:
    """Return an answer as the VQA evaluation compares it: without case, punctuation and articles, numbers in digits.

    As the official script runs, not as it was meant: a full stop goes wherever no digit follows it, and a number
    such as 1,000 anywhere has all punctuation deleted, where a mark between two letters else becomes a space.

    Source: vqaEval.py of the VQA evaluation tools (Antol et al., "VQA: Visual Question Answering", 2015).
    """
    text = text.replace("\n", " ").replace("\t", " ").strip()
    grouped_digits = re.search(r"\d,\d", text)
    cleaned = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside_space or grouped_digits else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned)
    words = [_VQA_NUMBERS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """Return the VQA accuracy, 0..1: min(1, matches / 3), averaged over leaving out each person's answer once.

    Both sides are always normalised; the official script leaves them as they are where all people agree. Where there
    is one true answer only, nothing can be left out: the score is 1 if it matches.

    Args:
        answer: The model's answer.
        truths: The people's answers; ten in VQA and TextVQA.

    Raises:
        ValueError: There are no true answers.
    """
    if not truths:
        raise ValueError("no true answers")
    said = vqa_normalized(answer)
    matches = [vqa_normalized(truth) == said for truth in truths]
    if len(matches) == 1:
        return float(matches[0])
    total = sum(matches)
    return sum(min(1.0, (total - left_out) / VQA_AGREEMENT) for left_out in matches) / len(matches)


def anls(answer: str, truths: Sequence[str], threshold: float = ANLS_THRESHOLD) -> float:
    """Return the average normalised Levenshtein similarity of one answer, 0..1: the best over the true answers.

    A similarity below the threshold counts as 0. Case is ignored, and runs of white space count as one space.

    Source: Biten et al., "Scene Text Visual Question Answering", 2019; the script of DocVQA, which lets a similarity of
    exactly the threshold count.

    Raises:
        ValueError: There are no true answers.
    """
    said = " ".join(answer.lower().split())
    best = max(_similarity(said, " ".join(truth.lower().split())) for truth in truths)
    return best if best >= threshold else 0.0


def _similarity(a: str, b: str) -> float:
    length = max(len(a), len(b))
    return 1 - levenshtein(a, b) / length if length else 1.0


def levenshtein(a: str, b: str) -> int:
    """Return the least number of characters to insert, delete or replace that makes one text the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above_left, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above_left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above_left + (x != y))
    return row[-1]


def relaxed_accuracy(answer: str, truth: str) -> float:
    """Return 1 if the answer is right by ChartQA's rule, else 0: numbers within 5 % of the truth, words equal.

    "12%" is the number 0.12. Case and outer white space are ignored. Where both are JSON lists of one length, each
    item has to be right. A truth of 0 is compared as text, as in the sources.

    Source: Masry et al., "ChartQA", 2022, section 5.1, as in pix2struct's metrics; lists as in moondream's evaluation.
    """
    said, true = _json_list(answer), _json_list(truth)
    if said is None or true is None or len(said) != len(true):
        said, true = [answer], [truth]
    return float(
        all(_relaxed_equal(str(a).strip().lower(), str(t).strip().lower()) for a, t in zip(said, true, strict=True))
    )


def _json_list(text: str) -> list[object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _relaxed_equal(answer: str, truth: str) -> bool:
    said, true = _chart_number(answer), _chart_number(truth)
    if said is None or not true:
        return answer == truth
    return abs(said - true) / abs(true) <= RELAXED_TOLERANCE


def _chart_number(text: str) -> float | None:
    try:
        value = float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def exact_match(answer: str, truth: str) -> float:
    """Return 1 if both texts are equal, else 0; case, outer white space and a full stop at the end are ignored."""
    said, true = (text.strip().lower().removesuffix(".").rstrip() for text in (answer, truth))
    return float(said == true)


def multiple_choice(answer: str, options: Sequence[str] | Mapping[str, str]) -> str | None:
    """Return the letter of the option that an answer chooses, or None if it chooses none or several.

    Understood are the letter alone ("b", "(B)", "B."), a letter in front ("B) a dog"), a phrase that names it ("the
    answer is B", "option B"), the words of an option, and one single capital letter among other words.

    Args:
        answer: The model's answer.
        options: The letters in capitals ("ABCD"), or their words by letter.
    """
    letters = "".join(options)
    text = answer.strip().strip("*").strip()
    for pattern in (rf"[(\[]?([{letters}])[)\].:,]*", rf"[(\[]?([{letters}])(?:[)\]]|[.:,])(?:\s.*)"):
        if found := re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
            return found[1].upper()
    if isinstance(options, Mapping):
        words = {letter: _plain(option) for letter, option in options.items() if option.strip()}
        same = [letter for letter, option in words.items() if option == _plain(text)]
        if len(same) == 1:
            return same[0]
    named = set(re.findall(rf"(?i:answer|option|choice)(?i:\s+is)?\s*:?\s*[(\[*]*{_NO_ARTICLE}([{letters}])\b", text))
    if len(named) == 1:
        return str(named.pop())
    if isinstance(options, Mapping):
        inside = [letter for letter, option in words.items() if re.search(rf"\b{re.escape(option)}\b", _plain(text))]
        if len(inside) == 1:
            return inside[0]
    alone = set(re.findall(rf"\b{_NO_ARTICLE}([{letters}])\b(?!')", text))
    return str(alone.pop()) if len(alone) == 1 else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def yes_no(answer: str) -> bool | None:
    """Return what the first sentence of an answer says: True for yes, False for no, None for neither.

    The first of "yes", "no", "not" and words in "n't" decides. POPE's own script takes all that has no "no" or "not"
    for yes.
    """
    sentence = re.split(r"[.!?\n]", answer.strip().lower(), maxsplit=1)[0]
    for word in re.findall(r"[a-z]+(?:'[a-z]+)?", sentence.replace("’", "'")):
        if word == "yes":
            return True
        if word in {"no", "not"} or word.endswith("n't"):
            return False
    return None


def number(answer: str) -> int | None:
    """Return the first whole number in an answer, in digits or in English words, or None.

    "There are twenty-one dogs." is 21, "1,250" is 1250, "none", "no dogs" and "there are no dogs" are 0 where no number
    follows, and a fraction such as "3.5" is no whole number.
    """
    tokens = re.findall(r"\d[\d,]*(?:\.\d+)?|[a-z]+", answer.lower())
    for place, token in enumerate(tokens):
        if token[0].isdigit():
            value = float(token.replace(",", ""))
            return int(value) if value.is_integer() else None
        if token in _NUMBER_WORDS or token in _MULTIPLIERS:
            return _number_in_words(tokens[place:])
    counted = tokens[2:] if tokens[:2] == ["there", "are"] else tokens
    return 0 if counted and counted[0] in {"no", "none"} else None


def _number_in_words(words: Sequence[str]) -> int:
    """Return the number that the words begin with, such as "two hundred and five"."""
    total, part = 0, 0  # of the thousands that are complete; of those under way
    last = ""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word in _NUMBER_WORDS:
            value = _NUMBER_WORDS[word]
            if last in _NUMBER_WORDS and not (last in _TENS and 0 < value < 10):
                break  # "two three" are two numbers
            part += value
        elif word in {"dozen", "hundred"}:
            part = max(part, 1) * _MULTIPLIERS[word]
        elif word in _MULTIPLIERS:
            total, part = total + max(part, 1) * _MULTIPLIERS[word], 0
        elif not (word == "and" and last in _MULTIPLIERS and following in _NUMBER_WORDS):
            break
        last = word
    return total + part
