"""Data sets in the layouts in which they are published become samples: picture, request, truth."""

import json
import pickle
import re
from pathlib import Path

import make_evaluation_sets as sets
import pyarrow
import pytest
from make_evaluation_sets import SETS, boxes, png, pope_in_lists, write_images, write_json, write_lines, write_parquet
from pyarrow import parquet

from engine.contract import DetectRequest, GazeRequest, PointRequest, QueryRequest
from mdtool.errors import InputError, NoInputFound, UsageError
from mdtool.jobs.evals.data.fields import texts
from mdtool.jobs.evals.data.find_files import find_files
from mdtool.jobs.evals.data.parquet_pictures import PictureRow, pictures_by_id
from mdtool.jobs.evals.data.pictures import PictureFinder
from mdtool.jobs.evals.data.read_rows import read_rows
from mdtool.jobs.evals.evaluate_set import DataSet, asked_in, check, samples_of
from mdtool.jobs.evals.sample import Sample
from mdtool.jobs.evals.tasks.table import TASKS
from mdtool.jobs.evals.tasks.task import Prompts


def samples(name: str, data: Path, prompts: Prompts = "reference", limit: int | None = None) -> list[Sample]:
    return list(samples_of(DataSet(TASKS[name], data, prompts=prompts, limit=limit)))


@pytest.mark.parametrize("name", SETS)
def test_the_sets_own_files_are_read_with_their_pictures(name: str, tmp_path: Path) -> None:
    found = samples(name, SETS[name](tmp_path))
    skills = {"query": QueryRequest, "detect": DetectRequest, "point": PointRequest, "gaze": GazeRequest}
    assert found
    assert {type(sample.request) for sample in found} == {skills[TASKS[name].skill]}
    assert {sample.picture.read() for sample in found} <= {png(0), png(1)}
    assert len({sample.id for sample in found}) == len(found)


def test_every_task_has_a_set_to_run_on() -> None:
    assert set(SETS) == set(TASKS)


def test_the_questions_are_worded_as_the_reference_does_or_as_lmms_eval_does(tmp_path: Path) -> None:
    data = sets.pope(tmp_path)
    assert asked_in(samples("pope", data)[0].request) == "Is there a red circle?\nAnswer yes or no."
    [first, *_] = samples("pope", data, "lmms")
    assert asked_in(first.request) == "Is there a red circle?\nAnswer the question using a single word or phrase."


def test_prompts_of_lmms_eval_are_refused_where_it_has_none() -> None:
    with pytest.raises(UsageError, match=r"--prompts lmms: .*for coco"):
        check(DataSet(TASKS["coco"], Path("x"), prompts="lmms"))


def test_pope_may_have_its_three_splits_in_lists(tmp_path: Path) -> None:
    found = samples("pope", pope_in_lists(tmp_path))
    assert [sample.groups for sample in found[:4]] == [("adversarial",), ("popular",), ("random",), ("random",)]
    assert len(found) == 8
    assert len({sample.unit for sample in found}) == 2


def test_a_row_without_its_subset_is_of_the_one_that_its_file_is_named_by(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "1.png", "text": "Is there a star?", "label": "yes"}
    for split in ("adversarial", "popular", "random"):
        write_lines(tmp_path / "pope" / f"coco_pope_{split}.json", [row, row])
    found = samples("pope", tmp_path / "pope")
    assert [one.groups for one in found[::2]] == [("adversarial",), ("popular",), ("random",)]
    chart = {"imgname": "1.png", "query": "How many?", "label": "2"}
    write_json(tmp_path / "test" / "test_augmented.json", [chart])
    write_json(tmp_path / "test" / "test_human.json", [chart, chart | {"type": "augmented"}])
    found = samples("chartqa", tmp_path / "test")
    assert [one.groups for one in found] == [("augmented",), ("human",), ("augmented",)]
    write_lines(tmp_path / "superhuman.jsonl", [chart])
    assert [one.groups for one in samples("chartqa", tmp_path / "superhuman.jsonl")] == [()]


def test_questions_in_a_row_s_list_are_samples_of_one_picture(tmp_path: Path) -> None:
    asked = [
        {"question": "One?", "answer": 1, "is_simple": True},
        {"question": "Two?", "answer": 2, "is_simple": False},
    ]
    write_parquet(tmp_path / "test.parquet", [{"image": sets.image(0), "qa": asked}])
    one, two = samples("tallyqa", tmp_path)
    assert one.picture is two.picture
    assert (one.truth, two.truth, one.groups, two.groups) == (1, 2, ("simple",), ("complex",))


