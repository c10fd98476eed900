"""`mdtool eval sampling` says what automatic sampling leaves exposed that a call on every frame hides."""

import shutil
from pathlib import Path

import pytest
from cli_runner import run
from hard import FRAMES, write_hard_clip

from mdtool.jobs.evals.exposure import Exposure
from mdtool.jobs.evals.sampling import SamplingComparison, table


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small clips, each with its truth."""
    folder = tmp_path_factory.mktemp("sampling")
    return [write_hard_clip(folder, kind) for kind in ("compressed", "blinds")]


def comparison(auto: list[tuple[int, int, float]], every: list[tuple[int, int, float]]) -> SamplingComparison:
    return SamplingComparison(
        Exposure("clip.mp4", frames=9, keyframes=4, object_frames=18, area=100, extra_area=50, exposed=auto, seconds=1),
        Exposure(
            "clip.mp4", frames=9, keyframes=9, object_frames=18, area=100, extra_area=25, exposed=every, seconds=2
        ),
    )


def test_what_only_auto_exposes_is_told_by_frame_and_object() -> None:
    row = comparison(auto=[(2, 5, 0.1), (1, 5, 0.2), (1, 4, 1.0)], every=[(1, 5, 0.9), (3, 0, 0.5)])
    assert row.exposed_by_auto_only == [(4, 1), (5, 2)]
    assert row.as_dict()["exposed_by_auto_only"] == [{"object": 1, "frame": 4}, {"object": 2, "frame": 5}]


def test_what_every_exposes_too_is_not_told() -> None:
    row = comparison(auto=[(1, 5, 1.0)], every=[(1, 5, 0.06)])
    assert row.exposed_by_auto_only == []
    assert len(list(table([row]))) == 3


def test_table_has_the_numbers_of_both_and_the_frames() -> None:
    *_, row, leak = table([comparison(auto=[(1, 4, 1.0), (1, 5, 0.2)], every=[(3, 0, 0.5)])])
    assert row == "| clip.mp4 | 9 | 18 | 4 | 1 | 2 | 0.50x (0.25x) | 1.0 (2.0) |"
    assert leak == "clip.mp4: only auto leaves object 1 exposed on frames 4, 5"


def test_misses_are_counted_by_visible_part_where_the_truth_says_it() -> None:
    parts = {(3, 0): 0.1, (4, 0): 0.2, (5, 0): 0.25, (6, 0): 1.0}
    row = comparison(auto=[], every=[(0, 3, 1.0), (0, 6, 1.0)])
    row.every.visible_parts.update(parts)
    assert list(table([row]))[3:] == [
        "",
        "| visible part | object-frames | exposed by every |",
        "|---|---|---|",
        "| 0% to 25% | 2 | 1 (50.0%) |",
        "| 25% to 50% | 1 | 0 (0.0%) |",
        "| 75% to 100% | 1 | 1 (100.0%) |",
        "",
    ]


def test_several_clips_each_against_its_own_truth(clips: list[Path]) -> None:
    outcome = run("eval", "sampling", *clips, "--json")
    assert outcome.code == 0, outcome.err
    assert [found["clip"] for found in outcome.json] == ["compressed.mp4", "blinds.mp4"]
    for found in outcome.json:
        assert found["every"]["looks"] == found["auto"]["frames"] == found["every"]["frames"] == FRAMES
        assert 0 < found["auto"]["looks"] < FRAMES
        assert found["auto"]["object_frames"] == found["every"]["object_frames"] > 0
        assert min(found[way]["seconds"] for way in ("auto", "every")) > 0
        exposed = {way: {(box["frame"], box["object"]) for box in found[way]["exposed"]} for way in ("auto", "every")}
        only_auto = sorted(exposed["auto"] - exposed["every"])
        assert [(box["frame"], box["object"]) for box in found["exposed_by_auto_only"]] == only_auto


def test_a_clip_without_its_truth_is_named(clips: list[Path], tmp_path: Path) -> None:
    shutil.copy(clips[0], tmp_path / "alone.mp4")
    outcome = run("eval", "sampling", tmp_path / "alone.mp4")
    assert (outcome.code, outcome.out) == (1, b"")
    assert "alone.mp4.gt.json: can't be read" in outcome.err
