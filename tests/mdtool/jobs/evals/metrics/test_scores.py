"""Scores of yes-or-no questions, NaturalBench, points and gaze, beside their definitions written down again."""

import math
from dataclasses import astuple
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdtool.jobs.evals.metrics.gaze import gazefollow_auc, gazefollow_dist, point_heatmap
from mdtool.jobs.evals.metrics.natural_bench import Group, NaturalBenchScores, natural_bench_scores
from mdtool.jobs.evals.metrics.points import inside_box, screenspot_accuracy
from mdtool.jobs.evals.metrics.yes_no_scores import YesNoScores, pope_scores


def test_pope_by_example() -> None:
    pairs = [(True, True)] * 6 + [(True, False)] * 2 + [(False, True)] * 3 + [(False, False)] * 8 + [(None, False)]
    scores = pope_scores(pairs)
    assert astuple(scores) == pytest.approx((14 / 20, 6 / 8, 6 / 9, 12 / 17, 8 / 20))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_pope_is_the_official_scripts(pairs: list[tuple[bool, bool]]) -> None:
    """eval_pope.py counts TP, FP, TN and FN."""
    tp = fp = tn = fn = 0
    for said, true in pairs:
        if said and true:
            tp += 1
        elif said:
            fp += 1
        elif true:
            fn += 1
        else:
            tn += 1
    precision, recall = (tp / (tp + other) if tp else 0 for other in (fp, fn))
    scores = pope_scores(pairs)
    assert scores.accuracy == pytest.approx((tp + tn) / (tp + tn + fp + fn))
    assert (scores.precision, scores.recall) == pytest.approx((precision, recall))
    assert scores.f1 == pytest.approx(2 * precision * recall / (precision + recall) if tp else 0)
    assert scores.yes_ratio == pytest.approx((tp + fp) / len(pairs))


def test_an_answer_that_is_neither_is_wrong_and_no_yes() -> None:
    assert pope_scores([(None, True), (None, False)]) == YesNoScores(0, 0, 0, 0, 0)


def test_nothing_has_no_score() -> None:
    for score in (pope_scores, natural_bench_scores, screenspot_accuracy):
        with pytest.raises(ValueError, match="no "):
            score([])


def test_natural_bench_by_example() -> None:
    """Right are all, both answers about the first image, and both to the second question."""
    groups = [Group(True, True, True, True), Group(True, False, True, False), Group(False, False, True, True)]
    assert natural_bench_scores(groups) == NaturalBenchScores(8 / 12, 3 / 6, 3 / 6, 1 / 3)


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=9))
def test_natural_bench_by_table(groups: list[tuple[bool, bool, bool, bool]]) -> None:
    """The official script's: [image][question], with all() over a row, over a column, and over both."""
    tables = [[[g[0], g[2]], [g[1], g[3]]] for g in groups]
    mean = np.array(tables).mean()
    images = np.mean([all(row) for table in tables for row in table])
    questions = np.mean([all(column) for table in tables for column in zip(*table, strict=True)])
    whole = np.mean([all(map(all, table)) for table in tables])
    scores = natural_bench_scores([Group(*group) for group in groups])
    assert astuple(scores) == pytest.approx((mean, questions, images, whole))


def test_points_in_boxes() -> None:
    box = (10, 20, 30, 40)
    assert inside_box((10, 40), box)
    assert inside_box((20, 30), box)
    assert not inside_box((9.9, 30), box)
    assert not inside_box((20, 40.1), box)
    assert screenspot_accuracy([((20, 30), box), ((0, 0), box), (None, box), ((30, 20), box)]) == 0.5


def test_gaze_distances() -> None:
    """To the mean of the marks, and to the nearest of them."""
    found = gazefollow_dist((0.5, 0.5), [(0.5, 0.1), (0.5, 0.5), (0.2, 0.9), (0.8, 0.9)])
    assert found.mean == pytest.approx(0.1)
    assert found.minimum == 0
    assert gazefollow_dist((0, 0), [(0.3, 0.4)]).mean == pytest.approx(0.5)


@given(
    st.lists(st.integers(0, 4), min_size=12, max_size=12),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4),
)
def test_area_under_the_curve_counts_pairs(values: list[int], marks: list[tuple[float, float]]) -> None:
    """The area is the share of pairs (marked, not marked) in order; ties are half."""
    heatmap = np.array(values, float).reshape(3, 4)
    marked = {(min(int(y * 3), 2), min(int(x * 4), 3)) for x, y in marks}
    others = set(product(range(3), range(4))) - marked
    pairs = [(heatmap[a], heatmap[b]) for a in marked for b in others]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert gazefollow_auc(heatmap, marks) == pytest.approx(expected)


def test_a_point_has_a_map() -> None:
    heatmap = point_heatmap((0.25, 0.75))
    assert heatmap.shape == (64, 64)
    assert heatmap.argmax() in {64 * y + x for y in (47, 48) for x in (15, 16)}
    assert heatmap[48, 19] / heatmap[48, 16] == pytest.approx(math.exp(-(3.5**2 - 0.5**2) / (2 * 3**2)))
    assert gazefollow_auc(heatmap, [(0.25, 0.75)]) > 0.999
    assert gazefollow_auc(heatmap, [(0.9, 0.1)]) < 0.1
    assert gazefollow_auc(np.ones((8, 8)), [(0.9, 0.1)]) == 0.5
    with pytest.raises(ValueError, match="with and without"):
        gazefollow_auc(np.ones((8, 8)), [])
