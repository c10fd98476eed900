"""Measures the overhead of a batch with a null model: throughput, memory, and the time of a second run that skips."""

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

QUALITY = 88  # JPEG quality
NOISE = 3.0  # standard deviation in levels of 255, about that of a camera
FILES = 50  # distinct files; the others are hard links to them


class NullModel(VisionModel):
    """A model that answers every request with an empty text, immediately."""

    name = "stand-in"
    revision = ""
    image_batch_size = 1
    setup = ()

    @property
    def abilities(self) -> Abilities:
        """The skill caption alone."""
        return Abilities({"caption": None})

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Return an empty encoding for each image."""
        return [EncodedImage() for _ in images]

    def scheduler(self, batch: int | None = None) -> ImmediateScheduler:
        """Return a scheduler that answers immediately."""
        return ImmediateScheduler(lambda request: Answer(""))


@dataclass(frozen=True)
class BatchTiming:
    """Measurements of a batch.

    Attributes:
        pictures: Number of images.
        size: Width and height of the images, in pixels.
        kilobytes: Size of one image file.
        rate: Images per second in the first run.
        again: Seconds that a second run takes, in which all inputs are already done.
        memory: Peak memory above that of the process before, in MB.
    """

    pictures: int
    size: tuple[int, int]
    kilobytes: float
    rate: float
    again: float
    memory: float


def bench_batch(image_file: Path, count: int, size: tuple[int, int]) -> BatchTiming:
    """Run a batch twice on a folder of JPEG images.

    Args:
        image_file: The image that all are made from.
        count: Number of images.
        size: (width, height) that it is resized to, in pixels.

    Raises:
        InputError: The image file can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="mdtool-") as name:
        folder = Path(name)
        names = [folder / f"{number // 1000:03}" / f"{number:06}.jpg" for number in range(count)]
        for parent in dict.fromkeys(path.parent for path in names):
            parent.mkdir()
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # in processes, whose memory isn't counted
            list(pool.map(partial(_save, image_file, size), names[:FILES], range(FILES)))
        for number, path in enumerate(names[FILES:]):
            path.hardlink_to(names[number % FILES])
        kilobytes = names[0].stat().st_size / 1000
        before = _peak_memory()
        first, again = _run(folder), _run(folder)
        return BatchTiming(count, size, kilobytes, first.rate, again.seconds, _peak_memory() - before)


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


def _save(image_file: Path, size: tuple[int, int], target: Path, number: int) -> None:
    try:
        with Image.open(image_file) as image:
            pixels = np.asarray(image.convert("RGB").resize(size)).astype(np.float32)
    except OSError as error:
        raise InputError(f"{image_file}: can't be read as an image; give a JPEG or PNG file") from error
    noise = np.random.default_rng(number).normal(0, NOISE, pixels.shape)
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(target, quality=QUALITY)


def _peak_memory() -> float:
    """Return the peak memory of this process, in MB."""
    return peak_memory() / 1e6


def table(timing: BatchTiming) -> list[str]:
    """Return the measurements as lines of a Markdown table."""
    width, height = timing.size
    head = f"{timing.pictures} JPEGs of {width}x{height}, {timing.kilobytes:.0f} kB each"
    return [
        f"| {head} | |",
        "|---|---|",
        f"| throughput | {timing.rate:.0f} images/s |",
        f"| second run, all already done | {timing.again:.1f} s |",
        f"| memory above the program's | {timing.memory:.0f} MB |",
    ]
