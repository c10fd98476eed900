"""Which way a head is turned, from five landmarks of its face: perspective-n-point on a generic face.

Angles are the head's in the camera's space, as the picture shows it: yaw is positive to the right of the picture, pitch
upwards, roll clockwise. They are those of an average face seen by a camera with an ordinary lens, so a few degrees off
for any real one.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.contract import Point

# A face that looks into the camera, in millimetres from between its eyes: x to the picture's right, y down, z away.
# Rows: eyes, nose, corners of the mouth; of each pair first the one on the left in the picture. About an adult's.
FACE = np.array([[-32, 0, 0], [32, 0, 0], [0, 37, -30], [-26, 69, -3], [26, 69, -3]], np.float64)
FOCAL = 1.0  # of the picture's longer side: a horizontal view of 53 degrees
MIN_SIZE = 6.0  # pixels from the eyes to the mouth, or between the eyes, whichever is more: less tells nothing
MAX_ERROR = 0.12  # of the same: landmarks that miss by more are those of no face
FACING = 10.0  # degrees: as near as this to the camera, the direction in the picture is mostly noise


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Angles in degrees; direction: unit vector (x, y) in the picture's pixels, y down, or None where the head faces
    the camera, so that it looks at nothing in the picture."""

    yaw: float
    pitch: float
    roll: float
    direction: tuple[float, float] | None


def head_pose(landmarks: np.ndarray, width: int, height: int) -> HeadPose | None:
    """The pose of a head; None where the landmarks are those of no face, or of one too small to tell.

    landmarks: (5, 2), x and y in fractions of the picture, in the order of FACE. width, height: of the picture, pixels.
    ValueError for an array of another shape.
    """
    if landmarks.shape != (5, 2):
        raise ValueError(f"a head's direction needs five landmarks of x and y, not an array {landmarks.shape}")
    pixels = landmarks.astype(np.float64) * (width, height)
    if not np.isfinite(pixels).all():
        return None
    across, down = pixels[1] - pixels[0], (pixels[3] + pixels[4] - pixels[0] - pixels[1]) / 2
    size = max(math.hypot(*across), math.hypot(*down))
    if size < MIN_SIZE:
        return None
    solved = _solve(pixels, width, height, roll=math.atan2(-down[0], down[1]), size=size)
    if solved is None:
        return None
    rotation, place = solved
    forward = -rotation[:, 2]
    yaw, pitch = math.atan2(forward[0], -forward[2]), math.asin(float(np.clip(-forward[1], -1, 1)))
    level = np.array([math.cos(yaw), 0.0, math.sin(yaw)])  # where the face's x axis would point without any roll
    roll = math.atan2(float(rotation[:, 1] @ -level), float(rotation[:, 0] @ level))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll), _in_picture(forward, place))


def ray_end(eye: Point, direction: tuple[float, float], width: int, height: int, *, length: float = math.inf) -> Point:
    """Where the line from the eye ends: after `length` pixels, or before that where it leaves the picture.

    eye and result: fractions of a picture of this size. direction: unit vector in its pixels.
    """
    x, y = (min(max(at, 0.0), 1.0) for at in (eye.x, eye.y))
    dx, dy = direction[0] / width, direction[1] / height
    reach = min([((step > 0) - at) / step for at, step in ((x, dx), (y, dy)) if step] + [length])
    return Point(min(max(x + reach * dx, 0.0), 1.0), min(max(y + reach * dy, 0.0), 1.0))


def _solve(
    pixels: np.ndarray, width: int, height: int, *, roll: float, size: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """(3, 3) rotation and (3,) place of the face in the camera's space; None where no pose of a face fits.

    By Levenberg-Marquardt, from a face that looks into the camera, upright as this one: of all poses that fit five
    points, the one that shows the face is the nearest to it.
    """
    focal = FOCAL * max(width, height)
    centre = np.array([width / 2, height / 2])
    camera = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    depth = focal * FACE[3, 1] / size
    start = np.append((pixels.mean(axis=0) - centre) * depth / focal, depth)
    turned = np.array([0.0, 0.0, roll])
    try:
        _, turn, place = cv2.solvePnP(
            FACE, pixels, camera, None, turned, start, useExtrinsicGuess=True, flags=cv2.SOLVEPNP_ITERATIVE
        )
    except cv2.error:  # equations without a solution
        return None
    place = place.ravel()
    if not np.isfinite(turn).all() or not np.isfinite(place).all() or place[2] <= 0:
        return None
    missed = cv2.projectPoints(FACE, turn, place, camera, None)[0].reshape(5, 2) - pixels
    rotation = cv2.Rodrigues(turn)[0]
    turned_away = float(rotation[:, 2] @ place) < 0
    if turned_away or math.sqrt((missed**2).sum(axis=1).mean()) > MAX_ERROR * size:
        return None
    return rotation, place


def _in_picture(forward: np.ndarray, place: np.ndarray) -> tuple[float, float] | None:
    """The way in which the picture of a point moves that goes forward from the face; None towards the camera."""
    away = place / np.linalg.norm(place)
    if float(-forward @ away) > math.cos(math.radians(FACING)):
        return None
    x, y = (forward[:2] - forward[2] * place[:2] / place[2]).tolist()
    length = math.hypot(x, y)
    return x / length, y / length
