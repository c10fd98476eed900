"""How answers are cleaned up and scored, by task."""

from dataclasses import replace
from typing import Any

import pytest

from engine.contract import DetectRequest, GazeRequest, PointRequest, QueryRequest
from mdtool.jobs.evals.sample import Picture, Sample, Scored
from mdtool.jobs.evals.tasks.judges import options_in
from mdtool.jobs.evals.tasks.table import TASKS
from mdtool.jobs.evals.tasks.task import Judgement

SIZE = (200, 100)


def judged(task: str, answer: str, truth: Any, question: str = "What?") -> Judgement:
    sample = Sample("a", Picture("a"), QueryRequest(None, question), truth, "a")
    return TASKS[task].judge(sample, {"question": question, "answer": answer}, SIZE)


@pytest.mark.parametrize(
    ("task", "answer", "truth", "score"),
    [
        ("pope", "Yes, there is.", "yes", 1),
        ("pope", "no", "yes", 0),
        ("pope", "perhaps", "no", 0),
        ("countbenchqa", "There are seven cups.", 7, 1),
        ("countbenchqa", "many", 7, 0),
        ("tallyqa", "12", "12", 1),
        ("textvqa", "stop", ["stop"] * 3 + ["go"] * 7, 0.9),
        ("vqav2", "Two", [{"answer": "2"}] * 10, 1),
        ("gqa", "Yellow.", "yellow", 1),
        ("gqa", "it is yellow", "yellow", 0),
        ("chartqa", "104", "100", 1),
        ("chartqa", "106", "100", 0),
        ("chartqa", "Blue.", "blue", 1),
        ("docvqa", "Jone", ["John", "Jones"], 0.8),
        ("docvqa", "abc", ["xyz"], 0),
        ("realworldqa", "no.", "No", 1),
        ("realworldqa", "2 cars", "2", 1),
        ("realworldqa", "Left", "left", 1),
        ("qa", "A dark blue", ["blue", "a dark blue"], 1),
        ("naturalbench", "Yes", "Yes", 1),
        ("naturalbench", "B", "B", 1),
    ],
)
def test_answers_in_words(task: str, answer: str, truth: object, score: float) -> None:
    assert judged(task, answer, truth).score == pytest.approx(score)


@pytest.mark.parametrize(
    ("question", "answer", "truth", "score"),
    [
        ("Which?\nOptions: A: a dog, B: a cat, C: an ox, D: a cow", "B", "B", 1),
        ("Which?\nOptions: A: a dog, B: a cat, C: an ox, D: a cow", "a cat", "B", 1),
        ("Which?\nOptions: A: a dog, B: a cat, C: an ox, D: a cow", "a horse", "B", 0),
        ("Which?", "(C)", "C", 1),
    ],
)
def test_multiple_choice_takes_the_letter_or_the_words(question: str, answer: str, truth: str, score: float) -> None:
    assert judged("mmstar", answer, truth, question).score == score


def test_options_are_read_from_the_question() -> None:
    assert options_in("Where?\nA. On the left\nB. On the right\nPlease answer.") == {
        "A": "On the left",
        "B": "On the right",
    }
    assert options_in("Is A: the first?") == {}


def test_a_row_of_one_s_own_may_name_the_metric() -> None:
    assert judged("qa", "Jone", {"answers": ["Jones"], "metric": "anls"}).score == pytest.approx(0.8)
    assert judged("qa", "Jone", "Jones").score == 0


def entry(*found: tuple[float, float, float, float]) -> dict[str, Any]:
    sides = ("x_min", "y_min", "x_max", "y_max")
    return {"prompt": "x", "objects": [dict(zip(sides, box, strict=True)) for box in found]}


def boxed(task: str, truth: dict[str, Any], *found: tuple[float, float, float, float]) -> Judgement:
    sample = Sample("a", Picture("a"), DetectRequest(None, "x"), truth, "a")
    return TASKS[task].judge(sample, entry(*found), SIZE)


def test_boxes_are_compared_in_pixels() -> None:
    truth = {"boxes": [[20, 10, 60, 50]], "in_pixels": True}
    found = boxed("coco", truth, (0.1, 0.1, 0.3, 0.5))
    assert found.score == pytest.approx(1)
    assert found.prediction == [pytest.approx([20, 10, 60, 50])]
    fractions = {"boxes": [[0.1, 0.1, 0.3, 0.5]], "in_pixels": False}
    judgement = boxed("waste_detection", fractions, (0.1, 0.1, 0.3, 0.5))
    assert judgement.score == pytest.approx(1)
    assert judgement.truth["boxes"] == [pytest.approx([20, 10, 60, 50])]


def test_a_category_that_is_not_there_is_right_without_boxes() -> None:
    nothing = {"boxes": [], "in_pixels": True}
    assert boxed("coco", nothing).score == 1
    assert boxed("coco", nothing, (0.1, 0.1, 0.3, 0.5)).score == 0


