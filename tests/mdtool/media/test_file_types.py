"""Images under names that do not tell what they are: listed by their content, and written under the right ending."""

import io
import json
import os
import shutil
import subprocess
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cli_runner import COMMAND, FAST_ENCODING, ROOT, SECONDS, run
from loopback_server import serve_loopback
from make_images import encode_image, smooth
from make_media import make_video
from PIL import Image

from mdtool.media.file_types import USUAL_SUFFIXES, is_media_by_content, sniff_file, suits, usual_suffix

PORTRAIT = ROOT / "sample_media/portrait.jpg"
REDACT = ("redact", "--model", "centerface")
DISGUISED = {  # name -> (format of its content, name of its output)
    "photo.jfif": ("JPEG", "photo.jfif.jpg"),
    "PHOTO2.JPE": ("JPEG", "PHOTO2.JPE.jpg"),
    "both.mpo": ("JPEG", "both.mpo.jpg"),
    "a.png": ("JPEG", "a.png.jpg"),  # beside a.jpg
    "really-webp.jpg": ("WEBP", "really-webp.jpg.webp"),
    "really-png.bmp": ("PNG", "really-png.bmp.png"),
    "no ending": ("JPEG", "no ending.jpg"),
    "IMG.2024.05": ("TIFF", "IMG.2024.05.tif"),
    "a.jpg_large": ("JPEG", "a.jpg_large.jpg"),
    "copied.jpg.part": ("JPEG", "copied.jpg.part.jpg"),
    "sub/thumb.dat": ("GIF", "sub/thumb.dat.gif"),
    "sub/scan": ("TIFF", "sub/scan.tif"),
}
PLAIN = ("a.jpg", "sub/b.JPEG")
NO_INPUTS = ("notes.txt", "sub/raw.nef", "song.mp3", "c.bmp", ".hidden.jpg", "d.redacted.jpg")

pytestmark = pytest.mark.posix("named pipes and links")


def as_format(kind: str) -> bytes:
    file = io.BytesIO()
    Image.open(PORTRAIT).convert("RGB").save(file, kind)
    return file.getvalue()


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
    (folder / "link").symlink_to(folder)
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
        "mdtool: 8 left out: links to folders: 1 (link/), hidden: 1 (.hidden.jpg), images in a format that "
        "can't be written: 1 (c.bmp), outputs of earlier runs: 1 (d.redacted.jpg), not known as images or videos: 4 "
        "(notes.txt, ...)"
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
    assert (photos / "photo.jfif.redacted.jpg").exists()
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
    assert written == [f"127.0.0.1-{port}-photo.jfif.jpg", f"127.0.0.1-{port}-really-webp.jpg.webp"]


def test_two_outputs_of_one_name_are_told(tmp_path: Path) -> None:
    for name in ("x", "x.jpg"):
        shutil.copy(PORTRAIT, tmp_path / name)
    for options, outputs in ((("--dry-run",), []), ((), ["x.jpg"])):
        outcome = run(*REDACT, tmp_path, "-o", tmp_path / "out", *options)
        assert outcome.code == 1
        told = f"{tmp_path}/out/x.jpg: is the output of {tmp_path}/x, and would be that of {tmp_path}/x.jpg too"
        assert told in outcome.err
        assert [path.name for path in tmp_path.glob("out/*")] == outputs


