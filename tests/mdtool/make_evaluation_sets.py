"""Tiny data sets for `mdtool eval`, of drawn scenes: each in the layout in which its set is published."""

import io
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
from PIL import Image
from pyarrow import parquet

from engine.pocket.draw import Box, draw
from engine.pocket.scene import COLOURS, FACE, Background, Scene, SceneObject

Row = dict[str, Any]
BACKGROUND = Background("plain", (225, 225, 230), (225, 225, 230))
SIZE = (200, 160)


def thing(kind: str, colour: str, x: float, y: float, looks_at: int | None = None) -> SceneObject:
    rgb = COLOURS.get(colour, (235, 190, 150))
    return SceneObject(kind, colour, rgb, x, y, 46.0, looks_at=looks_at)


# The first has two red circles and a face that looks at the star; the second neither.
SCENES = (
    Scene(*SIZE, BACKGROUND, (
        thing("circle", "red", 40, 40), thing("circle", "red", 150, 35), thing("star", "blue", 160, 120),
        thing(FACE, "", 50, 120, looks_at=2),
    )),
    Scene(*SIZE, BACKGROUND, (thing("square", "green", 60, 60), thing("star", "yellow", 140, 100))),
)  # fmt: skip


@cache
def png(number: int) -> bytes:
    """Return a scene as a PNG."""
    file = io.BytesIO()
    Image.fromarray(draw(SCENES[number]).pixels).save(file, "PNG")
    return file.getvalue()


def boxes(number: int) -> tuple[Box, ...]:
    """Return the boxes of a scene's objects, in pixels."""
    return draw(SCENES[number]).boxes


def xywh(box: Box) -> list[float]:
    x_min, y_min, x_max, y_max = box
    return [x_min, y_min, x_max - x_min, y_max - y_min]


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_lines(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path, rows: list[Row], features: Row | None = None) -> None:
    """Write rows, with the types of columns in the metadata where `datasets` puts them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)


def write_images(folder: Path, name: str = "{}.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(SCENES)):
        (folder / name.format(number + 1)).write_bytes(png(number))


def image(number: int) -> Row:
    """Return an image as `datasets` writes it."""
    return {"bytes": png(number), "path": f"{number + 1}.png"}


def pope(folder: Path) -> Path:
    write_images(folder / "val2014", "COCO_val2014_{:012d}.png")
    rows = [
        ("COCO_val2014_000000000001.png", "Is there a red circle?", "yes"),
        ("COCO_val2014_000000000001.png", "Is there a green heart?", "no"),
        ("COCO_val2014_000000000002.png", "Is there a green square?", "yes"),
    ]
    lines = [{"question_id": i, "image": name, "text": q, "label": a} for i, (name, q, a) in enumerate(rows, 1)]
    write_lines(folder / "coco_pope_random.json", lines)
    return folder / "coco_pope_random.json"


def pope_in_lists(folder: Path) -> Path:
    """POPE as moondream's evaluation has it: a row an image, with lists of questions."""
    yes, no = {"question": "Is there a star?", "answer": "yes"}, {"question": "Is there a ring?", "answer": "no"}
    write_parquet(
        folder / "data" / "test-00000-of-00001.parquet",
        [{"image": image(i), "adversarial": [yes], "popular": [no], "random": [yes, no]} for i in range(2)],
    )
    return folder


def countbenchqa(folder: Path) -> Path:
    asked = [("How many red circles are there?", 2), ("How many stars are there?", 1)]
    write_parquet(
        folder / "data" / "test-00000-of-00001.parquet",
        [{"image": image(i), "text": "a drawing", "question": q, "number": n} for i, (q, n) in enumerate(asked)],
    )
    return folder


def tallyqa(folder: Path) -> Path:
    write_images(folder / "VG_100K")
    rows = [
        {"image": "VG_100K/1.png", "question": "How many red circles are there?", "answer": 2, "issimple": False},
        {"image": "VG_100K/2.png", "question": "How many stars are there?", "answer": 1, "issimple": True},
    ]
    write_json(folder / "test.json", rows)
    return folder / "test.json"


