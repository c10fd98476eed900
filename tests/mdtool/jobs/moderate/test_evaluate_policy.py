"""From recorded findings to a verdict: durations, streams, and replies on frames that were not looked at."""

from collections.abc import Iterator
from typing import Any

import pytest

from mdtool.errors import InputError, UsageError
from mdtool.jobs.moderate.evaluate_policy import check_prompts_covered, evaluate_policy
from mdtool.records.findings import FrameFindings, FrameInfo, Record
from recipes.policy_parser import parse_policy
from recipes.regions import Region
from recipes.verdict import Verdict

GUNS = parse_policy('[[rule]]\nname = "guns"\nprompt = "gun"\naction = "flag"', "p")
DARK = parse_policy('[[rule]]\nname = "dark"\nquestion = "Dark?"\nanswer = "yes"\naction = "flag"', "p")
GUN = Region(0.25, 0.25, 0.5, 0.5, "Gun", 1, 0.9, seen=True)


def record(number: int, stream: int = 0, duration: float = 0.0, time: float | None = None, **known: Any) -> Record:
    at = number / 8 if time is None else time
    return Record("a.mp4", FrameInfo(stream, number, at, duration, (64, 48)), FrameFindings(**known), prompts=("gun",))


def guns(pattern: str, **info: Any) -> Iterator[Record]:
    """# has one, . none, ? could not be judged."""
    for number, letter in enumerate(pattern):
        yield record(number, regions=[GUN] if letter == "#" else [], hidden=letter == "?", analysed=True, **info)


def dark(pattern: str) -> Iterator[Record]:
    """y, n: a look with that reply; Y, N: one at the start of a shot; . no look, | none at a start, ? not judged."""
    for number, letter in enumerate(pattern):
        reply = {"y": "Yes.", "n": "No."}.get(letter.lower())
        known: dict[str, Any] = {"analysed": True, "replies": {"Dark?": reply}} if reply else {}
        yield record(number, cut=letter in "YN|", hidden=letter == "?", **known)


def spans(verdict: Verdict) -> list[tuple[float, float]]:
    """In frames."""
    return [(start * 8, end * 8) for start, end in verdict.rulings[0].spans]


def test_a_frame_without_duration_lasts_until_the_next() -> None:
    judged = evaluate_policy(guns("..##......#"), GUNS)
    assert spans(judged.verdict) == [(2, 4), (10, 11)]  # the last as long as the one before
    assert judged.verdict.seconds == 11 / 8


def test_a_duration_that_is_known_counts() -> None:
    assert spans(evaluate_policy(guns("#.......#", duration=1 / 16), GUNS).verdict) == [(0, 0.5), (8, 8.5)]


def test_a_hole_that_comes_of_coarse_clocks_is_none() -> None:
    found = [record(n, time=round(n / 30, 3), duration=0.033, regions=[GUN][: n < 5]) for n in range(9)]
    assert evaluate_policy(found, GUNS).verdict.rulings[0].spans == ((0, 0.167),)


def test_a_photo_is_hit_without_a_duration() -> None:
    judged = evaluate_policy(guns("#"), GUNS)
    assert judged.verdict.hit
    assert judged.spans("flag").contains(0.0)


def test_frames_that_could_not_be_judged_are_told() -> None:
    judged = evaluate_policy(guns("?..??.?"), GUNS)
    assert judged.verdict.unjudged == 4
    assert [(start * 8, end * 8) for start, end in judged.unjudged.parts] == [(0, 1), (3, 5), (6, 7)]


@pytest.mark.parametrize(
    ("pattern", "hits"),
    [
        ("N...y...n", [(1, 8)]),  # from just after the look before to just before the look after
        ("Y...n", [(0, 4)]),
        ("N...n", []),
        ("N...n|...", []),
        ("N..nY.......n", [(4, 12)]),
        ("Y..y|......", [(0, 4)]),  # what comes after the time that was to be judged
        ("....Y..y", [(4, 8)]),  # and before
        ("N..?..y", [(1, 3), (4, 7)]),
    ],
)
def test_between_two_looks_either_reply_counts(pattern: str, hits: list[tuple[float, float]]) -> None:
    joined = [(hits[0][0], hits[-1][1])] if hits else []  # gaps of half a second are bridged
    verdict = evaluate_policy(dark(pattern), DARK).verdict
    assert spans(verdict) == joined
    assert verdict.rulings[0].frames == sum(end - start for start, end in hits)
    assert verdict.rulings[0].seen == pattern.lower().count("y")


def test_any_stream_of_a_file_can_break_a_rule() -> None:
    first, second = guns("##......"), guns("......##..", stream=1)
    mixed = [each for pair in zip(first, second, strict=False) for each in pair]
    judged = evaluate_policy(mixed, GUNS)
    assert spans(judged.verdict) == [(0, 2), (6, 8)]
    assert judged.verdict.frames == 16
    assert judged.verdict.rulings[0].frames == 4
    assert not evaluate_policy(guns("..."), GUNS).verdict.hit


def test_frames_wait_no_longer_than_to_the_next_look() -> None:
    """Of an hour outside of the time that was to be judged none is held."""
    taken = 0

    def counted() -> Iterator[Record]:
        nonlocal taken
        for one in dark("N...n|" + 5000 * "."):
            taken += 1
            yield one

    judged = evaluate_policy(counted(), DARK)
    assert taken == judged.verdict.frames == 5006


def test_no_findings_are_no_clean_verdict() -> None:
    with pytest.raises(InputError, match="has no frames to judge"):
        evaluate_policy([], GUNS)


def test_findings_that_lack_what_the_policy_asks_are_refused() -> None:
    check_prompts_covered(record(0, analysed=True), GUNS)
    check_prompts_covered(record(0, analysed=True, replies={"Dark?": "no"}), DARK)
    check_prompts_covered(record(0), DARK)  # not looked at
    with pytest.raises(UsageError, match=r"the findings of a\.mp4 lack 'Dark\?'; run it without"):
        check_prompts_covered(record(0, analysed=True, replies={"Why?": "no"}), DARK)
    knives = parse_policy('[[rule]]\nname = "k"\nprompt = ["GUN ", "knife"]\naction = "flag"', "p")
    with pytest.raises(UsageError, match="lack 'knife';"):
        check_prompts_covered(record(0), knives)
