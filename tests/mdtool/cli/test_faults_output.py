"""Outputs are whole or absent, whatever is in their way; and every name of a file comes through."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import FAST_ENCODING, Outcome, redact, run, running_program, spawn, wait_until
from make_findings import findings_jsonl
from make_media import SAMPLES, frames_of, make_video

from mdtool.media.files.atomic_file import AtomicFile
from mdtool.records.findings import FrameFindings

if sys.platform != "win32":
    import resource

ODD_NAMES = [
    "with spaces.mp4",
    "-x.mp4",
    "smile \U0001f600.mp4",
    "x[page=2].mp4",
    "%03d.mp4",
    "{n}.mp4",
]
POSIX_NAMES = [
    "line\nbreak.mp4",
    "not\udcff\udcfetext.mp4",
    "n" * 242 + ".mp4",
    "a:b.mp4",
    "pipe:1.mp4",
    "http:x.mp4",
    "'quoted' \"twice\".mp4",
    "*.mp4",
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "a.mp4", 6)


def fails(outcome: Outcome, said: str, code: int = 74) -> None:
    assert (outcome.code, len(outcome.lines)) == (code, 1), outcome.err
    assert said in outcome.err


def only(folder: Path, *names: str) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("name", ["out.mp4", "out.jpg"])
def test_what_exists_is_kept(tmp_path: Path, name: str) -> None:
    suffix = Path(name).suffix
    source = SAMPLES / "portrait.jpg" if suffix == ".jpg" else make_video(tmp_path / "a.mp4", 3)
    target = tmp_path / name
    target.write_bytes(b"precious")
    fails(redact(source, "-o", target), "exists already")
    assert target.read_bytes() == b"precious"
    assert redact(source, "-o", target, "--overwrite").code == 0
    assert target.stat().st_size > 1000
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "way", ["same", "dots", pytest.param("symlink", marks=pytest.mark.posix("symbolic links")), "hardlink", "folder"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_never_in_place(video: Path, way: str, overwrite: bool) -> None:
    before, target = video.read_bytes(), video.with_name("b.mp4")
    if way == "same":
        target = video
    elif way == "dots":
        target = video.parent / ".." / video.parent.name / video.name
    elif way == "symlink":
        target.symlink_to(video)
    elif way == "hardlink":
        target.hardlink_to(video)
    else:
        target = video.parent
    outcome = redact(video, "-o", target, *(["--overwrite"] if overwrite else []))
    fails(outcome, "overwrite itself", 2)
    assert video.read_bytes() == before
    assert not list(video.parent.glob(".*"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("missing/out.mp4", "folder does not exist"),
        ("a.mp4/out.mp4", "a part of its path is not a folder"),
        pytest.param("/proc/out.mp4", "can't be written", marks=pytest.mark.posix("/proc")),
        pytest.param("/sys/out.mp4", "can't be written", marks=pytest.mark.posix("/sys")),
        pytest.param("o" * 252 + ".mp4", "too long", marks=pytest.mark.posix("an error of its own for long names")),
        pytest.param("/dev/null", "exists already", marks=pytest.mark.posix("/dev/null")),
    ],
)
def test_places_that_take_no_file(video: Path, target: str, said: str) -> None:
    outcome = redact(video, "-o", target, cwd=video.parent)
    fails(outcome, said)
    assert redact(video, "-o", target, "--overwrite", cwd=video.parent).code == 74
    only(video.parent, "a.mp4")


def test_folders_that_can_not_be_made(video: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "b.mp4", 3)
    (tmp_path / "file").write_text("words")
    outcome = redact(video, tmp_path / "b.mp4", "-o", tmp_path / "file" / "deeper")
    assert outcome.code == 1
    assert [("a.mp4" in line, "b.mp4" in line) for line in outcome.lines] == [(True, False), (False, True)]


@pytest.mark.posix("/dev/full")
def test_a_device_as_stdout(video: Path) -> None:
    for source in (video, SAMPLES / "portrait.jpg", SAMPLES / "animation.gif"):
        with open("/dev/full", "wb") as full:
            fails(spawn("redact", *FAST_ENCODING, source, "-o", "-", stdout=full), "disk is full")
    with open("/dev/full", "wb") as full:
        command: list[str | Path] = ["redact", *FAST_ENCODING, video, "-o", video.with_name("out.mp4"), "--json", "-q"]
        fails(spawn(*command, stdout=full), "disk is full")


@pytest.mark.posix("/dev/full")
@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["config", "--help"],
        ["redact", "--help"],
        ["redact", SAMPLES / "portrait.jpg", "--dry-run"],
        ["--show-completion", "bash"],
    ],
)
def test_a_full_device_for_texts(command: list[str | Path]) -> None:
    with open("/dev/full", "wb") as full:
        outcome = spawn(*command, stdout=full)
    assert (outcome.code, outcome.err) == (74, "mdtool: stdout: can't be written: the disk is full\n")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if os.getuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.posix("a file system to mount")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".jpg", ".gif"])
@pytest.mark.parametrize("fullness", [0, 56_000])
def test_full_disk(tmp_path: Path, small_disk: Path, suffix: str, fullness: int) -> None:
    """In the midst of writing, and (where little is written) at the end."""
    if suffix in (".jpg", ".gif"):
        source = SAMPLES / ("portrait.jpg" if suffix == ".jpg" else "animation.gif")
        fullness = max(fullness, 30_000)
    else:
        frames, size = (6, (128, 96)) if fullness else (40, (640, 480))
        source = make_video(tmp_path / f"a{suffix}", frames, face=True, size=size, with_sound=bool(fullness))
    if fullness:
        (small_disk / "filler").write_bytes(bytes(fullness))
    outcome = redact(source, "-o", small_disk / f"out{suffix}", "--crf", "1")
    fails(outcome, f"out{suffix}: can't be written: the disk is full")
    only(small_disk, *(["filler"] if fullness else []))


@pytest.mark.parametrize("command", [["redact"], ["moderate", "-p", "face", "--action", "blur"]])
def test_findings_of_outputs_that_exist_are_written_too(tmp_path: Path, command: list[str]) -> None:
    """As after a run that was ended between its outputs and its findings; the outputs stay as they are."""
    folder, out, findings = tmp_path / "in", tmp_path / "in" / "out", tmp_path / "f.jsonl"
    folder.mkdir()
    make_video(folder / "a.mp4", 6, face=True)
    shutil.copy(SAMPLES / "portrait.jpg", folder / "b.jpg")
    shutil.copy(SAMPLES / "animation.gif", folder / "c.gif")
    arguments: list[str | Path] = [*command, folder, "-o", out, "--findings", findings]
    assert run(*arguments).code == 0
    expected = findings.read_text("utf-8")
    findings.unlink()
    (out / "b.jpg").unlink()
    stamps = {name: (out / name).stat().st_mtime_ns for name in ("a.mp4", "c.gif")}
    again = run(*arguments)
    assert again.code == 0, again.err
    assert findings.read_text("utf-8") == expected
    assert f"{out / 'a.mp4'} already exists" in again.err
    assert "skipped" not in again.err
    assert {name: (out / name).stat().st_mtime_ns for name in stamps} == stamps
    only(out, "a.mp4", "b.jpg", "c.gif")


def test_selected_findings_of_outputs_that_exist_are_written_too(tmp_path: Path) -> None:
    folder, out, found, findings = (tmp_path / name for name in ("in", "out", "found.jsonl", "f.jsonl"))
    folder.mkdir()
    make_video(folder / "a.mp4", 6, face=True)
    shutil.copy(SAMPLES / "portrait.jpg", folder / "b.jpg")
    assert redact(folder, "-o", tmp_path / "first", "--findings", found).code == 0
    arguments: list[str | Path] = [folder, "-o", out, "--from-findings", found, "--findings", findings]
    assert redact(*arguments).code == 0
    expected = findings.read_text("utf-8")
    findings.unlink()
    assert redact(*arguments).code == 0
    assert findings.read_text("utf-8") == expected


@pytest.mark.posix("/dev/full")
def test_full_disk_for_findings(tmp_path: Path, video: Path) -> None:
    outcome = redact(video, "-o", tmp_path / "out.mp4", "--findings", "/dev/full")
    fails(outcome, "disk is full")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.posix("a file system to mount")
@pytest.mark.parametrize(
    ("command", "option"),
    [(["redact"], "--findings"), (["gaze"], "--jsonl"), (["moderate", "-p", "face", "--action", "blur"], "--findings")],
)
def test_a_part_of_the_records_gets_no_name(small_disk: Path, video: Path, command: list[str], option: str) -> None:
    """The disk is full once when the records are written, once when the output is; then again for one of two inputs."""
    records, target = small_disk / "f.jsonl", small_disk / "out.mp4"
    crowd = SAMPLES / "crossing.mp4"
    outcome = run(*command, *FAST_ENCODING, crowd, "-o", target, option, records)
    assert outcome.code == 74
    assert "the disk is full" in outcome.err
    only(small_disk)
    elsewhere = video.with_name("f.jsonl")
    outcome = run(*command, "--crf", "1", crowd, "-o", target, option, elsewhere)
    assert outcome.code == 74
    assert not elsewhere.exists()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(45_000))
    outcome = run(*command, *FAST_ENCODING, video, crowd, "-o", video.with_name("out"), option, records)
    assert outcome.code == 74
    assert outcome.lines[-1] == f"mdtool: {records}: can't be written: the disk is full"
    only(small_disk, "filler")
    filler.unlink()
    assert run(*command, *FAST_ENCODING, video, "-o", target, option, records).code == 0
    only(small_disk, "f.jsonl", "out.mp4")


@pytest.mark.parametrize("command", [["redact", "--findings"], ["gaze", "--jsonl"]])
def test_no_record_is_no_file(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"words")
    records = tmp_path / "f.jsonl"
    assert run(*command, records, tmp_path / "a.mp4", tmp_path / "b.mp4", "-o", tmp_path / "out").code == 1
    assert not records.exists()
    records.write_bytes(b"precious")
    assert run(*command, records, tmp_path / "a.mp4", "-o", tmp_path / "out.mp4", "--overwrite").code == 1
    assert records.read_bytes() == b"precious"


@pytest.mark.posix("resource limits")
def test_largest_size_of_a_file(video: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    for source, suffix in ((video, ".mp4"), (SAMPLES / "portrait.jpg", ".jpg")):
        outcome = spawn("redact", *FAST_ENCODING, source, "-o", video.with_name(f"out{suffix}"), before=limit)
        fails(outcome, "larger than this system allows")
    only(video.parent, "a.mp4")


@pytest.mark.posix("file locks")
def test_two_runs_on_one_output(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    arguments: list[str | Path] = ["redact", SAMPLES / "busy.mp4", "-o", target, *FAST_ENCODING]
    with running_program(*arguments) as first:
        wait_until(lambda: list(tmp_path.glob(".*.part")))
        fails(redact(SAMPLES / "busy.mp4", "-o", target), "another run is writing it")
        assert first.wait(60) == 0
    assert len(frames_of(target)) == 150
    only(tmp_path, "out.mp4")


KILLED_AS_IT_GIVES_THE_NAME = """
import os, signal, sys
from mdtool.cli import run
link = os.link
def then_end(*names, **options):
    link(*names, **options)
    os.kill(os.getpid(), signal.SIGKILL)
