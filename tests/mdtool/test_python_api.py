"""`mdtool.load` and the skills of what it gives: the same answers as the command line's, for images of every form."""

import gc
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from cli_runner import run
from PIL import Image, ImageCms

import engine
import mdtool
from engine.contract import Answer, CaptionRequest, Done, GazeRequest, LoadOptions, ObjectLimitWarning
from engine.moondream.model import EncodedPrefix
from mdtool.media.image.decode_image import decode_image
from mdtool.media.image.exif_orientation import upright
from mdtool.media.image.image_input import to_rgb
from mdtool.python_api import ImageInput

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "sample_media" / "scenes"
MANY, ONE, LOOK = SCENES / "many.png", SCENES / "one.png", SCENES / "look.png"
PORTRAIT = ROOT / "sample_media" / "portrait.jpg"
LFM = ROOT / "tests" / "golden" / "lfm2-vl"
BATCH = 16  # requests that the engine serves together on a CPU


@cache
def pocket() -> mdtool.LoadedModel:
    return mdtool.load("pocket", device="cpu")


def pixels(path: Path = MANY) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def with_alpha(opacity: int) -> np.ndarray:
    return np.dstack([pixels(), np.full(pixels().shape[:2], opacity, np.uint8)])


def encoded() -> mdtool.EncodedImage:
    return pocket().encode_image(MANY)


def test_a_caption_is_the_engine_s_and_the_command_line_s() -> None:
    own = engine.load("pocket", LoadOptions("cpu"))
    [done] = [
        event for event in own.run([CaptionRequest(own.encode([pixels()])[0])], batch=1) if isinstance(event, Done)
    ]
    answer = pocket().caption(str(MANY))
    assert answer == done.result
    assert len(answer.tokens) > 10
    printed = run("caption", MANY, "--model", "pocket", "--device", "cpu").out.decode()
    assert printed == f"{answer.text}\n" == f"{answer}\n"


