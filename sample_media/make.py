"""Make the sample videos and images, with ground-truth boxes of all faces or drawn objects in JSON files next to them.

    python sample_media/make.py [OUT_FOLDER] [--only NAME ...]
    python sample_media/make.py OUT_FOLDER --hard [--only KIND ...] [--seed N]

Everything is composed from a portrait and textures of scikit-image and from plain shapes; nothing is downloaded. The
ground truth is deterministic, and so are the files with the same library versions.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from clip import TICK, Frame, write_clip, write_truth
from hard import KINDS, write_hard_clip
from PIL import ExifTags, Image
from scene import (
    FACE,
    Box,
    Canvas,
    Pose,
    astronaut,
    badge,
    gradient,
    portrait,
    regular,
    rounded,
    smooth,
    star,
    texture,
)

from engine.pocket.draw import draw
from engine.pocket.naming import object_name_of
from engine.pocket.scene import (
    COLOURS,
    MAX_OBJECTS,
    SIGN,
    SKIN,
    Background,
    Degradation,
    Scene,
    SceneObject,
    random_scene,
)
from engine.pocket.scene import FACE as HEAD

SEED = 20250
FRAME_DURATION = Fraction(1, 30)  # seconds, in clips of constant frame rate


def frame_rng(index: int) -> np.random.Generator:
    """Return the random generator of a frame's noise, seeded by its index."""
    return np.random.default_rng([SEED, index])


def capture_frame(canvas: Canvas, index: int, light: float = 1.0) -> Frame:
    """Return a painted canvas as frame `index` of a clip of constant frame rate."""
    return Frame(
        index * FRAME_DURATION, FRAME_DURATION, canvas.finished(light, noise=1.5, rng=frame_rng(index)), canvas.boxes()
    )


def crossing() -> Iterator[Frame]:
    """Yield frames of a person who walks in from the left, behind a column that occludes her, and out at the right."""
    wall = texture("brick", (120, 84, 70), (206, 176, 150), (640, 300), zoom=1.25)
    ground = texture("gravel", (84, 82, 80), (150, 146, 140), (640, 60), zoom=0.5)
    street = np.concatenate([wall, ground])
    column = rounded(texture("gravel", (150, 146, 136), (216, 212, 200), (116, 360), zoom=0.7))
    for i in range(150):
        canvas = Canvas(street)
        step = 2 * math.pi * i / 18
        canvas.person(1, astronaut(), Pose(-45 + 4.95 * i, 126 + 3 * math.sin(step), 72, 3 * math.sin(step / 2)))
        canvas.block(310, 0, column)
        yield capture_frame(canvas, i, light=smooth([(0, 1), (45, 1), (70, 0.72), (100, 0.72), (125, 1.08)], i))


def vfr() -> Iterator[Frame]:
    """Yield frames of variable duration: a person drifts over a meadow, then dashes; after a cut she is elsewhere."""
    sky = gradient((120, 168, 214), (214, 226, 232), (640, 210))
    meadow = np.concatenate([sky, texture("grass", (44, 74, 30), (142, 176, 84), (640, 150), zoom=0.6)])
    room = texture("brick", (78, 92, 112), (160, 176, 192), (640, 360), zoom=1.25)
    steps = np.random.default_rng(SEED).choice([10, 20, 30, 40], 130, p=[0.2, 0.5, 0.2, 0.1])
    steps[34] = 300
    time = 120 * TICK
    for i, step in enumerate(steps.tolist()):
        if i < 80:
            canvas = Canvas(meadow)
            sway = 6 * math.sin(i / 9)
            x = smooth([(0, 130), (60, 190)], i) + 25 * max(0, min(i - 60, 12))
            canvas.person(1, astronaut(), Pose(x, 156 + sway, 64, sway / 2))
        else:
            canvas = Canvas(room)
            canvas.person(2, astronaut().mirrored(), Pose(210 + 0.8 * (i - 80), 150, 84 + 0.2 * (i - 80), -3))
        yield replace(capture_frame(canvas, i, light=1 + 0.06 * math.sin(i / 15)), time=time, duration=step * TICK)
        time += step * TICK