def textvqa(folder: Path) -> Path:
    write_images(folder / "train_images")
    rows = [
        {"question_id": i, "image_id": str(i), "question": "What colour is the star?", "answers": [a] * 9 + ["grey"]}
        for i, a in ((1, "blue"), (2, "yellow"))
    ]
    write_json(folder / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": rows})
    return folder / "TextVQA_0.5.1_val.json"


def vqav2(folder: Path) -> Path:
    write_images(folder / "val2014", "COCO_val2014_{:012d}.png")
    questions = [{"question_id": i, "image_id": i, "question": "What colour is the star?"} for i in (1, 2)]
    answers = [
        {"question_id": i, "answer_type": "other", "answers": [{"answer": a, "answer_id": n} for n in range(10)]}
        for i, a in ((1, "blue"), (2, "yellow"))
    ]
    write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": questions})
    write_json(folder / "v2_mscoco_val2014_annotations.json", {"annotations": answers})
    return folder / "v2_OpenEnded_mscoco_val2014_questions.json"


def gqa(folder: Path) -> Path:
    write_images(folder / "images")
    rows = {
        "07": {"imageId": "1", "question": "What colour is the star?", "answer": "blue"},
        "08": {"imageId": "2", "question": "What colour is the star?", "answer": "yellow"},
    }
    write_json(folder / "testdev_balanced_questions.json", rows)
    return folder / "testdev_balanced_questions.json"


def gqa_in_parquet(folder: Path) -> Path:
    """GQA as `datasets` has it: questions and pictures in files of their own."""
    rows = [
        {"id": "07", "imageId": "n2", "question": "What colour is the star?", "answer": "yellow"},
        {"id": "08", "imageId": "n1", "question": "What colour is the star?", "answer": "blue"},
    ]
    write_parquet(folder / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", rows)
    for number in range(2):
        row = {"id": f"n{number + 1}", "image": image(number)}
        write_parquet(folder / "testdev_balanced_images" / f"testdev-0000{number}-of-00002.parquet", [row])
    return folder / "testdev_balanced_instructions"


def chartqa(folder: Path) -> Path:
    write_images(folder / "png")
    rows = [
        {"imgname": "1.png", "query": "How many red circles are there?", "label": "2"},
        {"imgname": "2.png", "query": "What colour is the star?", "label": "yellow"},
    ]
    write_json(folder / "test_human.json", rows)
    return folder / "test_human.json"


def docvqa(folder: Path) -> Path:
    write_images(folder / "documents")
    rows = [
        {"questionId": i, "image": f"documents/{i}.png", "question": "What colour is the star?", "answers": [a]}
        for i, a in ((1, "blue"), (2, "Yellow"))
    ]
    write_json(folder / "val_v1.0.json", {"dataset_name": "docvqa", "data": rows})
    return folder / "val_v1.0.json"


def realworldqa(folder: Path) -> Path:
    asked = [("Is there a star? Please answer directly.", "Yes"), ("How many stars are there?\nA. 1\nB. 2", "A")]
    write_parquet(
        folder / "data" / "test-00000-of-00001.parquet",
        [{"image": image(i), "image_path": "x", "question": q, "answer": a} for i, (q, a) in enumerate(asked)],
    )
    return folder


def mmstar(folder: Path) -> Path:
    question = "What colour is the star?\nOptions: A: blue, B: yellow, C: red, D: green"
    write_parquet(
        folder / "mmstar.parquet",
        [
            {
                "index": i,
                "image": png(i),
                "question": question,
                "answer": "AB"[i],
                "category": "math",
                "l2_category": "x",
            }
            for i in range(2)
        ],
    )
    return folder / "mmstar.parquet"


def naturalbench(folder: Path) -> Path:
    row = {
        "Index": 0, "Image_0": image(0), "Image_1": image(1), "Question_Type": "yes_no",
        "Question_0": "Is there a red circle?", "Question_1": "Is there a green square?",
        "Image_0_Question_0": "Yes", "Image_1_Question_0": "No",
        "Image_0_Question_1": "No", "Image_1_Question_1": "Yes",
    }  # fmt: skip
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", [row])
    return folder


def coco(folder: Path) -> Path:
    write_images(folder / "val2017", "{:012d}.png")
    kinds = ("circle", "star", "square", "face", "heart")
    annotations = [
        {
            "id": 10 * number + place, "image_id": number + 1, "category_id": kinds.index(one.kind) + 1,
            "bbox": xywh(box), "area": 900.0, "iscrowd": 0,
        }
        for number, scene in enumerate(SCENES)
        for place, (one, box) in enumerate(zip(scene.objects, boxes(number), strict=True))
    ]  # fmt: skip
    document = {
        "images": [{"id": i, "file_name": f"{i:012d}.png", "width": SIZE[0], "height": SIZE[1]} for i in (1, 2)],
        "annotations": annotations,
        "categories": [{"id": i, "name": kind} for i, kind in enumerate(kinds, 1)],
    }
    write_json(folder / "instances_val2017.json", document)
    return folder / "instances_val2017.json"


def refcoco(folder: Path) -> Path:
    rows = [
        {"question_id": "a", "image": image(0), "bbox": xywh(boxes(0)[2]), "answer": ["blue star", "star"]},
        {"question_id": "b", "image": image(1), "bbox": xywh(boxes(1)[0]), "answer": ["green square"]},
    ]
    write_parquet(folder / "data" / "val-00000-of-00001.parquet", rows)
    return folder


def screenspot(folder: Path) -> Path:
    write_images(folder / "screenspot_imgs")
    rows = [
        {"img_filename": "1.png", "bbox": xywh(boxes(0)[2]), "instruction": "star", "data_type": "icon"},
        {"img_filename": "2.png", "bbox": xywh(boxes(1)[0]), "instruction": "green square", "data_type": "text"},
    ]
    write_json(folder / "screenspot_web.json", rows)
    return folder / "screenspot_web.json"


def gazefollow(folder: Path) -> Path:
    write_images(folder / "test2")
    face, star = SCENES[0].objects[3], SCENES[0].objects[2]
    x_min, y_min, x_max, y_max = boxes(0)[3]
    marks = [(star.x / SIZE[0] + off, star.y / SIZE[1]) for off in (-0.02, 0.02)]
    lines = [
        f"test2/1.png,{i},0,0,1,1,{face.x / SIZE[0]},{face.y / SIZE[1]},{x},{y},{x_min},{y_min},{x_max},{y_max},coco,"
        for i, (x, y) in enumerate(marks)
    ]
    (folder / "test_annotations_release.txt").write_text("\n".join(lines) + "\n")
    return folder / "test_annotations_release.txt"


def waste_detection(folder: Path) -> Path:
    def row(number: int) -> Row:
        centres = [
            [(b[0] + b[2]) / 2 / SIZE[0], (b[1] + b[3]) / 2 / SIZE[1], (b[2] - b[0]) / SIZE[0], (b[3] - b[1]) / SIZE[1]]
            for b in boxes(number)
        ]
        return {"image": image(number), "boxes": centres, "labels": [one.kind for one in SCENES[number].objects]}

    write_parquet(folder / "data" / "test-00000-of-00001.parquet", [row(0), row(1)])
    return folder


def qa(folder: Path) -> Path:
    write_images(folder)
    rows: list[Row] = [
        {"id": "a", "image": "1.png", "question": "How many red circles are there?", "answer": 2},
        {"id": "b", "image": "1.png", "question": "What colour is the star?", "answers": ["blue", "dark blue"]},
        {"id": "c", "image": "2.png", "question": "Is there a red circle?", "answer": "no", "split": "hard"},
        {"id": "d", "image": "2.png", "question": "What colour is the star?", "answer": "green", "split": "hard"},
    ]
    write_lines(folder / "questions.jsonl", rows)
    return folder / "questions.jsonl"


SETS: Mapping[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (
        pope, countbenchqa, tallyqa, textvqa, vqav2, gqa, chartqa, docvqa, realworldqa, mmstar, naturalbench, coco,
        refcoco, screenspot, gazefollow, waste_detection, qa,
    )
}  # fmt: skip
