"""The detector of `mdtool gaze`: faces, their gazes, and named targets."""

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

# Estimates the gazes of the faces in images, given the images, the encoded images and the faces of each.
_GazeEstimator = Callable[[Sequence[np.ndarray], Sequence[Any], Sequence[Sequence[Box]]], list[list[GazeEstimate]]]


@dataclass(frozen=True)
class GazeAveraging:
    """Averages many estimates of each gaze, from random points in the face.

    Attributes:
        seed: Seed of the random points.
    """

    seed: int = 0


def gaze_detector(
    model: VisionModel,
    targets: Sequence[str] = (),
    threshold: float | None = None,
    accuracy: GazeAveraging | None = None,
) -> Detector:
    """Return a detector of faces with their gazes, and of targets.

    Args:
        model: With the skill gaze, or with `Landmarks`; the gaze is then the direction of the head.
        targets: Prompts of objects that people may look at, which become the labels of their boxes.
        threshold: Confidence threshold of the boxes.
        accuracy: Average many estimates of each gaze; None: one estimate.
    """
    if "gaze" in model.abilities.prompts:
        estimate_gazes = _model_estimator(model, accuracy)
    else:
        estimate_gazes = _head_pose_estimator(model, threshold)

    def detect_batch(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        encoded = model.encode(images)
        faces = [[_clipped(box) for box in boxes] for boxes in model.detect(encoded, FACE, threshold, UNLIMITED)]
        gazes = estimate_gazes(images, encoded, faces)
        regions = [
            [region(face, FACE, gaze) for face, gaze in zip(*faces_and_gazes, strict=True)]
            for faces_and_gazes in zip(faces, gazes, strict=True)
        ]
        for target in targets:
            for image_regions, boxes in zip(regions, model.detect(encoded, target, threshold, UNLIMITED), strict=True):
                image_regions += [region(box, target) for box in boxes]
        return [ImageFindings(image_regions) for image_regions in regions]

    def detect(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        """Detect in batches, since encoded images take much memory."""
        size = model.image_batch_size
        return [
            findings for start in range(0, len(images), size) for findings in detect_batch(images[start : start + size])
        ]

    return detect


def _clipped(face: Box) -> Box:
    """Clip a box to the image, in which the point for the gaze request has to lie."""
    x_min, y_min, x_max, y_max = (min(max(side, 0.0), 1.0) for side in (face.x_min, face.y_min, face.x_max, face.y_max))
    return Box(x_min, y_min, x_max, y_max, FACE, face.score)


def _model_estimator(model: VisionModel, accuracy: GazeAveraging | None) -> _GazeEstimator:
    def estimate(
        images: Sequence[np.ndarray], encoded: Sequence[Any], faces: Sequence[Sequence[Box]]
    ) -> list[list[GazeEstimate]]:
        boxes = [face for image_faces in faces for face in image_faces]
        if accuracy is None:
            points = model.detect_gaze(_repeated(encoded, faces), [_center(face) for face in boxes])
        else:
            with_faces = [
                image[:, ::-1].copy() for image, image_faces in zip(images, faces, strict=True) if image_faces
            ]
            mirrored = iter(model.encode(with_faces))
            mirrors = _repeated([next(mirrored) if image_faces else None for image_faces in faces], faces)
            points = model.detect_gaze_accurately(_repeated(encoded, faces), mirrors, boxes, accuracy.seed)
        gazes = (GazeEstimate((point.x, point.y), True) if point else GazeEstimate(None, False) for point in points)
        return _per_image(gazes, faces)

    return estimate


def _head_pose_estimator(model: VisionModel, threshold: float | None) -> _GazeEstimator:
    assert isinstance(model, Landmarks)

    def estimate(
        images: Sequence[np.ndarray], encoded: Sequence[Any], faces: Sequence[Sequence[Box]]
    ) -> list[list[GazeEstimate]]:
        sizes = _repeated([image.shape[1::-1] for image in images], faces)
        boxes = (face for image_faces in faces for face in image_faces)
        landmarks = (marks for image_marks in model.landmarks(encoded, threshold) for marks in image_marks)
        gazes = (_head_gaze(*each) for each in zip(landmarks, boxes, sizes, strict=True))
        return _per_image(gazes, faces)

    return estimate


def _head_gaze(landmarks: np.ndarray, face: Box, size: tuple[int, int]) -> GazeEstimate:
    """Follow the head's direction from the center of the face to the edge of the image, (width, height) pixels."""
    pose = head_pose(landmarks, *size)
    if pose is None:
        return GazeEstimate(None, None, "head")
    if pose.direction is None:
        return GazeEstimate(None, False, "head")
    end = ray_end(Point(*_center(face)), pose.direction, *size)
    return GazeEstimate((end.x, end.y), True, "head")


def _center(face: Box) -> tuple[float, float]:
    return (face.x_min + face.x_max) / 2, (face.y_min + face.y_max) / 2


def _repeated(values: Sequence[Any], faces: Sequence[Sequence[Box]]) -> list[Any]:
    """Repeat the value of each image for each face in it."""
    return [value for value, image_faces in zip(values, faces, strict=True) for _ in image_faces]


def _per_image(gazes: Iterator[GazeEstimate], faces: Sequence[Sequence[Box]]) -> list[list[GazeEstimate]]:
    """Group the gazes of all faces by image."""
    return [[next(gazes) for _ in image_faces] for image_faces in faces]