def phone() -> Iterator[Frame]:
    """Yield portrait-format frames of two people who approach behind a low wall; the farther one is mirrored."""
    house = texture("brick", (148, 128, 108), (222, 206, 182), (360, 300), zoom=0.71)
    backdrop = np.concatenate([gradient((112, 160, 208), (206, 222, 230), (360, 170)), house, np.zeros((170, 360, 3))])
    wall = (
        texture("gravel", (104, 100, 96), (178, 172, 164), (360, 170), zoom=0.6)
        * np.linspace(1, 0.7, 170)[:, None, None]
    )
    for i in range(120):
        near = i / 119
        sway = math.sin(2 * math.pi * i / 22)
        canvas = Canvas(backdrop)
        canvas.person(
            2, astronaut().mirrored(), Pose(274 - 6 * near + 2 * sway, 342 - 80 * near - sway, 40 + 20 * near, 2 * sway)
        )
        canvas.person(
            1, astronaut(), Pose(96 + 10 * near - 3 * sway, 330 - 96 * near + 2 * sway, 46 + 54 * near, -3 * sway)
        )
        canvas.block(0, 470, wall)
        yield capture_frame(canvas, i, light=0.92 + 0.1 * near)


def blink() -> Iterator[Frame]:
    """Yield frames of a moving ball and star; twice a face appears, for six frames each."""
    yard = texture("brick", (186, 174, 158), (214, 204, 190), (640, 250), zoom=1.25)
    wall = texture("gravel", (96, 92, 92), (176, 170, 164), (640, 110), zoom=0.6)
    backdrop = np.concatenate([yard, wall])
    rise = [9, 4, 0, 0, 4, 9]
    for i in range(150):
        canvas = Canvas(backdrop)
        canvas.polygon(regular(48, (60 + 3.6 * i, 80 + 30 * math.sin(i / 12)), 26), (212, 92, 60))
        if 52 <= i < 58:
            canvas.person(1, astronaut(), Pose(190, 176 + rise[i - 52], 66))
        if 112 <= i < 118:
            canvas.person(2, astronaut().mirrored(), Pose(560 + rise[i - 112], 150, 80, -8))
        canvas.block(0, 250, wall)
        canvas.polygon(star((590 - 3.2 * i, 300 + 12 * math.sin(i / 8)), 30, 4 * i), (236, 196, 74))
        yield capture_frame(canvas, i)


def busy() -> Iterator[Frame]:
    """Yield frames of five faces of different sizes on round badges among shapes, under a slow camera pan."""
    world = texture("gravel", (176, 190, 200), (232, 236, 236), (824, 360), zoom=1.6)
    # face width, x, y in the world; speed in pixels per frame; colour of the rim
    badges = [
        (24, 250, 60, 0.3, 0.2, (90, 140, 60)),
        (34, 420, 300, -0.5, -0.3, (200, 80, 60)),
        (46, 120, 270, 0.5, -0.2, (70, 110, 180)),
        (64, 700, 120, -1.2, 0.3, (150, 90, 170)),
        (90, 390, 150, 0.2, 0.15, (220, 150, 50)),
    ]
    rng = np.random.default_rng(SEED)
    places = rng.uniform((0, 0), (820, 360), (22, 2))
    speeds = rng.uniform(-1.6, 1.6, (22, 2))
    sizes = rng.uniform(10, 34, 22)
    colours = rng.uniform(60, 220, (22, 3))
    for i in range(150):
        left = smooth([(0, 0), (149, 180)], i)
        column = int(left)
        share = left - column
        view = world[:, column : column + 640] * (1 - share) + world[:, column + 1 : column + 641] * share
        canvas = Canvas(view)
        for k, (place, speed, size, colour) in enumerate(zip(places, speeds, sizes, colours, strict=True)):
            centre = tuple(place + speed * i - (left, 0))
            corners = (regular(48, centre, size), regular(4, centre, size, 2 * i), star(centre, size, 45 - 3 * i))[
                k % 3
            ]
            canvas.polygon(corners, tuple(colour))
        for face_id, (width, x, y, dx, dy, rim) in enumerate(badges, start=1):
            lean = 6 * math.sin(i / 20 + face_id)
            canvas.person(face_id, badge(rim), Pose(x + dx * i - left, y + dy * i, width, lean))
        yield capture_frame(canvas, i, light=1 - 0.08 * math.sin(i / 24))


