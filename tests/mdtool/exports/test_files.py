"""What is written for each picture: text beside it, and crops; and that doing it again changes nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
from make_batch_records import box, caption_answer, detect_answer, point_answer, query_answer
from PIL import Image

from mdtool.errors import OutputError, UsageError
from mdtool.exports.crops import write_crops
from mdtool.exports.paths import check_distinct, folder_name
from mdtool.exports.sidecar import Mode, caption_lines, sidecar_path, write_sidecar
from mdtool.media.sources.inputs import Input, find_inputs


def source(relative: str = "a.jpg") -> Input:
    """An input that is not there any more."""
    return Input(None, Path(relative))


A_CAT = ["A cat.", "It is 猫."]
WRITTEN = "A cat.\nIt is 猫.\n"
MODES: tuple[Mode, ...] = ("overwrite", "append", "prepend", "skip")


def test_texts_are_captions_and_replies_on_a_line_each() -> None:
    answers = [
        caption_answer(" A cat.\nIt\x1b[31m sits. "),
        detect_answer("cat"),
        query_answer("Why?", "So"),
        point_answer("eye"),
        caption_answer(""),
    ]
    assert caption_lines(answers) == ["A cat. It [31m sits.", "So"]


@pytest.mark.parametrize("mode", MODES)
def test_a_new_text_is_the_same_in_all_modes(tmp_path: Path, mode: Mode) -> None:
    target = tmp_path / "deep" / "a.txt"
    assert write_sidecar(target, A_CAT, mode, source())
    assert target.read_text("utf-8") == WRITTEN
    assert not write_sidecar(target, A_CAT, mode, source())
    assert target.read_text("utf-8") == WRITTEN
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    "there", ["tag, other", "tag, other\n", "tag\r\nother\r\n", "a A cat.\nIt is 猫. b", "l\xe9on"]
)
@pytest.mark.parametrize("mode", MODES)
def test_text_that_is_there(tmp_path: Path, mode: Mode, there: str) -> None:
    target, old, new = tmp_path / "a.txt", there.encode("latin-1", "ignore"), WRITTEN.encode()
    broken = b"" if old.endswith(b"\n") else b"\n"
    expected = {"overwrite": new, "append": old + broken + new, "prepend": new + old, "skip": old}[mode]
    target.write_bytes(old)
    assert write_sidecar(target, A_CAT, mode, source()) == (mode != "skip")
    for _ in range(2):
        assert target.read_bytes() == expected
        assert not write_sidecar(target, A_CAT, mode, source())


@pytest.mark.parametrize(
    ("mode", "there"),
    [("append", "tag\n" + WRITTEN.strip()), ("prepend", WRITTEN + "tag"), ("append", "tag\r\nA cat.\r\nIt is 猫.\r\n")],
)
def test_text_that_is_there_already_is_not_doubled(tmp_path: Path, mode: Mode, there: str) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(there.encode())
    assert not write_sidecar(target, A_CAT, mode, source())
    assert target.read_bytes() == there.encode()


@pytest.mark.parametrize(("mode", "there"), [("append", "A bobcat.\n"), ("prepend", "cat.alogue\n")])
def test_a_part_of_a_line_is_not_the_text(tmp_path: Path, mode: Mode, there: str) -> None:
    target = tmp_path / "a.txt"
    target.write_text(there)
    assert write_sidecar(target, ["cat."], mode, source())
    assert target.read_text() == (there + "cat.\n" if mode == "append" else "cat.\n" + there)


def test_no_text_adds_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("tag")
    assert not write_sidecar(target, [], "prepend", source())
    assert not write_sidecar(target, [], "append", source())
    assert target.read_text() == "tag"


def test_where_texts_go(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/a.b.png", "sub/c.mp4"):
        Path(tmp_path, name).parent.mkdir(exist_ok=True)
        Path(tmp_path, name).touch()
    first, second, film = find_inputs([str(tmp_path)])
    assert sidecar_path(first, None) == tmp_path / "a.txt"
    assert sidecar_path(second, None) == tmp_path / "sub" / "a.b.txt"
    assert sidecar_path(second, Path("out")) == Path("out/sub/a.b.txt")
    assert sidecar_path(film, Path("out"), 61.5) == Path("out/sub/c-00061.500.txt")
    with pytest.raises(UsageError, match="has no folder"):
        sidecar_path(Input(None, Path("stdin")), None)


def test_two_pictures_with_one_text_are_told() -> None:
    inputs = [Input(Path("p", name), Path(name)) for name in ("a.jpg", "b.jpg", "a.png", "b.png", "c.jpg")]
    check_distinct(inputs[:2], lambda one: sidecar_path(one, None))
    with pytest.raises(UsageError, match=r"p/a\.jpg, p/a\.png: both .* p/a\.txt \(and 1 more such pairs\)"):
        check_distinct(inputs, lambda one: sidecar_path(one, None))
    check_distinct(inputs, lambda one: one.relative)


def test_a_text_that_cant_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match=r"a\.txt: is a folder"):
        write_sidecar(tmp_path / "a.txt", A_CAT, "overwrite", source())


def ramp() -> np.ndarray:
    """40 x 20; red tells the column and green the row."""
    y, x = np.mgrid[0:20, 0:40]
    return np.stack([x * 6, y * 12, x * 0], -1).astype(np.uint8)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_crops_are_the_pixels_of_their_boxes(tmp_path: Path) -> None:
    boxes = [box("face", 0.25, 0.5, 0.5, 1.0), box("face", -1, -1, 0.26, 0.26), box("cat", 0.9, 0.9, 2, 2)]
    answers = [
        caption_answer("a face"),
        detect_answer("face", *boxes[:2], box("face", 1.5, 0, 2, 1)),
        detect_answer("cat", boxes[2]),
    ]
    written = write_crops(ramp(), answers, tmp_path, source("sub/a.jpg"))
    names = ["face/sub/a.jpg-0.jpg", "face/sub/a.jpg-1.jpg", "cat/sub/a.jpg-3.jpg"]
    assert [str(path.relative_to(tmp_path)) for path in written] == names
    for path, (columns, rows) in zip(
        written, [((10, 20), (10, 20)), ((0, 11), (0, 6)), ((36, 40), (18, 20))], strict=True
    ):
        with Image.open(path) as picture:
            pixels = np.asarray(picture).astype(int)
        expected = ramp()[slice(*rows), slice(*columns)]
        assert pixels.shape == expected.shape
        assert np.abs(pixels - expected).mean() < 4
    before = files(tmp_path)
    write_crops(ramp(), answers, tmp_path, source("sub/a.jpg"))
    assert files(tmp_path) == before
    assert sorted(before) == sorted(names)


@pytest.mark.parametrize("sides", [(0.5, 0.5, 0.500001, 0.500001), (0.999999, 0.999999, 1, 1), (0, 0, 1e-9, 1e-9)])
def test_a_crop_has_a_pixel_at_least(tmp_path: Path, sides: tuple[float, ...]) -> None:
    (path,) = write_crops(ramp(), [detect_answer("x", box("x", *sides))], tmp_path, source("a.png"))
    with Image.open(path) as picture:
        assert picture.size == (1, 1)


LABELS = [
    "../../etc",
    "/abs",
    "a/b",
    "a\\b",
    "..",
    "",
    ".hidden",
    "CON",
    "nul.txt",
    "x" * 300,
    "猫" * 99,
    "a\0b\n",
    "\udc80",
]


@pytest.mark.parametrize("label", LABELS)
def test_labels_stay_in_the_folder(tmp_path: Path, label: str) -> None:
    folder = tmp_path / "crops"
    (path,) = write_crops(ramp(), [detect_answer("x", box(label, 0, 0, 1, 1))], folder, source("a.jpg"))
    assert path.resolve().parents[1] == folder.resolve()
    assert os.listdir(tmp_path) == ["crops"]
    assert len(path.parent.name.encode()) <= 81
    assert path.parent.name.isprintable()
    assert not path.parent.name.startswith(".")


def test_common_labels_stay_as_they_are() -> None:
    assert [folder_name(label) for label in ("license plate", "Katze", "猫", "console")] == [
        "license plate", "Katze", "猫", "console",
    ]  # fmt: skip


def test_crops_of_different_pictures_stay_apart(tmp_path: Path) -> None:
    answers = [detect_answer("x", box("a/b", 0, 0, 1, 1), box("a:b", 0, 0, 1, 1))]
    places = [
        (Path("a.jpg"), None),
        (Path("a.png"), None),
        (Path("s/a.jpg"), None),
        (Path("a.mp4"), 0.5),
        (Path("a.mp4"), 1.0),
    ]
    written = [
        path
        for relative, time in places
        for path in write_crops(ramp(), answers, tmp_path, source(str(relative)), time=time)
    ]
    assert len(set(written)) == len(files(tmp_path)) == 10
