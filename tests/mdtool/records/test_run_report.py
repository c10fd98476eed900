"""The summary of one input."""

import pytest

from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.run_report import Report


def report(*untrackable: str, calm: int = 0) -> Report:
    made = Report("in.mp4", "out.mp4", "centerface")
    for n, reason in enumerate([*untrackable, *[""] * calm]):
        made.count(FrameInfo(frame=n), FrameFindings(analysed=bool(reason), untrackable=reason))
    return made


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["light"] * 5 + ["motion"], "the light changes too fast to track"),
        (["light"] + ["motion"] * 5, "the picture changes too fast to track"),
    ],
)
def test_a_hard_input_is_named_as_one(reasons: list[str], said: str) -> None:
    hard = report(*reasons, calm=2)
    assert f"6 analysed by centerface ({said})" in hard.line()
    assert hard.as_dict()["notes"] == [said]


def test_a_calm_input_is_not() -> None:
    calm = report("motion", "light", calm=20)
    assert "2 analysed by centerface, 0 objects" in calm.line()
    assert calm.as_dict()["notes"] == []
    assert report().as_dict()["notes"] == []