def test_vqa_s_answers_are_joined_from_their_own_file(tmp_path: Path) -> None:
    found = samples("vqav2", sets.vqav2(tmp_path))
    assert [sample.truth[0]["answer"] for sample in found] == ["blue", "yellow"]
    assert [sample.groups for sample in found] == [("other",), ("other",)]
    assert samples("vqav2", tmp_path)[0].truth == found[0].truth  # of the folder too


def test_coco_asks_for_every_category_of_the_set(tmp_path: Path) -> None:
    found = samples("coco", sets.coco(tmp_path))
    assert [asked_in(sample.request) for sample in found[:5]] == ["circle", "star", "square", "face", "heart"]
    assert [len(sample.truth["boxes"]) for sample in found[:5]] == [2, 1, 0, 1, 0]
    assert found[0].truth["boxes"][0] == pytest.approx(boxes(0)[0])


def test_moondream_s_coco_asks_for_what_a_picture_has_by_coco_s_numbers(tmp_path: Path) -> None:
    objects = json.dumps({"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "label": [1, 18]})
    write_parquet(tmp_path / "val.parquet", [{"image": sets.image(0), "objects": objects}])
    found = samples("coco", tmp_path)
    assert [(asked_in(s.request), s.truth["boxes"]) for s in found] == [
        ("person", [[1, 2, 4, 6]]),
        ("dog", [[5, 6, 12, 14]]),
    ]


def test_natural_bench_may_have_a_question_a_row_whose_truth_is_in_its_number(tmp_path: Path) -> None:
    rows = [
        {"Index": i, "Image": sets.image(i % 2), "Question": "Star?", "Question_Type": kind}
        for i, kind in enumerate(["yes_no"] * 4 + ["multiple_choice"] * 4)
    ]
    write_parquet(tmp_path / "test.parquet", rows)
    found = samples("naturalbench", tmp_path)
    assert [sample.truth for sample in found] == ["yes", "no", "no", "yes", "A", "B", "B", "A"]
    assert [sample.unit for sample in found] == ["0"] * 4 + ["1"] * 4


def test_heads_with_nearly_the_same_box_are_one_head(tmp_path: Path) -> None:
    def gaze(offset: float, x: float) -> dict[str, object]:
        box = {"xmin": 0.1 + offset, "ymin": 0.1, "xmax": 0.2, "ymax": 0.2}
        return {"head_bbox": box, "eye": {"x": 0.15, "y": 0.15}, "gaze": {"x": x, "y": 0.5}}

    rows = [{"image": sets.image(0), "gazes": [gaze(0, 0.4), gaze(0.0005, 0.6), gaze(0.1, 0.9)]}]
    write_parquet(tmp_path / "test.parquet", rows)
    assert [sample.truth for sample in samples("gazefollow", tmp_path)] == [[[0.4, 0.5], [0.6, 0.5]], [[0.9, 0.5]]]


def test_a_box_of_screenspot_in_fractions_is_two_corners(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_lines(tmp_path / "a.jsonl", [{"image": "1.png", "bbox": [0.1, 0.2, 0.3, 0.4], "instruction": "close"}])
    assert samples("screenspot", tmp_path)[0].truth == {"box": [0.1, 0.2, 0.3, 0.4], "in_pixels": False}


def test_ids_that_come_again_are_numbered(tmp_path: Path) -> None:
    write_images(tmp_path)
    row = {"id": 7, "image": "1.png", "question": "What?", "answer": "x"}
    write_lines(tmp_path / "a.jsonl", [row, row])
    assert [sample.id for sample in samples("qa", tmp_path)] == ["7", "7 (2)"]
    assert [sample.id for sample in samples("qa", tmp_path, limit=1)] == ["7"]


@pytest.mark.parametrize("value", ["COCO_val2014_000000000001.png", "COCO_val2014_000000000001", "1", 1])
def test_pictures_are_found_by_path_name_or_number(value: str | int, tmp_path: Path) -> None:
    write_images(tmp_path / "deep" / "val2014", "COCO_val2014_{:012d}.png")
    (tmp_path / "a.jsonl").touch()
    assert PictureFinder(tmp_path / "a.jsonl", None).picture(value, "x").read() == png(0)
    assert PictureFinder(Path("elsewhere.jsonl"), tmp_path).picture(value, "x").read() == png(0)


@pytest.mark.parametrize("place", ["testdev_balanced_images", "testdev_balanced_images/all.parquet"])
def test_pictures_may_be_in_other_parquet_files_by_their_ids(place: str, tmp_path: Path) -> None:
    data = sets.gqa_in_parquet(tmp_path)
    assert [sample.picture.read() for sample in samples("gqa", data)] == [png(1), png(0)]  # of the folder beside it
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "testdev_balanced_images").iterdir())]
    parquet.write_table(pyarrow.concat_tables(tables), tmp_path / "testdev_balanced_images" / "all.parquet")
    for path in data.iterdir():
        path.rename(moved / path.name)
    write_json(moved / "questions.json", {"9": {"imageId": "n2", "question": "?", "answer": "a"}})
    for questions, expected in ((moved, [png(1), png(0)]), (moved / "questions.json", [png(1)])):
        found = samples_of(DataSet(TASKS["gqa"], questions, tmp_path / place))
        assert [sample.picture.read() for sample in found] == expected


