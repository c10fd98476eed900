"""NaturalBench: two pictures and two questions a group, each with another answer on the other picture."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine.contract import QueryRequest
from mdtool.jobs.evals.data.fields import field, optional, text
from mdtool.jobs.evals.data.read_rows import Row
from mdtool.jobs.evals.figures import figures_of
from mdtool.jobs.evals.metrics.natural_bench import Group, natural_bench_scores
from mdtool.jobs.evals.sample import Entry, Figure, Sample, Scored
from mdtool.jobs.evals.tasks.judges import by_choice, by_yes_no
from mdtool.jobs.evals.tasks.questions import GREEDY, REFERENCE
from mdtool.jobs.evals.tasks.task import Judgement, RowContext, Task

PLACES = ("image 0, question 0", "image 1, question 0", "image 0, question 1", "image 1, question 1")
# How many there are of what a figure counts, in a group.
PER_GROUP = {"group accuracy": 1, "question accuracy": 2, "image accuracy": 2, "accuracy": len(PLACES)}
YES_NO = "yes_no"
# Suffixes of questions with yes or no, and of others.
SUFFIXES = {
    "reference": (" Answer yes or no.", ""),
    "lmms": (" Please answer Yes or No.", " Please output the letter corresponding to the correct option."),
}


def samples(row: Row, context: RowContext) -> Iterator[Sample]:
    """Make the four samples of a group, or the one of a row that has one question (as lmms-eval's copy of the set)."""
    is_yes_no = field(row, "Question_Type") == YES_NO
    suffix = SUFFIXES[context.prompts][not is_yes_no]

    def sample(group: str, place: int, question: str, *, image: object, truth: str) -> Sample:
        name = f"{group}/{place}"
        picture = context.pictures.picture(image, name)
        _judged("", truth, question)  # raises for a truth that no answer can be compared with
        request = QueryRequest(None, question + suffix, generation=GREEDY)
        return Sample(name, picture, request, truth, group, (PLACES[place],))

    if "Image_0" in row:
        group = str(optional(row, "Index") if optional(row, "Index") is not None else context.number)
        for place in (0, 2, 1, 3):  # the questions on one picture together
            image, question = place % 2, place // 2
            yield sample(
                group, place, text(row, f"Question_{question}"), image=field(row, f"Image_{image}"),
                truth=text(row, f"Image_{image}_Question_{question}"),
            )  # fmt: skip
        return
    index = int(field(row, "Index"))
    true = index % 4 in (0, 3)  # the set is made so
    given = optional(row, "Answer")
    truth = str(given) if given is not None else (("no", "yes") if is_yes_no else ("B", "A"))[true]
    yield sample(str(index // 4), index % 4, text(row, "Question"), image=field(row, "Image"), truth=truth)


def judge(sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
    """Judge an answer: yes or no, or an option."""
    return _judged(entry["answer"], sample.truth, entry["question"])


def _judged(answer: str, truth: str, question: str) -> Judgement:
    by = by_yes_no if truth.lower() in ("yes", "no") else by_choice
    return by(answer, truth, question)


def figures(scored: Sequence[Scored]) -> list[Figure]:
    """Return the accuracies of answers, questions, images and groups; a group that lacks an answer is left out."""
    counts: defaultdict[str, int] = defaultdict(int)
    for one in scored:
        counts[one.unit] += 1
    whole = [one for one in scored if counts[one.unit] == len(PLACES)]
    found = figures_of(_scores, sorted(whole, key=lambda one: one.unit)) if whole else []
    return [replace(figure, count=PER_GROUP[figure.name] * len(whole) // len(PLACES)) for figure in found]


def _scores(scored: Sequence[Scored]) -> dict[str, float | None]:
    rights = [[one.score == 1 for one in scored if one.groups == (place,)] for place in PLACES]
    scores = natural_bench_scores([Group(*four) for four in zip(*rights, strict=True)])
    return {
        "group accuracy": scores.group_accuracy, "question accuracy": scores.question_accuracy,
        "image accuracy": scores.image_accuracy, "accuracy": scores.accuracy,
    }  # fmt: skip


NATURAL_BENCH = Task(
    "naturalbench",
    "pairs of pictures with opposite answers",
    "query",
    samples,
    judge,
    figures,
    REFERENCE,
    has_lmms_prompts=True,
)