def test_an_expression_s_box_is_the_surest_or_else_the_first() -> None:
    truth = {"boxes": [[20, 10, 60, 50]], "in_pixels": True}
    assert boxed("refcoco", truth, (0.1, 0.1, 0.3, 0.5), (0.6, 0.1, 0.9, 0.5)).score == 1
    assert boxed("refcoco", truth, (0.6, 0.1, 0.9, 0.5), (0.1, 0.1, 0.3, 0.5)).score == 0
    assert boxed("refcoco", truth).score == 0
    sure = entry((0.6, 0.1, 0.9, 0.5), (0.1, 0.1, 0.3, 0.5))
    for one, score in zip(sure["objects"], (0.4, 0.9), strict=True):
        one["score"] = score
    sample = Sample("a", Picture("a"), DetectRequest(None, "x"), truth, "a")
    assert TASKS["refcoco"].judge(sample, sure, SIZE).score == 1


def test_a_click_is_right_in_the_box() -> None:
    sample = Sample("a", Picture("a"), PointRequest(None, "x"), {"box": [0.1, 0.1, 0.3, 0.5], "in_pixels": False}, "a")
    judge = TASKS["screenspot"].judge
    assert judge(sample, {"points": [{"x": 0.2, "y": 0.2}, {"x": 0.9, "y": 0.9}]}, SIZE).score == 1
    assert judge(sample, {"points": [{"x": 0.9, "y": 0.9}]}, SIZE).score == 0
    assert judge(sample, {"points": []}, SIZE).score == 0


def test_a_gaze_is_scored_by_its_distance_and_one_out_of_the_picture_by_the_farthest_corner() -> None:
    sample = Sample("a", Picture("a"), GazeRequest(None, (0.5, 0.5)), [[0.5, 0.4], [0.5, 0.6]], "a")
    judge = TASKS["gazefollow"].judge
    assert judge(sample, {"points": [{"x": 0.2, "y": 0.5}]}, SIZE).score == pytest.approx(0.3)
    assert judge(sample, {"points": []}, SIZE).score == pytest.approx(0.5**0.5)


def scored(score: float, unit: str, **changes: Any) -> Scored:
    return replace(Scored("a", "a", "x", None, None, None, score, unit), **changes)


def test_figures_are_given_for_subsets_too() -> None:
    those = [
        scored(1, "a", groups=("human",)),
        scored(0, "b", groups=("human",)),
        scored(1, "c", groups=("augmented",)),
    ]
    figures = {figure.name: figure for figure in TASKS["chartqa"].figures(those)}
    assert figures["relaxed accuracy"].value == pytest.approx(2 / 3)
    assert figures["relaxed accuracy (human)"].value == 0.5
    assert (figures["relaxed accuracy (human)"].low, figures["relaxed accuracy (human)"].high) == (0, 1)
    assert figures["relaxed accuracy (augmented)"].low is None  # of one picture


def test_samples_of_one_picture_are_drawn_together() -> None:
    def width(units: int) -> float:
        [figure] = TASKS["gqa"].figures([scored(i // (40 // units) % 2, str(i // (40 // units))) for i in range(40)])
        assert figure.value == 0.5
        return (figure.high or 0) - (figure.low or 0)

    assert width(4) > 2 * width(40) > 0


def test_pope_counts_by_split() -> None:
    those = [
        scored(1, "a", truth="yes", prediction="yes", groups=("random",)),
        scored(0, "b", truth="no", prediction="yes", groups=("random",)),
        scored(0, "c", truth="yes", prediction=None, groups=("popular",)),
    ]
    figures = {figure.name: figure.value for figure in TASKS["pope"].figures(those)}
    assert figures["precision"] == 0.5
    assert figures["recall"] == 0.5
    assert figures["yes ratio (random)"] == 1
    assert figures["accuracy (popular)"] == 0


def test_natural_bench_leaves_out_groups_that_lack_an_answer() -> None:
    places = ("image 0, question 0", "image 1, question 0", "image 0, question 1", "image 1, question 1")
    whole = [scored(1, "a", groups=(place,)) for place in places]
    part = [scored(0, "b", groups=(place,)) for place in places[:3]]
    figures = {figure.name: figure.value for figure in TASKS["naturalbench"].figures([*part, *whole])}
    assert figures == {"group accuracy": 1, "question accuracy": 1, "image accuracy": 1, "accuracy": 1}
    assert TASKS["naturalbench"].figures(part) == []


def test_coco_s_map_counts_what_is_detected_of_absent_categories_and_moondream_s_figure_does_not() -> None:
    box = [20.0, 10.0, 60.0, 50.0]
    right = [
        scored(1, "1", request="cat", truth={"boxes": [box]}, prediction=[box]),
        scored(1, "1", request="dog", truth={"boxes": []}, prediction=[]),
        scored(1, "2", request="dog", truth={"boxes": [box]}, prediction=[box]),
    ]
    wrong = [right[0], replace(right[1], score=0, prediction=[[0.0, 0.0, 5.0, 5.0]]), right[2]]
    (ap, *_, reference), (less, *_, same) = (TASKS["coco"].figures(those) for those in (right, wrong))
    assert ap.value == pytest.approx(1)
    assert less.value == pytest.approx(0.75)  # of a dog that is not there, and one that is, with equal confidence
    assert reference.value == same.value == 1
