"""A coordinator and workers that have nothing in common but what is passed between them, as bytes."""

import json
import pickle
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from make_media import make_video
from PIL import Image

from engine import load
from engine.contract import CaptionRequest, DetectRequest, LoadOptions, Request
from mdtool.console import Console
from mdtool.errors import ExitCode
from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.coordinator import BatchPlan, Coordinator
from mdtool.jobs.batch.executor import ThreadExecutor
from mdtool.jobs.batch.messages import (
    BatchTask,
    Duplicate,
    ImageResult,
    InputWait,
    ItemFailed,
    Result,
    VideoTask,
    WorkItem,
)
from mdtool.jobs.batch.output_format import open_sink
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.side_outputs import SideOutputs
from mdtool.media.sources.discover import Selection
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.stages import Idle
from mdtool.tracking.sampling import Sampling

pytestmark = pytest.mark.posix("a lock on the file of records")


def passed(one: Any) -> Any:
    return pickle.loads(pickle.dumps(one))


@dataclass
class Elsewhere:
    """An executor whose worker could be in another process. results: all that came, but how long it waited."""

    name: str
    results: list[Result] = field(default_factory=list)

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        for result in ThreadExecutor(load(self.name, LoadOptions("cpu"))).run(passed(task), map(passed, items)):
            one = passed(result)
            if type(one).__name__ != "InputWait":
                self.results.append(one)
            yield one


@dataclass
class Desk:
    """Runs batches on a folder, to one file of records."""

    folder: Path
    out: Path
    progress: Progress = field(default_factory=lambda: Progress(Console(quiet=True)))

    def run(self, executor: "Elsewhere | AllAlike", task: BatchTask, **plan: Any) -> ExitCode:
        self.progress = Progress(Console(quiet=True))
        with open_sink(self.out, overwrite=False) as sink:
            sink.begin("mine")
            common_fields = {"model": executor.name, "revision": "", "settings": "mine"}
            made = BatchPlan(Selection([str(self.folder)]), common_fields, **plan)
            return Coordinator(made, task, executor, sink, progress=self.progress).run()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    @property
    def names(self) -> list[str]:
        return [Path(one["input"] if "input" in one else one["source"]).name for one in self.records]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Two pictures, a copy of the first, a video, and a file that is none of these."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, colour in (("a.png", "red"), ("c.png", "blue")):
        Image.new("RGB", (64, 48), colour).save(folder / name)
    shutil.copy(folder / "a.png", folder / "b.png")
    make_video(folder / "v.mp4", 6, size=(96, 64))
    (folder / "x.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return Desk(folder, tmp_path / "out.jsonl")


CAPTION: list[Request] = [CaptionRequest(None, "short")]
SECOND_FRAMES = VideoTask(Sampling(stride=2))


def test_pictures_and_frames(desk: Desk) -> None:
    executor = Elsewhere("pocket")
    assert desk.run(executor, BatchTask(CAPTION, videos=SECOND_FRAMES), ordered=True) is ExitCode.SOME_FAILED
    assert desk.names == ["a.png", "b.png", "c.png", "v.mp4", "v.mp4", "v.mp4", "v.mp4", "x.jpg"]
    assert [one.get("time") for one in desk.records[3:7]] == [0.0, 0.067, 0.133, None]
    assert (desk.records[6]["frames"], desk.records[7]["error"]["code"]) == (3, "input")
    assert (desk.progress.processed, desk.progress.failed) == (4, 1)
    before, again = desk.records, Elsewhere("pocket")
    desk.run(again, BatchTask(CAPTION, videos=SECOND_FRAMES), ordered=True)
    assert [type(one) for one in again.results] == [ItemFailed]
    assert desk.records == before


def test_what_is_found_in_all_frames(desk: Desk) -> None:
    find = VideoTask(find=AnalysisRequest(("face",)))
    assert desk.run(Elsewhere("centerface"), BatchTask([DetectRequest(None, "face")], videos=find), ordered=True)
    assert desk.names == ["a.png", "b.png", "c.png", *["v.mp4"] * 7, "x.jpg"]
    assert [one["frame"] for one in desk.records if "frame" in one] == list(range(6))


@pytest.mark.parametrize("made", [(), ("sidecar", "crops")], ids=["", "made"])
def test_twins_have_one_answer(desk: Desk, tmp_path: Path, made: tuple[str, ...]) -> None:
    """In one run, and with what an earlier run has answered; what is to be made of each is made of each."""
    outputs = SideOutputs("overwrite", crops=tmp_path / "crops") if made else SideOutputs()
    task = BatchTask(CAPTION, videos=SECOND_FRAMES, dedupe=True, side_outputs=outputs)
    executor = Elsewhere("pocket")
    desk.run(executor, task)
    assert sum(isinstance(one, Duplicate) for one in executor.results) == 1
    shutil.copy(desk.folder / "c.png", desk.folder / "d.png")
    executor = Elsewhere("pocket")
    desk.run(executor, task)
    assert sum(isinstance(one, Duplicate) for one in executor.results) == 1
    assert desk.progress.processed == 1
    told = {Path(one["input"]).name: one for one in desk.records if "frames" not in one and "answers" in one}
    for one, other in (("a.png", "b.png"), ("c.png", "d.png")):
        assert told[one]["milliseconds"] == told[other]["milliseconds"]
        assert told[one]["answers"] == told[other]["answers"]
        assert tuple(told[other].get("made", ())) == made
        assert (desk.folder / other).with_suffix(".txt").exists() == bool(made)


@dataclass
class AllAlike:
    """An executor to which every picture is equal to one of an earlier run, until it is told to answer it anyway."""

    name: str = "all-alike"

    def run(self, task: BatchTask, items: Iterator[WorkItem | Idle]) -> Generator[Result]:
        for item in items:
            if isinstance(item, Idle):
                yield InputWait(0.0)
            elif item.force:
                yield ImageResult(item.number, ContentVersion("11"), (4, 3), 1.0, [{"length": "short", "caption": "x"}])
            else:
                yield Duplicate(item.number, ContentVersion("11"), None)


def test_a_twin_of_a_picture_whose_record_is_gone_is_asked_about(desk: Desk) -> None:
    assert desk.run(AllAlike(), BatchTask(CAPTION, dedupe=True)) is ExitCode.OK
    assert desk.progress.processed == len(list(desk.folder.iterdir())) == len(set(desk.names))


def test_what_is_lacking_beside_a_record_is_made_without_the_model(desk: Desk, tmp_path: Path) -> None:
    (desk.folder / "v.mp4").unlink()
    desk.run(Elsewhere("pocket"), BatchTask(CAPTION))
    before = {one["input"]: one for one in desk.records if "answers" in one}
    executor = Elsewhere("pocket")
    desk.run(executor, BatchTask(CAPTION, side_outputs=SideOutputs(draw=tmp_path / "drawn")))
    assert sorted(type(one).__name__ for one in executor.results) == ["AddedSideOutputs"] * 3 + ["ItemFailed"]
    after = {one["input"]: one for one in desk.records if "answers" in one}
    assert after == {name: one | {"made": ["draw"]} for name, one in before.items()}
    assert (tmp_path / "drawn" / "a.png").exists()