def shapes() -> Iterator[Frame]:
    """Yield frames of drawn objects; a red circle enters at the left, turns back, and leaves at the top.

    It stays so far from the others that its mask, margin included, touches none of them.
    """
    width, height = 640, 360
    background = Background("striped", (178, 180, 186), (152, 154, 162), period=34, angle=0.9)
    for i in range(150):
        turn = math.sin(i / 14)
        x, y = smooth([(10, -60), (70, 395), (104, 248)], i), smooth([(10, 182), (50, 172), (96, 180), (136, -60)], i)
        inside = 0 < x < width and 0 < y < height
        objects = (
            painted("circle", "red", x, y, size=90),
            painted("square", "red", 78 + 0.3 * i, 48 + 5 * turn, size=74, angle=0.25 * turn),
            painted("circle", "blue", 150 + 0.8 * i, 310 + 1.1 * max(0, i - 40), size=84),
            painted("star", "green", 338 + 0.35 * i, 52 - 4 * turn, size=88, angle=0.02 * i),
            painted("triangle", "yellow", 690 - 1.2 * i, 302 + 6 * turn, size=86, angle=0.3 * turn),
            replace(painted(SIGN, "purple", 562 - 6 * turn, 92 + 0.25 * i, size=130), digits="27"),
            SceneObject(HEAD, "", SKIN[1], 330 + 8 * turn, 308, 104, looks_at=0 if inside else None),
        )
        drawing = draw(Scene(width, height, background, objects, Degradation(noise=3), seed=i))
        rounded_boxes = enumerate(map(tenths, drawing.boxes), start=1)
        boxes = {number: (x0, y0, x1, y1) for number, (x0, y0, x1, y1) in rounded_boxes if x0 < x1 and y0 < y1}
        labels = {number: object_name_of(objects[number - 1]).singular for number in boxes}
        yield Frame(i * FRAME_DURATION, FRAME_DURATION, drawing.pixels, boxes, labels)


def painted(kind: str, colour: str, x: float, y: float, *, size: float, angle: float = 0.0) -> SceneObject:
    """Return an object in the reference tone of its colour."""
    return SceneObject(kind, colour, COLOURS[colour], x, y, size, angle)


def tenths(pixels: Sequence[float]) -> tuple[float, ...]:
    """Return coordinates in pixels, rounded to 0.1."""
    return tuple(round(value, 1) for value in pixels)