@pytest.mark.parametrize("options", [("--overwrite",), ("--overwrite", "--dry-run"), ()])
def test_no_output_takes_the_place_of_another_input(options: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("x", "x.jpg"):
        shutil.copy(PORTRAIT, tmp_path / name)
    before = PORTRAIT.read_bytes()
    outcome = run(*REDACT, tmp_path, "-o", tmp_path, *options)
    assert outcome.code == 1
    assert f"{tmp_path}/x.jpg: is an input, and would be the output of {tmp_path}/x" in outcome.err
    assert (tmp_path / "x.jpg").read_bytes() == before


def test_a_folder_in_the_place_of_an_output_is_told(tmp_path: Path) -> None:
    shutil.copy(PORTRAIT, tmp_path / "a.jpg")
    (tmp_path / "out/a.jpg").mkdir(parents=True)
    outcome = run(*REDACT, tmp_path / "a.jpg", "-o", tmp_path / "out")
    assert outcome.code == 74
    assert "out/a.jpg: is a folder" in outcome.err


def test_videos_whose_names_do_not_tell(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, suffix in (("clip", ".mp4"), ("v.jpg", ".mp4"), ("v.bmp", ".mkv"), ("VID 2024.01.02", ".avi")):
        make_video(folder / f"made{suffix}", 3, face=True).rename(folder / name)
    assert run(*REDACT, folder, "-o", out, *FAST_ENCODING).code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "VID 2024.01.02.avi", "clip.mp4", "v.bmp.mkv", "v.jpg.mp4",
    ]  # fmt: skip
    assert run("detect", folder / "clip", folder, "face", "--model", "centerface", "--draw", out / "drawn").code == 1
    findings = tmp_path / "found.jsonl"
    assert run("detect", folder, "face", "--model", "centerface", "--jsonl", findings).code == 0
    assert {json.loads(line)["source"] for line in findings.read_text().splitlines() if "source" in line} == {
        str(folder / name) for name in ("clip", "v.jpg", "v.bmp", "VID 2024.01.02")
    }


def test_a_file_of_unknown_name_that_may_not_be_read_fails(tmp_path: Path) -> None:
    shutil.copy(PORTRAIT, tmp_path / "IMG_1")
    (tmp_path / "IMG_1").chmod(0)
    command = [*COMMAND, *REDACT, str(tmp_path), "-o", str(tmp_path / "out")]
    if os.geteuid() == 0:
        lost = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1
    assert done.stderr == f"mdtool: {tmp_path}/IMG_1: can't be read: permission denied\n"


@pytest.mark.parametrize("more", [(), ("--jsonl", "found.jsonl")])
def test_copies_with_boxes_get_an_ending_and_share_no_name(more: tuple[str, ...], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    detect: tuple[str | Path, ...] = ("detect", photos, "face", "--model", "centerface", *more)
    shutil.copy(PORTRAIT, photos / "a")
    assert run(*detect, "--draw", "drawn", cwd=tmp_path).code == 0
    assert (tmp_path / "drawn/a.jpg").exists()
    shutil.copy(PORTRAIT, photos / "a.jpg")
    outcome = run(*detect, "--draw", "other", "--overwrite", cwd=tmp_path)
    assert outcome.code == (1 if more else 2)
    assert ("like that of" if more else "two images have the same name") in outcome.err


def test_an_empty_name_is_no_folder(tmp_path: Path) -> None:
    shutil.copy(PORTRAIT, tmp_path / "a.jpg")
    for command in (REDACT, ("moderate", "-p", "face", "--report-only")):
        outcome = run(*command, "", cwd=tmp_path)
        assert outcome.code == 2
        assert "an input has an empty name" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


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
        ("photo.png.crdownload", "PNG", True),
    ],
)
def test_what_is_taken_by_its_content(name: str, kind: str, is_image: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encode_image(smooth(), kind))
    assert is_media_by_content(tmp_path / name) == is_image


def test_what_can_not_be_read_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert [sniff_file(tmp_path / name) for name in ("empty", "gone", ".", "a\0b")] == [None] * 4


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", ".mp4"),
        (b"\0\0\0\x18ftypqt  \0\0\2\0", ".mov"),
        (b"\0\0\0\x18ftypM4A \0\0\2\0", None),
        (b"\0\0\0\x18ftypheic\0\0\0\0", None),
        (b"\0\0\0\x08wide", ".mov"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", ".webm"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x88matroska", ".mkv"),
        (b"RIFF\0\0\0\0AVI LIST", ".avi"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_usual_endings(head: bytes, suffix: str | None) -> None:
    assert usual_suffix(head) == suffix
    assert suffix is None or suffix in USUAL_SUFFIXES


@pytest.mark.parametrize(
    ("suffix", "usual", "is_one"),
    [
        (".JPG", ".jpg", True),
        (".jfif", ".jpg", False),
        (".mjpg", ".jpg", True),
        (".apng", ".png", True),
        (".mkv", ".mp4", True),
        (".jpg", ".mp4", False),
        ("", ".mp4", False),
    ],
)
def test_endings_of_outputs(suffix: str, usual: str, is_one: bool) -> None:
    assert suits(suffix, usual) == is_one
