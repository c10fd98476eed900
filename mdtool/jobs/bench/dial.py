"""Measures what fewer image tokens save, and cost in quality: one model at several settings of its resolution."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.contract import EngineError, Generation
from engine.generation.verbs import VisionModel
from engine.generation.vision_language_model import VisionLanguageModel
from engine.pocket.evaluation import evaluate_model, seeds
from mdtool.jobs.bench.timing import median_seconds
from mdtool.model_selection import ComputeConfig, LoadCallbacks

TOKENS = (32, 64, 128, 256, 512, 1024)
QUESTION = "What is in this image?"
BAR = 40  # characters of the longest bar


@dataclass(frozen=True)
class DialPoint:
    """A setting and what it costs.

    Attributes:
        setting: The option.
        image_tokens: That the image became; None: the same number at every setting.
        first_token_seconds: From pixels to the first token of an answer.
        answer_seconds: To the last token.
        quality: Mean score on drawn scenes, 0..1; None: not measured.
    """

    setting: str
    image_tokens: int | None
    first_token_seconds: float
    answer_seconds: float
    quality: float | None


def bench_dial(
    name_or_path: str,
    image: np.ndarray,
    computing: ComputeConfig,
    callbacks: LoadCallbacks,
    *,
    tokens: Sequence[int] = TOKENS,
    answer_tokens: int = 60,
    runs: int = 3,
    scenes: int = 0,
) -> list[DialPoint]:
    """Measure a model at each setting.

    Args:
        name_or_path: The model.
        image: (height, width, 3) uint8 RGB.
        computing: How the model computes.
        callbacks: Receive messages of loading.
        tokens: Limits of image tokens, for a model with images of any size; others have their levels of detail.
        answer_tokens: Length of the answer.
        runs: Repetitions, of which the median counts.
        scenes: Number of drawn scenes to measure quality on; 0: don't.

    Raises:
        EngineError: The model can't be loaded, or can't answer questions.
    """
    model = computing.load(name_or_path, callbacks)
    if "query" not in model.abilities.prompts:
        raise EngineError(f"{model.name} can't answer questions, which dial times")
    if isinstance(model, VisionLanguageModel):
        settings = _with_budgets(model, tokens)
    else:
        settings = _with_details(name_or_path, computing, callbacks)
    return [_measured(setting, own, image, answer_tokens, runs=runs, scenes=scenes) for setting, own in settings]


def _with_budgets(model: VisionLanguageModel, tokens: Sequence[int]) -> Iterator[tuple[str, VisionModel]]:
    default = model.default_budget
    for most in tokens:
        least = min(default.min_tokens or 1, most)
        model.default_budget = replace(default, min_tokens=least, max_tokens=most)
        yield f"--max-image-tokens {most}", model
    model.default_budget = default
    yield "default", model


def _with_details(name: str, computing: ComputeConfig, callbacks: LoadCallbacks) -> Iterator[tuple[str, VisionModel]]:
    for level in ("low", "auto", "high"):
        yield f"--detail {level}", replace(computing, detail=level).load(name, callbacks)


def _measured(
    setting: str, model: VisionModel, image: np.ndarray, answer_tokens: int, *, runs: int, scenes: int
) -> DialPoint:
    def seconds(count: int) -> float:
        generation = Generation(temperature=0, max_tokens=count)
        device = str(getattr(model, "device", "cpu"))
        return median_seconds(lambda: model.query(model.encode([image]), QUESTION, generation=generation), device, runs)

    [answer] = model.query(model.encode([image]), QUESTION, generation=Generation(temperature=0, max_tokens=1))
    quality = None
    if scenes:
        scores = evaluate_model(model, seeds(scenes)).scores().values()
        quality = sum(scores) / len(scores)
    return DialPoint(setting, answer.image_tokens or None, seconds(1), seconds(answer_tokens), quality)


def table(points: Sequence[DialPoint], answer_tokens: int) -> Iterator[str]:
    """Yield the measurements as lines of Markdown, and the time to the first token as a bar chart."""
    has_quality = any(point.quality is not None for point in points)
    head = ["setting", "image tokens", "first token", f"{answer_tokens} tokens", *["quality"] * has_quality]
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for point in points:
        quality = [] if point.quality is None else [f"{point.quality:.2f}"]
        times = [f"{point.first_token_seconds:.3f} s", f"{point.answer_seconds:.3f} s"]
        yield f"| {' | '.join([point.setting, str(point.image_tokens or ''), *times, *quality])} |"
    yield ""
    longest = max(point.first_token_seconds for point in points)
    width = max(len(point.setting) for point in points)
    for point in points:
        bar = "█" * max(1, round(BAR * point.first_token_seconds / longest))
        quality_mark = "" if point.quality is None else f"  quality {point.quality:.2f}"
        yield f"{point.setting:<{width}}  {bar} {point.first_token_seconds:.3f} s{quality_mark}"
