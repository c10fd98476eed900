"""Decodes CenterFace's output maps to faces (Xu et al. 2019, arXiv 1911.03599, section 3). Pure numpy.

Each cell of the maps covers 4x4 pixels of the network's input. A face is a cell with a high heat; at that cell

    height, width = 4 * exp(scale)
    centre        = 4 * (cell + 0.5 + offset)
    landmark      = corner + (height, width) * landmarks     corner: top left of the face's box

and each pair in the maps is (y, x).
"""

from dataclasses import dataclass

import numpy as np

from engine.contract import EncodedImage, NonFiniteOutput

STRIDE = 4  # input pixels a cell
MAX_IOU = 0.3  # boxes that overlap at least this much are one face


@dataclass(frozen=True, slots=True)
class Faces(EncodedImage):
    """The n faces of one image, highest score first; in pixels or in normalised coordinates, origin top left.

    Attributes:
        boxes: (n, 4), x_min y_min x_max y_max; may extend beyond the image.
        scores: (n,), 0..1.
        landmarks: (n, 5, 2), x y of the eyes, the nose and the corners of the mouth; of each pair first the one on the
            left in an image of an upright face.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray) -> "Faces":
        """Select faces by indices or by a mask."""
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index])


def decode(
    heat: np.ndarray, scale: np.ndarray, offset: np.ndarray, landmarks: np.ndarray, *, threshold: float
) -> Faces:
    """Decode the faces of one image.

    Args:
        heat: (h, w), 0..1.
        scale: (2, h, w).
        offset: (2, h, w).
        landmarks: (10, h, w).
        threshold: Cells with a higher heat are faces.

    Returns:
        The faces after non-maximum suppression, in pixels of the network's input.

    Raises:
        NonFiniteOutput: The maps have NaN or infinite values: skipping them would silently miss faces.
    """
    rows, columns = np.nonzero(heat > threshold)
    cells = (slice(None), rows, columns)
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        size = STRIDE * np.exp(scale[cells].astype(np.float64)).T
        corner = STRIDE * (np.stack([rows, columns]) + 0.5 + offset[cells]).T - size / 2
        points = corner[:, None] + size[:, None] * landmarks[cells].T.reshape(-1, 5, 2)
        boxes = np.concatenate([corner, corner + size], axis=1)[:, [1, 0, 3, 2]]
    if not all(np.isfinite(numbers).all() for numbers in (heat, boxes, points)) or not (size > 0).all():
        raise NonFiniteOutput(
            "centerface: the network computed NaN or infinity for an image; run again, or use another model"
        )
    faces = Faces(boxes, heat[rows, columns].astype(np.float64), points[:, :, ::-1])
    return faces.take(suppress(faces.boxes, faces.scores))


def suppress(boxes: np.ndarray, scores: np.ndarray, max_iou: float = MAX_IOU) -> np.ndarray:
    """Apply greedy non-maximum suppression.

    The boxes retained above any score do not depend on those below it.

    Args:
        boxes: (n, 4), with an area over 0.
        scores: (n,).
        max_iou: A box that overlaps a better one at least this much is dropped.

    Returns:
        Indices of the retained boxes, highest score first; equal scores in their order.
    """
    order = np.argsort(-scores, kind="stable")
    retained = []
    while len(order):
        best, order = order[0], order[1:]
        retained.append(best)
        order = order[iou(boxes[best], boxes[order]) < max_iou]
    return np.array(retained, dtype=np.intp)


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of a box (4,) with each of n boxes (n, 4): (n,)."""
    overlap = area(np.concatenate([np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])], axis=1))
    union = area(box) + area(boxes) - overlap
    ratio: np.ndarray = overlap / union
    return ratio


def area(boxes: np.ndarray) -> np.ndarray:
    """Compute the area of boxes (..., 4); 0 for an empty box."""
    areas: np.ndarray = (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1)
    return areas