os.link = then_end
run(sys.argv[1:])
"""


@pytest.mark.posix("an output that gets its name by a link")
@pytest.mark.parametrize("suffix", [".mp4", ".jpg"])
def test_a_finished_output_is_not_written_to_by_the_run_after_one_that_was_killed(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / "a.mp4", 6) if suffix == ".mp4" else SAMPLES / "portrait.jpg"
    target, first = tmp_path / f"out{suffix}", tmp_path / f"first{suffix}"
    command: list[str | Path] = [sys.executable, "-c", KILLED_AS_IT_GIVES_THE_NAME, "redact", source, "-o", target]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    before = target.read_bytes()
    assert target.stat().st_nlink == 2  # as a part too
    target.rename(first)
    hiding_all = ["--style", "solid", "--color", "red", "--margin", "9"]
    assert redact(source, "-o", target, *hiding_all).code == 0
    assert first.read_bytes() == before
    assert target.read_bytes() != before
    assert [path.stat().st_nlink for path in (first, target)] == [1, 1]
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_fails_leaves_a_finished_output_that_is_linked_as_a_part(tmp_path: Path) -> None:
    source, target = make_video(tmp_path / "a.mp4", 6), tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    os.link(target, tmp_path / ".out.mp4.part")
    findings = tmp_path / "f.jsonl"
    findings.write_text(findings_jsonl(source, [FrameFindings()] * 5, size=(128, 96)))
    fails(redact(source, "-o", target, "--overwrite", "--from-findings", findings), "frame 5", code=1)
    assert target.read_bytes() == b"precious"
    only(tmp_path, "a.mp4", "f.jsonl", "out.mp4")


@pytest.mark.posix("hard links")
@pytest.mark.parametrize("command", [["redact"], ["gaze"], ["moderate", "-p", "face", "--action", "blur"]])
def test_what_a_killed_run_left_of_an_output_that_exists_is_removed(tmp_path: Path, command: list[str]) -> None:
    """A link in its place stays, and so does what another run is writing."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        shutil.copy(SAMPLES / "scenes" / "one.png", folder / name)
        (out / name).write_bytes(b"precious")
    os.link(out / "a.png", out / ".a.png.part")
    (out / ".b.png.part").write_bytes(b"unfinished")
    (out / ".c.png.part").symlink_to(out / "c.png")
    with AtomicFile(out / "d.png", overwrite=True):
        again = run(*command, folder, "-o", out)
        assert (again.code, again.err.count("skipped")) == (0, 4), again.err
        only(out, ".c.png.part", ".d.png.part", "a.png", "b.png", "c.png", "d.png")
    assert {path.read_bytes() for path in out.iterdir()} == {b"precious"}