def test_parquet_files_of_something_else_below_the_images_are_left_out(tmp_path: Path) -> None:
    data = sets.tallyqa(tmp_path)
    write_parquet(tmp_path / "other" / "test.parquet", [{"question": "?", "image": sets.image(0)}])
    rows = json.loads(data.read_text())
    write_json(data, [*rows, rows[0] | {"image": "VG_100K/gone.png"}, rows[0] | {"image": "VG_100K/77.png"}])
    found = [sample.picture for sample in samples_of(DataSet(TASKS["tallyqa"], data, tmp_path))]
    assert [picture.read() for picture in found[:2]] == [png(0), png(1)]
    for picture in found[2:]:
        with pytest.raises(InputError, match=r"VG_100K/(gone|77).png can't be read: No such file"):
            picture.read()
    with pytest.raises(InputError, match=r"row 1 is none of tallyqa: .*test.parquet: has no pictures by id"):
        next(samples_of(DataSet(TASKS["tallyqa"], data, tmp_path / "other")))
    write_parquet(tmp_path / "other" / "by-id.parquet", [{"id": "2", "image": sets.image(1)}])
    write_json(data, [rows[0] | {"image": "2"}])
    for images in (tmp_path / "other", tmp_path / "other" / "by-id.parquet"):
        [sample] = samples_of(DataSet(TASKS["tallyqa"], data, images))
        assert sample.picture.read() == png(1)


def test_an_id_in_parquet_comes_before_a_file_that_ends_in_the_same_number(tmp_path: Path) -> None:
    data = sets.gqa_in_parquet(tmp_path)
    (tmp_path / "testdev_balanced_images" / "figure2.png").write_bytes(png(0))
    assert [sample.picture.read() for sample in samples("gqa", data)] == [png(1), png(0)]


def test_rows_of_parquet_are_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = [f"{number}".encode() for number in range(100)]
    table = pyarrow.table({"id": list(range(100)), "image": values, "more": [None] * 100})
    parquet.write_table(table, path, row_group_size=40)
    rows = pictures_by_id([path])
    for number in (0, 1, 17, 39, 40, 99, 20, 98, 2, 50, 45, 79, 80):
        assert rows[str(number)].read() == values[number]
    with pytest.raises(InputError, match="row 1 has no bytes of a picture"):
        PictureRow(path, "more", 0).read()


def test_a_picture_of_parquet_can_be_read_without_its_bytes(tmp_path: Path) -> None:
    for name in ("mmstar", "naturalbench"):  # in bytes, and in pictures as `datasets` writes them
        for sample in samples(name, SETS[name](tmp_path / name)):
            there = sample.picture.without_bytes()
            assert there.data is None
            assert there.read() == sample.picture.read()


@pytest.mark.parametrize(
    ("row", "fault"),
    [({"image": b"x"}, "has no pictures by id"), ({"id": 1, "picture": b"x"}, "it has id, picture")],
)
def test_parquet_without_pictures_by_id_is_told(row: dict[str, object], fault: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [row])
    with pytest.raises(InputError, match=fault):
        pictures_by_id([tmp_path / "a.parquet"])


