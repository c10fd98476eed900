"""Data sets in the Parquet layouts in which the Hugging Face Hub has them."""

from pathlib import Path
from typing import Any

import make_evaluation_sets as sets
import pytest
from make_evaluation_sets import write_parquet

from mdtool.errors import InputError
from mdtool.jobs.evals.data.read_rows import read_rows
from mdtool.jobs.evals.evaluate_set import DataSet, asked_in, samples_of
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
    assert list(read_rows([tmp_path / "a.parquet"])) == [{"a": 1}]


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


def test_expressions_of_one_picture_are_one_unit(tmp_path: Path) -> None:
    row = {"image": {"bytes": sets.png(0)}, "bbox": [1, 2, 3, 4], "answer": ["star"]}
    write_parquet(tmp_path / "val.parquet", [row | {"question_id": str(number)} for number in range(3)])
    assert len({sample.unit for sample in samples("refcoco", tmp_path)}) == 1
