"""How fast a batch is round a model that takes no time, what memory it takes, and how soon it sees that all is done."""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.contract import Abilities, Answer, CaptionRequest, EncodedImage
from engine.generation.requests import ImmediateScheduler
from engine.generation.verbs import VisionModel
from mdtool.console import Console
from mdtool.errors import InputError
from mdtool.jobs.batch.coordinator import BatchPlan, Coordinator
from mdtool.jobs.batch.executor import ThreadExecutor
from mdtool.jobs.batch.messages import BatchTask
from mdtool.jobs.batch.output_format import open_sink
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.bench.timing import peak_memory
from mdtool.media.sources.discover import Selection

QUALITY = 88  # of the JPEGs
NOISE = 3.0  # levels of 255, as a camera's
FILES = 50  # that differ; the others are links to them


class NullModel(VisionModel):
    """A model that says nothing, at once."""

    name = "stand-in"
    revision = ""
    image_batch_size = 1
    setup = ()

    @property
    def abilities(self) -> Abilities:
        return Abilities({"caption": None})

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        return [EncodedImage() for _ in images]

    def scheduler(self, batch: int | None = None) -> ImmediateScheduler:
        return ImmediateScheduler(lambda request: Answer(""))


@dataclass(frozen=True)
class BatchTiming:
    """rate: pictures a second, read for the first time; again: seconds in which a second run sees that all is done;
    memory: MB at most above what the program had before."""

    pictures: int
    size: tuple[int, int]
    kilobytes: float
    rate: float
    again: float
    memory: float


def bench_batch(photo: Path, pictures: int, size: tuple[int, int]) -> BatchTiming:
    """photo: enlarged or reduced to `size`, (width, height) in pixels, and saved as JPEG. InputError if it is none."""
    with tempfile.TemporaryDirectory(prefix="mdtool-") as name:
        folder = Path(name)
        names = [folder / f"{number // 1000:03}" / f"{number:06}.jpg" for number in range(pictures)]
        for parent in dict.fromkeys(path.parent for path in names):
            parent.mkdir()
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as others:  # whose memory is not counted
            list(others.map(partial(_save, photo, size), names[:FILES], range(FILES)))
        for number, path in enumerate(names[FILES:]):
            path.hardlink_to(names[number % FILES])
        kilobytes = names[0].stat().st_size / 1000
        before = _memory()
        first, again = _run(folder), _run(folder)
        return BatchTiming(pictures, size, kilobytes, first.rate, again.seconds, _memory() - before)


def _run(folder: Path) -> Progress:
    console = Console(quiet=True)
    progress = Progress(console)
    with open_sink(folder / "out.jsonl", overwrite=False) as sink:
        sink.begin("bench")
        common_fields = {"model": NullModel.name, "revision": "", "settings": "bench"}
        model: Any = NullModel()
        plan, task = BatchPlan(Selection([str(folder)]), common_fields), BatchTask([CaptionRequest(None)])
        Coordinator(plan, task, ThreadExecutor(model), sink, progress=progress).run()
    return progress


def _save(photo: Path, size: tuple[int, int], target: Path, number: int) -> None:
    try:
        with Image.open(photo) as opened_photo:
            pixels = np.asarray(opened_photo.convert("RGB").resize(size)).astype(np.float32)
    except OSError as error:
        raise InputError(f"{photo}: is no photo that can be read") from error
    noise = np.random.default_rng(number).normal(0, NOISE, pixels.shape)
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(target, quality=QUALITY)


def _memory() -> float:
    """Of this process at most, in MB."""
    return peak_memory() / 1e6


def table(timing: BatchTiming) -> list[str]:
    """Lines of a table in Markdown."""
    width, height = timing.size
    head = f"{timing.pictures} JPEGs of {width}x{height}, {timing.kilobytes:.0f} kB each"
    return [
        f"| {head} | |",
        "|---|---|",
        f"| read and recorded | {timing.rate:.0f} a second |",
        f"| run again, all done | {timing.again:.1f} s |",
        f"| memory above the program's | {timing.memory:.0f} MB |",
    ]