def test_no_folder_of_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder, and no such Parquet file"):
        next(samples_of(DataSet(TASKS["qa"], sets.qa(tmp_path), tmp_path / "gone")))


def test_a_folder_with_several_splits_has_to_be_narrowed(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", [{"image": sets.image(0)}])
    with pytest.raises(UsageError, match=r"holds the splits test, train; name one"):
        find_files(tmp_path)
    assert len(find_files(tmp_path / "data" / "test-*")) == 1


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.json", "test.json"), "test, train"),
        (("instances_train2017.json", "instances_val2017.json"), "train2017, val2017"),
        (("val_v1.0.json", "test_v1.0.json"), "test, val"),
        (("refcoco_testA.jsonl", "refcoco_testB.jsonl", "refcoco_val.jsonl"), "testA, testB, val"),
        (("val_balanced_questions.json", "testdev_balanced_questions.json"), "testdev, val"),
        (("train_human.json", "test_human.json", "test_augmented.json"), "test, train"),
        (("train_annotations_release.txt", "test_annotations_release.txt"), "test, train"),
        (("train.parquet", "test.parquet"), "test, train"),
    ],
)
def test_several_splits_by_the_names_of_files_have_to_be_narrowed(
    names: tuple[str, ...], splits: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    for data in (tmp_path, tmp_path / "*"):
        with pytest.raises(UsageError, match=rf"holds the splits {splits}; name one, as in '(.*)'") as error:
            find_files(data)
        hint = str(error.value).split("'")[1]
        assert find_files(Path(hint))


@pytest.mark.parametrize(
    "names",
    [
        ("coco_pope_adversarial.json", "coco_pope_popular.json", "coco_pope_random.json"),
        ("test_augmented.json", "test_human.json"),
        ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"),
        ("screenspot_desktop.json", "screenspot_mobile.json", "screenspot_web.json"),
        ("contest.jsonl", "latest_1.jsonl", "restraint.jsonl"),
        ("val.jsonl", "val_2.jsonl"),
    ],
)
def test_files_of_one_split_belong_together(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path)] == list(names)


def test_a_split_that_is_there_twice_has_to_be_narrowed(tmp_path: Path) -> None:
    for name in ("val_v1.0.json", "val_v1.0_withQT.json"):
        (tmp_path / name).touch()
    for data in (tmp_path, tmp_path / "val_v1.0*.json"):
        with pytest.raises(UsageError, match=r"holds val_v1.0.json and val_v1.0_withQT.json of one split; name one, '"):
            find_files(data)


def test_a_row_is_told_with_the_file_that_it_is_in(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"data": [Q, Q]})
    write_json(tmp_path / "b.json", {"data": [Q, Q | {"answer": None}]})
    with pytest.raises(InputError, match=rf"^{re.escape(str(tmp_path / 'b.json'))}: row 2 is none of qa: a row lacks"):
        samples("qa", tmp_path)


def test_of_coco_s_annotations_those_with_boxes_are_read(tmp_path: Path) -> None:
    data = sets.coco(tmp_path)
    captions = json.loads(data.read_text())
    del captions["categories"]
    for name in ("captions_val2017.json", "person_keypoints_val2017.json"):
        write_json(tmp_path / name, captions)
    assert find_files(tmp_path) == [data]
    with pytest.raises(InputError, match=r"captions_val2017.json: is COCO JSON without categories; boxes are in inst"):
        samples("coco", tmp_path / "captions_val2017.json")


