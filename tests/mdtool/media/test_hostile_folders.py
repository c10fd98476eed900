"""Links and other things that someone puts in the place of temporary files and work folders: nothing else changes."""

import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from cli_runner import COMMAND, wait_until
from make_media import make_video

from mdtool.errors import OutputError
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.atomic_folder import atomic_folder
from mdtool.media.files.spool import spool
from mdtool.pipeline.findings_file import open_findings
from mdtool.pipeline.work_folder import WorkFolder

pytestmark = pytest.mark.posix("links, permissions, and paths to open files")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_bytes(b"precious")
    return path


def put(kind: str, at: Path, victim: Path) -> None:
    at.unlink(missing_ok=True)
    if kind == "symlink":
        at.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, at)
    elif kind == "dangling":
        at.symlink_to(victim.with_name("elsewhere"))
    elif kind == "folder":
        at.mkdir()
    else:
        os.mkfifo(at)


KINDS = ["symlink", "hard link", "dangling", "folder", "fifo"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_takes_the_place_of_a_temporary_file_is_not_written_to(
    kind: str, overwrite: bool, tmp_path: Path, victim: Path
) -> None:
    """After it was locked."""
    target = tmp_path / "out.png"
    if overwrite:
        target.write_bytes(b"old")

    def write() -> None:
        with AtomicFile(target, overwrite) as file:
            put(kind, tmp_path / ".out.png.part", victim)
            file.part.write_bytes(b"new")
            file.commit()

    with pytest.raises(OutputError, match="something else has taken the place"):
        write()
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()
    assert target.read_bytes() == b"old" if overwrite else not os.path.lexists(target)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_the_place_of_a_temporary_file_before(kind: str, tmp_path: Path, victim: Path) -> None:
    target = tmp_path / "out.png"
    put(kind, tmp_path / ".out.png.part", victim)
    if kind == "hard link":  # as a killed run leaves it
        with AtomicFile(target, False) as file:
            file.part.write_bytes(b"new")
            file.commit()
        assert target.read_bytes() == b"new"
    else:
        with pytest.raises(OutputError, match=r"temporary file .out.png.part is a link, a folder or a device; remove"):
            AtomicFile(target, False).__enter__()
    assert victim.read_bytes() == b"precious"


def test_what_takes_the_place_of_a_temporary_folder_is_not_filled(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(b"precious")

    def fill() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            (tmp_path / ".out.part").rename(tmp_path / "moved")
            (tmp_path / ".out.part").symlink_to(other)
            (folder / "file").write_bytes(b"new")

    with pytest.raises(OutputError, match="something else has taken the place"):
        fill()
    assert (other / "file").read_bytes() == b"precious"
    assert not (tmp_path / "out").exists()


# -- work folders


def work(target: Path) -> Path:
    return target.with_name(f".{target.name}.work")


def test_a_work_folder_that_is_a_link_is_refused(tmp_path: Path, victim: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    victim.rename(other / "victim")
    target = tmp_path / "out.mp4"
    for place in (other, other / "victim", other / "missing"):
        work(target).symlink_to(place)
        with pytest.raises(OutputError, match=r"work folder .out.mp4.work is a link or a file; remove it"):
            WorkFolder(target, "settings").__enter__()
        work(target).unlink()
    assert [path.name for path in other.iterdir()] == ["victim"]


def test_a_work_folder_that_is_swapped_is_not_written_to(tmp_path: Path) -> None:
    target, other = tmp_path / "out.mp4", tmp_path / "other"
    other.mkdir()
    (other / "settings").write_bytes(b"precious")
    with WorkFolder(target, "settings") as folder:
        work(target).rename(tmp_path / "moved")
        work(target).symlink_to(other)
        (folder.folder / "settings").write_bytes(b"ours")
        folder.done()
    assert (other / "settings").read_bytes() == b"precious"
    assert work(target).is_symlink()


def test_what_no_run_has_put_into_a_work_folder(tmp_path: Path, victim: Path) -> None:
    """Then the work begins anew."""
    target = tmp_path / "out.mp4"
    folder = work(target)
    for name, kind in [("journal.jsonl", "symlink"), ("a", "folder"), ("0-000000.packets", "dangling"), ("b", "fifo")]:
        folder.mkdir(0o755)
        (folder / "settings").write_text("settings")
        put(kind, folder / name, victim)
        if kind == "folder":
            (folder / name / "link").symlink_to(tmp_path)
        with WorkFolder(target, "settings") as opened:
            assert opened.was_reset
            assert sorted(path.name for path in folder.iterdir()) == ["journal.jsonl", "settings"]
            opened.done()
        assert not folder.exists()
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"settings\n"])
def test_settings_that_no_run_has_written(content: bytes, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    work(target).mkdir()
    (work(target) / "settings").write_bytes(content)
    (work(target) / "journal.jsonl").write_bytes(b'{"schema": ' + b"[" * 99_999)
    with WorkFolder(target, "settings") as opened:
        assert (opened.was_reset, opened.known) == (True, 0)


def test_a_work_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    work(target).mkdir(0o777)
    with WorkFolder(target, "settings"):
        assert stat.S_IMODE(work(target).stat().st_mode) == 0o700


# -- permissions of outputs, and temporary files without a name


@pytest.mark.parametrize(("source", "wanted"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644)])
@pytest.mark.parametrize("left", [False, True])
def test_nobody_may_read_an_output_who_may_not_read_its_source(
    source: int, wanted: int, left: bool, tmp_path: Path, victim: Path
) -> None:
    victim.chmod(source)
    target = tmp_path / "out.png"
    if left:  # by a killed run
        (tmp_path / ".out.png.part").touch(0o666)
    with AtomicFile(target, False) as file:
        file.restrict(victim)
        file.part.write_bytes(b"new")
        assert stat.S_IMODE((tmp_path / ".out.png.part").stat().st_mode) == wanted
        file.commit()
    assert stat.S_IMODE(target.stat().st_mode) == wanted


def test_nobody_may_read_findings_who_may_not_read_what_they_are_of(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "open").touch(0o644)
    victim.chmod(0o600)
    found = tmp_path / "found.jsonl"
    with open_findings(str(found), False, [tmp_path / "open", victim, tmp_path / "gone"]) as file:
        assert file
        file.write("{}\n")
    assert stat.S_IMODE(found.stat().st_mode) == 0o600


def test_what_replaces_a_file_is_not_open_to_others(tmp_path: Path, victim: Path) -> None:
    victim.chmod(0o600)
    with AtomicFile(victim, True) as file:
        file.part.write_bytes(b"new")
        file.commit()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_a_spool_has_no_name_and_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with spool() as (file, path):
        file.write(b"a frame")
        file.flush()
        assert not list(tmp_path.iterdir())
        assert (path.is_file(), path.read_bytes()) == (True, b"a frame")
        assert path.read_bytes() == b"a frame"


def test_a_killed_run_leaves_no_copy_of_its_input(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    data = make_video(tmp_path / "in.mp4", 600, size=(640, 360)).read_bytes()
    command = [*COMMAND, "moderate", "-", "-p", "face", "--report-only", "--report", str(tmp_path / "page.html")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(temporary)}
    ) as process:
        assert process.stdin
        process.stdin.write(data)
        process.stdin.close()
        wait_until(lambda: process.poll() is not None or _has_spool(process.pid))
        assert process.poll() is None
        process.kill()
    assert not list(temporary.iterdir())


def _has_spool(pid: int) -> bool:
    """Return whether a process has a file open that has no name."""
    with suppress(OSError):  # one that was closed meanwhile
        return any("(deleted)" in os.readlink(link) for link in Path("/proc", str(pid), "fd").iterdir())
    return False