def test_answers_and_boxes_are_the_command_line_s() -> None:
    asked = run("query", MANY, "How many stars are there?", "--model", "pocket", "--device", "cpu")
    assert asked.out.decode() == f"{pocket().query(MANY, 'How many stars are there?')}\n"
    told = run("detect", MANY, "star", "--model", "pocket", "--device", "cpu", "--json")
    [record] = [json.loads(line) for line in told.out.splitlines()]
    boxes = pocket().detect(MANY, "star")
    assert len(boxes) == 3
    found = [[box[side] for side in ("x_min", "y_min", "x_max", "y_max")] for box in record["objects"]]
    assert np.allclose(found, [(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes], atol=1e-3)


@pytest.mark.parametrize(
    "image",
    [
        lambda: MANY,
        pixels,
        lambda: np.asfortranarray(pixels()),
        lambda: with_alpha(255),
        lambda: Image.open(MANY),
        lambda: Image.fromarray(pixels()).convert("RGBA"),
        encoded,
    ],
    ids=["path", "array", "another-order", "opaque-array", "pillow", "opaque-pillow", "encoded"],
)
def test_every_form_of_an_image_gives_the_same_tokens(image: Callable[[], Any]) -> None:
    assert pocket().caption(image()) == pocket().caption(str(MANY))


def test_a_list_gives_a_list_of_what_each_gives_alone() -> None:
    images: list[ImageInput] = [MANY, pixels(ONE), encoded(), Image.open(LOOK), str(ONE)]
    answers = pocket().caption(images, "short")
    assert answers == [pocket().caption(image, "short") for image in images]
    assert answers == pocket().caption(tuple(images), "short")
    assert pocket().point(images, "star") == [pocket().point(image, "star") for image in images]
    assert [len(boxes) for boxes in pocket().detect([MANY, LOOK], "star")] == [3, 0]
    assert pocket().caption([]) == []
    assert pocket().encode_image([]) == []
    assert [type(one) for one in pocket().encode_image([MANY, images[2]])] == [EncodedPrefix, EncodedPrefix]


def held() -> int:
    """How many encoded images are in memory."""
    return sum(type(one) is EncodedPrefix for one in gc.get_objects())


class Counting:
    """A path that counts, when it is read, the encoded images that are held."""

    counts: ClassVar[list[int]] = []

    def __fspath__(self) -> str:
        self.counts.append(held())
        return str(ONE)


def test_a_long_list_is_not_encoded_all_at_once() -> None:
    gc.collect()
    before = held()
    found = pocket().detect([ONE] * (2 * BATCH) + [Counting()], "star")
    assert [len(stars) for stars in found] == [1] * (2 * BATCH + 1)
    assert max(Counting.counts) - before <= BATCH


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_upright(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "turned.png"
    Image.fromarray(pixels()).save(path, exif=exif)
    wanted = upright(pixels(), turn)
    with Image.open(path) as image:
        assert np.array_equal(to_rgb(image), wanted)
    assert np.array_equal(to_rgb(path), wanted)


def test_a_pillow_image_is_read_as_its_file_is(tmp_path: Path) -> None:
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # of no use: is left out by both
    deep = (np.arange(48 * 64).reshape(48, 64) * 20).astype(np.uint16)
    images = {
        "palette.png": Image.fromarray(pixels()).convert("P"),
        "grey.png": Image.fromarray(pixels()).convert("L"),
        "deep.png": Image.fromarray(deep),
        "bits.png": Image.fromarray(pixels()).convert("1"),
        "seen_through.png": Image.fromarray(with_alpha(100)),
        "ink.tiff": Image.fromarray(pixels()).convert("CMYK"),
    }
    for name, image in images.items():
        image.save(tmp_path / name, icc_profile=swapped if name == "grey.png" else None)
        with Image.open(tmp_path / name) as opened:
            assert np.array_equal(to_rgb(opened), decode_image(tmp_path / name)), name


def test_arrays_of_grey_and_alpha() -> None:
    grey = pixels()[:, :, 1]
    assert np.array_equal(to_rgb(grey), np.dstack([grey] * 3))
    assert np.array_equal(to_rgb(grey[:, :, None]), np.dstack([grey] * 3))
    own = pixels()
    assert np.array_equal(to_rgb(own), own)
    assert np.shares_memory(to_rgb(own), own)
    half = to_rgb(with_alpha(128)).astype(int)
    assert np.abs(half - (own.astype(int) + 128) / 2).max() <= 1
    kept = own.copy()
    kept.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pocket().caption(kept, "short") == pocket().caption(own, "short")


def test_text_comes_as_it_grows() -> None:
    pieces = list(pocket().stream_caption(MANY))
    assert len(pieces) > 10
    assert "".join(pieces) == pocket().caption(MANY).text
    question = "How many stars are there?"
    assert "".join(pocket().stream_query(encoded(), question)) == pocket().query(MANY, question).text == "3"
    with pytest.raises(mdtool.InputError):  # before the first piece is asked for
        pocket().stream_caption("missing.png")
    with pytest.raises(ValueError, match="question is empty"):
        pocket().stream_query(MANY, " ")


def test_questions_without_an_image_and_with_a_fixed_choice() -> None:
    assert isinstance(pocket().query(None, "How many stars are there?"), Answer)
    colours = mdtool.Choices(("red", "purple"))
    assert pocket().query(ONE, "What colour is the star?", allowed=colours).text == "purple"
    short = pocket().query([ONE, MANY], "Is there a star?", generation=mdtool.Generation(max_tokens=1))
    assert [len(answer.tokens) for answer in short] == [1, 1]


def test_gaze_is_the_engine_s() -> None:
    [face] = pocket().detect(LOOK, "face")
    eye = (face.x_min + face.x_max) / 2, (face.y_min + face.y_max) / 2
    own = engine.load("pocket", LoadOptions("cpu"))
    [wanted] = own.results([GazeRequest(own.encode([pixels(LOOK)])[0], eye)])
    assert pocket().detect_gaze(LOOK, eye) == wanted is not None


def test_a_limit_that_is_hit_is_told_at_the_caller_s_line() -> None:
    for image in (MANY, [MANY, ONE]):
        with pytest.warns(ObjectLimitWarning) as caught:
            pocket().detect(image, "star", max_objects=1)
        assert [Path(one.filename).name for one in caught] == [Path(__file__).name]
    with pytest.warns(ObjectLimitWarning) as caught:
        pocket().point(MANY, "star", max_objects=1)
    assert Path(caught[0].filename).name == Path(__file__).name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(pocket().detect(MANY, "star", max_objects=mdtool.UNLIMITED)) == 3


def test_what_is_known_of_a_model() -> None:
    own = engine.load("pocket", LoadOptions("cpu"))
    assert (pocket().name, pocket().revision, pocket().abilities) == (own.name, own.revision, own.abilities)
    assert repr(pocket()) == "<mdtool.LoadedModel pocket>"


def damaged() -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "PNG")
    return Image.open(io.BytesIO(buffer.getvalue()[:2000]))


@pytest.mark.parametrize(
    ("image", "error", "line"),
    [
        (lambda: "missing.png", mdtool.InputError, "missing.png: there is no such file"),
        (lambda: ROOT, mdtool.InputError, f"{ROOT}: can't be read: is a directory"),
        (lambda: ROOT / "Makefile", mdtool.InputError, f"{ROOT / 'Makefile'}: not an image in a supported format"),
        (lambda: pixels() / 255, mdtool.InputError, "uint8 from 0 to 255; this one is float64 of shape (145, 184, 3)"),
        (lambda: pixels()[None], mdtool.InputError, "uint8 of shape (1, 145, 184, 3)"),
        (lambda: np.zeros((0, 4, 3), np.uint8), mdtool.InputError, "uint8 of shape (0, 4, 3)"),
        (lambda: np.zeros((4, 4, 5), np.uint8), mdtool.InputError, "uint8 of shape (4, 4, 5)"),
        (damaged, mdtool.InputError, "the Pillow image can't be decoded: "),
        (lambda: [MANY, "missing.png"], mdtool.InputError, "missing.png: there is no such file"),
        (lambda: 3, TypeError, "an image is a path, a NumPy array, a Pillow image or an encoded image, not int"),
        (lambda: b"png", TypeError, "not bytes"),
        (lambda: [1, 2], TypeError, "not int"),
    ],
)
def test_what_is_no_image(image: Callable[[], Any], error: type[Exception], line: str) -> None:
    with pytest.raises(error) as caught:
        pocket().detect(image(), "star")
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("ask", "error", "line"),
    [
        (lambda: mdtool.load("auto"), mdtool.ModelUnavailable, '"auto" is for the command line'),
        (lambda: mdtool.load("no such"), mdtool.ModelUnavailable, "no model 'no such'"),
        (lambda: mdtool.load(Path("none")), mdtool.ModelUnavailable, "none"),
        (lambda: mdtool.load("pocket", quantize="int3"), mdtool.EngineError, "quantize must be one of"),
        (lambda: mdtool.load("pocket", detail="huge"), ValueError, "detail must be low, auto, high"),
        (lambda: mdtool.load("pocket", adapter=Path("none.pt")), mdtool.ModelUnavailable, "no adapter 'none.pt'"),
        (lambda: mdtool.load("centerface", compile=True), mdtool.EngineError, "can't be compiled"),
        (lambda: mdtool.load("centerface").caption(PORTRAIT), mdtool.EngineError, "centerface can't caption"),
        (lambda: pocket().detect(MANY, "cat"), mdtool.UnsupportedPrompt, "pocket can't detect 'cat'"),
        (lambda: pocket().caption("missing.png", "tiny"), mdtool.UnsupportedPrompt, "it supports long, normal, short"),
        (lambda: pocket().detect(MANY, "star", threshold=0.5), mdtool.EngineError, "returns no scores"),
        (lambda: pocket().query(MANY, " "), ValueError, "the question is empty"),
        (lambda: mdtool.load("pocket", dtype="float32").caption(encoded()), ValueError, "not encoded by this pocket"),
        (lambda: mdtool.load("centerface").detect(encoded(), "face"), ValueError, "not encoded by centerface"),
    ],
)
def test_what_can_t_be(ask: Callable[[], object], error: type[Exception], line: str) -> None:
    with pytest.raises(error) as caught:
        ask()
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "options", [LoadOptions("cpu", quantize="int8"), LoadOptions("cpu", detail="low")], ids=["quantize", "detail"]
)
def test_options_reach_the_engine(options: LoadOptions) -> None:
    images = [ONE, MANY]
    own = engine.load("pocket", options)
    wanted = own.results([CaptionRequest(one) for one in own.encode([pixels(image) for image in images])])
    model = mdtool.load("pocket", device="cpu", quantize=options.quantize, detail=options.detail)
    assert model.caption(images) == wanted


