"""Runs with --shard, and `mdtool merge` of what they wrote."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import run
from jsonschema import Draft202012Validator
from make_batch_records import caption_answer, record
from make_images import encode_image, smooth

from mdtool.records.schemas import RECORDS

pytestmark = pytest.mark.posix("a lock on the file of records")

SETTINGS = "1-0123456789abcdef"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def of(name: str, **more: Any) -> dict[str, Any]:
    return record(name, caption_answer("a photo"), **{"settings": SETTINGS, **more})


def end(shard: str, inputs: int, settings: str = SETTINGS) -> dict[str, Any]:
    return {"schema": "mdtool.shard/1", "shard": shard, "inputs": inputs, "settings": settings}


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in records))
    return path


def test_shards_run_apart_and_merged_are_one_batch(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(9):
        (photos / f"{number}.png").write_bytes(encode_image(smooth(), "png"))
    (photos / "broken.jpg").write_bytes(b"no photo")
    parts = [tmp_path / f"part-{index}.jsonl" for index in (1, 2, 3)]
    caption = ("caption", photos, "--model", "pocket", "--jsonl")
    for index, part in enumerate(parts, 1):
        done = run(*caption, part, "--shard", f"{index}/3")
        assert done.code in (0, 1)
        assert part.exists(), done.err
        Draft202012Validator(RECORDS["shard"]).validate(read(part)[-1])
    again = run(*caption, parts[0], "--shard", "1/3")
    assert "0 processed" in again.err
    assert [one["schema"] for one in read(parts[0])].count("mdtool.shard/1") == 1
    merged = tmp_path / "all.jsonl"
    done = run("merge", merged, *parts)
    assert (done.code, done.lines) == (1, [f"mdtool: {merged}: 10 inputs merged, 1 of them had failed"])
    assert sorted(Path(one["input"]).name for one in read(merged)) == [*(f"{n}.png" for n in range(9)), "broken.jpg"]
    assert "1 input merged, 1 of them had failed, 9 already there" in run("merge", merged, *parts).err
    assert len(read(merged)) == 10
    assert "0 processed, 1 failed, 9 already done" in run(*caption, merged).err


def test_a_video_goes_with_its_frames_and_findings(tmp_path: Path) -> None:
    finding = {
        "schema": "mdtool.findings/1", "source": "v.mp4", "settings": SETTINGS, "sha256": "5a" * 32, "stream": 0,
        "frame": 0, "objects": [],
    }  # fmt: skip
    lines = [finding, finding | {"frame": 1}, of("v.mp4", frames=2), of("w.mp4", time=0.5), of("w.mp4", frames=1)]
    stale = of("v.mp4", settings="1-fedcba9876543210")
    part = write(tmp_path / "part.jsonl", stale, *lines, end("1/1", 2))
    merged = tmp_path / "all.jsonl"
    assert run("merge", merged, part, "--quiet").err == ""
    assert read(merged) == lines
    assert run("merge", merged, part).lines == [f"mdtool: {merged}: 0 inputs merged, 2 already there"]
    assert read(merged) == lines


FAULTS = {
    "is missing": ([of("a"), end("1/2", 1)], None, ["shard 2/2 is missing; give its file too"]),
    "is there twice": (
        [of("a"), end("1/2", 1)], [of("b"), end("1/2", 1)],
        ["{b}: is shard 1/2, like {a}", "shard 2/2 is missing; give its file too"],
    ),
    "has not ended": (
        [of("a"), end("1/2", 1)], [of("b")],
        ["{b}: is not the whole of a shard; run it with --shard to its end", "shard 2/2 is missing; give its file too"],
    ),
    "was cut": ([of("a"), end("1/2", 1)], [end("2/2", 2)], ["{b}: lacks 2 of 2 inputs; run shard 2/2 again"]),
    "an input twice": (
        [of("a"), end("1/2", 1)], [of("a"), end("2/2", 1)],
        ["{b}: has a, like {a}; were the shards made of the same inputs?"],
    ),
    "another number": (
        [of("a"), end("1/2", 1)], [of("b"), end("2/3", 1)],
        ["{b}: is shard 2/3, but {a} is 1/2", "shard 2/2 is missing; give its file too"],
    ),
    "other settings": (
        [of("a"), end("1/2", 1)], [of("b", settings="1-aa"), end("2/2", 1, "1-aa")],
        ["{b}: is of other settings, or another model, than {a}", "shard 2/2 is missing; give its file too"],
    ),
    "no records": ([of("a"), end("1/2", 1)], [{"schema": "x"}], ["{b}:1: not a record of a batch"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_nothing_is_written_where_a_shard(case: str, tmp_path: Path) -> None:
    first, second, faults = FAULTS[case]
    parts = [write(tmp_path / "a.jsonl", *first)] + ([write(tmp_path / "b.jsonl", *second)] if second else [])
    named = {"a": str(tmp_path / "a.jsonl"), "b": str(tmp_path / "b.jsonl")}
    done = run("merge", tmp_path / "all.jsonl", *parts)
    assert done.code == 1
    assert done.lines == [f"mdtool: {fault.format(**named)}" for fault in faults]
    assert not (tmp_path / "all.jsonl").exists()


def test_lists_in_lists_without_end_are_no_records(tmp_path: Path) -> None:
    deep = write(tmp_path / "deep.jsonl", of("a"))
    with deep.open("a") as file:
        file.write("[" * 100_000 + "\n")
    merged = run("merge", tmp_path / "all.jsonl", deep)
    assert (merged.code, merged.lines) == (1, [f"mdtool: {deep}:2: not a record of a batch"])
    resumed = run("caption", tmp_path, "--model", "pocket", "--jsonl", deep)
    assert resumed.code == 74
    assert "line 2 is not a batch record of this version" in resumed.err


def test_the_file_to_write_is_no_shard(tmp_path: Path) -> None:
    part = write(tmp_path / "a.jsonl", of("a"), end("1/1", 1))
    assert run("merge", part, part).code == 2
    assert run("merge", tmp_path / "all.jsonl", tmp_path / "none.jsonl").code == 1


def test_a_shard_and_a_watch_exclude_each_other(tmp_path: Path) -> None:
    done = run("caption", tmp_path, "--model", "pocket", "--jsonl", tmp_path / "a.jsonl", "--shard", "1/2", "--watch")
    assert done.code == 2
    assert done.lines == ["mdtool: --shard: ends, and --watch does not; leave one of them out"]
