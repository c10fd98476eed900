"""Scores of boxes: pycocotools' figures beside a plain implementation of COCO's rules, and moondream's own figure."""

import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple
from fractions import Fraction

import pytest

from mdtool.jobs.evals.metrics.boxes import (
    Box,
    CocoScores,
    DetectedBox,
    DetectionScores,
    TrueBox,
    coco_map,
    detection_scores,
    iou,
    refcoco_accuracy,
    reference_map,
)

THRESHOLDS = [Fraction(percent, 100) for percent in range(50, 100, 5)]


def overlap(a: Box, b: Box) -> Fraction:
    """IoU of boxes with whole coordinates, exactly."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return Fraction(int(both), int(areas - both)) if both else Fraction(0)


def hits(truths: Sequence[Box], found: Sequence[Box], least: Fraction) -> list[bool]:
    """Each detection in turn takes the free true box that it overlaps most."""
    free, outcome = list(truths), []
    for box in found:
        best = max(free, key=lambda true: overlap(true, box), default=None)
        right = best is not None and overlap(best, box) >= least
        if right and best is not None:
            free.remove(best)
        outcome.append(right)
    return outcome


def coco_average_precision(truths: Sequence[TrueBox], found: Sequence[DetectedBox], least: Fraction) -> float:
    """Mean over categories of the 101-point interpolated precision."""
    values = []
    for category in {truth.category for truth in truths}:
        wanted = [truth for truth in truths if truth.category == category]
        scored: list[tuple[float, bool]] = []
        for image in sorted({truth.image for truth in truths} | {box.image for box in found}, key=str):
            boxes = sorted(
                (box for box in found if (box.image, box.category) == (image, category)), key=lambda box: -box.score
            )[:100]
            right = hits([t.box for t in wanted if t.image == image], [box.box for box in boxes], least)
            scored += [(box.score, hit) for box, hit in zip(boxes, right, strict=True)]
        scored.sort(key=lambda pair: -pair[0])
        counted = [sum(hit for _, hit in scored[: place + 1]) for place in range(len(scored))]
        points = [(Fraction(c, len(wanted)), Fraction(c, place)) for place, c in enumerate(counted, 1)]
        best = [max((p for r, p in points if r >= Fraction(step, 100)), default=Fraction(0)) for step in range(101)]
        values.append(float(sum(best) / 101))
    return sum(values) / len(values)


def scene(seed: int) -> tuple[list[TrueBox], list[DetectedBox], list[str]]:
    """Boxes of whole pixels with detections near some, false ones, and distinct scores; some images have no object."""
    draw = random.Random(seed)
    images = [f"{number}.jpg" for number in range(6)]
    truths, found = [], []
    for image in images[:5]:
        for _ in range(draw.randint(1, 4)):
            x, y, width, height = (draw.randint(*span) for span in ((0, 90), (0, 90), (8, 90), (8, 90)))
            category = draw.choice(["cat", "dog", "cup"])
            truths.append(TrueBox(image, category, (x, y, x + width, y + height)))
            if draw.random() < 0.8:
                shift = draw.randint(0, 6)
                found.append((image, category, (x + shift, y, x + width + shift, y + height - draw.randint(0, 3))))
    for _ in range(8):
        x, y = draw.randint(0, 90), draw.randint(0, 90)
        found.append((draw.choice(images), draw.choice(["cat", "dog", "cup"]), (x, y, x + 30, y + 30)))
    scores = draw.sample(range(1, 100), len(found))
    return truths, [DetectedBox(*box, score=score / 100) for box, score in zip(found, scores, strict=True)], images


@pytest.mark.parametrize("seed", range(8))
def test_coco_is_what_its_rules_say(seed: int) -> None:
    truths, found, images = scene(seed)
    scores = coco_map(truths, found, images)
    by_threshold = [coco_average_precision(truths, found, least) for least in THRESHOLDS]
    assert scores.ap == pytest.approx(sum(by_threshold) / 10, abs=1e-9)
    assert scores.ap50 == pytest.approx(by_threshold[0], abs=1e-9)
    assert scores.ap75 == pytest.approx(by_threshold[5], abs=1e-9)


def test_what_is_detected_where_nothing_is_costs_precision() -> None:
    truths = [TrueBox("a", "cat", (0, 0, 50, 50))]
    found = [DetectedBox("b", "cat", (0, 0, 50, 50), 0.9), DetectedBox("a", "cat", (0, 0, 50, 50), 0.8)]
    assert coco_map(truths, found, ["a", "b"]).ap == pytest.approx(0.5)
    assert coco_map(truths, found).ap == pytest.approx(1)  # the image was not evaluated


def test_crowds_and_sizes() -> None:
    """What lies in a crowd is neither right nor wrong; 1024 and 9216 pixels part the sizes."""
    truths = [
        TrueBox("a", "cat", (0, 0, 30, 30)),
        TrueBox("a", "cat", (100, 100, 180, 180)),
        TrueBox("a", "cat", (200, 200, 400, 400)),
        TrueBox("a", "cat", (500, 0, 600, 100), crowd=True),
    ]
    found = [
        DetectedBox("a", "cat", (0, 0, 30, 30), 0.9),
        DetectedBox("a", "cat", (510, 10, 540, 40), 0.95),
        DetectedBox("a", "cat", (200, 200, 400, 400), 0.8),
    ]
    scores = coco_map(truths, found)
    assert (scores.ap_small, scores.ap_medium, scores.ap_large) == pytest.approx((1, 0, 1))
    assert scores.ap == pytest.approx(67 / 101)
    assert coco_map(truths[:1], found[:1]).ap_large is None


def test_coco_without_boxes_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert set(astuple(coco_map([], []))) == {None}
    assert coco_map([TrueBox(1, "cat", (0, 0, 5, 5))], []) == CocoScores(
        0, 0, 0, 0, None, None, 0, 0, 0, 0, None, None
    )  # fmt: skip
    assert capfd.readouterr() == ("", "")


def test_without_pycocotools_a_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pycocotools.coco'] = None\n"
        "from mdtool.jobs.evals.metrics.boxes import coco_map\n"
        "try: coco_map([], [])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "UsageError COCO mAP needs pycocotools: pip install 'mdtool[eval]'\n"


def moondreams_figure(truths: Sequence[TrueBox], found: Sequence[DetectedBox]) -> Fraction:
    """calculate_map and get_total_map of moondream's coco_map.py, in exact numbers."""
    by_label: dict[str, list[Fraction]] = {}
    for image in {truth.image for truth in truths}:
        for label in {truth.category for truth in truths if truth.image == image}:
            wanted = [t.box for t in truths if (t.image, t.category) == (image, label)]
            said = [f for f in found if (f.image, f.category) == (image, label)]
            said.sort(key=lambda box: -box.score)
            right, average, points = 0, Fraction(0), []
            for place, hit in enumerate(hits(wanted, [box.box for box in said], Fraction(1, 2)), 1):
                right += hit
                points.append((Fraction(right, len(wanted)), Fraction(right, place)))
            for step in range(11):
                average += max((p for recall, p in points if recall >= Fraction(step, 10)), default=Fraction(0)) / 11
            by_label.setdefault(label, []).append(average)
    values = [value for label in by_label.values() for value in label]
    return sum(values, Fraction(0)) / len(values)


