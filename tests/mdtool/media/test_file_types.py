"""Images under names that do not tell what they are: listed by their content, and written under the right ending."""

import io
import os
import shutil
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cli_runner import ROOT, run
from loopback_server import serve_loopback
from make_images import encode_image, smooth
from PIL import Image

from mdtool.media.file_types import is_image_by_content, sniff_file, suffix_for

PORTRAIT = ROOT / "sample_media/portrait.jpg"
REDACT = ("redact", "--model", "centerface")
DISGUISED = {  # name -> (format of its content, ending of its output, name of its output)
    "photo.jfif": ("JPEG", "photo.jpg"),
    "PHOTO2.JPE": ("JPEG", "PHOTO2.jpg"),
    "both.mpo": ("JPEG", "both.jpg"),
    "really-jpeg.png": ("JPEG", "really-jpeg.jpg"),
    "really-webp.jpg": ("WEBP", "really-webp.webp"),
    "really-png.bmp": ("PNG", "really-png.png"),
    "no ending": ("JPEG", "no ending.jpg"),
    "IMG.2024.05": ("JPEG", "IMG.2024.05.jpg"),
    "a.jpg_large": ("JPEG", "a.jpg_large.jpg"),
    "sub/thumb.dat": ("GIF", "sub/thumb.dat.gif"),
    "sub/scan": ("TIFF", "sub/scan.tif"),
}
PLAIN = ("a.jpg", "sub/b.JPEG")
NO_INPUTS = ("notes.txt", "sub/raw.nef", "song.mp3", "c.bmp", "copied.jpg.part", ".hidden.jpg", "d.redacted.jpg")


def as_format(kind: str) -> bytes:
    file = io.BytesIO()
    Image.open(PORTRAIT).convert("RGB").save(file, kind)
    return file.getvalue()


pytestmark = pytest.mark.posix("named pipes")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in PLAIN:
        shutil.copy(PORTRAIT, folder / name)
    for name, (kind, _) in DISGUISED.items():
        (folder / name).write_bytes(as_format(kind))
    contents = {"notes.txt": b"words", "sub/raw.nef": as_format("TIFF"), "c.bmp": as_format("BMP")}
    for name in NO_INPUTS:
        (folder / name).write_bytes(contents.get(name, as_format("JPEG")))
    os.mkfifo(folder / "pipe")
    return folder


def test_a_folder_is_redacted_with_the_images_whose_names_do_not_tell(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run(*REDACT, photos, "-o", out)
    assert outcome.code == 0, outcome.err
    wanted = {*PLAIN, *(name for _, name in DISGUISED.values())}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == wanted
    for name, (kind, output) in DISGUISED.items():
        told = f"mdtool: {photos / name}: has the content of a {Path(output).suffix} file; its output is named"
        assert f"{told} {Path(output).name}" in outcome.lines
        with Image.open(out / output) as written, Image.open(photos / name) as source:
            assert written.format == kind
            assert written.convert("RGB").tobytes() != source.convert("RGB").tobytes()
    assert outcome.lines[0] == (
        "mdtool: 8 files are left out: hidden: 1 (.hidden.jpg), images in a format that can't be written: 1 (c.bmp), "
        "not known as images or videos: 5 (copied.jpg.part, ...), outputs of earlier runs: 1 (d.redacted.jpg)"
    )


def test_a_second_run_finds_all_of_them_done(photos: Path, tmp_path: Path) -> None:
    for name in PLAIN:
        (photos / name).unlink()
    assert run(*REDACT, photos, "-o", tmp_path / "out").code == 0
    again = run(*REDACT, photos, "-o", tmp_path / "out")
    assert again.code == 0
    assert again.err.count("already exists") == len(DISGUISED)
    assert "has the content" not in again.err


def test_beside_the_input_and_under_a_name_of_ones_own(photos: Path, tmp_path: Path) -> None:
    assert run(*REDACT, photos / "photo.jfif", photos / "no ending").code == 0
    assert (photos / "photo.redacted.jpg").exists()
    assert (photos / "no ending.redacted.jpg").exists()
    outcome = run(*REDACT, photos / "really-webp.jpg", "-o", tmp_path / "mine.jpg")
    assert outcome.code == 2
    assert "end the name in .webp" in outcome.err
    outcome = run(*REDACT, photos / "c.bmp")
    assert outcome.code == 1
    assert "an image in a format that can't be written" in outcome.err


def test_an_address_whose_name_does_not_tell(photos: Path, tmp_path: Path) -> None:
    class Folder(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(photos))

    with serve_loopback(Folder) as port:
        named = [f"http://127.0.0.1:{port}/{name}" for name in ("really-webp.jpg", "photo.jfif")]
        outcome = run(*REDACT, *named, "-o", tmp_path / "out", "--allow-private")
    assert outcome.code == 0, outcome.err
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"127.0.0.1-{port}-photo.jpg", f"127.0.0.1-{port}-really-webp.webp"]


def test_two_outputs_of_one_name_are_told(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "photo.jfif", photos / "photo.jpe")
    outcome = run(*REDACT, photos / "photo.jfif", photos / "photo.jpe", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "photo.jpg: is already the output of another input" in outcome.err


def test_recorded_findings_are_of_the_same_files(photos: Path, tmp_path: Path) -> None:
    findings, out = tmp_path / "found.jsonl", tmp_path / "out"
    outcome = run("detect", photos, "face", "--model", "centerface", "--jsonl", findings)
    assert outcome.code == 0, outcome.err
    assert run("redact", photos, "--from-findings", findings, "-o", out).code == 0
    assert len([path for path in out.rglob("*") if path.is_file()]) == len(PLAIN) + len(DISGUISED)


@pytest.mark.parametrize(
    ("name", "kind", "is_image"),
    [
        ("photo", "PNG", True),
        ("photo", "TIFF", True),
        ("photo.bin", "PNG", True),
        ("photo.thm", "JPEG", True),
        ("photo.cr2", "TIFF", False),
        ("photo.xyz", "BMP", False),
        ("photo.html", "PNG", False),
        ("photo.png.crdownload", "PNG", False),
    ],
)
def test_what_is_taken_by_its_content(name: str, kind: str, is_image: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encode_image(smooth(), kind))
    assert is_image_by_content(tmp_path / name) == is_image


def test_what_can_not_be_read_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert [sniff_file(tmp_path / name) for name in ("empty", "gone", ".", "a\0b")] == [None] * 4


@pytest.mark.parametrize(
    ("kind", "suffix", "output"),
    [
        ("jpeg", ".JPG", ".JPG"),
        ("jpeg", ".jfif", ".jpg"),
        ("jpeg", ".mjpg", ".mjpg"),
        ("png", ".apng", ".apng"),
        ("heic", ".jpg", ".jpg"),
        (None, ".mp4", ".mp4"),
    ],
)
def test_endings_of_outputs(kind: str | None, suffix: str, output: str) -> None:
    assert suffix_for(kind, suffix) == output
