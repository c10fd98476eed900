"""Finds faces and where each of them looks: what a model is asked by `mdtool gaze`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.contract import UNLIMITED, Box, Landmarks, Point
from engine.generation.verbs import VisionModel
from mdtool.tracking.detector import Detector, ImageFindings, region
from recipes.head_pose import head_pose, ray_end
from recipes.regions import GazeEstimate

FACE = "face"

# Of some pictures, as they are and encoded, and the faces in each: where each of those looks.
_GazesOf = Callable[[Sequence[np.ndarray], Sequence[Any], Sequence[Sequence[Box]]], list[list[GazeEstimate]]]


@dataclass(frozen=True)
class GazeAveraging:
    """Each gaze is asked for many times, from places in the face that the seed decides, and averaged."""

    seed: int = 0


def gaze_detector(
    model: VisionModel,
    targets: Sequence[str] = (),
    threshold: float | None = None,
    accuracy: GazeAveraging | None = None,
) -> Detector:
    """Faces with their gazes, and the things that `targets` name, each labelled as it was asked for.

    A model that has no gaze must have `Landmarks`: then it is the direction of the head that is told.
    """
    gazes_of = _by_model(model, accuracy) if "gaze" in model.abilities.prompts else _by_head(model, threshold)

    def detect_some(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        encoded = model.encode(images)
        faces = [[_inside(box) for box in boxes] for boxes in model.detect(encoded, FACE, threshold, UNLIMITED)]
        gazes = gazes_of(images, encoded, faces)
        found = [
            [region(face, FACE, gaze) for face, gaze in zip(*of_one, strict=True)]
            for of_one in zip(faces, gazes, strict=True)
        ]
        for target in targets:
            for regions, boxes in zip(found, model.detect(encoded, target, threshold, UNLIMITED), strict=True):
                regions += [region(box, target) for box in boxes]
        return [ImageFindings(regions) for regions in found]

    def detect(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        """A few at a time, for what is encoded takes much memory."""
        step = model.image_batch_size
        return [found for at in range(0, len(images), step) for found in detect_some(images[at : at + step])]

    return detect


def _inside(face: Box) -> Box:
    """As much of it as lies in the picture, for there its gaze is asked about."""
    x_min, y_min, x_max, y_max = (min(max(side, 0.0), 1.0) for side in (face.x_min, face.y_min, face.x_max, face.y_max))
    return Box(x_min, y_min, x_max, y_max, FACE, face.score)


def _by_model(model: VisionModel, accuracy: GazeAveraging | None) -> _GazesOf:
    def gazes_of(
        images: Sequence[np.ndarray], encoded: Sequence[Any], faces: Sequence[Sequence[Box]]
    ) -> list[list[GazeEstimate]]:
        boxes = [face for of_one in faces for face in of_one]
        if accuracy is None:
            found = model.detect_gaze(_each(encoded, faces), [_middle(face) for face in boxes])
        else:
            peopled = [image[:, ::-1].copy() for image, of_one in zip(images, faces, strict=True) if of_one]
            mirrored = iter(model.encode(peopled))
            mirrors = _each([next(mirrored) if of_one else None for of_one in faces], faces)
            found = model.detect_gaze_accurately(_each(encoded, faces), mirrors, boxes, accuracy.seed)
        gazes = (GazeEstimate((point.x, point.y), True) if point else GazeEstimate(None, False) for point in found)
        return _shared_out(gazes, faces)

    return gazes_of


def _by_head(model: VisionModel, threshold: float | None) -> _GazesOf:
    assert isinstance(model, Landmarks)

    def gazes_of(
        images: Sequence[np.ndarray], encoded: Sequence[Any], faces: Sequence[Sequence[Box]]
    ) -> list[list[GazeEstimate]]:
        sizes = _each([image.shape[1::-1] for image in images], faces)
        boxes = (face for of_one in faces for face in of_one)
        landmarks = (marks for of_one in model.landmarks(encoded, threshold) for marks in of_one)
        gazes = (_headed(*each) for each in zip(landmarks, boxes, sizes, strict=True))
        return _shared_out(gazes, faces)

    return gazes_of


def _headed(landmarks: np.ndarray, face: Box, size: tuple[int, int]) -> GazeEstimate:
    """Along the line that leaves the middle of the face where the head points. size: of the picture, pixels."""
    pose = head_pose(landmarks, *size)
    if pose is None:
        return GazeEstimate(None, None, "head")
    if pose.direction is None:
        return GazeEstimate(None, False, "head")
    end = ray_end(Point(*_middle(face)), pose.direction, *size)
    return GazeEstimate((end.x, end.y), True, "head")


def _middle(face: Box) -> tuple[float, float]:
    return (face.x_min + face.x_max) / 2, (face.y_min + face.y_max) / 2


def _each(of_pictures: Sequence[Any], faces: Sequence[Sequence[Box]]) -> list[Any]:
    """What belongs to each picture, once for each face in it."""
    return [one for one, of_one in zip(of_pictures, faces, strict=True) for _ in of_one]


def _shared_out(gazes: Iterator[GazeEstimate], faces: Sequence[Sequence[Box]]) -> list[list[GazeEstimate]]:
    """By picture, of all faces one after the other."""
    return [[next(gazes) for _ in of_one] for of_one in faces]