def write_portrait(path: Path) -> None:
    """Write a portrait with EXIF orientation 6, and a fictitious location, camera and a thumbnail in its EXIF."""
    left, right, bottom, zoom = 60, 380, 400, 1.5
    size = (int((right - left) * zoom), int(bottom * zoom))
    upright = Image.fromarray(portrait()[:bottom, left:right]).resize(size, Image.Resampling.BICUBIC)
    thumbnail = io.BytesIO()
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    sideways.resize((sideways.width // 4, sideways.height // 4)).save(thumbnail, "JPEG", quality=70)
    sideways.save(path, quality=88, exif=exif_with_thumbnail(fictitious_exif(), thumbnail.getvalue()))
    x0, y0, x1, y1 = FACE
    box = ((x0 - left) * zoom, y0 * zoom, (x1 - left) * zoom, y1 * zoom)
    write_truth(path, [Frame(Fraction(0), Fraction(0), np.asarray(upright), {1: box})])


def fictitious_exif() -> Image.Exif:
    """Return EXIF with orientation 6 and fictitious identifying metadata (the location is in the open sea)."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Fictitious Cameras"
    exif[ExifTags.Base.Model] = "Sample One"
    exif[ExifTags.Base.DateTime] = "2000:01:01 00:00:00"
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.BodySerialNumber: "SAMPLE-0000001",
        ExifTags.Base.CameraOwnerName: "Nobody In Particular",
    }
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N",
        ExifTags.GPS.GPSLatitude: (0.0, 0.0, 36.0),
        ExifTags.GPS.GPSLongitudeRef: "E",
        ExifTags.GPS.GPSLongitude: (0.0, 0.0, 36.0),
    }
    return exif


def exif_with_thumbnail(exif: Image.Exif, jpeg: bytes) -> bytes:
    """Return the EXIF block with a JPEG thumbnail in a second directory (IFD1), which Pillow does not write."""
    prefix, tiff = exif.tobytes()[:6], bytearray(exif.tobytes()[6:])
    tiff += b"\0" * (len(tiff) % 2)
    (entries,) = struct.unpack_from(">H", tiff, 8)
    struct.pack_into(">I", tiff, 10 + 12 * entries, len(tiff))
    data_offset = len(tiff) + 2 + 3 * 12 + 4
    directory = struct.pack(">H", 3)
    directory += struct.pack(">HHIHxx", ExifTags.Base.Compression, 3, 1, 6)
    directory += struct.pack(">HHII", ExifTags.Base.JpegIFOffset, 4, 1, data_offset)
    directory += struct.pack(">HHII", ExifTags.Base.JpegIFByteCount, 4, 1, len(jpeg))
    return prefix + bytes(tiff) + directory + struct.pack(">I", 0) + jpeg


def write_group(path: Path) -> None:
    """Write an image of four people of different sizes behind a low wall."""
    canvas = Canvas(gradient((104, 152, 200), (226, 230, 226), (640, 400)))
    poses = [Pose(248, 166, 44, 2), Pose(520, 152, 54, -3), Pose(130, 140, 62, 4), Pose(370, 236, 80, -2)]
    for face_id, pose in enumerate(poses, start=1):
        canvas.person(face_id, astronaut() if face_id % 2 else astronaut().mirrored(), pose)
    canvas.block(0, 320, texture("brick", (116, 80, 66), (198, 160, 134), (640, 80), zoom=1.25))
    pixels = canvas.finished()
    Image.fromarray(pixels).save(path, optimize=True)
    write_truth(path, [Frame(Fraction(0), Fraction(0), pixels, canvas.boxes())])


def write_animation(path: Path) -> None:
    """Write an animated GIF of a swinging badge, with frames of different durations."""
    frames, time = [], Fraction(0)
    for i in range(20):
        canvas = Canvas(gradient((70, 110, 150), (200, 214, 220), (240, 160)))
        swing = math.sin(2 * math.pi * i / 20)
        canvas.person(1, badge((220, 150, 50)), Pose(120 + 62 * swing, 84 - 14 * swing**2, 52, -10 * swing))
        duration = Fraction((40, 80, 120, 200)[i % 4], 1000)
        frames.append(Frame(time, duration, canvas.finished(), canvas.boxes()))
        time += duration
    palette = Image.fromarray(np.concatenate([frame.pixels for frame in frames[::5]])).quantize(128)
    images = [Image.fromarray(frame.pixels).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [int(frame.duration * 1000) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)
    write_truth(path, frames)


def write_scenes(folder: Path) -> None:
    """Write the first synthetic scene that meets each condition of `SCENES`, and scenes.gt.json, one image per line."""
    folder.mkdir(exist_ok=True)
    # noise would make large files
    scenes = [scene for scene in map(random_scene, range(100)) if not scene.degradation.noise]
    lines = []
    for name, matches in SCENES.items():
        scene = next(scene for scene in scenes if matches(scene))
        scenes.remove(scene)
        drawing = draw(scene)
        Image.fromarray(drawing.pixels).save(folder / name, optimize=True)
        lines.append(json.dumps({"file": name, "seed": scene.seed, "things": inventory(scene, drawing.boxes)}))
    (folder / "scenes.gt.json").write_text('{\n"scenes": [\n' + ",\n".join(lines) + "\n]\n}\n")


def inventory(scene: Scene, boxes: Sequence[Box]) -> list[dict[str, object]]:
    """Return kind, colour, digits and box of each object, and for a face its gaze target: a box's centre, or None."""
    objects: list[dict[str, object]] = []
    for thing, box in zip(scene.objects, boxes, strict=True):
        entry: dict[str, object] = {
            "kind": thing.kind,
            "colour": thing.colour,
            "digits": thing.digits,
            "xyxy": tenths(box),
        }
        if thing.kind == HEAD:
            entry["looks_at"] = None if thing.looks_at is None else tenths(centre(boxes[thing.looks_at]))
        objects.append(entry)
    return objects


def centre(box: Box) -> tuple[float, float]:
    """Return the centre of a box."""
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2


def count(scene: Scene, kind: str) -> int:
    """Return the number of objects of a kind in a scene."""
    return sum(thing.kind == kind for thing in scene.objects)


SCENES: dict[str, Callable[[Scene], bool]] = {
    "one.png": lambda scene: len(scene.objects) == 1,
    "many.png": lambda scene: len(scene.objects) == MAX_OBJECTS,
    "wide.png": lambda scene: scene.width > 2 * scene.height and len(scene.objects) > 2,
    "tall.png": lambda scene: scene.height > 1.5 * scene.width and len(scene.objects) > 2,
    "alike.png": lambda scene: max(Counter(map(object_name_of, scene.objects)).values()) > 2,
    "sign.png": lambda scene: count(scene, SIGN) == 1 and len(scene.objects) > 2,
    "look.png": lambda scene: count(scene, HEAD) == 1 and any(thing.looks_at is not None for thing in scene.objects),
    "worn.png": lambda scene: scene.degradation.blur > 0.5 and (scene.degradation.jpeg or 100) < 70,
}

PHONE_TAGS = {"location": "+00.0100+000.0100/", "title": "phone sample"}

SAMPLES: dict[str, Callable[[Path], None]] = {
    "crossing.mp4": lambda path: write_clip(path, crossing(), crf=27),
    "vfr.mp4": lambda path: write_clip(path, vfr(), crf=26),
    "phone.mp4": lambda path: write_clip(path, phone(), crf=27, rotation=-90, tags=PHONE_TAGS),
    "blink.mp4": lambda path: write_clip(path, blink(), crf=26),
    "busy.mp4": lambda path: write_clip(path, busy(), crf=27),
    "shapes.mp4": lambda path: write_clip(path, shapes(), crf=27),
    "portrait.jpg": write_portrait,
    "group.png": write_group,
    "animation.gif": write_animation,
    "scenes": write_scenes,
}


def main() -> None:
    """Parse the command line and make the samples, or the hard clips."""
    parser = argparse.ArgumentParser(description="Make the sample videos and images with their ground truth.")
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).parent, help="output folder")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="make only these")
    parser.add_argument("--hard", action="store_true", help="make the hard clips instead; NAME is one of their kinds")
    parser.add_argument("--seed", type=int, default=0, help="another variant of the hard clips, KIND-SEED.mp4")
    options = parser.parse_args()
    names: list[str] = list(KINDS if options.hard else SAMPLES)
    chosen = options.only or names
    for name in chosen:
        if name not in names:
            parser.error(f"--only {name}: choose from {', '.join(names)}")
    if options.seed and not options.hard:
        parser.error("--seed: give --hard too")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        if options.hard:
            path = write_hard_clip(options.out, name, options.seed)
        else:
            path = options.out / name
            SAMPLES[name](path)
        size = sum(file.stat().st_size for file in (path, *path.glob("*")) if file.is_file())
        print(f"{path.name}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
