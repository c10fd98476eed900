"""How well pocket answers about scenes that it never saw, in every way the engine can run it.

The bounds are a little below what was measured; docs/pocket.md has the scores over more scenes.
"""

from typing import Any

import pytest
from golden import needs_compiler

import engine
from engine.contract import LoadOptions
from engine.pocket.evaluation import EvaluationReport, evaluate_model, seeds

SCENES = 40
BOUNDS = {
    "detect mAP@0.5": 0.95,
    "points inside": 0.95,
    "points found": 0.95,
    "count": 0.95,
    "colour": 0.97,
    "captions (short)": 0.7,
    "captions (normal)": 0.7,
    "captions (long)": 0.58,
    "gaze": 0.9,
    "presence": 0.97,
    "left": 0.85,
    "sign": 0.8,
}


def report(scenes: int = SCENES, at_once: int = 4, **options: Any) -> EvaluationReport:
    return evaluate_model(engine.load("pocket", LoadOptions("cpu", **options)), seeds(scenes), at_once)


OTHERS = ({"dtype": "float32"}, {"quantize": "int8"}, {"quantize": "int4"})


@pytest.mark.parametrize(
    "options", [{}, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)], ids=lambda o: str(o or "plain")
)
def test_the_scores_hold(options: dict[str, Any]) -> None:
    scores = report(**options).scores()
    assert {name: score for name, score in scores.items() if score < BOUNDS[name]} == {}
    assert scores.keys() == BOUNDS.keys()


def test_a_batch_gives_what_its_members_alone_give() -> None:
    alone, together = report(12, at_once=1), report(12, at_once=12)
    assert (alone.scores(), sorted(alone.wrong)) == (together.scores(), sorted(together.wrong))


@pytest.mark.compile
@pytest.mark.slow
@needs_compiler
def test_compiled_it_answers_as_well() -> None:
    plain, compiled = report(12, dtype="float32"), report(12, dtype="float32", compile=True)
    assert compiled.scores() == pytest.approx(plain.scores(), abs=0.1)
