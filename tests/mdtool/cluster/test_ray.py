"""Batches on a Ray cluster of two nodes, on this machine, which loses actors, a node and the driver."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, ROOT, run, running_program, wait_until
from make_evaluation_sets import image, write_parquet
from make_media import make_video, scenery
from PIL import Image

from mdtool.memory import budget, choose_budget
from mdtool.network.reach import allow_private, private_allowed

pytestmark = [pytest.mark.slow, pytest.mark.posix("Ray's processes")]

PICTURES = 240
SECONDS = 240.0
TWO_NODES = Path(__file__).with_name("two_nodes.py")


class Cluster:
    """A cluster of two nodes, whose processes end when this one does, however that ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, TWO_NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._read()

    def _read(self) -> None:
        assert self._process.stdout
        told = json.loads(self._process.stdout.readline())
        self.address: str = told["address"]
        self._raylets: list[int] = told["raylets"]

    def change(self, what: str) -> None:
        """Remove or add the second node."""
        assert self._process.stdin
        print(what, file=self._process.stdin, flush=True)
        self._read()

    def actors(self) -> list[int]:
        """Return the processes of actors."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in self._raylets and (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                    found.append(int(folder.name))
        return found

    def wait_for_no_actors(self) -> None:
        wait_until(lambda: not self.actors(), SECONDS)

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_ENABLE_AUTO_CONNECT", "0")  # read when Ray is imported, which is here
        environment.setenv("PYTHONPATH", str(ROOT))
        pytest.importorskip("ray")
        made = Cluster()
        yield made
        made.end()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        picture = np.roll(scenery(number % 250, 96, 64), number, axis=1)
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    return folder


@dataclass
class Batch:
    """A run on the cluster, to one file of records."""

    address: str
    inputs: Path
    out: Path

    def arguments(self, *options: str) -> list[str]:
        return ["caption", str(self.inputs), "--model", "pocket", "--jsonl", str(self.out), *options]

    def start(self) -> AbstractContextManager[Any]:
        """Start it in a process of its own, which does not outlive the context."""
        return running_program(*self.arguments("--ray", self.address), cwd=ROOT, text=True)

    @property
    def records(self) -> list[dict[str, Any]]:
        lines = self.out.read_bytes().split(b"\n")[:-1] if self.out.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for_more(self) -> int:
        """Wait for another record; return how many there are."""
        before = len(self.records)
        wait_until(lambda: len(self.records) > before, SECONDS)
        return len(self.records)

    def check_each_once(self) -> None:
        counts = Counter(record["input"] for record in self.records)
        assert counts == {str(path): 1 for path in self.inputs.iterdir()}


@pytest.fixture
def batch(cluster: Cluster, pictures: Path, tmp_path: Path) -> Batch:
    return Batch(cluster.address, pictures, tmp_path / "out.jsonl")


def test_each_input_is_there_once_whatever_is_lost(cluster: Cluster, batch: Batch) -> None:
    with batch.start() as driver:
        batch.wait_for_more()
        driver.send_signal(signal.SIGINT)
        _, told = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 130, told
    assert told.splitlines()[-1] == "mdtool: interrupted"
    cluster.wait_for_no_actors()
    with batch.start() as driver:
        batch.wait_for_more()
        driver.kill()
        driver.communicate()
    cluster.wait_for_no_actors()
    done = len(batch.records)
    with batch.start() as driver:
        batch.wait_for_more()
        os.kill(cluster.actors()[0], signal.SIGKILL)
        batch.wait_for_more()
        cluster.change("remove")
        try:
            out, told = driver.communicate(timeout=SECONDS)
        finally:
            cluster.change("add")
    assert (driver.returncode, out) == (0, ""), told
    batch.check_each_once()
    assert f"{PICTURES - done} processed, {done} already done" in told


def test_records_are_those_of_a_run_without_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(scenery(number, 96, 64)).save(folder / f"{number}.png")
    make_video(folder / "v.mp4", 12, size=(64, 48))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    there, here = (Batch(cluster.address, folder, tmp_path / name) for name in ("there.jsonl", "here.jsonl"))
    sample = ("--sample", "4")
    first = run(*there.arguments("--ray", cluster.address, *sample), seconds=SECONDS)
    second = run(*here.arguments(*sample))
    assert first.code == second.code == 1, first.err
    assert first.lines[0] == "mdtool: actors on Ray: 2 x 1 CPUs"
    assert [line for line in second.lines if "broken" in line] == [line for line in first.lines if "broken" in line]
    assert len(first.lines) == 3, "nothing of Ray's own on stderr"

    def comparable(records: list[dict[str, Any]]) -> list[tuple[str, float, str]]:
        return sorted((one["input"], one.get("time", -1.0), str(one | {"milliseconds": 0})) for one in records)

    assert comparable(there.records) == comparable(here.records)
    again = run(*here.arguments(*sample))
    assert "0 processed, 1 failed, 13 already done" in again.err


def test_files_get_what_they_get_one_by_one(cluster: Cluster, tmp_path: Path) -> None:
    folder, there, here = (tmp_path / name for name in ("in", "there", "here"))
    folder.mkdir()
    for number in range(3):
        Image.fromarray(scenery(number, 96, 64)).save(folder / f"{number}.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    redact = ("redact", folder, "--threshold", "0.05", "--json")
    first = run(*redact, "-o", there, "--ray", cluster.address, seconds=SECONDS)
    second = run(*redact, "-o", here)
    assert first.code == second.code == 1, first.err
    assert sorted(first.lines) == sorted(["mdtool: actors on Ray: 2 x 1 CPUs", *second.lines])
    assert sorted(one["target"] for one in first.json) == [str(there / f"{number}.png") for number in range(3)]
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in here.iterdir()
    }
    (folder / "broken.jpg").unlink()
    again = run(*redact, "-o", there, "--ray", cluster.address, seconds=SECONDS)
    assert (again.code, again.err.count("skipped")) == (0, 3)


@pytest.mark.parametrize(
    "command",
    [("redact",), ("moderate", "--model", "centerface", "-p", "face", "--action", "blur"), ("gaze",)],
    ids=["redact", "moderate", "gaze"],
)
def test_a_video_is_split(cluster: Cluster, tmp_path: Path, command: tuple[str, ...]) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    clips = [
        make_video(tmp_path / "long.mp4", 130, with_sound=True, rate=2, gop_size=9, size=(96, 64)),
        make_video(tmp_path / "broadcast.ts", 130, rate=2, size=(96, 64)),
        make_video(tmp_path / "short.mp4", 12, size=(96, 64)),
    ]
    command += ("--threshold", "0.05", *FAST_ENCODING)
    first = run(*command, *clips, "--json", "-o", there, "--ray", cluster.address, "--split", seconds=SECONDS)
    second = run(*command, *clips, "--json", "-o", here)
    assert (first.code, second.code) == (0, 0), first.err
    assert len(first.json) == len(second.json) == 3
    assert f"{clips[1]}: is not split: a file of format mpegts has no index of its frames" in first.err
    assert "2 parts of long videos" in first.err
    assert f"{clips[0]}: resuming the previous run" in first.err
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in here.iterdir()
    }


def test_limits_hold(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    batch = Batch(cluster.address, pictures, tmp_path / "out.jsonl")
    late = run(*batch.arguments("--ray", cluster.address, "--time-budget", "0.001"), seconds=SECONDS)
    assert late.code == 75, late.err
    assert late.lines[-1] == "mdtool: time budget used up; run the same command again to continue"
    assert not batch.records
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(80):
        (folder / f"{number:02}.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    broken = Batch(cluster.address, folder, tmp_path / "broken.jsonl")
    ended = run(*broken.arguments("--ray", cluster.address, "--max-errors", "3"), seconds=SECONDS)
    assert ended.code == 1, ended.err
    assert ended.lines[-1].startswith("mdtool: stopped: more than 3 inputs failed"), ended.err
    assert len(broken.records) == 4
    cluster.wait_for_no_actors()


def test_an_evaluation_gets_what_it_gets_without_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Pictures in Parquet, one of which is broken; the samples of the first pictures were run before."""
    asked = [("How many stars are there?", 1), ("How many red circles are there?", 2)]
    rows = [{"image": image(i % 2), "qa": [{"question": q, "answer": n} for q, n in asked]} for i in range(12)]
    rows[7]["image"] = {"bytes": b"no picture", "path": None}
    write_parquet(tmp_path / "a.parquet", rows)
    there, here = tmp_path / "there", tmp_path / "here"
    evaluation = ("eval", "tallyqa", "--data", tmp_path / "a.parquet", "--model", "pocket")
    ray = ("--out", there, "--ray", cluster.address)
    assert run(*evaluation, *ray, "--limit", "5", seconds=SECONDS).code == 0
    first = run(*evaluation, *ray, seconds=SECONDS)
    second = run(*evaluation, "--out", here)
    assert first.code == second.code == 1, first.err
    assert "5 were answered before" in first.err
    assert first.out == second.out
    assert (there / "samples.jsonl").read_bytes() == (here / "samples.jsonl").read_bytes()
    records = [json.loads(line) for line in (there / "answers.jsonl").read_bytes().splitlines()]
    assert Counter(record["input"] for record in records) == {f"{i}/{j}": 1 for i in range(12) for j in range(2)}
    assert [line for line in first.lines if line in second.lines and "mdtool: 7/" in line] != []