def test_what_annotations_of_coco_are_of_has_to_be_there(tmp_path: Path) -> None:
    data = sets.coco(tmp_path)
    document = json.loads(data.read_text())
    for field, what in (("image_id", "image 99, which is not among its images"), ("category_id", "category 99, which")):
        annotations = [*document["annotations"], {"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]
        annotations[-1][field] = 99
        write_json(data, document | {"annotations": annotations})
        with pytest.raises(InputError, match=f"instances_val2017.json: annotation 5 is of the {what}"):
            samples("coco", data)
    for name in ("images", "annotations", "categories"):
        write_json(data, {key: value for key, value in document.items() if key != name})
        with pytest.raises(InputError, match=f"is COCO JSON without {name}"):
            samples("coco", data)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    sets.coco(tmp_path).rename(tmp_path / "instances.json")
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps([{"sentences": []}]))
    for data in (tmp_path, tmp_path / "refs(unc).p"):
        with pytest.raises(UsageError, match=r"refs\(unc\).p: is a pickle, .* any code; RefCOCO is read from Parquet"):
            samples("refcoco", data)
    assert samples("coco", tmp_path / "instances.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "What?", "answer": 1}', r"row 1 is none of qa: a row lacks image"),
        ('{"image": "1.png", "answer": 1}', r"row 1 is none of qa: a row lacks question"),
        ('{"image": "1.png", "question": "What?"}', r"row 1 is none of qa: a row lacks answers or answer"),
        ('{"image": "1.png", "question": "?", "answer": 1, "metric": "x"}', r"the metric 'x' is not known"),
        ('{"image": null, "question": "?", "answer": 1}', "a row lacks image"),
        ('{"image": [1], "question": "?", "answer": 1}', "has no picture"),
        ('{"qa": 3, "image": "1.png"}', "no list of questions"),
        ("[1]", "line 1 is no JSON object"),
        ("{", "line 1: not valid JSON"),
        ('{"id": ' + "1" * 5000 + "}", "line 1: a number has too many digits$"),
        ('"\\ud800', "line 1"),
    ],
)
def test_a_row_that_is_none_is_told_with_its_number(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        samples("qa", tmp_path / "a.jsonl")


Q, BOX = {"image": "1.png", "question": "?", "text": "?", "answer": "a"}, {"image": "1.png", "bbox": [1, 2, 3, 4]}
NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("qa", Q | {"answer": NAN}, "a row lacks answers or answer"),
        ("qa", Q | {"question": NAN, "text": None}, "a row lacks question"),
        ("qa", Q | {"answer": float("inf")}, "a true answer is inf, and should be a text or a number"),
        ("qa", Q | {"answer": {"a": 1}}, "a true answer is {'a': 1}"),
        ("qa", Q | {"answers": []}, "the true answer is empty"),
        ("qa", Q | {"answers": ["a", None]}, "a true answer is None"),
        ("qa", Q | {"question": {"a": 1}}, "is {'a': 1}, and should be a text"),
        ("qa", Q | {"question": {"bytes": "x"}}, "is bytes, and should be a text"),
        ("qa", Q | {"question": " "}, "is ' ', and should be a text"),
        ("qa", Q | {"question": "\ud800"}, "is not valid Unicode"),
        ("qa", Q | {"metric": ["anls"]}, r"the metric \['anls'\] is not known"),
        ("qa", Q | {"metric": "number"}, "the true answer 'a' is no whole number"),
        ("pope", Q, "the true answer 'a' is neither yes nor no"),
        ("pope", Q | {"random": ["a"]}, "a row's split is no list of questions"),
        ("tallyqa", Q, "the true answer 'a' is no whole number"),
        ("textvqa", Q | {"answers": ["", " "]}, "the true answer is empty"),
        ("docvqa", Q | {"answers": []}, "the true answer is empty"),
        ("mmstar", Q | {"answer": "AB"}, "the true answer 'AB' is no letter of an option"),
        (
            "naturalbench",
            {"Question_Type": "yes_no", "Image_0": "1.png", "Question_0": "?"},
            "lacks Image_0_Question_0",
        ),
        ("naturalbench", {"Question_Type": "yes_no", "Index": "x"}, "invalid literal for int"),
        ("coco", {"image": "1.png", "objects": [{"label": "a", "bbox": [1, 2, NAN, 4]}]}, "should be 4 numbers"),
        ("coco", {"image": "1.png", "objects": [{"label": "a", "bbox": [1, 2, -3, 4]}]}, "is negative"),
        ("coco", {"image": "1.png", "objects": [{"label": "a", "bbox": [1, 2, 3, 4], "area": "x"}]}, "1 numbers"),
        ("coco", {"image": "1.png", "objects": [{"label": "", "bbox": [1, 2, 3, 4]}]}, "a label is ''"),
        ("coco", {"image": "1.png", "objects": {"label": [], "bbox": [[1, 2, 3, 4]]}}, "not two lists of one length"),
        ("coco", {"image": "1.png", "objects": [], "categories": [5]}, "the name of a category is 5"),
        ("refcoco", BOX | {"answer": [""]}, "an expression is ''"),
        ("refcoco", BOX | {"sentences": [{"x": 1}]}, "an expression is None"),
        ("screenspot", BOX | {"instruction": ""}, "instruction or question is ''"),
        ("screenspot", {"image": "1.png", "bbox": [0.5, 0.5, 0.1, 0.1], "instruction": "x"}, "is no box"),
        ("screenspot", {"image": "1.png", "bbox": [9, 9, -5, 5], "instruction": "x"}, "is no box"),
        ("waste_detection", {"image": "1.png", "boxes": [[1, 1, 1, 1]], "labels": [None]}, "a label is None"),
        ("waste_detection", {"image": "1.png", "boxes": 3, "labels": ["a"]}, "not two lists of one length"),
        ("gazefollow", {"image": "1.png", "gazes": [5]}, "5 should be an object with head_bbox"),
    ],
)
def test_a_row_that_nothing_can_be_measured_by_is_told(
    name: str, row: dict[str, object], message: str, tmp_path: Path
) -> None:
    write_lines(tmp_path / "a.jsonl", [row])
    with pytest.raises(InputError, match=rf"row 1 is none of {name}: .*{message}"):
        samples(name, tmp_path / "a.jsonl")


