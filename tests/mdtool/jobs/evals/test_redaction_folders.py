"""`mdtool eval redact` over a folder of clips, and over WIDER FACE."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_runner import Outcome, run
from make_media import FACE, portrait
from PIL import Image

SIDE = 96
BOX = [round(part * SIDE) for part in FACE]  # inside of the face
CORNER = [0, SIDE - 8, 8, SIDE]  # of the picture, where no face is


def image(path: Path, face: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(portrait(SIDE) if face else np.full((SIDE, SIDE, 3), 90, np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with our JSON, and a MOT sequence of 3 frames, of which the last is without a face."""
    folder = tmp_path_factory.mktemp("folders")
    image(folder / "a.png")
    boxes = [
        {"id": 1, "xyxy": BOX, "attributes": {"pose": "frontal"}},
        {"id": 2, "xyxy": CORNER, "attributes": {"pose": "none"}},
    ]
    (folder / "a.png.gt.json").write_text(json.dumps({"frames": [{"time": 0, "boxes": boxes}]}))
    for number in (1, 2, 3):
        image(folder / "S" / "img1" / f"{number:06}.png", face=number < 3)
    (folder / "S" / "gt").mkdir()
    x0, y0, x1, y1 = BOX
    lines = [f"{number},1,{x0 + 1},{y0 + 1},{x1 - x0},{y1 - y0},1,1,1" for number in (1, 2)]
    (folder / "S" / "gt" / "gt.txt").write_text("\n".join([*lines, f"3,2,{CORNER[0] + 1},{CORNER[1] + 1},8,8,1,1,1"]))
    (folder / "S" / "seqinfo.ini").write_text("[Sequence]\nframeRate=10\nseqLength=3\n")
    return folder


def evaluated(folder: Path, *options: object) -> Outcome:
    outcome = run("eval", "redact", folder, *map(str, options))
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_line_a_clip_and_one_of_sums(folder: Path) -> None:
    sequence, still, whole = evaluated(folder, "--json", "--sample", "every").json
    assert (sequence["clip"], still["clip"], whole["clips"]) == ("S", "a.png", 2)
    assert [one["frames"] for one in (sequence, still, whole)] == [3, 1, 4]
    assert sequence["exposed"] == [{"object": 2, "frame": 2, "bare": 1.0}]
    assert sequence["longest_exposure_ms"] == pytest.approx(100, abs=0.1)
    assert [one["object"] for one in still["exposed"]] == [2]
    assert (whole["exposed"], whole["object_frames"], whole["model_calls"]) == (2, 5, 4)
    assert whole["recall"]["pose"] == {
        "frontal": {"object_frames": 1, "hidden": 1},
        "none": {"object_frames": 1, "hidden": 0},
    }
    assert whole["recall"]["height"] == {
        "0 to 10": {"object_frames": 2, "hidden": 0},
        "20 to 50": {"object_frames": 3, "hidden": 3},
    }
    assert whole["longest_exposure_ms"] == sequence["longest_exposure_ms"]


def test_for_a_person_two_tables(folder: Path) -> None:
    lines = evaluated(folder).out.decode().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| S", "| a.png", "| all"]
    assert lines[6:9] == ["| objects | object-frames | hidden |", "|---|---|---|", "| all | 5 | 60.0% |"]
    assert lines[9:] == [
        "| height 0 to 10 px | 2 | 0.0% |",
        "| height 20 to 50 px | 3 | 100.0% |",
        "| pose frontal | 1 | 100.0% |",
        "| pose none | 1 | 0.0% |",
    ]


def test_a_sequence_alone_and_a_limit(folder: Path) -> None:
    assert evaluated(folder / "S", "--json").json[0]["clip"] == "S"
    assert evaluated(folder, "--json", "--limit", 1).json[-1]["clips"] == 1


