"""From the network's maps to faces: CenterFace, section 3 (Xu et al. 2019, arXiv 1911.03599). Pure numpy.

Each cell of the maps stands for 4x4 pixels of the network's input. A face is a cell whose heat is high; at that cell

    height, width = 4 * exp(scale)
    centre        = 4 * (cell + 0.5 + offset)
    landmark      = corner + (height, width) * landmarks     corner: top left of the face's box

and every pair in the maps is (y, x).
"""

from dataclasses import dataclass

import numpy as np

from engine.contract import EncodedImage, EngineError

STRIDE = 4  # pixels of the input a cell
MAX_IOU = 0.3  # two boxes that overlap this much are one face


@dataclass(frozen=True, slots=True)
class Faces(EncodedImage):
    """n faces of one picture, best score first; x and y in one unit (pixels or fractions), origin top left.

    boxes: (n, 4), x_min y_min x_max y_max, may reach out of the picture. scores: (n,), 0..1.
    landmarks: (n, 5, 2), x y of the eyes, the nose and the corners of the mouth; of each pair first the one that is
    on the left in a picture of an upright face.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: np.ndarray) -> "Faces":
        """Some of the faces, by index or mask."""
        return Faces(self.boxes[which], self.scores[which], self.landmarks[which])


def decode(
    heat: np.ndarray, scale: np.ndarray, offset: np.ndarray, landmarks: np.ndarray, *, threshold: float
) -> Faces:
    """The faces of one picture, in pixels of the network's input.

    heat: (h, w), 0..1. scale and offset: (2, h, w). landmarks: (10, h, w). Cells count where heat > threshold.
    EngineError where the maps hold no numbers: to skip a face there would be to miss it without a word.
    """
    rows, columns = np.nonzero(heat > threshold)
    at = (slice(None), rows, columns)
    with np.errstate(over="ignore", invalid="ignore"):  # seen to below
        size = STRIDE * np.exp(scale[at].astype(np.float64)).T
        corner = STRIDE * (np.stack([rows, columns]) + 0.5 + offset[at]).T - size / 2
        points = corner[:, None] + size[:, None] * landmarks[at].T.reshape(-1, 5, 2)
        boxes = np.concatenate([corner, corner + size], axis=1)[:, [1, 0, 3, 2]]
    if not all(np.isfinite(numbers).all() for numbers in (heat, boxes, points)) or not (size > 0).all():
        raise EngineError("centerface: the network gave no numbers for a picture; run again, or use another model")
    faces = Faces(boxes, heat[rows, columns].astype(np.float64), points[:, :, ::-1])
    return faces.take(suppress(faces.boxes, faces.scores))


def suppress(boxes: np.ndarray, scores: np.ndarray, max_iou: float = MAX_IOU) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes to keep, best score first; equal scores keep their order.

    Greedy, so the boxes kept above any score do not depend on those below it. boxes: (n, 4) with area. scores: (n,).
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[iou(boxes[best], boxes[order]) < max_iou]
    return np.array(kept, dtype=np.intp)


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box, (4,), with each of n, (n, 4): (n,)."""
    shared = area(np.concatenate([np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])], axis=1))
    return shared / (area(box) + area(boxes) - shared)


def area(boxes: np.ndarray) -> np.ndarray:
    """Area of each box, (..., 4); 0 where it has none."""
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1)
