"""Judges of answers in words: what an answer says, and how right it is."""

import re
from collections.abc import Callable, Mapping

from mdtool.errors import InputError
from mdtool.jobs.evals.data.fields import texts
from mdtool.jobs.evals.metrics.text_answers import (
    anls,
    exact_match,
    multiple_choice,
    number,
    relaxed_accuracy,
    vqa_accuracy,
    vqa_normalized,
    yes_no,
)
from mdtool.jobs.evals.tasks.task import Judgement

Judge = Callable[[str, object, str], Judgement]  # of the answer, the truth, and the question

LETTERS = "ABCDEFGH"
# Options in a question, as MMStar ("Options: A: a dog, B: a cat") and RealWorldQA ("A. a dog\nB. a cat") write them.
_OPTION = re.compile(r"(?:^|[\n,:]\s*)\(?([A-H])[.:)]\s*(.+?)(?=\s*(?:,\s*\(?[A-H][.:)]\s|\n|$))")


def by_vqa(answer: str, truth: object, question: str) -> Judgement:
    """Score as VQA does, by how many people gave this answer."""
    return Judgement(answer, vqa_normalized(answer), vqa_accuracy(answer, texts(truth)))


def by_anls(answer: str, truth: object, question: str) -> Judgement:
    """Score by edit distance to the nearest true answer."""
    return Judgement(answer, answer.strip(), anls(answer, texts(truth)))


def by_relaxed_match(answer: str, truth: object, question: str) -> Judgement:
    """Score as ChartQA does: numbers may be off by 5 %."""
    said = answer.strip()
    return Judgement(answer, said, max(relaxed_accuracy(_without_stop(said), text) for text in texts(truth)))


def by_exact_match(answer: str, truth: object, question: str) -> Judgement:
    """Score 1 for one of the true answers."""
    said = _without_stop(answer.strip())
    return Judgement(answer, said.lower(), max(exact_match(said, text) for text in texts(truth)))


def by_number(answer: str, truth: object, question: str) -> Judgement:
    """Score 1 for the true whole number, in digits or words."""
    said, true = number(answer), {number(text) for text in texts(truth)} - {None}
    if not true:
        raise InputError(f"the true answer {texts(truth)[0]!r} is no whole number")
    return Judgement(answer, said, float(said in true))


def by_yes_no(answer: str, truth: object, question: str) -> Judgement:
    """Score 1 for the right one of yes and no."""
    said, true = yes_no(answer), yes_no(texts(truth)[0])
    if true is None:
        raise InputError(f"the true answer {texts(truth)[0]!r} is neither yes nor no")
    return Judgement(answer, None if said is None else ("no", "yes")[said], float(said == true))


def by_choice(answer: str, truth: object, question: str) -> Judgement:
    """Score 1 for the letter of the right option, or its words."""
    said, true = multiple_choice(answer, options_in(question) or LETTERS), texts(truth)[0].strip().upper()
    if true not in tuple(LETTERS):
        raise InputError(f"the true answer {texts(truth)[0]!r} is no letter of an option")
    return Judgement(answer, said, float(said == true))


def by_kind_of_truth(answer: str, truth: object, question: str) -> Judgement:
    """Score as the true answer is: an option's letter, a whole number, yes or no, or any words."""
    accepted = texts(truth)
    if all(re.fullmatch(r"[A-H]", text.strip()) for text in accepted) and options_in(question):
        return by_choice(answer, truth, question)
    if all(re.fullmatch(r"\d+", text.strip()) for text in accepted):
        return by_number(answer, truth, question)
    if all(re.fullmatch(r"yes|no", text.strip(), re.IGNORECASE) for text in accepted):
        return by_yes_no(answer, truth, question)
    return by_exact_match(answer, truth, question)


JUDGES: Mapping[str, Judge] = {  # by the names that a row of `qa` may give
    "vqa": by_vqa,
    "anls": by_anls,
    "relaxed": by_relaxed_match,
    "exact": by_exact_match,
    "number": by_number,
    "yes_no": by_yes_no,
    "choice": by_choice,
}


def options_in(question: str) -> dict[str, str]:
    """Return the options that a question lists, by letter; {} if it lists none, from A on."""
    found = dict(_OPTION.findall(question))
    letters = "".join(found)
    return found if len(found) > 1 and LETTERS.startswith(letters) else {}


def _without_stop(text: str) -> str:
    return text[:-1].rstrip() if text.endswith(".") else text
