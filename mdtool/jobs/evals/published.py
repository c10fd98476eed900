"""Figures that the authors of models in the catalog have published, to stand beside those that are measured here."""

from dataclasses import dataclass

CARD = "moondream2's model card"


@dataclass(frozen=True)
class PublishedFigure:
    """A published figure.

    Attributes:
        task: Of `mdtool eval`.
        model: In the catalog.
        figure: What it is called there, with its metric.
        percent: The figure.
        source: Where it was published, and the release that it is of.
    """

    task: str
    model: str
    figure: str
    percent: float
    source: str


PUBLISHED = (
    PublishedFigure("chartqa", "moondream2", "ChartQA", 77.5, f"{CARD}, release 2025-04-15"),
    PublishedFigure("chartqa", "moondream2", "ChartQA, program of thought", 82.2, f"{CARD}, release 2025-04-15"),
    PublishedFigure("docvqa", "moondream2", "DocVQA", 79.3, f"{CARD}, release 2025-04-15"),
    PublishedFigure("docvqa", "qwen3-vl-4b", "DocVQA", 94.2, "a secondary source"),
    PublishedFigure("textvqa", "moondream2", "TextVQA", 76.3, f"{CARD}, release 2025-04-15"),
    PublishedFigure("countbenchqa", "moondream2", "CountBenchQA", 86.4, f"{CARD}, release 2025-03-27"),
    PublishedFigure("countbenchqa", "moondream3-preview", "CountBenchQA", 93.2, "a secondary source"),
    PublishedFigure(
        "coco", "moondream2", "COCO (the 11-point figure, not COCO's mAP)", 51.2, f"{CARD}, release 2025-03-27"
    ),
    PublishedFigure("refcoco", "moondream3-preview", "RefCOCOg", 88.6, "a secondary source"),
    PublishedFigure(
        "screenspot", "moondream2", "ScreenSpot, F1 of boxes at IoU 0.5 (not click accuracy)", 80.4,
        f"{CARD}, release 2025-06-21",
    ),
    PublishedFigure("screenspot", "qwen3-vl-4b", "ScreenSpot", 92.9, "a secondary source"),
    PublishedFigure("realworldqa", "lfm2-vl-1.6b", "RealWorldQA", 65.23, "a secondary source"),
)  # fmt: skip


def published_of(task: str) -> list[PublishedFigure]:
    """Return the published figures of a task."""
    return [one for one in PUBLISHED if one.task == task]
