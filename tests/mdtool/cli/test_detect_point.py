"""`mdtool detect` and `mdtool point`: what they print, what they save, and what they say where something is wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runner import Outcome, reset_signal_handlers, run, spawn
from make_images import encode_image
from make_media import SAMPLES, make_video, portrait
from PIL import Image

from recipes.draw import colour_of

if sys.platform != "win32":
    import pty

ROOT = Path(__file__).parents[3]
GROUP = SAMPLES / "group.png"
PORTRAIT = SAMPLES / "portrait.jpg"
TRUTH = json.loads(Path(f"{GROUP}.gt.json").read_text())["frames"][0]["boxes"]
FACES = sorted(box["xyxy"] for box in TRUTH)  # pixels, from left to right
SIDES = ("x_min", "y_min", "x_max", "y_max")
SKILLS = ("detect", "point")


@pytest.fixture(autouse=True)
def nothing_pulled(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))


def rows(outcome: Outcome) -> list[list[str]]:
    return [line.split("\t") for line in outcome.out.decode().splitlines()]


def fails(outcome: Outcome, code: int, said: str) -> None:
    assert (outcome.code, outcome.out) == (code, b""), outcome.err
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("mdtool: ")
    assert said in outcome.err
    assert "unexpected" not in outcome.err


def test_boxes_in_a_pipe_are_lines_with_tabs() -> None:
    outcome = run("detect", GROUP, "face")
    assert outcome.code == 0
    assert outcome.lines == ["mdtool: model: centerface"]
    found = rows(outcome)
    assert {(row[0], row[1], len(row)) for row in found} == {(str(GROUP), "face", 7)}
    for row, face in zip(sorted(found, key=lambda row: float(row[2])), FACES, strict=True):
        box = np.array(row[2:6], float) * [640, 400, 640, 400]
        assert np.abs(box - face).max() < 25
    assert all(0 < float(row[6]) <= 1 for row in found)


def test_points_in_a_pipe() -> None:
    outcome = run("point", GROUP, "-p", "left eye", "-p", "nose", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert [row[1] for row in rows(outcome)] == ["left eye"] * 4 + ["nose"] * 4
    assert all(len(row) == 4 for row in rows(outcome))


def test_records() -> None:
    boxes, points = (run(skill, GROUP, PORTRAIT, "face", "--json", "--quiet").json for skill in SKILLS)
    assert [record["input"] for record in boxes] == [str(GROUP), str(PORTRAIT)]
    first = boxes[0]
    assert (first["width"], first["height"], first["model"], first["prompt"]) == (640, 400, "centerface", "face")
    assert first["schema"] == "mdtool.answers/1"
    assert list(first["objects"][0]) == ["label", *SIDES, "score"]
    assert [len(record["points"]) for record in points] == [4, 1]
    box, point = first["objects"][0], points[0]["points"][0]
    assert point["x"] == pytest.approx((box["x_min"] + box["x_max"]) / 2, abs=1e-5)
    assert point["label"] == "face"


def test_a_record_for_each_prompt() -> None:
    records = run("point", PORTRAIT, "-p", "nose", "-p", "eye", "--json").json
    assert [(record["prompt"], len(record["points"])) for record in records] == [("nose", 1), ("eye", 2)]


@pytest.mark.posix("a pseudo-terminal")
def test_a_table_on_a_terminal() -> None:
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb", 0) as screen:
        assert spawn("detect", GROUP, "face", stdout=terminal).code == 0
        os.close(terminal)
        shown = screen.read(65536).decode()
    assert "640 x 400" in shown
    assert "size in pixels" in shown
    assert shown.count("face") == 4


def test_a_photo_on_stdin() -> None:
    outcome = run("detect", "-", "face", stdin=PORTRAIT.read_bytes())
    named = run("detect", PORTRAIT, "face")
    assert [row[1:] for row in rows(outcome)] == [row[1:] for row in rows(named)]
    assert rows(outcome)[0][0] == "-"


def test_a_sideways_photo_is_seen_upright(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # shown a quarter turned to the right
    sideways = tmp_path / "sideways.jpg"
    stored = np.rot90(portrait(300)).copy()
    sideways.write_bytes(encode_image(stored[:, :240], "JPEG", exif=tags.tobytes(), quality=95))
    (record,) = run("detect", sideways, "face", "--json", "--draw", tmp_path / "out.jpg").json
    assert (record["width"], record["height"]) == (300, 240)
    assert len(record["objects"]) == 1
    with Image.open(tmp_path / "out.jpg") as copy:
        assert copy.size == (300, 240)
        assert not copy.getexif()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, a broken one between them, and a video."""
    place = tmp_path / "photos"
    (place / "sub").mkdir(parents=True)
    shutil.copy(GROUP, place / "a.png")
    (place / "b.jpg").write_bytes(PORTRAIT.read_bytes()[:2000])
    shutil.copy(PORTRAIT, place / "sub" / "c.jpg")
    make_video(place / "clip.mp4", 3)
    return place


