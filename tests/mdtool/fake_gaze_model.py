"""Clips whose frames encode their index, and a model with a planned gaze for each."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from make_media import TICKS, add_video, constant_rate_times, mux
from synthetic_video import texture

from engine.contract import Abilities, Box, Point

SIZE = (64, 48)
LEVELS = 6  # of grey, from one frame's number to the next
GazeFunction = Callable[[int, tuple[float, float]], Point | None]


def numbered_clip(path: Path, count: int, rate: int = 30, shots: Sequence[int] = (), start: int = 0) -> Path:
    """Write a clip whose frames encode their index, 0 to 41, in one corner; shots: where a new shot begins."""
    with av.open(f"file:{path}", "w") as container:
        stream = add_video(container, size=SIZE, rate=rate, options={"crf": "1"})
        packets, seed = [], 1
        for number, time in enumerate(constant_rate_times(count, rate, start)):
            seed += number in shots
            picture = np.repeat(texture(seed, size=SIZE)[:, :, None], 3, axis=2)
            picture[:12, :12] = LEVELS * number
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(Fraction(time) / TICKS), TICKS
            packets += stream.encode(frame)
        mux(container, packets + stream.encode(None))
    return path


def number_of(picture: np.ndarray) -> int:
    return round(float(picture[2:10, 2:10].mean()) / LEVELS)


class FakeGazeModel:
    """A model that detects the same boxes on every frame; gaze: function of the frame's index and the eye."""

    name = "planned"
    image_batch_size = 4
    abilities = Abilities({"detect": None, "gaze": None})

    def __init__(self, boxes: dict[str, list[Box]], gaze: GazeFunction) -> None:
        self.boxes, self.gaze = boxes, gaze
        self.encoded: list[np.ndarray] = []
        self.asked: list[int] = []  # how many gazes at once

    def encode(self, images: Sequence[np.ndarray]) -> list[int]:
        self.encoded += images
        return [number_of(image) for image in images]

    def detect(
        self, encoded: Sequence[int], prompt: str, threshold: float | None = None, max_objects: int | None = None
    ) -> list[list[Box]]:
        return [list(self.boxes.get(prompt, [])) for _ in encoded]

    def point(self, encoded: Sequence[int], prompt: str, max_objects: int | None = None) -> list[list[Point]]:
        raise NotImplementedError

    def detect_gaze(self, encoded: Sequence[int], eyes: Sequence[tuple[float, float]]) -> list[Point | None]:
        self.asked.append(len(eyes))
        return [self.gaze(number, eye) for number, eye in zip(encoded, eyes, strict=True)]

    def detect_gaze_accurately(
        self, encoded: Sequence[int], mirrored: Sequence[int], faces: Sequence[Box], seed: int = 0
    ) -> list[Point | None]:
        """Return gaze targets shifted to the right by the seed."""
        return [Point(face.x_min + seed / 100, 0.5) for _, _, face in zip(encoded, mirrored, faces, strict=True)]
