"""A commit that is killed at any of its system calls leaves the old output or the new one, whole, and nothing else."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mdtool.media.files.atomic_file import AtomicFile

pytestmark = [pytest.mark.slow, pytest.mark.posix("signals, and strace")]
OLD, NEW = b"old", b"new" * 1000
COMMIT = """
import sys
from pathlib import Path
from mdtool.media.files.atomic_file import AtomicFile
target, overwrite, content = Path(sys.argv[1]), sys.argv[2] == "True", b"new" * 1000
print("ready", flush=True)
sys.stdin.readline()
with AtomicFile(target, overwrite) as file:
    file.part.write_bytes(content)
    file.commit()
"""


def commit(target: Path, overwrite: bool, *options: str | Path) -> int:
    """Commit in another process under strace with these options; return its exit code, or minus a signal."""
    program = [sys.executable, "-c", COMMIT, str(target), str(overwrite)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        tracer = subprocess.Popen(["strace", "-p", str(process.pid), *options], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr
        if "attached" not in (told := tracer.stderr.readline()):
            process.kill()
            pytest.skip(f"strace can't attach here: {told.strip()}")
        process.stdin.write(b"\n")
        process.stdin.close()
        code = process.wait(60)
        tracer.communicate()
        return code


def begin(target: Path, overwrite: bool) -> None:
    target.unlink(missing_ok=True)
    if overwrite:
        target.write_bytes(OLD)


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_every_system_call(tmp_path: Path, overwrite: bool) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    folder = tmp_path / "folder"
    folder.mkdir()
    target, other, log = folder / "out.bin", folder / "other", tmp_path / "log"
    other.write_bytes(b"other")
    begin(target, overwrite)
    assert commit(target, overwrite, "-o", log) == 0
    names = [line.partition("(")[0] for line in log.read_text().splitlines() if "(" in line]
    calls = Counter(name for name in names if name not in ("munmap", "mmap", "futex", "read", "exit_group"))
    assert calls["fsync"] == 2  # of the file and of its folder
    assert calls.total() > 20
    seen = set()
    for name, count in calls.items():
        for number in range(1, count + 1):
            begin(target, overwrite)
            inject = f"inject={name}:signal=SIGKILL:when={number}"
            assert commit(target, overwrite, "-e", inject, "-o", "/dev/null") == -signal.SIGKILL, (name, number)
            content = target.read_bytes() if target.exists() else None
            assert content in ((OLD, NEW) if overwrite else (None, NEW)), (name, number)
            assert {path.name for path in folder.iterdir()} <= {"out.bin", "other", ".out.bin.part"}
            with AtomicFile(target, overwrite=True) as again:  # the next run, whatever was left
                again.part.write_bytes(b"next")
                assert (target.read_bytes() if target.exists() else None) == content
                again.commit()
            assert target.read_bytes() == b"next"
            assert other.read_bytes() == b"other"
            assert sorted(path.name for path in folder.iterdir()) == ["other", "out.bin"]
            seen.add(content)
    assert len(seen) == 2