def test_one_damaged_clip_is_named_and_the_others_count(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.png.gt.json", "b.png.gt.json"):
        (tmp_path / name).write_bytes((folder / name.replace("b.", "a.")).read_bytes())
    (tmp_path / "b.png").write_text("no image")
    outcome = run("eval", "redact", tmp_path, "--json")
    assert outcome.code == 1
    assert [line.startswith(f"mdtool: {tmp_path / 'b.png'}: ") for line in outcome.lines] == [True]
    assert [one.get("clip") for one in outcome.json] == ["a.png", None]
    (tmp_path / "a.png").unlink()
    outcome = run("eval", "redact", tmp_path, "--json")
    assert (outcome.code, [(one["clips"], one["leak"]) for one in outcome.json]) == (1, [(0, None)]), outcome.err


def test_what_is_left_out_is_named_and_counted(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.png.gt.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    image(tmp_path / "sub" / "b.png")
    (tmp_path / "c.mp4.gt.txt").write_text("1,1,1,1,5,5\n")
    outcome = evaluated(tmp_path)
    assert outcome.lines == [
        "mdtool: sub/b.png: left out, since there is no ground truth of it",
        "mdtool: c.mp4.gt.txt: left out, since there is no clip that it is the ground truth of",
    ]
    assert outcome.out.decode().splitlines()[-1] == "left out: 1 clips, 1 files of ground truth"
    whole = evaluated(tmp_path, "--json").json[-1]
    assert (whole["clips"], whole["clips_left_out"], whole["truths_left_out"]) == (1, 1, 1)


def test_boxes_outside_of_the_picture_are_of_another_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((folder / "a.png").read_bytes())
    truth = tmp_path / "a.png.gt.txt"
    truth.write_text("1,1,500,500,20,20,1,1,1\n")
    outcome = run("eval", "redact", tmp_path / "a.png")
    assert outcome.code == 1
    assert f"none of the boxes of {truth} is within the picture" in outcome.err


def test_a_folder_that_cvat_exported(tmp_path: Path) -> None:
    """An image with a face, one that has gone, and one that no file can be."""
    image(tmp_path / "images" / "a.png")
    x0, y0, x1, y1 = BOX
    box = f'<box label="face" occluded="0" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>'
    long = "a" * 5000 + ".png"
    images = "".join(f'<image name="{name}">{box}</image>' for name in ("a.png", "gone.png", long))
    (tmp_path / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    outcome = run("eval", "redact", tmp_path, "--json")
    assert outcome.code == 1
    gone, too_long = outcome.lines
    assert gone.startswith(f"mdtool: {tmp_path / 'images' / 'gone.png'}: ")
    assert "unexpected" not in too_long
    assert [(one.get("clip"), one["object_frames"], one["leak"]) for one in outcome.json] == [
        ("a.png", 1, 0.0),
        (None, 1, 0.0),
    ]


def test_a_sequence_without_images(tmp_path: Path) -> None:
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "gt.txt").write_text("1,1,1,1,5,5,1,1,1\n")
    outcome = run("eval", "redact", tmp_path)
    assert outcome.code == 1
    assert outcome.err == f"mdtool: {tmp_path}: has no numbered images in img1, such as img1/000001.jpg\n"


def test_nothing_in_a_folder(tmp_path: Path) -> None:
    outcome = run("eval", "redact", tmp_path)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (3, b"", 1)


def test_wider_face_by_size_and_pose(tmp_path: Path) -> None:
    """Of three faces, one can't be found; it is said to be in an atypical pose. What is invalid doesn't count."""
    image(tmp_path / "WIDER_val" / "images" / "0--Parade" / "a.jpg")
    x0, y0, x1, y1 = BOX
    faces = [f"{x0} {y0} {x1 - x0} {y1 - y0} 0 0 0 0 0 0", "0 88 8 8 2 0 0 0 0 1", "80 88 8 8 2 0 0 1 0 1"]
    (tmp_path / "wider_face_split").mkdir()
    (tmp_path / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text(
        "\n".join(["0--Parade/a.jpg", "3", *faces, ""])
    )
    found, whole = evaluated(tmp_path, "--model", "centerface", "--json").json
    assert (found["clip"], found["object_frames"], len(found["exposed"])) == ("0--Parade/a.jpg", 2, 1)
    assert whole["recall"]["pose"] == {
        "atypical": {"object_frames": 1, "hidden": 0},
        "typical": {"object_frames": 1, "hidden": 1},
    }


def test_boxes_of_another_size_of_the_picture_are_refused(tmp_path: Path) -> None:
    """The same picture at half its size would have its boxes elsewhere."""
    box = '<box label="face" xtl="{}" ytl="{}" xbr="{}" ybr="{}"/>'.format(*BOX)
    text = '<annotations><image name="{0}.png" width="{1}" height="{1}">{2}</image></annotations>'
    for name, side in (("same", SIDE), ("half", SIDE // 2)):
        image(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.png.gt.xml").write_text(text.format(name, side, box))
    outcome = run("eval", "redact", tmp_path, "--json")
    assert (outcome.code, [one["clip"] for one in outcome.json[:-1]]) == (1, ["same.png"])
    [line] = outcome.lines
    assert line.endswith(f"half.png: is of 96x96 pixels, and the boxes of {tmp_path / 'half.png.gt.xml'} are of 48x48")


def test_images_of_a_mot_sequence_of_another_size_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "S", tmp_path / "S")
    with (tmp_path / "S" / "seqinfo.ini").open("a") as info:
        info.write("imWidth=960\nimHeight=960\n")
    outcome = run("eval", "redact", tmp_path / "S")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "is of 96x96 pixels, and the boxes of" in outcome.err
