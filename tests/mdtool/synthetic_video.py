"""Textured scenes with known motion, and a detector that returns the ground truth."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import cv2
import numpy as np

from mdtool.media.video.frame import Frame
from mdtool.tracking.detector import ImageFindings
from mdtool.tracking.keyframe_sampler import AnnotatedFrame, CallBudget, KeyframeSampler
from mdtool.tracking.sampling import Sampling
from recipes.redact import Style, redact
from recipes.regions import Region

WIDTH, HEIGHT = 320, 180
RATE = 30
VISIBLE = 0.4  # least share of an object that must be in the picture, and uncovered, for it to be seen

Place = tuple[float, float] | None  # centre of an object; None: it is not there
Path = Callable[[int], Place]


def texture(
    seed: int, low: int = 60, high: int = 200, size: tuple[int, int] = (WIDTH, HEIGHT), grain: int = 9
) -> np.ndarray:
    """Return a texture, hxw uint8, of soft blotches about `grain` pixels wide."""
    width, height = size
    noise = np.random.default_rng(seed).integers(low, high, (height // grain + 2, width // grain + 2)).astype(np.uint8)
    return np.asarray(cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))


@dataclass
class MovingObject:
    """An object to detect (or, if `is_target` is False, only an occluder), and its position on each frame."""

    at: Path
    size: tuple[int, int] = (36, 46)
    seed: int = 1
    is_target: bool = True
    grain: int = 24

    def picture(self) -> np.ndarray:
        return texture(self.seed, 30, 230, self.size, self.grain)

    def box(self, index: int) -> np.ndarray | None:
        place = self.at(index)
        if place is None:
            return None
        x0, y0 = round(place[0] - self.size[0] / 2), round(place[1] - self.size[1] / 2)
        return np.array([x0, y0, x0 + self.size[0], y0 + self.size[1]], float)


@dataclass
class Scene:
    """One shot. things: later ones are in front of earlier ones."""

    count: int
    objects: list[MovingObject] = field(default_factory=list)
    seed: int = 7

    def pictures(self) -> Iterable[np.ndarray]:
        ground = texture(self.seed)
        looks = [thing.picture() for thing in self.objects]
        for index in range(self.count):
            picture = ground.copy()
            for thing, look in zip(self.objects, looks, strict=True):
                box = thing.box(index)
                if box is not None:
                    _paste(picture, look, *box[:2].astype(int).tolist())
            yield picture

    def visible(self, index: int) -> list[tuple[np.ndarray, float]]:
        """Return (box clipped to the image, visible share of the object) of each visible object."""
        found = []
        for place, thing in enumerate(self.objects):
            box = thing.box(index)
            if box is None or not thing.is_target:
                continue
            owner = np.zeros((HEIGHT, WIDTH), bool)
            inside = np.clip(box, 0, [WIDTH, HEIGHT] * 2)
            x0, y0, x1, y1 = inside.astype(int).tolist()
            owner[y0:y1, x0:x1] = True
            for other in self.objects[place + 1 :]:
                cover = other.box(index)
                if cover is not None:
                    a0, b0, a1, b1 = np.clip(cover, 0, [WIDTH, HEIGHT] * 2).astype(int).tolist()
                    owner[b0:b1, a0:a1] = False
            if owner.any():
                rows, columns = np.nonzero(owner.any(1))[0], np.nonzero(owner.any(0))[0]
                shown = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
                found.append((shown, float(owner.sum() / np.prod(thing.size))))
        return found


class SyntheticVideo:
    """Consecutive shots as frames, with the ground truth of each."""

    def __init__(self, *shots: Scene, corrupt: Collection[int] = (), failing: Collection[int] = ()) -> None:
        self.failing = failing
        self.asked: list[int] = []
        self.frames: list[Frame] = []
        self.truth: list[list[tuple[np.ndarray, float]]] = []
        self.shot_of: list[int] = []
        for number, shot in enumerate(shots):
            for index, picture in enumerate(shot.pictures()):
                self.frames.append(frame_of(picture, len(self.frames), len(self.frames) in corrupt))
                self.truth.append(shot.visible(index))
                self.shot_of.append(number)

    def model_call(self, frames: Sequence[Frame]) -> list[ImageFindings | None]:
        """Return the ground truth of each frame, except on those where it fails; a `ModelCall`."""
        self.asked += [frame.index for frame in frames]
        return [None if frame.index in self.failing else ImageFindings(self._seen(frame.index)) for frame in frames]

    def _seen(self, index: int) -> list[Region]:
        return [
            Region(x0 / WIDTH, y0 / HEIGHT, x1 / WIDTH, y1 / HEIGHT, "thing", score=0.9)
            for (x0, y0, x1, y1), share in self.truth[index]
            if share >= VISIBLE
        ]


def frame_of(picture: np.ndarray, index: int, corrupt: bool = False) -> Frame:
    grey = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
    return Frame(grey, index=index, pts=index, time_base=Fraction(1, RATE), corrupt=corrupt)


def annotate_video(
    synthetic: SyntheticVideo, sampling: Sampling | None = None, calls: int | None = None
) -> list[AnnotatedFrame]:
    """Annotate all frames of the video."""
    sampler = KeyframeSampler(synthetic.model_call, sampling or Sampling(), CallBudget(calls), RATE)
    annotated = [one for frame in synthetic.frames for one in sampler.push(frame)]
    return [*annotated, *sampler.finish()]


def exposed_fractions(synthetic: SyntheticVideo, annotated: Sequence[AnnotatedFrame]) -> list[tuple[int, float]]:
    """Return (frame, part of a visible box that a redaction with the default margins leaves unmasked) for each box."""
    shares = []
    for number, one in enumerate(annotated):
        painted = np.zeros((HEIGHT, WIDTH), np.uint8)
        redact([painted], one.findings.regions, Style("solid"), [255])
        if one.findings.hidden:
            painted[:] = 255
        for box, _ in synthetic.truth[number]:
            x0, y0, x1, y1 = box.astype(int).tolist()
            shares.append((number, float((painted[y0:y1, x0:x1] == 0).mean())))
    return shares


def keyframe_indices(annotated: Sequence[AnnotatedFrame]) -> list[int]:
    return [number for number, one in enumerate(annotated) if one.findings.analysed]


def _paste(picture: np.ndarray, look: np.ndarray, x: int, y: int) -> None:
    height, width = look.shape
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(width, WIDTH - x), min(height, HEIGHT - y)
    if left < right and top < bottom:
        picture[y + top : y + bottom, x + left : x + right] = look[top:bottom, left:right]
