"""What of Ray is there without --ray, and without Ray."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import run

PHOTO = Path(__file__).parents[3] / "sample_media" / "scenes" / "tall.png"


def test_nothing_of_ray_is_imported_without_it() -> None:
    program = (
        "import sys; from mdtool.cli import run; "
        f"code = run(['caption', {str(PHOTO)!r}, '--model', 'pocket', '--jsonl', '-']); "
        "assert code == 0, code; assert not [name for name in sys.modules if name.partition('.')[0] == 'ray']"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run("caption", PHOTO, "--model", "pocket", "--jsonl", "-", "--ray", "auto")
    assert (done.code, done.lines) == (2, ["mdtool: --ray needs: pip install 'mdtool[ray]'"])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--ray", "auto", "--dedupe"), "--dedupe: can't be used with --ray; leave one out"),
        (("--ray", "auto", "--watch"), "--watch: can't be used with --ray; leave one out"),
        (("--ray", "auto", "--cache", "x"), "--cache: can't be used with --ray; leave one out"),
        (("--actors", "2"), "--actors: needs --ray; add it, or leave --actors out"),
        (("--retries", "2"), "--retries: needs --ray; add it, or leave --retries out"),
    ],
)
def test_options_that_exclude_each_other(options: tuple[str, ...], line: str) -> None:
    done = run("caption", PHOTO, "--model", "pocket", "--jsonl", "-", *options)
    assert (done.code, done.lines) == (2, [f"mdtool: {line}"])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("-o", "-", "--ray", "auto"), "-: other machines have no pipe to this one; give files"),
        (("--findings", "f.jsonl", "--ray", "auto"), "--findings: can't be used with --ray; leave one out"),
        (("--split",), "--split: needs --ray; add it, or leave --split out"),
        (("--ray", "auto", "--split", "--max-calls", "5"), "--max-calls: can't be used with --split; leave one out"),
        (("--ray", "auto", "--split", "--from", "5"), "--from: can't be used with --split; leave one out"),
        (("--dry-run", "--ray", "auto"), "--dry-run: can't be used with --ray; leave one out"),
        (("--actors", "2"), "--actors: needs --ray; add it, or leave --actors out"),
    ],
)
def test_what_files_on_a_cluster_exclude(options: tuple[str, ...], line: str) -> None:
    done = run("redact", PHOTO, *options)
    assert (done.code, done.lines) == (2, [f"mdtool: {line}"])
