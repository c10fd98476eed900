"""Where the people in a picture look, as `mdtool gaze` finds it."""

from dataclasses import replace

import numpy as np

import engine
from engine.generation.verbs import VisionModel
from mdtool.jobs.gaze.detector import gaze_detector
from mdtool.model_selection import FACE_MODEL
from recipes.gaze import Gaze, gaze_of, who_looks_at


def gazes_in(image: np.ndarray, model: VisionModel) -> tuple[str, list[Gaze]]:
    """Find the faces in a picture, and where each looks.

    Args:
        image: (height, width, 3) uint8 RGB.
        model: Estimates the gaze; for one that can't, the face detector estimates the direction of the head.

    Returns:
        The name of the model that did, and the gazes, numbered from 1.
    """
    able = model if "gaze" in model.abilities.prompts else engine.load(FACE_MODEL)
    [found] = gaze_detector(able)([image])
    people = [gaze_of(replace(face, track=number)) for number, face in enumerate(found.regions, 1)]
    return able.name, who_looks_at(people)