def test_many_inputs_for_one_name(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make_video(tmp_path / folder / "a.mp4", 3)
    outcome = redact(tmp_path / "one" / "a.mp4", tmp_path / "two" / "a.mp4", "-o", tmp_path / "out")
    assert outcome.code == 1
    one, two, output = (tmp_path / name for name in ("one/a.mp4", "two/a.mp4", "out/a.mp4"))
    assert f"mdtool: {output}: is the output of {one}, and would be that of {two} too" in outcome.err
    only(tmp_path / "out", "a.mp4")


@pytest.mark.parametrize(
    "name",
    [*ODD_NAMES, *(pytest.param(name, marks=pytest.mark.posix("file names of any bytes")) for name in POSIX_NAMES)],
    ids=range(len(ODD_NAMES + POSIX_NAMES)),
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    make_video(tmp_path / "plain.mp4", 2).rename(tmp_path / name)
    target = f"o{name[1:]}" if len(name) > 200 else f"out {name}"
    source = name if name.startswith("-") else f"./{name}"
    outcome = redact("--json", "--findings", "f.jsonl", "-o", f"./{target}", "--", source, cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert os.fsencode(outcome.json[0]["source"]) == os.fsencode(source)
    findings = (tmp_path / "f.jsonl").read_text("utf-8", "surrogateescape").splitlines()
    assert json.loads(findings[0])["source"] == outcome.json[0]["source"]
    assert len(frames_of(tmp_path / target)) == 2
    only(tmp_path, name, target, "f.jsonl")


@pytest.mark.posix("file names of any bytes")
def test_odd_names_in_a_folder(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    content = make_video(tmp_path / "plain.mp4", 2).read_bytes()
    for name in ODD_NAMES + POSIX_NAMES:
        (folder / name).write_bytes(content)
    (folder / "x[page=2].jpg").write_bytes((SAMPLES / "portrait.jpg").read_bytes())
    (folder / "%03d.png").write_bytes((SAMPLES / "group.png").read_bytes())
    outcome = redact(folder, "-o", out)
    assert outcome.code == 0, outcome.err
    only(out, *ODD_NAMES, *POSIX_NAMES, "x[page=2].jpg", "%03d.png")


@pytest.mark.posix("file names of 255 bytes")
def test_default_name_too_long(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 2).rename(tmp_path / ("n" * 250 + ".mp4"))
    fails(redact(tmp_path / ("n" * 250 + ".mp4")), "too long")


def test_what_is_printed(tmp_path: Path, video: Path) -> None:
    quiet = redact(video, "-o", tmp_path / "1.mp4", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, b"", "")
    told = redact(video, "-o", tmp_path / "2.mp4", "--json")
    assert (told.code, told.err, len(told.json)) == (0, "", 1)
    assert told.json[0]["frames"] == 6
    ascii_only = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}
    plain = spawn("redact", *FAST_ENCODING, video, "-o", tmp_path / "3.mp4", env=ascii_only)
    assert (plain.code, plain.out, len(plain.lines)) == (0, b"", 1)
    (tmp_path / "bad.mp4").write_bytes(b"words")
    mixed = redact(video, tmp_path / "bad.mp4", "-o", tmp_path / "out", "--quiet", "--json")
    assert (mixed.code, len(mixed.lines), [one["source"] for one in mixed.json]) == (1, 1, [str(video)])
    rows = redact(video, "-o", tmp_path / "4.mp4", "--findings", "-")
    assert [row["frame"] for row in rows.json] == list(range(6))


def test_two_things_on_stdout(video: Path) -> None:
    """Neither a video nor JSON is of use when both are mixed."""
    for options in (["--json"], ["--findings", "-"]):
        fails(redact(video, "-o", "-", *options), "stdout", 2)


def test_dry_run_touches_nothing(video: Path) -> None:
    outcome = run("redact", video, "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    assert b"a.redacted.mp4" in outcome.out
    only(video.parent, "a.mp4")