@pytest.mark.parametrize(("value", "text"), [(True, "yes"), (False, "no"), (3.0, "3"), (0.5, "0.5"), (7, "7")])
def test_true_answers_of_other_types_are_texts(value: object, text: str) -> None:
    assert texts(value) == texts([{"answer": value}]) == [text]


def test_questions_without_their_answers_are_told(tmp_path: Path) -> None:
    write_json(tmp_path / "questions.json", {"questions": [{"question_id": [1], "image_id": 1, "question": "?"}]})
    write_json(tmp_path / "annotations.json", {"annotations": [{"x": 1}]})
    with pytest.raises(InputError, match="row 1 is none of vqav2: a row lacks answers"):
        samples("vqav2", tmp_path / "questions.json")
    write_json(tmp_path / "annotations.json", {"annotations": 3})
    with pytest.raises(InputError, match=r"annotations.json: is of no known layout"):
        samples("vqav2", tmp_path / "questions.json")


def test_questions_or_answers_of_vqav2_alone_are_told(tmp_path: Path) -> None:
    questions, answers = sets.vqav2(tmp_path), tmp_path / "v2_mscoco_val2014_annotations.json"
    with pytest.raises(
        InputError, match=r"val2014_annotations.json: has answers alone; name the file of the questions"
    ):
        samples("vqav2", answers)
    answers.rename(tmp_path / "v2_mscoco_train2014_annotations.json")
    with pytest.raises(
        InputError, match=r"has questions without answers, which are looked for in v2_\*_annotations.json"
    ):
        samples("vqav2", questions)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(Q).encode())
    assert samples("qa", tmp_path / "a.jsonl")[0].truth == "a"


@pytest.mark.parametrize("name", ["/dev/zero", "a" * 5000, "a\0b", ".", "gone.png"])
def test_a_name_that_is_of_no_file_is_told_when_it_is_read(name: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [Q | {"image": name}])
    [sample] = samples("qa", tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"the picture .* can't be read: "):
        sample.picture.read()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "3", "no known layout"),
        ("a.json", "[3]", "entry 1 is no JSON object"),
        ("a.json", '{"images": [], "annotations": [{}], "categories": []}', "no COCO JSON"),
        ("a.parquet", "PAR1", "can't be read as Parquet"),
        ("a.doc", "x", "of no known kind"),
        ("a.txt", "a,b", "line 1 has 2 columns"),
        ("a.txt", ",".join("x" * 16), "line 1: could not convert"),
        ("a.jsonl", "\xff", "line 1"),
    ],
)
def test_files_of_no_known_layout_are_told(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        list(read_rows(find_files(tmp_path / name)))


def test_text_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        list(read_rows([tmp_path / "a.jsonl"]))


def test_no_files_and_no_samples_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        find_files(tmp_path / "absent")
    with pytest.raises(NoInputFound, match=r"holds no \.parquet"):
        find_files(tmp_path)
    with pytest.raises(NoInputFound, match="no file matches"):
        find_files(tmp_path / "*.json")
    write_json(tmp_path / "a.json", [])
    with pytest.raises(NoInputFound, match="holds no samples of qa"):
        samples("qa", tmp_path)
