"""Data sets in the Parquet layouts in which the Hugging Face Hub has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_evaluation_sets as sets
import pytest
from cli_runner import run
from make_evaluation_sets import write_images, write_lines, write_parquet, xywh

from mdtool.errors import InputError
from mdtool.jobs.evals.check_boxes import check_boxes
from mdtool.jobs.evals.data.read_rows import read_rows
from mdtool.jobs.evals.evaluate_set import DataSet, asked_in, samples_of
from mdtool.jobs.evals.run_samples import by_picture
from mdtool.jobs.evals.sample import Sample
from mdtool.jobs.evals.tasks.table import TASKS

INT = {"dtype": "int64", "_type": "Value"}


def samples(name: str, data: Path, images: Path | None = None) -> list[Sample]:
    return list(samples_of(DataSet(TASKS[name], data, images)))


def label(*names: str) -> dict[str, object]:
    return {"names": list(names), "_type": "ClassLabel"}


def objects(categories: list[int], number: int = 0) -> dict[str, object]:
    """Return the column of objects of detection-datasets' copy of COCO, whose boxes have two corners."""
    boxes = [list(box) for box in sets.boxes(number)[: len(categories)]]
    return {"bbox_id": list(range(len(boxes))), "category": categories, "bbox": boxes, "area": [9.0] * len(boxes)}


@pytest.mark.parametrize(
    "feature",
    [
        {"feature": {"category": label("star", "dog"), "bbox_id": INT}, "_type": "Sequence"},
        {"category": {"feature": label("star", "dog"), "_type": "List"}, "bbox_id": {"feature": INT, "_type": "List"}},
        {"category": [label("star", "dog")]},
    ],
)
def test_numbers_of_classes_are_those_of_the_file_s_own_names(feature: dict[str, object], tmp_path: Path) -> None:
    row = {"image_id": 5, "image": sets.image(0), "objects": objects([1, 0, 1])}
    write_parquet(tmp_path / "val.parquet", [row], {"objects": feature, "image": {"_type": "Image"}})
    found = samples("coco", tmp_path)
    assert [(asked_in(sample.request), len(sample.truth["boxes"])) for sample in found] == [("dog", 2), ("star", 1)]


def test_objects_may_be_a_list_of_structures(tmp_path: Path) -> None:
    row = {"image": sets.image(0), "objects": [{"category": 1, "bbox": [1, 2, 3, 4]}]}
    features = {"objects": {"feature": {"category": label("star", "dog")}, "_type": "List"}}
    write_parquet(tmp_path / "val.parquet", [row], features)
    assert [asked_in(sample.request) for sample in samples("coco", tmp_path)] == ["dog"]


def test_subsets_and_answers_have_the_names_of_their_classes(tmp_path: Path) -> None:
    row: dict[str, object] = {"image": sets.image(0), "query": "How many?", "label": ["2"]}
    rows = [row | {"human_or_machine": number} for number in (0, 1)]
    write_parquet(tmp_path / "chart" / "test.parquet", rows, {"human_or_machine": label("human", "machine")})
    assert [sample.groups for sample in samples("chartqa", tmp_path / "chart")] == [("human",), ("machine",)]
    row = {"image": sets.image(0), "question": "Is there a star?", "answer": 1}
    write_parquet(tmp_path / "pope" / "test.parquet", [row], {"answer": label("no", "yes")})
    assert [sample.truth for sample in samples("pope", tmp_path / "pope")] == ["yes"]


def test_a_number_without_a_name_is_no_label(tmp_path: Path) -> None:
    for number in (-1, 2):
        row = {"image": sets.image(0), "objects": objects([number])}
        write_parquet(tmp_path / "val.parquet", [row], {"objects": {"category": [label("star", "dog")]}})
        with pytest.raises(InputError, match="row 1 is none of coco: a row lacks label or category"):
            samples("coco", tmp_path)


@pytest.mark.parametrize("features", [None, [], {"a": 3}, {"a": {"_type": "ClassLabel"}}, {"b": label("x")}])
def test_without_names_numbers_stay(features: Any, tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"a": 1}], features)
    assert [row for _, row in read_rows([tmp_path / "a.parquet"])] == [{"a": 1}]


def test_a_picture_in_the_row_comes_before_names_of_files(tmp_path: Path) -> None:
    named = {"file_name": "gone.png", "img_filename": "gone.png", "imgname": "gone.png", "image_id": "gone"}
    rows: dict[str, dict[str, object]] = {
        "screenspot": {"bbox": [0.1, 0.2, 0.3, 0.4], "instruction": "close"},
        "refcoco": {"bbox": [1, 2, 3, 4], "answer": ["star"]},
        "chartqa": {"query": "How many?", "label": "2"},
        "coco": {"objects": {"category": ["star"], "bbox": [[1, 2, 3, 4]]}},
        "gazefollow": {"gazes": [{"head_bbox": [0, 0, 1, 1], "eye": {"x": 0, "y": 0}, "gaze": {"x": 1, "y": 1}}]},
    }
    for name, row in rows.items():
        write_parquet(tmp_path / f"{name}.parquet", [named | row | {"image": sets.image(1)}])
        assert [sample.picture.read() for sample in samples(name, tmp_path / f"{name}.parquet")] == [sets.png(1)], name