@dataclass(frozen=True)
class Doubling:
    """Doubles numbers, and tells what its process was told; some kill the process."""

    deadly: frozenset[int]

    def start(self) -> Callable[[Sequence[int]], list[tuple[int, int, bool]]]:
        def run(items: Sequence[int]) -> list[tuple[int, int, bool]]:
            for item in items:
                if item in self.deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
            return [(2 * item, budget(), private_allowed()) for item in items]

        return run


@pytest.fixture
def told() -> Iterator[None]:
    """As --memory and --allow-private do."""
    choose_budget(123 << 20)
    allow_private(True)
    yield
    choose_budget(None)
    allow_private(False)


def test_an_item_that_kills_its_process_is_lost_alone(cluster: Cluster, told: None) -> None:
    from ray import cloudpickle

    from mdtool.cluster.connection import connected
    from mdtool.cluster.pool import Lost, Pool
    from mdtool.jobs.batch.messages import Redone

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    chunks = [list(range(start, start + 4)) for start in range(0, 24, 4)]
    with connected(cluster.address, 2, use_gpus=False) as share:
        results = [done for done in Pool(share, retries=1).run(Doubling(frozenset({9})), chunks) if done is not None]
    assert Lost([9], tries=2) in results
    assert sum(done.items for done in results if isinstance(done, Redone)) >= 4
    doubled = [number for done in results if isinstance(done, list) for number in done]
    assert sorted(doubled) == [(2 * item, 123 << 20, True) for item in range(24) if item != 9]


@pytest.mark.parametrize(
    ("address", "options", "code", "line"),
    [
        (
            None,
            ("--actors", "3"),
            2,
            "--actors 3: the cluster has room for 2, which take a CPU each; give fewer, or add",
        ),
        ("127.0.0.1:9", (), 1, "--ray 127.0.0.1:9: no Ray cluster can be reached there"),
    ],
)
def test_what_would_wait_forever_is_refused(
    batch: Batch, address: str | None, options: tuple[str, ...], code: int, line: str
) -> None:
    done = run(*batch.arguments("--ray", address or batch.address, *options))
    assert done.code == code
    assert len(done.lines) == 1
    assert line in done.lines[0]
