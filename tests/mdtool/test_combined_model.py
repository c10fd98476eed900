"""Faces by one model and all else by another, in one batch."""

import numpy as np
import pytest
from golden_qwen import model
from make_media import SAMPLES
from PIL import Image, ImageOps

import engine
from engine.contract import (
    CaptionRequest,
    DetectRequest,
    Done,
    EngineError,
    Failed,
    Generation,
    Landmarks,
    PointRequest,
    Request,
)
from mdtool.combined_model import CombinedModel


def test_each_request_is_served_by_its_model_and_keeps_its_ticket() -> None:
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(SAMPLES / "portrait.jpg")).convert("RGB"))
    faces, others = engine.load("centerface"), model()
    both = CombinedModel(faces, others)
    assert isinstance(both, Landmarks)
    [image] = both.encode([pixels])
    greedy = Generation(temperature=0.0, max_tokens=5)
    requests: list[Request] = [
        CaptionRequest(image, "short", greedy),
        DetectRequest(image, "Face"),
        DetectRequest(image, "cup"),
        PointRequest(image, "eye"),
    ]
    events = {event.index: event for event in both.run(requests) if isinstance(event, Done | Failed)}
    caption, face, cup, eye = (events[index] for index in range(4))
    assert isinstance(caption, Done)
    assert caption.result == others.results([CaptionRequest(others.encode([pixels])[0], "short", greedy)])[0]
    assert isinstance(face, Done)
    assert face.result == faces.results([DetectRequest(faces.encode([pixels])[0], "face")])[0]
    assert isinstance(eye, Done)
    assert isinstance(cup, Failed)  # random weights write no list
    [marks] = both.landmarks([image])
    assert marks.shape == (len(face.result.items), 5, 2)  # type: ignore[union-attr]


def test_the_check_is_that_of_the_model_that_would_serve() -> None:
    both = CombinedModel(engine.load("centerface"), model())
    both.check(DetectRequest(None, "face", threshold=0.5))
    with pytest.raises(EngineError, match="returns no scores"):
        both.check(DetectRequest(None, "cup", threshold=0.5))