@pytest.mark.parametrize("field", ["image_id", "imageId", "image_source", None])
def test_rows_on_one_picture_are_one_unit(field: str | None, tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "question": "Is there a star?", "answer": "yes", "image": {"bytes": sets.png(number % 2)}}
        | ({field: f"COCO_{number % 2}"} if field else {})
        for number in range(6)
    ]
    write_parquet(tmp_path / "test.parquet", rows)
    found = samples("pope", tmp_path)
    assert len({sample.unit for sample in found}) == len({sample.picture.key for sample in found}) == 2
    assert [sample.unit for sample in found] == [sample.unit for sample in found[:2]] * 3
    assert {sample.unit for sample in found} == {"COCO_0", "COCO_1"} or not field


def test_rows_that_repeat_a_picture_one_after_another_share_its_encoding(tmp_path: Path) -> None:
    rows = [
        {"question": "Is there a star?", "answer": "yes", "image": {"bytes": sets.png(number)}}
        for number in (0, 0, 1, 1, 1, 0)
    ]
    write_parquet(tmp_path / "test.parquet", rows)
    assert [len(group) for group in by_picture(samples("pope", tmp_path))] == [2, 3, 1]


def test_expressions_of_one_picture_are_one_unit(tmp_path: Path) -> None:
    row = {"image": {"bytes": sets.png(0)}, "bbox": [1, 2, 3, 4], "answer": ["star"]}
    write_parquet(tmp_path / "val.parquet", [row | {"question_id": str(number)} for number in range(3)])
    assert len({sample.unit for sample in samples("refcoco", tmp_path)}) == 1


def test_boxes_with_ids_are_two_corners(tmp_path: Path) -> None:
    columns = objects([0, 1])
    rows = [dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)]
    for kind in (columns, rows):
        features = {"objects": {"feature": {"category": label("circle", "star")}, "_type": "Sequence"}}
        write_parquet(tmp_path / "val.parquet", [{"image": sets.image(0), "objects": kind}], features)
        found = [box for sample in samples("coco", tmp_path) for box in sample.truth["boxes"]]
        assert found == [list(box) for box in sets.boxes(0)[:2]]


def expression(number: int = 0, **changes: object) -> dict[str, object]:
    """Return a row of jxu124's copy of RefCOCO."""
    sentence = {"raw": "a star", "sent": "star", "sent_id": 1, "tokens": ["star"]}
    return {
        "sentences": [sentence], "ref_id": number, "image_id": number + 1, "split": "val",
        "image_path": f"coco/{number + 1}.png", "file_name": f"{number + 1}_0.png", "bbox": list(sets.boxes(0)[2]),
    } | changes  # fmt: skip


def test_jxu124_s_refcoco_has_two_corners(tmp_path: Path) -> None:
    write_images(tmp_path / "coco")
    raw = json.dumps({"id": 7, "bbox": xywh(sets.boxes(0)[2])})
    for row in (expression(), expression(raw_anns=raw), expression(raw_anns=raw, bbox=[0.0, 0.0, 0.0, 0.0])):
        write_parquet(tmp_path / "val.parquet", [row])
        [sample] = samples("refcoco", tmp_path / "val.parquet")
        assert sample.truth["boxes"] == [pytest.approx(sets.boxes(0)[2])]
        assert (asked_in(sample.request), sample.picture.read()) == ("star", sets.png(0))


def test_a_box_that_is_no_two_corners_is_told_where_there_should_be(tmp_path: Path) -> None:
    for change, message in (({"bbox": [9, 9, 5, 5]}, "should be two corners"), ({"raw_anns": "{"}, "raw_anns is not")):
        write_parquet(tmp_path / "val.parquet", [expression(**change)])
        with pytest.raises(InputError, match=f"row 1 is none of refcoco: .*{message}"):
            samples("refcoco", tmp_path)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("refcoco", lambda box: {"expression": "star", "bbox": box}),
        ("screenspot", lambda box: {"instruction": "star", "bbox": box}),
        ("coco", lambda box: {"objects": [{"label": "star", "bbox": box}]}),
        ("waste_detection", lambda box: {"objects": [{"label": "star", "bbox": box}]}),
    ],
)
def test_boxes_of_another_convention_are_refused(
    name: str, fields: Callable[[list[float]], dict[str, object]], tmp_path: Path
) -> None:
    write_images(tmp_path)
    corners = [list(box) for box in (sets.boxes(0)[1], sets.boxes(0)[2], sets.boxes(1)[0])]
    for boxes, code in ((corners, 1), ([xywh((x, y, right, bottom)) for x, y, right, bottom in corners], 0)):
        write_lines(tmp_path / "a.jsonl", [{"image": "1.png"} | fields(box) for box in boxes])
        done = run("eval", name, "--data", tmp_path / "a.jsonl", "--model", "pocket")
        assert done.code == code, done.err
        assert ("of the first 3 true boxes leave their pictures" in done.err) == bool(code)


def test_the_line_that_refuses_boxes_counts_them(tmp_path: Path) -> None:
    write_images(tmp_path)
    rows = [
        {"image": name, "expression": "star", "bbox": box}
        for name in ("1.png", "gone.png")
        for box in ([100, 80, 150, 110], [100, 80, 50, 90], [10, 10, 190.5, 20])
    ]
    write_lines(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=r"a.jsonl: 2 of the first 3 true boxes leave their pictures"):
        check_boxes(tmp_path / "a.jsonl", samples("refcoco", tmp_path / "a.jsonl"))
