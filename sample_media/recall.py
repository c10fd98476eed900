"""Measure how many faces a redaction hides, by size, pose, light and other conditions, and print Markdown tables.

    python sample_media/recall.py [CLIP ...] [--model NAME] [--every N]

A portrait is drawn on textures under one condition at a time. A face counts as found if a detection has its centre in
its box, and as hidden if the mask, with the default margin, covers 95 % of it. The clips, by default those of this
folder, have their ground truth next to them (CLIP.gt.json); of them one frame in N is analysed.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scene import Box, Canvas, Pose, Sprite, astronaut, texture

import engine
from mdtool.media.video.reader import VideoReader
from mdtool.tracking.detector import Detector, object_detector
from mdtool.tracking.tiles import TileGrid, tile_detector
from mdtool.tracking.views import view_detector
from recipes.redact import Style, redact
from recipes.regions import Region

SIZE = (640, 360)  # of a drawn image
WIDTH = 48  # pixels of a drawn face, where its size is not what varies
HIDDEN_SHARE = 0.95
SIZES = (6, 8, 10, 12, 16, 24, 48, 96, 160)
ANGLES = (0, 15, 30, 45, 60, 90, 180)
THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.7)
MARGINS = (0.0, 0.1, 0.2, 0.3)
BINS = (0, 16, 24, 32, 48, 96, 10_000)  # pixels of a face's width in the clips


@dataclass(frozen=True)
class Image:
    """Pixels (height, width, 3) uint8, and the boxes of the faces in pixels."""

    pixels: np.ndarray
    faces: Sequence[Box]


Case = dict[str, Any]  # arguments of `drawn`
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def drawn(
    *, width: float = WIDTH, angle: float = 0.0, squeeze: float = 1.0, cover: str = "", change: Change | None = None
) -> Iterator[Image]:
    """Yield 24 images of one face.

    Args:
        width: Of the face, in pixels.
        angle: Rotation in degrees.
        squeeze: Factor on its width alone, which resembles a head turned to the side.
        cover: Part of the face behind something grey: "eyes", "mouth", "left" or "".
        change: What happens to the whole image.
    """
    grounds = [
        texture("brick", (120, 84, 70), (206, 176, 150), SIZE, zoom=1.25),
        texture("grass", (44, 74, 30), (142, 176, 84), SIZE, zoom=0.6),
        texture("gravel", (84, 82, 80), (190, 186, 180), SIZE, zoom=0.7),
    ]
    for number in range(24):
        rng = np.random.default_rng([number, 7])
        sprite = squeezed(astronaut().mirrored() if number % 2 else astronaut(), squeeze)
        pose = Pose(rng.uniform(200, 440), rng.uniform(110, 190), width * squeeze, angle + rng.uniform(-4, 4))
        canvas = Canvas(grounds[number % 3])
        canvas.person(1, sprite, pose)
        if not canvas.boxes():
            continue
        box = canvas.boxes()[1]
        if cover:
            canvas.polygon(covered(box, cover), (96, 96, 100))
        pixels = canvas.finished(noise=1.5, rng=rng)
        yield Image(pixels if change is None else change(pixels, rng), [box])


def squeezed(sprite: Sprite, factor: float) -> Sprite:
    """Return a sprite that is narrower by a factor."""
    if factor == 1:
        return sprite
    size = (round(sprite.alpha.shape[1] * factor), sprite.alpha.shape[0])
    rgb, alpha = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (sprite.rgb, sprite.alpha))
    x0, y0, x1, y1 = sprite.face
    return Sprite(rgb, alpha, (x0 * factor, y0, x1 * factor, y1))


def covered(box: Box, part: str) -> np.ndarray:
    """Return the corners of the part of a face that something covers."""
    x0, y0, x1, y1 = box
    height, middle = y1 - y0, (x0 + x1) / 2
    top, bottom, right = {
        "eyes": (y0 + 0.25 * height, y0 + 0.5 * height, x1 + 4),
        "mouth": (y0 + 0.55 * height, y1 + 4, x1 + 4),
        "left": (y0 - 8, y1 + 8, middle),
    }[part]
    return np.array([(x0 - 4, top), (right, top), (right, bottom), (x0 - 4, bottom)])


def gain(factor: float, noise: float = 0.0) -> Change:
    """Return a change of brightness, with the noise of a sensor in grey levels."""

    def change(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return clipped(pixels * factor + rng.normal(0, noise, pixels.shape[:2])[..., None])

    return change


def haze(contrast: float) -> Change:
    """Return a loss of contrast, as by fog or glare."""
    return lambda pixels, rng: clipped(pixels * contrast + 200 * (1 - contrast))


def smear(length: int) -> Change:
    """Return a horizontal motion blur of so many pixels."""
    return lambda pixels, rng: cv2.blur(pixels, (length, 1))


def defocus(sigma: float) -> Change:
    """Return a Gaussian blur."""
    return lambda pixels, rng: cv2.GaussianBlur(pixels, (0, 0), sigma)


def jpeg(quality: int) -> Change:
    """Return a compression with JPEG."""

    def change(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))

    return change


def clipped(pixels: np.ndarray) -> np.ndarray:
    """Round to uint8."""
    return np.asarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


CONDITIONS: dict[str, dict[str, Case]] = {
    "head turned to the side (the face's width times)": {str(f): {"squeeze": f} for f in (0.8, 0.6, 0.5, 0.4, 0.3)},
    "brightness (times)": {str(f): {"change": gain(f)} for f in (0.5, 0.25, 0.12, 0.06, 0.03, 1.5, 2.0, 3.0)},
    "brightness 0.25 and noise (grey levels)": {str(n): {"change": gain(0.25, n)} for n in (4, 8, 16)},
    "noise (grey levels)": {str(n): {"change": gain(1.0, n)} for n in (15, 30, 60)},
    "contrast (times), as in fog or glare": {str(c): {"change": haze(c)} for c in (0.5, 0.25, 0.1, 0.05)},
    "motion blur (pixels)": {str(n): {"change": smear(n)} for n in (8, 16, 24, 36, 48)},
    "out of focus (sigma in pixels)": {str(s): {"change": defocus(s)} for s in (2, 4, 6, 8)},
    "JPEG quality": {str(q): {"change": jpeg(q)} for q in (30, 10, 5, 2)},
    "covered": {part: {"cover": part} for part in ("eyes", "mouth", "left")},
}


@dataclass
class Count:
    """How many faces there are, and how many of them are found and hidden."""

    faces: int = 0
    found: int = 0
    hidden: int = 0

    def add(self, image: Image, regions: Sequence[Region], margin: float = 0.3) -> None:
        """Count the faces of an image."""
        height, width = image.pixels.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        redact([mask], regions, Style("solid", margin=margin), [1])
        for x0, y0, x1, y1 in image.faces:
            part = mask[max(0, round(y0)) : round(y1), max(0, round(x0)) : round(x1)]
            if part.size:
                box = x0 / width, y0 / height, x1 / width, y1 / height
                self.faces += 1
                self.found += any(touches(region, box) for region in regions)
                self.hidden += bool(part.mean() >= HIDDEN_SHARE)

    def __str__(self) -> str:
        if not self.faces:
            return ""
        hidden, found = self.hidden / self.faces, self.found / self.faces
        return f"{hidden:.0%}" + (f" (found: {found:.0%})" if found - hidden > 0.005 else "")


def touches(region: Region, box: Box) -> bool:
    """Return whether the centre of a region lies in a box."""
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def share(images: Iterable[Image], detect: Detector) -> str:
    """Return the share of the faces that are hidden, as text, and of those found if it is another."""
    count = Count()
    for image in images:
        count.add(image, detect([image.pixels])[0].regions)
    return str(count)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, of which the first is the head, as a Markdown table."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    print("\n".join(["", head, "|" + "---|" * len(rows[0]), *body]), flush=True)


def of_clip(clip: Path, step: int) -> Iterator[Image]:
    """Yield one frame in `step` of a clip, with the boxes of its ground truth."""
    truth = json.loads(Path(f"{clip}.gt.json").read_text("utf-8"))["frames"]
    with VideoReader(clip) as reader:
        for number, frame in enumerate(reader.frames_from(reader.videos[0].index, 0.0)):
            if number % step == 0:
                boxes = [box for box in truth[number]["boxes"] if box.get("label", "face") == "face"]
                yield Image(frame.rgb(), [tuple(box["xyxy"]) for box in boxes])


def print_sizes_and_turns(detect: Detector) -> None:
    """Print what is hidden by the size of a face, and by its rotation; other views take longer, so on fewer images."""
    tiled, views = tile_detector(detect, TileGrid(2, 2)), view_detector(detect)
    rows = [[f"{width}", share(drawn(width=width), detect), share(drawn(width=width), tiled)] for width in SIZES]
    table([["face width in pixels", "default", "--tiles 2x2"], *rows])
    rows = [
        [f"{angle}", share(drawn(angle=angle), detect), share(itertools.islice(drawn(angle=angle), 12), views)]
        for angle in ANGLES
    ]
    table([["turned by degrees", "default", "in the views of --verify"], *rows])


def print_conditions(detect: Detector) -> None:
    """Print what is hidden in bad light, blurred, covered and so on."""
    rows = []
    for name, cases in CONDITIONS.items():
        shares = [f"{value}: {share(drawn(**case), detect)}" for value, case in cases.items()]
        rows.append([name, ", ".join(shares)])
    table([["condition", "hidden"], *rows])


def print_settings(detect: Detector, clips: Sequence[Path], step: int) -> None:
    """Print what thresholds and margins change; detect: with the lowest of the thresholds."""
    hard: dict[str, Case] = {
        "10 pixels wide": {"width": 10},
        "12 pixels wide": {"width": 12},
        "brightness 0.25, noise 16": {"change": gain(0.25, 16)},
        "motion blur 36": {"change": smear(36)},
    }
    counts = {(threshold, name): Count() for threshold in THRESHOLDS for name in hard}
    for name, case in hard.items():
        for image in drawn(**case):
            regions = detect([image.pixels])[0].regions
            for threshold in THRESHOLDS:
                counts[threshold, name].add(image, over(regions, threshold))
    images = [image for clip in clips for image in of_clip(clip, step)]
    false = [region for image in images for region in elsewhere(image, detect([image.pixels])[0].regions)]
    rows = [
        [f"{threshold}", *(str(counts[threshold, name]) for name in hard), f"{len(over(false, threshold))}"]
        for threshold in THRESHOLDS
    ]
    table([["--threshold", *hard, f"false masks on {len(images)} frames of the clips"], *rows])
    margins = {margin: Count() for margin in MARGINS}
    for image in drawn():
        regions = detect([image.pixels])[0].regions
        for margin, count in margins.items():
            count.add(image, regions, margin)
    table([["--margin", "hidden"], *([f"{margin}", str(count)] for margin, count in margins.items())])


def over(regions: Sequence[Region], threshold: float) -> list[Region]:
    """Return the detections with a score from the threshold on."""
    return [region for region in regions if (region.score or 0) >= threshold]


def elsewhere(image: Image, regions: Sequence[Region]) -> list[Region]:
    """Return the detections that are no face of the image."""
    height, width = image.pixels.shape[:2]
    boxes = [(x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in image.faces]
    return [region for region in regions if not any(touches(region, box) for box in boxes)]


def print_clips(clips: Sequence[Path], step: int, detect: Detector) -> None:
    """Print what is hidden on frames of clips, by the size of a face."""
    images = [image for clip in clips for image in of_clip(clip, step)]
    tiled, rows = tile_detector(detect, TileGrid(2, 2)), []
    for low, high in itertools.pairwise(BINS):
        part = [Image(i.pixels, [box for box in i.faces if low <= box[2] - box[0] < high]) for i in images]
        part = [image for image in part if image.faces]
        if count := sum(len(image.faces) for image in part):
            rows.append([f"{low} to {high}", f"{count}", share(part, detect), share(part, tiled)])
    print(f"\nOne frame in {step} of {', '.join(clip.name for clip in clips)}:")
    table([["face width in pixels", "faces", "default", "--tiles 2x2"], *rows])


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--model", default="centerface")
    parser.add_argument("--every", type=int, default=5)
    given = parser.parse_args()
    model = engine.load(given.model)
    detect = object_detector(model, ["face"])
    folder = Path(__file__).parent
    clips = given.clips or [folder / f"{name}.mp4" for name in ("blink", "busy", "crossing", "phone", "vfr")]
    print_sizes_and_turns(detect)
    print_conditions(detect)
    print_settings(object_detector(model, ["face"], min(THRESHOLDS)), clips, given.every)
    print_clips(clips, given.every, detect)


if __name__ == "__main__":
    main()