def test_an_image_has_a_budget_of_tokens_at_load_and_per_call() -> None:
    wide = LFM / "image_c.png"
    model = mdtool.load(LFM, device="cpu")
    short = mdtool.Generation(max_tokens=2)
    assert model.caption(wide, generation=short).image_tokens == 16
    small = model.encode_image(wide, mdtool.ImageBudget(max_tokens=6))
    assert model.query(small, "what?", generation=short).image_tokens == 3
    untiled = mdtool.load(LFM, device="cpu", detail=mdtool.ImageBudget(tiles=False))
    assert untiled.caption(wide, generation=short).image_tokens == 8
    with pytest.raises(mdtool.EngineError, match="same number of tokens"):
        mdtool.load("pocket").encode_image(wide, mdtool.ImageBudget(max_tokens=6))


def test_faces_have_scores() -> None:
    model = mdtool.load("centerface")
    [face] = model.detect(PORTRAIT, "face")
    assert face.score is not None
    assert 0.5 < face.score <= 1
    assert model.detect(PORTRAIT, "face", threshold=0.99) == []
    assert len(model.point([PORTRAIT, PORTRAIT], "eye")[1]) == 2


def loaded_by(program: str) -> set[str]:
    code = f"import sys\n{program}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, text=True)
    return set(done.stdout.split())


