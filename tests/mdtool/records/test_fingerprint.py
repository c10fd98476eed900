"""A fingerprint changes with each value that has a say in results, and with nothing else."""

import json
from dataclasses import dataclass, fields, make_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import (
    CaptionRequest,
    Choices,
    DetectRequest,
    Generation,
    ImageBudget,
    Number,
    PointRequest,
    QueryRequest,
)
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.video.encoding import Encoding
from mdtool.model_selection import ComputeConfig
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import OutputOptions
from mdtool.records import fingerprint as module
from mdtool.records.fingerprint import BATCH, RESUME, TYPES, Fields, FingerprintKind, digest, fingerprint, is_of
from mdtool.tracking.sampling import Sampling
from recipes.policy import Policy, Rule, Thresholds
from recipes.redact import Style
from recipes.regions import PictureArea, Size

ANY = FingerprintKind("any", 1, ("value",))


def some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def perhaps(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def tuples_of(strategy: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(strategy, min_size=least, max_size=3).map(tuple)


TEXT, WORDS, COUNT = st.text(max_size=9), some("face", "a b", "straße", '"'), st.integers(0, 99)
PART, SECONDS = st.floats(0, 1), st.floats(0, 1e6)
SIZE = st.builds(Size, PART, st.booleans())
REGIONS = tuples_of(st.builds(PictureArea, PART, PART, PART, PART, st.booleans()))
STYLE = {
    "name": some("blur", "solid"), "strength": st.floats(0.2, 1), "shape": some("box", "ellipse"), "feather": PART,
    "margin": PART | st.tuples(PART, PART),
}  # fmt: skip
THRESHOLDS = {"min_score": PART, "min_share": PART, "min_seconds": SECONDS, "min_times": COUNT}
RULE = {
    "name": WORDS, "action": some("blur"), "prompts": tuples_of(WORDS, 1), "style": some(Style(), Style(feather=0.5)),
    "thresholds": st.builds(Thresholds, **THRESHOLDS), "only": REGIONS, "keep": REGIONS,
}  # fmt: skip
GENERATION = {
    "temperature": perhaps(PART), "top_p": perhaps(PART), "max_tokens": perhaps(COUNT), "seed": COUNT,
    "top_k": some(None, 1, 2), "min_p": perhaps(PART), "repetition_penalty": some(None, 0.5, 1.5),
    "presence_penalty": some(None, 0.5, 1.5), "stop": tuples_of(WORDS),
}  # fmt: skip
SAMPLING = {"stride": perhaps(COUNT), "fps": perhaps(PART), "at_least": COUNT}
ENCODING = {
    "codec": perhaps(WORDS), "crf": perhaps(COUNT), "preset": perhaps(WORDS), "pixel_format": perhaps(WORDS),
    "at_once": st.booleans(),
}  # fmt: skip
BUDGET = {
    "min_tokens": some(None, 1, 2), "max_tokens": some(None, 3, 4), "tiles": perhaps(st.booleans()),
    "max_tiles": some(None, 1, 2), "thumbnail": perhaps(st.booleans()),
}  # fmt: skip
OBJECTS = {"image": some(None), "prompt": TEXT, "max_objects": perhaps(COUNT), "adapter": perhaps(TEXT)}
ALL: dict[type[Any], dict[str, st.SearchStrategy[Any]]] = {
    CaptionRequest: {
        "image": some(None), "length": TEXT, "generation": st.builds(Generation, **GENERATION), "adapter": perhaps(TEXT)
    },
    QueryRequest: {
        "image": some(None), "question": TEXT, "reasoning": perhaps(st.booleans()),
        "references": tuples_of(st.tuples(PART, PART)), "generation": st.builds(Generation, **GENERATION),
        "adapter": perhaps(TEXT), "allowed": some(None, Number(), Choices(("yes", "no")), Choices(("no", "yes"))),
    },
    DetectRequest: OBJECTS | {"threshold": perhaps(PART)},
    PointRequest: OBJECTS,
    Generation: GENERATION,
    Choices: {"texts": some(("yes", "no"), ("no", "yes"), ("yes", "no", "maybe"))},
    Number: {},
    ComputeConfig: {
        "device": WORDS, "dtype": perhaps(WORDS), "quantize": WORDS, "compile": st.booleans(), "detail": WORDS,
        "resize": some(None, "vips", "pillow"), "adapter": perhaps(WORDS),
        "image_budget": st.builds(ImageBudget, **BUDGET),
    },
    ImageBudget: BUDGET,
    AnalysisRequest: {
        "prompts": tuples_of(WORDS), "threshold": perhaps(PART), "sampling": st.builds(Sampling, **SAMPLING),
        "max_calls": perhaps(COUNT), "start": some(None, 1.0), "end": some(None, 2.0), "blank_errors": st.booleans(),
    },
    Sampling: SAMPLING,
    Redaction: {
        "style": st.builds(Style, **STYLE), "colour": st.tuples(COUNT, COUNT, COUNT), "keep": REGIONS, "only": REGIONS,
        "min_size": perhaps(SIZE),
    },
    Style: STYLE,
    PictureArea: dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), PART) | {"pixels": st.booleans()},
    Size: {"value": PART, "pixels": st.booleans()},
    OutputOptions: {
        "encoding": st.builds(Encoding, **ENCODING), "muxer": perhaps(WORDS), "keep_metadata": st.booleans(),
    },
    Encoding: ENCODING,
    Policy: {"rules": st.builds(Rule, **RULE).map(lambda rule: (rule,))},
    Rule: RULE,
    Thresholds: THRESHOLDS,
}  # fmt: skip
# What is asked about is the input; where it is computed, and what is kept in memory, changes no result.
NO_SAY = {"image", "device", "compile", "kept_image_bytes"}
ASKED = {"action", "question", "answers"}  # of a rule: they go together, and are tried below


