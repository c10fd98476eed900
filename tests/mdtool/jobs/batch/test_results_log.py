"""The file of a batch's records: what is done is told by it, whatever was cut off or changed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mdtool.errors import OutputError
from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.results_log import ResultsLog

pytestmark = pytest.mark.posix("a lock on the file of records")

MINE, OTHER = "aaaa", "bbbb"


def record(name: str, content: str = "11", settings: str = MINE, **more: Any) -> dict[str, Any]:
    about = {"schema": "mdtool.batch/1", "input": name, "sha256": content, "bytes": 5, "modified": 7}
    return {**about, "settings": settings, "answers": [], **more}


def failed(name: str, settings: str = MINE) -> dict[str, Any]:
    error = {"code": "input", "cause": "damaged"}
    return {"schema": "mdtool.batch/1", "input": name, "settings": settings, "error": error}


def finding(name: str, frame: int, settings: str = MINE) -> str:
    entry = {"schema": "mdtool.findings/1", "source": name, "settings": settings, "frame": frame}
    return json.dumps(entry, separators=(",", ":")) + "\n"


@contextmanager
def begun(path: Path, settings: str = MINE, overwrite: bool = False) -> Iterator[ResultsLog]:
    with ResultsLog(path, overwrite) as ledger:
        ledger.begin(settings)
        yield ledger


def filled(path: Path, *records: dict[str, Any]) -> None:
    with begun(path) as ledger:
        for one in records:
            ledger.add(one)


def names(path: Path) -> list[str]:
    told = [json.loads(line) for line in path.read_text().splitlines()]
    return [one.get("input") or f"{one['source']}#{one['frame']}" for one in told]


def test_what_was_added_is_done(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "out.jsonl"
    filled(path, record("a.jpg"), record("b.jpg", "22"))
    with begun(path) as ledger:
        entry = ledger.entry("b.jpg")
        assert entry
        assert (entry.whole, entry.version) == (True, ContentVersion("22", 5, 7))
        assert [name for name, _ in ledger.entries()] == ["a.jpg", "b.jpg"]
        assert ledger.entry("c.jpg") is None


def test_other_settings_count_for_nothing_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"))
    with begun(path, OTHER) as ledger:
        assert ledger.entry("a.jpg") is None
        ledger.add(record("a.jpg", settings=OTHER))
    assert names(path) == ["a.jpg", "a.jpg"]


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_torn_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"), record("b.jpg"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: max(first + 1, len(whole) - cut)])
    with begun(path) as ledger:
        assert ledger.entry("b.jpg") is None
        assert ledger.entry("a.jpg")
        ledger.add(record("b.jpg"))
    assert path.read_bytes() == whole


def test_failures_stay_until_they_are_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"), failed("b.jpg"), failed("c.jpg", OTHER), record("d.jpg"))
    assert names(path) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    with begun(path) as ledger:
        assert names(path) == ["a.jpg", "c.jpg", "d.jpg"]
        assert [name for name, _ in ledger.entries()] == ["a.jpg", "d.jpg"]
        ledger.add(record("b.jpg"))
    assert names(path) == ["a.jpg", "c.jpg", "d.jpg", "b.jpg"]


def test_a_failure_that_is_mended_in_the_same_run_is_left_out(tmp_path: Path) -> None:
    filled(tmp_path / "out", failed("a.jpg"), record("b.jpg"), record("a.jpg"))
    assert names(tmp_path / "out") == ["b.jpg", "a.jpg"]


def test_of_changed_content_the_last_record_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"), record("b.jpg"), record("a.jpg", "22"))
    assert names(path) == ["b.jpg", "a.jpg"]
    with begun(path) as ledger:
        entry = ledger.entry("a.jpg")
        assert entry
        assert entry.version.sha256 == "22"
        assert ledger.record_of("a.jpg")["sha256"] == "22"


def test_frames_of_a_video_are_known_until_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("v.mp4", time=0.5), record("a.jpg"), record("v.mp4", time=1.0))
    with begun(path) as ledger:
        entry = ledger.entry("v.mp4")
        assert entry
        assert (entry.whole, entry.times) == (False, {0.5, 1.0})
        ledger.add(record("v.mp4", frames=2))
        assert entry.whole
    assert names(path) == ["v.mp4", "a.jpg", "v.mp4", "v.mp4"]


def test_frames_of_a_video_that_changed_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("v.mp4", time=0.5), record("v.mp4", frames=1), record("a.jpg"))
    filled(path, record("v.mp4", "22", time=0.5))
    assert names(path) == ["a.jpg", "v.mp4"]


def test_findings_stay_with_the_record_that_follows_them(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with begun(path) as ledger:
        ledger.write(finding("v.mp4", 0))
        ledger.write(finding("v.mp4", 1))
        ledger.add(record("v.mp4", frames=2))
        ledger.write(finding("w.mp4", 0))
    assert names(path) == ["v.mp4#0", "v.mp4#1", "v.mp4"]
    with begun(path) as ledger:
        assert ledger.record_of("v.mp4")["frames"] == 2
    filled(path, record("v.mp4", "22", frames=0))
    assert names(path) == ["v.mp4"]


def test_findings_that_a_killed_run_left_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"))
    path.write_text(path.read_text() + finding("v.mp4", 0) + finding("v.mp4", 1)[:9])
    filled(path, record("b.jpg"))
    assert names(path) == ["a.jpg", "b.jpg"]


def test_what_played_live_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("camera:0", "", live=True), record("camera:0", "", live=True))
    filled(path, record("camera:0", "", live=True))
    assert names(path) == ["camera:0"] * 3


def test_of_content_that_is_not_known_the_last_record_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("http://a/v.mp4", "", time=0.0), record("http://a/v.mp4", "", frames=1), record("a.jpg"))
    filled(path, record("http://a/v.mp4", "", time=0.0), record("http://a/v.mp4", "", frames=1))
    assert names(path) == ["a.jpg", "http://a/v.mp4", "http://a/v.mp4"]


def test_frames_of_content_that_is_not_known_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("-", "", time=0.0), record("a.jpg"))
    filled(path, record("-", "", time=0.0, answers=["other"]), record("-", "", frames=1))
    assert names(path) == ["a.jpg", "-", "-"]


@pytest.mark.parametrize("again", [record("b.jpg"), failed("b.jpg")])
def test_a_failure_that_came_last_is_tried_again(tmp_path: Path, again: dict[str, Any]) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"), failed("b.jpg"))
    filled(path, again)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [record("a.jpg"), again]


def test_a_failure_ends_what_was_said_of_other_content(tmp_path: Path) -> None:
    filled(tmp_path / "out", record("a.jpg"), record("b.jpg"), failed("a.jpg"))
    assert names(tmp_path / "out") == ["b.jpg", "a.jpg"]


def test_findings_of_another_command_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text('{"schema":"mdtool.findings/1","source":"v.mp4","frame":0}\n')
    with pytest.raises(OutputError, match="line 1 is not a batch record"):
        filled(path)
    assert len(path.read_text().splitlines()) == 1


def test_findings_with_other_settings_stay_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text(finding("v.mp4", 0, OTHER))
    filled(path, record("a.jpg"))
    assert names(path) == ["v.mp4#0", "a.jpg"]


def test_a_file_that_is_taken_away_is_told(tmp_path: Path) -> None:
    path = tmp_path / "out"
    ledger = ResultsLog(path, overwrite=False).__enter__()
    ledger.begin(MINE)
    ledger.add(record("a.jpg"))
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="was removed or replaced"):
        ledger.__exit__(None)


def test_a_touched_file_gets_its_new_time(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"))
    with begun(path) as ledger:
        ledger.refresh("a.jpg", ContentVersion("11", 5, 8))
        ledger.refresh("a.jpg", ContentVersion("11", 5, 8))
    assert [json.loads(line)["modified"] for line in path.read_text().splitlines()] == [8]


def test_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, failed("a.jpg"))
    with begun(path):  # which puts a copy in its place
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="another run is writing it"):
                ResultsLog(path, overwrite).__enter__()
    with begun(path):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "mine\n",
        "{}\n",
        '{"schema":"mdtool.answers/1"}\n',
        '{"schema":"mdtool.batch/1"}\n',
        f"{json.dumps(failed('a.jpg'))}\n{{}}\n",
        f"{finding('v.mp4', 0)}mine\n",
    ],
)
def test_what_is_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out"
    path.write_text(content)
    with pytest.raises(OutputError, match=str(path)):
        filled(path)
    assert path.read_text() == content
    assert os.listdir(tmp_path) == ["out"]


def test_overwritten_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "out"
    filled(path, record("a.jpg"))
    with begun(path, overwrite=True) as ledger:
        assert ledger.entry("a.jpg") is None
    assert path.read_bytes() == b""


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    filled(link, failed("a.jpg"), record("b.jpg"))
    filled(link, record("a.jpg"))
    assert link.is_symlink()
    assert names(tmp_path / "real") == ["b.jpg", "a.jpg"]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk."""
    import resource
    import signal

    path = tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with begun(path) as ledger:
            ledger.add(record("a.jpg"))
            size = path.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, limits[1]))
            with pytest.raises(OutputError, match="would be larger than this system allows"):
                ledger.add(record("b.jpg"))
            assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert names(path) == ["a.jpg"]
