"""Head pose from five facial landmarks: perspective-n-point (PnP) on a generic face model.

Angles are in the camera's frame, as the image shows the head: yaw is positive to the right of the image, pitch upwards,
roll clockwise. They assume an average face and a common field of view, so they are a few degrees off for a real one.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.contract import Point

# An adult face that looks into the camera, in millimetres from between its eyes: x to the image's right, y down,
# z away. Rows: eyes, nose, corners of the mouth; of each pair first the one on the left in the image.
FACE = np.array([[-32, 0, 0], [32, 0, 0], [0, 37, -30], [-26, 69, -3], [26, 69, -3]], np.float64)
FOCAL = 1.0  # focal length in longer image sides: a horizontal field of view of 53 degrees
MIN_SIZE = 6.0  # pixels from the eyes to the mouth, or between the eyes, whichever is more
MAX_ERROR = 0.12  # of that size: greatest reprojection error of a face
FACING = 10.0  # degrees from the camera's direction, under which the direction in the image is mostly noise


@dataclass(frozen=True, slots=True)
class HeadPose:
    """The pose of a head.

    Attributes:
        yaw: Degrees, positive to the right of the image.
        pitch: Degrees, positive upwards.
        roll: Degrees, positive clockwise.
        direction: Unit vector (x, y) in pixels of the image, y down; None if the head faces the camera.
    """

    yaw: float
    pitch: float
    roll: float
    direction: tuple[float, float] | None


def head_pose(landmarks: np.ndarray, width: int, height: int) -> HeadPose | None:
    """Estimate the pose of a head.

    Args:
        landmarks: (5, 2) float, x and y in fractions of the image, in the order of FACE.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The pose; None if the landmarks don't fit a face, or the face is too small.

    Raises:
        ValueError: The array has another shape.
    """
    if landmarks.shape != (5, 2):
        raise ValueError(f"a head pose needs five landmarks of x and y, not an array of {landmarks.shape}")
    pixels = landmarks.astype(np.float64) * (width, height)
    if not np.isfinite(pixels).all():
        return None
    eye_axis, face_axis = pixels[1] - pixels[0], (pixels[3] + pixels[4] - pixels[0] - pixels[1]) / 2
    size = max(math.hypot(*eye_axis), math.hypot(*face_axis))
    if size < MIN_SIZE:
        return None
    pose = _solve(pixels, width, height, roll=math.atan2(-face_axis[0], face_axis[1]), size=size)
    if pose is None:
        return None
    rotation, translation = pose
    forward = -rotation[:, 2]
    yaw, pitch = math.atan2(forward[0], -forward[2]), math.asin(float(np.clip(-forward[1], -1, 1)))
    level_axis = np.array([math.cos(yaw), 0.0, math.sin(yaw)])  # where the face's x axis would point without any roll
    roll = math.atan2(float(rotation[:, 1] @ -level_axis), float(rotation[:, 0] @ level_axis))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll), _image_direction(forward, translation))


def ray_end(eye: Point, direction: tuple[float, float], width: int, height: int, *, length: float = math.inf) -> Point:
    """Return the end of a line of sight: after `length`, or where it leaves the image.

    Args:
        eye: Start, in fractions of the image.
        direction: Unit vector (x, y) in pixels, y down.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        length: Pixels; infinite for the edge of the image.

    Returns:
        The end, in fractions of the image.
    """
    x, y = (min(max(position, 0.0), 1.0) for position in (eye.x, eye.y))
    dx, dy = direction[0] / width, direction[1] / height
    distance = min([((step > 0) - position) / step for position, step in ((x, dx), (y, dy)) if step] + [length])
    return Point(min(max(x + distance * dx, 0.0), 1.0), min(max(y + distance * dy, 0.0), 1.0))


def _solve(
    pixels: np.ndarray, width: int, height: int, *, roll: float, size: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Solve the PnP problem by Levenberg-Marquardt.

    Several poses fit five points; the one that shows the face is nearest to the start, a face that looks into the
    camera with the given roll.

    Args:
        pixels: (5, 2) landmarks in pixels.
        width: Pixels.
        height: Pixels.
        roll: Radians, the initial value.
        size: Size of the face in pixels, for the initial distance.

    Returns:
        (3, 3) rotation and (3,) translation in the camera's frame; None if no pose of a face fits.
    """
    focal = FOCAL * max(width, height)
    centre = np.array([width / 2, height / 2])
    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    depth = focal * FACE[3, 1] / size
    initial_translation = np.append((pixels.mean(axis=0) - centre) * depth / focal, depth)
    initial_rotation = np.array([0.0, 0.0, roll])
    try:
        _, rotation_vector, translation = cv2.solvePnP(
            FACE,
            pixels,
            camera,
            None,
            initial_rotation,
            initial_translation,
            useExtrinsicGuess=True,
            flags=cv2.SOLVEPNP_ITERATIVE,
        )
    except cv2.error:  # equations without a solution
        return None
    translation = translation.ravel()
    if not np.isfinite(rotation_vector).all() or not np.isfinite(translation).all() or translation[2] <= 0:
        return None
    error = cv2.projectPoints(FACE, rotation_vector, translation, camera, None)[0].reshape(5, 2) - pixels
    rotation = cv2.Rodrigues(rotation_vector)[0]
    turned_away = float(rotation[:, 2] @ translation) < 0
    if turned_away or math.sqrt((error**2).sum(axis=1).mean()) > MAX_ERROR * size:
        return None
    return rotation, translation


def _image_direction(forward: np.ndarray, translation: np.ndarray) -> tuple[float, float] | None:
    """Return the image direction of a point that moves forward from the face; None if that is towards the camera."""
    view_direction = translation / np.linalg.norm(translation)
    if float(-forward @ view_direction) > math.cos(math.radians(FACING)):
        return None
    x, y = (forward[:2] - forward[2] * translation[:2] / translation[2]).tolist()
    length = math.hypot(x, y)
    return x / length, y / length