@pytest.mark.parametrize("seed", range(8))
def test_moondreams_own_figure(seed: int) -> None:
    truths, found, _ = scene(seed)
    assert reference_map(truths, found) == pytest.approx(float(moondreams_figure(truths, found)), abs=1e-12)


def test_moondreams_own_figure_by_example() -> None:
    """One of two found: precision 1 at the six recalls up to 0.5. What the image has not doesn't count."""
    truths = [TrueBox("a", "cat", (0, 0, 10, 10)), TrueBox("a", "cat", (20, 0, 30, 10))]
    found = [DetectedBox("a", "cat", (0, 0, 10, 10)), DetectedBox("a", "dog", (0, 0, 10, 10))]
    assert reference_map(truths, found) == pytest.approx(6 / 11)
    truths.append(TrueBox("b", "cat", (0, 0, 10, 10)))
    assert reference_map(truths, found) == pytest.approx(3 / 11)


def test_recall_is_compared_exactly() -> None:
    """Three of ten found reach recall 0.3, though 3 * 0.1 is more in floating point."""
    truths = [TrueBox("a", "cat", (20 * n, 0, 20 * n + 10, 10)) for n in range(10)]
    found = [DetectedBox("a", "cat", truth.box) for truth in truths[:3]]
    assert reference_map(truths, found) == pytest.approx(4 / 11)


def test_detection_scores() -> None:
    cat, dog = (0, 0, 10, 10), (20, 0, 30, 10)
    groups = [([cat, dog], [cat, cat, (100, 0, 110, 10)]), ([cat], []), ([], [dog])]
    assert detection_scores(groups) == DetectionScores(1 / 4, 1 / 3, 2 / 7)
    assert detection_scores([]) == DetectionScores(0, 0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_detection_scores_count_what_greedy_matching_finds(seed: int) -> None:
    truths, found, images = scene(seed)
    groups = [
        ([t.box for t in truths if t.image == image], [f.box for f in found if f.image == image]) for image in images
    ]
    right = sum(sum(hits(wanted, said, Fraction(1, 2))) for wanted, said in groups)
    scores = detection_scores(groups)
    assert scores.precision == pytest.approx(right / len(found))
    assert scores.recall == pytest.approx(right / len(truths))


def test_refcoco_takes_an_overlap_of_a_half() -> None:
    true = (0, 0, 10, 10)
    assert iou((0, 0, 10, 20), true) == 0.5
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    assert refcoco_accuracy([((0, 0, 10, 20), true), ((0, 0, 10, 21), true), (None, true), (true, true)]) == 0.5
    with pytest.raises(ValueError, match="no boxes"):
        refcoco_accuracy([])
