"""Boxes as COCO and YOLO data sets."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from make_batch_records import box, caption_answer, detect_answer, failed, record, write_records

from mdtool.errors import InputError, OutputError
from mdtool.exports.coco import write_coco
from mdtool.exports.yolo import write_yolo
from mdtool.records.batch import ExportCounts

FACE = box("face", 0.1, 0.2, 0.3, 0.4, score=0.75)
OVER = box("cat", -0.5, 0.5, 0.25, 1.5)  # a part lies outside
GONE = box("face", 1.1, 0.2, 1.3, 0.4)
FIRST = [
    record("photos/a.jpg", detect_answer("face", FACE, GONE)),
    failed("photos/b.jpg"),
    record("photos/c.jpg", caption_answer("a cat")),
    record("photos/sub/a.jpg", detect_answer("face"), detect_answer("cat", OVER, OVER)),
]
LATER = [record("photos/d.jpg", detect_answer("dog", box("dog", 0, 0, 1, 1)), detect_answer("face", FACE))]


def coco(tmp_path: Path, *records: dict[str, Any]) -> dict[str, Any]:
    source, target = write_records(tmp_path / "in.jsonl", *records), tmp_path / "out.json"
    write_coco(source, target, overwrite=True)
    written: dict[str, Any] = json.loads(target.read_text())
    return written


def test_coco_has_boxes_in_pixels_clipped(tmp_path: Path) -> None:
    made = coco(tmp_path, *FIRST)
    assert made["images"] == [
        {"id": 1, "file_name": "photos/a.jpg", "width": 640, "height": 400},
        {"id": 2, "file_name": "photos/sub/a.jpg", "width": 640, "height": 400},
    ]
    assert made["categories"] == [{"id": 1, "name": "face"}, {"id": 2, "name": "cat"}]
    first, second, third = made["annotations"]
    assert first == {
        "id": 1, "image_id": 1, "category_id": 1, "bbox": [64.0, 80.0, 128.0, 80.0], "area": 10240.0, "iscrowd": 0,
        "segmentation": [], "score": 0.75,
    }  # fmt: skip
    assert (second["id"], second["image_id"], second["category_id"]) == (2, 2, 2)
    assert (second["bbox"], second["area"]) == ([0.0, 200.0, 160.0, 200.0], 32000.0)
    assert "score" not in second
    assert third["id"] == 3


def test_coco_counts(tmp_path: Path) -> None:
    source = write_records(tmp_path / "in.jsonl", *FIRST)
    assert write_coco(source, tmp_path / "out.json", overwrite=False) == ExportCounts(written=2, failed=1, skipped=1)


def test_coco_ids_stay_when_there_is_more(tmp_path: Path) -> None:
    before, after = coco(tmp_path, *FIRST), coco(tmp_path, *FIRST, *LATER)
    for name in ("images", "annotations", "categories"):
        assert after[name][: len(before[name])] == before[name]
        assert len({one["id"] for one in after[name]}) == len(after[name]) > len(before[name])


def test_coco_of_frames_and_of_nothing(tmp_path: Path) -> None:
    made = coco(
        tmp_path, record("a.mp4", detect_answer("face"), time=0.5), record("a.mp4", detect_answer("face"), time=1.0)
    )
    assert [(one["id"], one["time"]) for one in made["images"]] == [(1, 0.5), (2, 1.0)]
    empty = coco(tmp_path)
    assert (empty["images"], empty["annotations"], empty["categories"]) == ([], [], [])


def test_yolo_is_a_folder_that_mirrors_the_tree(tmp_path: Path) -> None:
    source, folder = write_records(tmp_path / "in.jsonl", *FIRST, *LATER), tmp_path / "set"
    assert write_yolo(source, folder) == ExportCounts(written=3, failed=1, skipped=1)
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    names = files.pop("data.yaml")
    assert files == {
        "classes.txt": "face\ncat\ndog\n",
        "labels/a.txt": "0 0.200000 0.300000 0.200000 0.200000\n",
        "labels/sub/a.txt": "1 0.125000 0.750000 0.250000 0.500000\n" * 2,
        "labels/d.txt": "2 0.500000 0.500000 1.000000 1.000000\n0 0.200000 0.300000 0.200000 0.200000\n",
    }
    assert yaml.safe_load(names) == {"train": "images", "val": "images", "names": {0: "face", 1: "cat", 2: "dog"}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "set"]


@pytest.mark.parametrize(
    "name", ["/etc/a.jpg", "../../a.jpg", "photos/../../../a.jpg", "./a.jpg", "https://host/a.jpg"]
)
def test_yolo_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    source = write_records(
        tmp_path / "in.jsonl", record(name, detect_answer("face", FACE)), record("b/c.jpg", detect_answer("face"))
    )
    write_yolo(source, tmp_path / "set")
    made = [path for path in tmp_path.rglob("*.txt") if path.name != "classes.txt"]
    assert {path.name for path in made} == {"a.txt", "c.txt"}
    assert all(path.is_relative_to(tmp_path / "set" / "labels") for path in made)


def test_yolo_labels_can_hold_anything(tmp_path: Path) -> None:
    labels = ['a: "b"', "- c", "null", "猫", "line\nbreak"]
    answers = [detect_answer(label, box(label, 0, 0, 1, 1)) for label in labels]
    write_yolo(write_records(tmp_path / "in.jsonl", record("a.jpg", *answers)), tmp_path / "set")
    names = yaml.safe_load((tmp_path / "set" / "data.yaml").read_text())["names"]
    assert list(names.values()) == [*labels[:4], "line\\nbreak"]
    assert (tmp_path / "set" / "classes.txt").read_text().splitlines() == list(names.values())


def test_yolo_of_frames(tmp_path: Path) -> None:
    records = [record("a.mp4", detect_answer("face", FACE), time=time) for time in (0.5, 10.25)]
    write_yolo(write_records(tmp_path / "in.jsonl", *records), tmp_path / "set")
    names = sorted(path.name for path in (tmp_path / "set" / "labels").iterdir())
    assert names == ["a-00000.500.txt", "a-00010.250.txt"]


def test_yolo_tells_of_names_that_differ_in_their_endings(tmp_path: Path) -> None:
    source = write_records(
        tmp_path / "in.jsonl", *(record(name, detect_answer("face")) for name in ("p/a.jpg", "p/a.png"))
    )
    with pytest.raises(InputError, match=r"p/a\.png: another image has the same name"):
        write_yolo(source, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_yolo_leaves_a_folder_alone_that_holds_something(tmp_path: Path) -> None:
    source, folder = write_records(tmp_path / "in.jsonl", *FIRST), tmp_path / "set"
    folder.mkdir()
    write_yolo(source, folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(OutputError, match="not an empty folder"):
        write_yolo(source, folder)
    assert sorted(folder.rglob("*")) == before
    with pytest.raises(OutputError, match="its folder does not exist"):
        write_yolo(source, tmp_path / "none" / "set")
