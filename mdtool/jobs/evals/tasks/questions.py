"""Tasks of one question on one picture, which differ in fields, wording, and in how an answer is judged."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.contract import Generation, QueryRequest
from mdtool.errors import InputError
from mdtool.jobs.evals.data.fields import field as needed
from mdtool.jobs.evals.data.fields import optional, text, texts
from mdtool.jobs.evals.data.read_rows import Row
from mdtool.jobs.evals.figures import by_group, figures_of, mean_figures
from mdtool.jobs.evals.metrics.text_answers import yes_no
from mdtool.jobs.evals.metrics.yes_no_scores import pope_scores
from mdtool.jobs.evals.sample import Entry, Figure, Picture, Sample, Scored
from mdtool.jobs.evals.tasks import judges
from mdtool.jobs.evals.tasks.judges import JUDGES, Judge
from mdtool.jobs.evals.tasks.task import Judgement, RowContext, Task

REFERENCE = "moondream's eval folder"
LMMS = "lmms-eval, as moondream's eval folder does not have this set"
GREEDY = Generation(temperature=0)
QUESTION = ("question", "text", "query", "instruction")
IMAGE = ("image", "imgname", "image_id", "imageId")
TRUTH = ("answers", "answer", "label", "number")
ID = ("id", "question_id", "questionId", "index")
POPE_SPLITS = ("adversarial", "popular", "random")
CHART_SOURCES = ("augmented", "human")

COUNT = "Look at the image carefully and count the objects. Answer with just a number, without any additional text. "
CHART = (
    "Analyze the chart carefully, consider both visual features and data values, and provide a precise answer without "
    "any additional explanation or formatting. "
)
READ = (
    "Read the text in the image and provide a brief lowercase answer. Respond 'unanswerable' only if there is no "
    "plausible answer. "
)
SHORT = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Wording:
    """What stands before and after a question."""

    before: str = ""
    after: str = ""

    def of(self, question: str) -> str:
        """Return the prompt."""
        return f"{self.before}{question}{self.after}"


@dataclass(frozen=True)
class Questions:
    """A set of questions on pictures.

    Attributes:
        name: Of the task.
        about: What it measures.
        judge: Of the answers.
        reference: Wording that is used unless lmms-eval's is asked for: that of moondream's eval folder, if it has one.
        lmms: Wording of lmms-eval; None: it has no such task.
        figure: What the mean score is called.
        truth: Fields that may have the true answer, in order of preference.
        groups: Returns the subsets of a question, from its row.
        subsets: That files are named by, for rows that don't say which they are of.
        wording: Where `reference` is from.
    """

    name: str
    about: str
    judge: Judge
    reference: Wording = Wording()
    lmms: Wording | None = None
    figure: str = "accuracy"
    truth: tuple[str, ...] = TRUTH
    groups: Callable[[Row], tuple[str, ...]] = field(default=lambda row: ())
    subsets: tuple[str, ...] = ()
    wording: str = REFERENCE

    def task(self) -> Task:
        """Return the task."""
        return Task(
            self.name, self.about, "query", self.samples, self.judged, self.figures,
            self.wording, has_lmms_prompts=self.lmms is not None,
        )  # fmt: skip

    def samples(self, row: Row, context: RowContext) -> Iterator[Sample]:
        """Make a sample of each question of a row."""
        name = str(optional(row, *ID) if optional(row, *ID) is not None else context.number)
        picture = context.picture(row, name, *IMAGE)
        asked = self._questions(row)
        for place, question in enumerate(asked):
            key = optional(question, *ID) if len(asked) > 1 else None
            yield self.sample(question, context, picture, name if len(asked) == 1 else f"{name}/{key or place}")

    def sample(self, row: Row, context: RowContext, picture: Picture, name: str) -> Sample:
        """Make the sample of one question."""
        wording = self.lmms if context.prompts == "lmms" and self.lmms else self.reference
        question, truth = wording.of(text(row, *QUESTION)), needed(row, *self.truth)
        self.judge("", truth, question)  # raises for a truth that no answer can be compared with
        request = QueryRequest(None, question, generation=GREEDY)
        groups = self.groups(row) or _named_in(context.file, self.subsets)
        return Sample(name, picture, request, truth, picture.key, groups)

    def _questions(self, row: Row) -> Sequence[Row]:
        listed = row.get("qa")
        if listed is None:
            return [row]
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise InputError("a row's qa is no list of questions")
        return listed

    def judged(self, sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
        """Judge an answer."""
        return self.judge(entry["answer"], sample.truth, entry["question"])

    def figures(self, scored: Sequence[Scored]) -> list[Figure]:
        """Return the mean score, of all and of each subset."""
        return mean_figures(self.figure, scored)


@dataclass(frozen=True)
class Pope(Questions):
    """POPE, whose rows may hold lists of questions of three splits, and which has scores of its own."""

    def _questions(self, row: Row) -> Sequence[Row]:
        splits = [split for split in POPE_SPLITS if isinstance(row.get(split), list)]
        if not all(isinstance(one, dict) for split in splits for one in row[split]):
            raise InputError("a row's split is no list of questions")
        return [one | {"category": split} for split in splits for one in row[split]] or super()._questions(row)

    def figures(self, scored: Sequence[Scored]) -> list[Figure]:
        """Return accuracy, precision, recall, F1 and the share of yes, of all and of each split."""
        figures = figures_of(_pope, scored)
        for split, those in by_group(scored).items():
            figures += figures_of(_pope, those, f" ({split})")
        return figures


def _pope(scored: Sequence[Scored]) -> dict[str, float | None]:
    said = {"yes": True, "no": False, None: None}
    scores = pope_scores([(said[one.prediction], yes_no(texts(one.truth)[0]) is True) for one in scored])
    return {
        "accuracy": scores.accuracy, "precision": scores.precision, "recall": scores.recall, "F1": scores.f1,
        "yes ratio": scores.yes_ratio,
    }  # fmt: skip


@dataclass(frozen=True)
class OwnQuestions(Questions):
    """Anybody's questions, whose rows may name the metric."""

    def samples(self, row: Row, context: RowContext) -> Iterator[Sample]:
        """Make a sample of each question of a row; the metric is judged by, and kept with the truth."""
        metric = row.get("metric")
        if metric is not None and (not isinstance(metric, str) or metric not in JUDGES):
            raise InputError(f"the metric {metric!r} is not known; known are {', '.join(JUDGES)}")
        by_metric = replace(self, judge=JUDGES[metric]) if metric else self
        for sample in super(OwnQuestions, by_metric).samples(row, context):
            yield replace(sample, truth={"answers": texts(sample.truth), "metric": metric}) if metric else sample

    def judged(self, sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
        """Judge an answer by the row's metric, or as its true answer is."""
        match sample.truth:
            case {"metric": str(metric), "answers": truth}:
                return JUDGES[metric](entry["answer"], truth, entry["question"])
        return self.judge(entry["answer"], sample.truth, entry["question"])


def _named_in(file: Path, subsets: Sequence[str]) -> tuple[str, ...]:
    """Return which of the subsets a file is named by, as test_human.json is."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    return tuple(subset for subset in subsets if subset in words)


def _subset(*names: str) -> Callable[[Row], tuple[str, ...]]:
    """Return a function that names the subset of a row by the first of these fields that it has."""

    def groups(row: Row) -> tuple[str, ...]:
        value = optional(row, *names)
        return () if value is None or value == "" else (str(value),)

    return groups


def _is_simple(row: Row) -> tuple[str, ...]:
    simple: Any = optional(row, "is_simple", "issimple")
    return () if simple is None else (("simple" if simple else "complex"),)


def _chart_source(row: Row) -> tuple[str, ...]:
    value = optional(row, "source", "type", "human_or_machine")
    return (value.removesuffix("_test"),) if isinstance(value, str) and value else ()


_QUESTIONS = (
    Pope(
        "pope", "whether an object is there (object hallucination)", judges.by_yes_no,
        Wording(after="\nAnswer yes or no."), Wording(after=SHORT), groups=_subset("category", "split"),
        subsets=POPE_SPLITS,
    ),
    Questions("countbenchqa", "counting", judges.by_number, Wording(COUNT), Wording(), truth=("number", "answer")),
    Questions("tallyqa", "counting", judges.by_number, Wording(COUNT), groups=_is_simple, truth=("answer", "number")),
    Questions("textvqa", "reading text in photos", judges.by_vqa, Wording(READ), Wording(after=SHORT), "VQA accuracy"),
    Questions(
        "vqav2", "questions on photos", judges.by_vqa, Wording(after=SHORT), Wording(after=SHORT), "VQA accuracy",
        groups=_subset("answer_type"), wording=LMMS,
    ),
    Questions(
        "gqa", "questions on scenes", judges.by_exact_match, Wording(after=SHORT), Wording(after=SHORT),
        truth=("answer",), wording=LMMS,
    ),
    Questions(
        "chartqa", "questions on charts", judges.by_relaxed_match, Wording(CHART), Wording(after=SHORT),
        "relaxed accuracy", groups=_chart_source, subsets=CHART_SOURCES, truth=("answer", "label"),
    ),
    Questions(
        "docvqa", "questions on documents", judges.by_anls,
        Wording(after=" The answer should be a short text span taken verbatim from the document."),
        Wording(after=SHORT), "ANLS", truth=("answers",),
    ),
    Questions("realworldqa", "questions on the view from a car, and the like", judges.by_kind_of_truth, lmms=Wording()),
    Questions(
        "mmstar", "multiple choice", judges.by_choice,
        Wording(after=" Please answer directly with only the letter of the correct option and nothing else."),
        Wording(after="\nAnswer with the option's letter from the given choices directly"), groups=_subset("category"),
    ),
    OwnQuestions("qa", "your own questions", judges.by_kind_of_truth, groups=_subset("split"), wording="your data"),
)  # fmt: skip
QUESTION_TASKS = tuple(one.task() for one in _QUESTIONS)