def test_a_broken_photo_does_not_stop_the_others(folder: Path) -> None:
    outcome = run("detect", folder, "face", "--quiet")
    assert outcome.code == 1
    assert len(outcome.lines) == 1
    assert f"{folder}/b.jpg: damaged" in outcome.err
    assert [row[0] for row in rows(outcome)] == [f"{folder}/a.png"] * 4 + [f"{folder}/sub/c.jpg"]


def test_copies_of_a_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "marked"
    assert run("detect", folder, "face", "--quiet", "--draw", out).code == 1
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == ["a.png", "sub/c.jpg"]
    again = run("detect", folder / "a.png", folder / "sub" / "c.jpg", "face", "--quiet", "--draw", out / "sub")
    assert again.code == 1  # c.jpg is there already
    assert "exists already" in again.err
    assert [row[0] for row in rows(again)] == [f"{folder}/a.png"] * 4
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".gif"])
def test_a_copy_shows_the_boxes(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    (record,) = run("detect", GROUP, "face", "--json", "--draw", target).json
    with Image.open(target) as copy, Image.open(GROUP) as original:
        assert copy.size == original.size
        marked = np.asarray(copy.convert("RGB")).astype(int)
    for box in record["objects"]:
        edge = marked[int((box["y_min"] + box["y_max"]) / 2 * 400), int(box["x_min"] * 640)]
        assert np.abs(edge - colour_of("face")).max() < 100


def test_a_copy_shows_the_points(tmp_path: Path) -> None:
    (record,) = run("point", GROUP, "nose", "--json", "--draw", tmp_path / "out.png").json
    with Image.open(tmp_path / "out.png") as copy:
        for point in record["points"]:
            assert copy.convert("RGB").getpixel((int(point["x"] * 640), int(point["y"] * 400))) == colour_of("nose")


def test_copies_never_replace_what_is_there(tmp_path: Path) -> None:
    target, own = tmp_path / "out.png", tmp_path / "own.png"
    target.write_bytes(b"precious")
    shutil.copy(GROUP, own)
    fails(run("detect", GROUP, "face", "--quiet", "--draw", target), 74, "exists already; --overwrite replaces it")
    assert target.read_bytes() == b"precious"
    assert run("detect", GROUP, "face", "--quiet", "--draw", target, "--overwrite").code == 0
    assert target.stat().st_size > 1000
    fails(run("detect", own, "face", "--draw", own, "--overwrite"), 2, "would replace an image")
    fails(run("detect", own, "face", "--draw", tmp_path, "--overwrite"), 2, "would replace an image")
    assert own.read_bytes() == GROUP.read_bytes()


def test_two_photos_of_one_name_want_one_copy(folder: Path, tmp_path: Path) -> None:
    shutil.copy(PORTRAIT, folder / "c.jpg")
    fails(run("detect", folder / "c.jpg", folder / "sub" / "c.jpg", "face", "--draw", tmp_path / "o"), 2, "same name")
    assert not (tmp_path / "o").exists()


def test_places_where_no_copy_can_be(tmp_path: Path) -> None:
    fails(run("detect", GROUP, "face", "--draw", tmp_path / "out.mp4"), 2, "end the name in .jpg")
    fails(run("detect", GROUP, "face", "--draw", "-"), 2, "end the name in .jpg")
    fails(run("point", GROUP, PORTRAIT, "face", "--draw", ""), 2, "--draw: empty")
    (tmp_path / "file").write_text("words")
    outcome = run("detect", GROUP, "face", "--quiet", "--draw", tmp_path / "file" / "out.png")
    assert (outcome.code, len(rows(outcome)), len(outcome.lines)) == (74, 4, 1)


def test_a_list_that_is_cut_says_so() -> None:
    outcome = run("detect", GROUP, "face", "--max-objects", "3")
    assert len(rows(outcome)) == 3
    assert outcome.lines[1:] == [
        f"mdtool: {GROUP}: the list ended at 3 objects: there may be more; --max-objects raises the limit"
    ]
    assert len(run("detect", GROUP, "face", "--max-objects", "4").lines) == 1
    for most, complete in (("3", False), ("4", True)):
        [record] = run("detect", GROUP, "face", "--max-objects", most, "--json").json
        assert record["complete"] is complete


def test_nobody_reads_any_more() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        outcome = spawn("detect", GROUP, "face", "--quiet", stdout=closed)
    assert (outcome.code, outcome.err) == (141, "")


@pytest.mark.posix("/dev/full")
@pytest.mark.parametrize("command", [["detect", GROUP, "face", "--quiet"], ["models", "list", "--json"], ["--version"]])
def test_a_full_device(command: list[str | Path]) -> None:
    with open("/dev/full", "wb") as full:
        outcome = spawn(*command, stdout=full)
    assert (outcome.code, len(outcome.lines)) == (74, 1)
    assert "disk is full" in outcome.err


INTERRUPTED_AMID_C = """
import ctypes, signal
import mdtool.cli
import mdtool.jobs.inference.run_and_print as job

sent = []

@ctypes.CFUNCTYPE(None)
def interrupted():
    sent.append(True)
    signal.raise_signal(signal.SIGINT)

def read(source, read=job.read_rgb):
    if not sent:  # a second one would end it at once
        interrupted()
    return read(source)

job.read_rgb = read
mdtool.cli.main()
"""


@pytest.mark.posix("signals to a process")
def test_an_interruption_counts_where_c_calls_python() -> None:
    """There the exception is dropped, as when libvips logs something."""
    command: list[str | Path] = [sys.executable, "-c", INTERRUPTED_AMID_C, "detect", GROUP, PORTRAIT, "face", "--quiet"]
    done = subprocess.run(command, capture_output=True, timeout=60, preexec_fn=reset_signal_handlers)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"mdtool: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([GROUP], 2, "is a file; put the prompt last"),
        ([GROUP, PORTRAIT], 2, f"{PORTRAIT} is a file"),
        ([GROUP, "missing.jpg"], 2, "missing.jpg is a file that does not exist"),
        (["-"], 2, "- is standard input"),
        (["face"], 2, "'face': no image is named before this prompt"),
        ([GROUP, " "], 2, "empty"),
        ([GROUP, "-p", ""], 2, "empty"),
        ([], 2, "the prompt is missing"),
        ([GROUP, "dog"], 4, "models pull moondream2"),
        ([GROUP, "face", "--model", "moondreem2"], 4, "did you mean 'moondream2'"),
        ([GROUP, "dog", "--model", "centerface"], 2, "can't detect 'dog'"),
        ([GROUP, "face", "--threshold", "2"], 2, "threshold"),
        ([GROUP, "face", "--max-objects", "0"], 2, "--max-objects"),
        ([GROUP, "face", "--detail", "huge"], 2, "detail"),
        ([GROUP, "face", "--device", "cuda:77"], 2, "device"),
        ([GROUP, "face", "--dtype", "bfloat16"], 2, "'bfloat16'"),
        ([GROUP, "face", "--dtype", "int3"], 2, "--dtype"),
        ([GROUP, "face", "--resize", "magic"], 2, "--resize"),
        (["nowhere/*.jpg", "face"], 3, "no image or video"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_wrong_usage(arguments: list[str | Path], code: int, said: str) -> None:
    fails(run("detect", *arguments), code, said)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.jpg", "no such file"),
        ("clip.mp4", "add --jsonl to run the command on its frames"),
        ("words.jpg", "words.jpg"),
    ],
)
def test_inputs_that_are_no_photos(tmp_path: Path, name: str, said: str) -> None:
    make_video(tmp_path / "clip.mp4", 3)
    (tmp_path / "words.jpg").write_text("words")
    fails(run("detect", tmp_path / name, "face", "--quiet"), 1, said)


def test_a_folder_of_videos_only(tmp_path: Path) -> None:
    make_video(tmp_path / "clip.mp4", 3)
    fails(run("detect", tmp_path, "face"), 3, "no image in")


@pytest.mark.posix("file names of any bytes")
def test_odd_names_break_no_line(tmp_path: Path) -> None:
    odd = tmp_path / "line\nbreak\tand\x1bmore \udcff.jpg"
    shutil.copy(PORTRAIT, odd)
    (row,) = rows(run("detect", odd, "face"))
    assert len(row) == 7
    (record,) = run("detect", odd, "face", "--json").json
    assert record["input"].startswith(f"{tmp_path}/line\nbreak\tand\x1bmore")