def test_an_import_loads_nothing_heavy_and_faces_need_no_torch() -> None:
    heavy = {"numpy", "torch", "PIL", "cv2", "av", "pyvips", "engine", "typer"}
    assert not loaded_by("import mdtool; mdtool.__version__; dir(mdtool)") & heavy
    faces = f"import mdtool; assert mdtool.load('centerface').detect({str(PORTRAIT)!r}, 'face')"
    assert not loaded_by(faces) & {"torch", "typer", "rich", "av", "safetensors", "huggingface_hub"}


def test_a_model_in_gguf_takes_its_vision_part_and_a_chat_template(tmp_path: Path) -> None:
    gguf = ROOT / "tests" / "golden" / "gguf"
    text, vision = (gguf / f"{name}qwen3-vl-tiny-F16.gguf" for name in ("", "mmproj-"))
    alone = tmp_path / "blob"  # as other programs store it
    alone.write_bytes(text.read_bytes())
    template = tmp_path / "mine.jinja"
    template.write_text("{{ raise_exception('no such role') }}")
    few = mdtool.Generation(temperature=0, max_tokens=4)
    plain = mdtool.load(text, device="cpu").query(MANY, "what?", generation=few)
    assert mdtool.load(alone, device="cpu", mmproj=vision).query(MANY, "what?", generation=few) == plain
    with pytest.raises(engine.EngineError, match="its vision is in an mmproj file"):
        mdtool.load(alone, device="cpu").query(MANY, "what?", generation=few)
    for chat_template in (template, str(template), template.read_text()):
        model = mdtool.load(text, device="cpu", chat_template=chat_template)
        with pytest.raises(engine.EngineError, match="no such role"):
            model.query(MANY, "what?", generation=few)
    other = mdtool.load(text, device="cpu", chat_template="vicuna", kv="int8")
    assert other.query(MANY, "what?", generation=few).text != plain.text
