"""Damages clips with faces, redacts them, and looks for faces in what comes out with exit code 0.

    python leaks.py [--seconds N | --clips N] [--seed N] [--save FOLDER]

Two meters that know nothing of the run: where a frame of the damaged clip still is that of the intact one, the true
faces must lie under the mask, if the face detector finds them on that frame; and it must find none in any frame that
the input shows there.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import forked
import numpy as np
from make_media import SAMPLES
from mutation import mutated

# Clip, first frame, step, codec, pixel format, ending.
CLIPS = [
    ("crossing", 40, 2, "libx264", "yuv420p", "mp4"),
    ("crossing", 60, 1, "libx264", "yuv420p", "ts"),
    ("crossing", 50, 2, "mpeg4", "yuv420p", "avi"),
    ("phone", 20, 3, "mpeg2video", "yuv420p", "ts"),
    ("crossing", 30, 3, "libvpx", "yuv420p", "webm"),
    ("busy", 20, 3, "libx264", "yuv420p", "mkv"),
    ("crossing", 45, 2, "mjpeg", "yuvj420p", "mov"),
    ("blink", 0, 2, "libx265", "yuv420p", "mp4"),
]
TURNED = "phone"  # whose true faces are those of the turned picture
FRAMES = 24
RATE = 15
SIZE = 320  # pixels of the longer side
SCORE = 0.5  # of a face that the detector finds in an output
HINT = 0.1  # of the same face in the input: what it doesn't find there at all is the edge of a mask beside something
SAME = 4.0  # mean difference of the grey levels of a face, below which it is that of the intact clip
COVERED = 0.9  # of the inner part of a face
SECONDS = 120.0  # of CPU time, for one clip
MAGENTA = ("--style", "solid", "--color", "#ff00ff", "--preset", "ultrafast", "--quiet")


@dataclass
class Tally:
    """Counts of a run.

    Attributes:
        clips: By damage and exit code.
        frames: That were looked at.
        faces: True faces that were looked at.
        bare: Clips that failed, and whose output shows a face.
        unfound: Faces left with exit code 0 that the model doesn't find on their frame.
        problems: A line each.
    """

    clips: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    faces: int = 0
    bare: int = 0
    unfound: int = 0
    problems: list[str] = field(default_factory=list)


def write_clip(folder: Path, number: int) -> None:
    """Write an intact clip, and the true faces of each frame in pixels."""
    name, first, step, codec, layout, ending = CLIPS[number]
    truth = json.loads((SAMPLES / f"{name}.mp4.gt.json").read_text())["frames"]
    shown = []
    with av.open(SAMPLES / f"{name}.mp4") as source, av.open(folder / f"{number}.{ending}", "w") as target:
        stream: Any = target.add_stream(codec, RATE, options={"g": "8", "x265-params": "log-level=none"})
        chosen = [frame for frame in source.decode(video=0)][first::step][:FRAMES]  # noqa: C416
        scale = SIZE / max(chosen[0].width, chosen[0].height)
        stream.width, stream.height = (round(side * scale / 16) * 16 for side in (chosen[0].width, chosen[0].height))
        stream.pix_fmt = layout
        for at, frame in enumerate(chosen):
            small = frame.reformat(stream.width, stream.height, layout)
            small.pts, small.time_base = at, Fraction(1, RATE)
            target.mux(stream.encode(small))
            factors = np.array([stream.width / chosen[0].width, stream.height / chosen[0].height] * 2)
            boxes = (
                [] if name == "phone" else truth[first + at * step]["boxes"]
            )  # its faces are told of the turned picture
            shown.append([(np.array(box["xyxy"]) * factors).tolist() for box in boxes])
        target.mux(stream.encode(None))
    (folder / f"{number}.json").write_text(json.dumps(shown))


def keep_hidden(folder: Path, number: int) -> None:
    """Leave of the true faces those that a redaction of the intact clip hides: a miss of the model is no damage."""
    ending = CLIPS[number][-1]
    source, output = folder / f"{number}.{ending}", folder / f"redacted.{ending}"
    outcome = forked.run(["redact", str(source), "-o", str(output), "--overwrite", *MAGENTA], folder, SECONDS)
    assert outcome.code == 0, outcome.err

    def measure_intact() -> None:
        truth = json.loads((folder / f"{number}.json").read_text())
        for faces, (_, frame) in zip(truth, _decoded(output), strict=True):
            pixels = frame.to_ndarray(format="rgb24")
            faces[:] = [face for face in faces if _covered(pixels, face) >= COVERED]
        (folder / f"{number}.json").write_text(json.dumps(truth))

    forked.in_fork(measure_intact)


def _inner(box: list[float]) -> tuple[slice, slice]:
    x0, y0, x1, y1 = box
    return np.s_[max(0, round(y0) + 2) : round(y1) - 2, max(0, round(x0) + 2) : round(x1) - 2]


def _covered(pixels: np.ndarray, box: list[float]) -> float:
    """Return which part of a face has the colour of the mask; 0 for one of a few pixels."""
    red, green, blue = np.moveaxis(pixels[_inner(box)].astype(int), -1, 0)
    return float(((red > 150) & (green < 110) & (blue > 150)).mean()) if red.size >= 36 else 0.0


def damage(source: Path, target: Path, rng: random.Random) -> str:
    """Write a damaged copy; return in which way."""
    kind = rng.choice(("bytes", "bytes", "cut", "packets lost", "packets reordered", "packets damaged"))
    data = source.read_bytes()
    if kind == "bytes":
        target.write_bytes(mutated(data, [data], rng))
    elif kind == "cut":
        target.write_bytes(data[: rng.randrange(len(data) // 3, len(data))])
    else:
        _remux(source, target, kind, rng)
    return kind


def _remux(source: Path, target: Path, kind: str, rng: random.Random) -> None:
    with av.open(source, metadata_errors="replace") as intact, av.open(target, "w") as damaged:
        stream = damaged.add_stream_from_template(intact.streams.video[0])
        packets = [packet for packet in intact.demux(video=0) if packet.dts is not None]
        chosen = set(rng.sample(range(len(packets)), rng.randint(1, 6)))
        contents = [bytes(packet) for packet in packets]
        if kind == "packets reordered":
            places = sorted(chosen)
            for place, other in zip(places, places[1:] + places[:1], strict=True):
                contents[place] = bytes(packets[other])
        for number, packet in enumerate(packets):
            if kind == "packets lost" and number in chosen:
                continue
            content = contents[number]
            if kind == "packets damaged" and number in chosen:
                content = mutated(content, contents, rng)
            copy: Any = av.Packet(content)
            copy.pts, copy.dts, copy.time_base, copy.is_keyframe = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.is_keyframe,
            )
            copy.duration, copy.stream = packet.duration, stream
            damaged.mux_one(copy)


def _decoded(path: Path) -> Iterator[tuple[float, Any]]:
    """Yield time and frame, as far as they can be decoded."""
    with av.open(path, metadata_errors="replace") as container:
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame) and frame.time is not None:
                    yield frame.time, frame


def measure(number: int, folder: Path, source: Path, output: Path) -> None:
    """Write to `found.json` how many frames and true faces were looked at, what is visible that the model finds, and
    how many true faces are that it doesn't find on their frame.
    """
    import engine

    model = engine.load("centerface")

    def found(pixels: np.ndarray, least: float = SCORE) -> list[tuple[float, list[float]]]:
        height, width = pixels.shape[:2]
        boxes = model.detect(model.encode([pixels]), "face", threshold=least)[0]
        return [
            (box.score or 0.0, [box.x_min * width, box.y_min * height, box.x_max * width, box.y_max * height])
            for box in boxes
        ]

    intact, damaged, redacted = (
        list(_decoded(path)) for path in (folder / f"{number}.{CLIPS[number][-1]}", source, output)
    )
    truth = json.loads((folder / f"{number}.json").read_text())
    visible: list[str] = []
    faces = unfound = 0
    for position, (at, frame) in enumerate(redacted):
        pixels = frame.to_ndarray(format="rgb24")
        where = f"frame {position} at {at:.3f} s"
        source_frame = damaged[position][1] if len(damaged) == len(redacted) else None
        for score, box in found(pixels):
            if _covered(pixels, box) >= COVERED:  # it takes some masks for faces
                continue
            if source_frame and not _is_face(box, found(source_frame.to_ndarray(format="rgb24"), HINT)):
                continue
            visible.append(f"{where}: the detector finds a face, score {score:.2f}")
        same = next((i for i, (time, _) in enumerate(intact) if abs(time - at) < 0.5 / RATE), None)
        if same is None or source_frame is None:
            continue
        one, other = (image.to_ndarray(format="gray").astype(int) for image in (intact[same][1], source_frame))
        if not one.shape == other.shape == pixels.shape[:2]:
            continue
        for box in truth[same]:
            if np.abs(one[_inner(box)] - other[_inner(box)]).mean() > SAME:
                continue
            faces += 1
            if (part := _covered(pixels, box)) >= COVERED:
                continue
            if _is_face(box, found(source_frame.to_ndarray(format="rgb24"))):
                visible.append(f"{where}: {part:.0%} of a true face is covered")
            else:
                unfound += 1
    Path("found.json").write_text(json.dumps([len(redacted), faces, visible, unfound]))


def _is_face(box: list[float], faces: list[tuple[float, list[float]]]) -> bool:
    """Return whether the centre of one of the faces is in the box."""
    x0, y0, x1, y1 = box
    return any(x0 <= (a0 + a1) / 2 <= x1 and y0 <= (b0 + b1) / 2 <= y1 for _, (a0, b0, a1, b1) in faces)


def try_one(seed: int, number: int, folder: Path, tally: Tally, save: Path) -> None:
    """Damage and redact clip `number`."""
    rng = random.Random(f"leaks {seed} {number}")
    which = number % len(CLIPS)
    ending = CLIPS[which][-1]
    place = folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    source, output = place / f"in.{ending}", place / f"out.{ending}"

    def spoil() -> None:
        (place / "kind").write_text(damage(folder / f"{which}.{ending}", source, rng))

    forked.in_fork(spoil)
    kind = (place / "kind").read_text()
    outcome = forked.run(["redact", source.name, "-o", output.name, *MAGENTA], place, SECONDS)
    problems = []
    if outcome.code not in (0, 1, 74):
        problems.append(f"ended with {outcome.code}: {outcome.err[-200:]}")
    if outcome.code == 0 and not output.exists():
        problems.append("exit code 0 without an output")
    partly = output.with_stem(f"{output.stem}.incomplete")
    if outcome.code != 0 and output.exists():
        problems.append(f"exit code {outcome.code}, and an output that looks finished")
    if made := next((one for one in (output, partly) if one.exists()), None):
        os.chdir(place)
        forked.in_fork(partial(measure, which, folder, source, made))
        frames, faces, visible, unfound = json.loads((place / "found.json").read_text())
        tally.frames += frames
        tally.faces += faces
        if outcome.code == 0:
            problems += visible
            tally.unfound += unfound
        elif visible:
            tally.bare += 1
    tally.clips[f"{kind}: exit code {outcome.code}"] += 1
    for problem in problems:
        line = f"seed {seed}, clip {number} (.{ending}, {kind}): {problem}"
        tally.problems.append(line)
        print(line, flush=True)
        save.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, save / f"{seed}-{number}.{ending}")


def run(
    seed: int, tally: Tally, save: Path, *, seconds: float | None = None, clips: int | None = None, first: int = 0
) -> None:
    """Try damaged clips, until the time or the number is reached.

    Args:
        seed: Of the damage.
        tally: Counts; also what was done before an interruption.
        save: Folder for the clips in which a face is left.
        seconds: How long; None for no limit.
        clips: How many; None for no limit.
        first: Number of the first clip.
    """
    forked.preload()
    end, number = time.monotonic() + (seconds or 1e9), first
    before, save = Path.cwd(), save.absolute()
    with tempfile.TemporaryDirectory(prefix="mdtool-leaks-") as name:
        folder = Path(name)
        for which in range(len(CLIPS)):
            forked.in_fork(partial(write_clip, folder, which))
            keep_hidden(folder, which)
        while time.monotonic() < end and (clips is None or number < first + clips):
            try_one(seed, number, folder, tally, save)
            number += 1
        os.chdir(before)


def main() -> int:
    """Run from the command line; return 1 if a face was left with exit code 0."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=float(os.environ.get("LEAKS_SECONDS", "60")))
    options.add_argument("--clips", type=int)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--from", type=int, default=0, dest="first")
    options.add_argument("--save", type=Path, default=Path("build/leaks"))
    given = options.parse_args()
    print(f"seed {given.seed}", flush=True)
    seconds = None if given.clips else given.seconds
    tally = Tally()
    with suppress(KeyboardInterrupt):
        run(given.seed, tally, given.save, seconds=seconds, clips=given.clips, first=given.first)
    print(json.dumps(tally.clips, indent=2, sort_keys=True))
    print(
        f"{tally.clips.total()} clips ({tally.bare} that failed show a face), "
        f"{tally.frames} frames and {tally.faces} true faces looked at, "
        f"{tally.unfound} of them not found by the model on their frame and left, "
        f"{len(tally.problems)} problems"
    )
    return bool(tally.problems)


if __name__ == "__main__":
    sys.exit(main())