def test_every_field_of_what_is_asked_is_listed_or_has_no_say() -> None:
    assert {cls.__name__ for cls in ALL} == TYPES.keys()
    for cls in ALL:
        listed = TYPES[cls.__name__]
        assert {*listed.names, *listed.added} == {one.name for one in fields(cls)} - NO_SAY, cls


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls is not Number])
@given(data=st.data())
def test_a_listed_field_has_a_say_and_no_other(cls: type[Any], data: st.DataObject) -> None:
    one = data.draw(st.builds(cls, **ALL[cls]))
    name = data.draw(some(*ALL[cls]))
    other = replace(one, **{name: data.draw(ALL[cls][name])})
    same = getattr(one, name) == getattr(other, name) or name in NO_SAY
    assert (digest(ANY, value=one) == digest(ANY, value=other)) == same


def test_the_fields_of_a_rule_that_go_together() -> None:
    rule = Rule("a", "mute", question="q", answers=("yes",))
    others = [replace(rule, action="cut"), replace(rule, question="p"), replace(rule, answers=("no",))]
    assert len({digest(ANY, value=one) for one in [rule, *others]}) == 4


def test_a_field_that_comes_later_keeps_results(monkeypatch: pytest.MonkeyPatch) -> None:
    later: Any = make_dataclass(
        "DetectRequest", [("sharpness", float, 0.5)], bases=(DetectRequest,), frozen=True, slots=True
    )
    before = fingerprint(BATCH, requests=[DetectRequest(None, "face")])
    assert fingerprint(BATCH, requests=[later(None, "face")]) == before
    names = TYPES["DetectRequest"].names
    listed = {**TYPES, "DetectRequest": Fields("detect", names, added={"sharpness": 0.5})}
    monkeypatch.setattr(module, "TYPES", listed)
    assert fingerprint(BATCH, requests=[later(None, "face")]) == before
    assert fingerprint(BATCH, requests=[later(None, "face", sharpness=0.6)]) != before


def test_fingerprints_that_users_have_on_disk() -> None:
    """Where these change, all results of all users are thrown away."""
    requests = [QueryRequest(None, "dog?", generation=Generation(0.0), allowed=Choices(("yes", "no")))]
    options = {"command": "query", "model": "moondream2", "revision": "r"}
    assert fingerprint(BATCH, requests=requests, computing=ComputeConfig(), **options) == "1-23cc2ed1d0854bbb"
    question = AnalysisRequest(("face",), sampling=Sampling(fps=2.0))
    known = {"model": "centerface", "question": question, "redaction": Redaction(), "form": OutputOptions()}
    assert fingerprint(RESUME, mdtool="1", **known) == "1-55e8b9906368026b"


@given(st.sampled_from(BATCH.values), st.text(min_size=1), st.text(min_size=1))
def test_each_value_of_a_kind_has_a_say(name: str, one: str, other: str) -> None:
    values = dict.fromkeys(BATCH.values, "x")
    assert (digest(BATCH, **values | {name: one}) == digest(BATCH, **values | {name: other})) == (one == other)


def test_values_and_files_are_told_apart(tmp_path: Path) -> None:
    def made(model: str, threshold: object) -> str:
        return fingerprint(RESUME, model=model, accurate=threshold, source=tmp_path / "a")

    (tmp_path / "a").write_text("one")
    before = made("blur", 0.3)
    assert made("blur", 0.3) == before
    assert made("blur", 0.31) != before
    assert made("blu", "r0.3") != before
    (tmp_path / "a").write_text("other")
    assert made("blur", 0.3) != before


def test_a_value_that_is_not_given_is_none() -> None:
    assert fingerprint(BATCH, command="detect", tiles=None) == fingerprint(BATCH, command="detect")


def test_kinds_and_versions_differ() -> None:
    kinds = [ANY, replace(ANY, version=2), replace(ANY, name="other")]
    assert len({digest(kind, value=1) for kind in kinds}) == 3
    assert is_of(ANY, fingerprint(ANY, value=1))
    assert not is_of(ANY, fingerprint(kinds[1], value=1))
    assert not is_of(ANY, "9f86d081884c7d65")


def test_what_is_not_listed_is_refused() -> None:
    @dataclass(frozen=True)
    class Unlisted:
        value: int = 1

    with pytest.raises(TypeError, match="Unlisted"):
        digest(ANY, value=Unlisted())
    with pytest.raises(TypeError, match="no tresholds"):
        digest(ANY, value=1, tresholds=2)


def test_text_of_any_kind() -> None:
    class Name(StrEnum):
        box = "box"

    assert digest(ANY, value=Name.box) == digest(ANY, value="box")
    odd = b"\xff".decode(errors="surrogateescape")  # as names of files may have
    assert digest(ANY, value=odd) != digest(ANY, value=json.loads('"\\ud800"'))
