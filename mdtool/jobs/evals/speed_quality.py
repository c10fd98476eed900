"""Measures what speed costs in quality: one model at several resolutions and quantisations."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product

from engine.generation.verbs import VisionModel
from engine.pocket.evaluation import evaluate_model, seeds
from mdtool.console import Console
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import StreamSink
from mdtool.jobs.evals.evaluate_set import DataSet, evaluate_set, samples_of
from mdtool.jobs.evals.run_samples import run_samples
from mdtool.model_selection import ComputeConfig, LoadCallbacks, model_errors

WARM_UP = 4  # samples, or scenes


@dataclass(frozen=True)
class Setting:
    """How a model computes.

    Attributes:
        quantize: As of `--quantize`.
        resolution: The option that sets it, as on the command line.
        computing: All of it.
    """

    quantize: str
    resolution: str
    computing: ComputeConfig


@dataclass(frozen=True)
class Quality:
    """A figure, its interval if it is known, and how long the model took for each picture, with all its questions."""

    figure: str
    value: float
    low: float | None
    high: float | None
    seconds: float


@dataclass(frozen=True)
class SpeedQualityPoint:
    """A setting, and what it is worth."""

    quantize: str
    resolution: str
    quality: Quality


Measure = Callable[[VisionModel], Quality]


def settings_of(
    computing: ComputeConfig, quantize: Sequence[str], detail: Sequence[str], max_image_tokens: Sequence[int]
) -> list[Setting]:
    """Return the settings to measure: every quantisation at every resolution.

    Args:
        computing: What they have in common.
        quantize: Values of `--quantize`.
        detail: Values of `--detail`.
        max_image_tokens: Values of `--max-image-tokens`, for models that take images of any size.
    """
    resolutions = [(f"--detail {level}", replace(computing, detail=level)) for level in detail]
    for tokens in max_image_tokens:
        budget = replace(computing.image_budget, max_tokens=tokens)
        resolutions.append((f"--max-image-tokens {tokens}", replace(computing, image_budget=budget)))
    return [
        Setting(scheme, name, replace(config, quantize=scheme))
        for scheme, (name, config) in product(quantize, resolutions)
    ]


def measure_all(
    name: str, settings: Sequence[Setting], measure: Measure, callbacks: LoadCallbacks
) -> Iterator[SpeedQualityPoint]:
    """Measure a model at each setting; one model is in memory at a time.

    Raises:
        ModelNotFound, UsageError: It can't be loaded so.
        EngineError: It can't go on.
    """
    for setting in settings:
        with model_errors():
            model = setting.computing.load(name, callbacks)
        yield SpeedQualityPoint(setting.quantize, setting.resolution, measure(model))


def on_scenes(count: int) -> Measure:
    """Return the measurement on drawn scenes: the mean of `eval pocket`'s scores."""

    def measure(model: VisionModel) -> Quality:
        evaluate_model(model, seeds(min(WARM_UP, count)))
        since = time.perf_counter()
        scores = evaluate_model(model, seeds(count)).scores().values()
        seconds = time.perf_counter() - since
        return Quality("mean score", sum(scores) / len(scores), None, None, seconds / count)

    return measure


def on_data_set(data_set: DataSet) -> Measure:
    """Return the measurement on a data set: its most important figure."""

    def ignore(text: str) -> None:
        """Keep no record."""

    def measure(model: VisionModel) -> Quality:
        common_fields = {"model": model.name, "revision": model.revision, "settings": ""}
        for _ in run_samples(model, islice(samples_of(data_set), WARM_UP), StreamSink(ignore), common_fields):
            pass
        progress, run = Progress(Console(quiet=True)), partial(run_samples, model)
        found = evaluate_set(data_set, run, StreamSink(ignore), common_fields, progress=progress)
        figure = found.figures[0]
        return Quality(
            figure.name, figure.value or 0.0, figure.low, figure.high, found.seconds / max(1, found.pictures)
        )

    return measure


def table(points: Sequence[SpeedQualityPoint]) -> Iterator[str]:
    """Yield the measurements as lines of a Markdown table; speed relative to the first setting."""
    yield f"| quantised to | resolution | {points[0].quality.figure} | 95 % interval | seconds a picture | speed |"
    yield "|---|---|---|---|---|---|"
    for point in points:
        found = point.quality
        interval = "" if found.low is None or found.high is None else f"{found.low:.1%} to {found.high:.1%}"
        speed = points[0].quality.seconds / found.seconds
        yield (
            f"| {point.quantize} | `{point.resolution}` | {found.value:.1%} | {interval} | {found.seconds:.3f} | "
            f"{speed:.2f}x |"
        )
