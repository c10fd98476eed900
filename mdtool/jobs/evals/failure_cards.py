"""Collects the failures of an evaluation for its page, each with its picture."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image

from mdtool.errors import InputError
from mdtool.jobs.evals.evaluate_set import is_failure
from mdtool.jobs.evals.sample import Sample, Scored
from mdtool.jobs.evals.tasks.task import Task
from mdtool.media.image.decode_image import decode_image
from mdtool.report.contents import EmbeddedImage
from mdtool.report.failures import Failure
from recipes.draw import draw

MAX_SHOWN = 200
SIDE = 480  # pixels of the longer side of a picture on the page
QUALITY = 80
MAX_TEXT = 600  # characters of a text on the page


class FailureCards:
    """The failures of an evaluation, the first ones with their pictures."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.cards: list[Failure] = []
        self.total = 0

    def add(self, sample: Sample, scored: Scored) -> None:
        """Add a scored sample, if it is a failure."""
        if not is_failure(self._task, scored):
            return
        self.total += 1
        if len(self.cards) < MAX_SHOWN:
            score = f"{scored.score:.3f}" if scored.score > 0 else "0"
            self.cards.append(
                Failure(
                    scored.id, _text(scored.request), _text(scored.truth), _text(scored.answer), score,
                    self._picture(sample, scored),
                )
            )  # fmt: skip

    def _picture(self, sample: Sample, scored: Scored) -> EmbeddedImage | None:
        try:
            pixels = decode_image(sample.picture.read())
        except (InputError, OSError):  # it has gone since the model saw it
            return None
        height, width = pixels.shape[:2]
        image = Image.fromarray(pixels)
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        marked = draw(np.asarray(image), self._task.drawn(scored, (width, height)))
        file = io.BytesIO()
        Image.fromarray(marked).save(file, "JPEG", quality=QUALITY)
        return EmbeddedImage(file.getvalue())


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(_rounded(value), ensure_ascii=False)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
