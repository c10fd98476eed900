"""Frames with their ground truth, and how they are written: an MP4 file and NAME.gt.json next to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scene import Box

TICK = Fraction(1, 600)  # seconds; divides the frame times of 6, 30 and 60 fps
AUDIO_RATE = 44100  # samples per second


@dataclass(frozen=True)
class Frame:
    """A displayed frame with its ground truth.

    Attributes:
        time: Timestamp in seconds.
        duration: In seconds.
        pixels: (height, width, 3) uint8 RGB.
        boxes: Id -> box in pixels.
        labels: Id -> label; empty where all boxes are faces.
        visible: Id -> visible part of the face, 0..1; empty where it is not known.
    """

    time: Fraction
    duration: Fraction
    pixels: np.ndarray
    boxes: dict[int, Box]
    labels: dict[int, str] = field(default_factory=dict)
    visible: dict[int, float] = field(default_factory=dict)


def audio_samples(seconds: Fraction) -> np.ndarray:
    """Return a quiet hum with a beep each second, (1, samples) float32 at `AUDIO_RATE`."""
    t = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    beep = 0.3 * np.sin(2 * np.pi * 880 * t) * (t % 1 < 0.12)
    return (0.05 * np.sin(2 * np.pi * 220 * t) + beep).astype(np.float32)[None]


def write_clip(
    path: Path,
    frames: Iterable[Frame],
    crf: int,
    *,
    preset: str = "slow",
    rate: int = 30,
    audio: bool = True,
    rotation: int = 0,
    tags: dict[str, str] | None = None,
) -> None:
    """Write an MP4 file with H.264 and AAC, and its ground truth.

    Args:
        path: The MP4 file.
        frames: As displayed.
        crf: Constant rate factor of x264.
        preset: Of x264.
        rate: Nominal frames per second.
        audio: Whether it has sound.
        rotation: Of the display matrix: the stored frames must be rotated by so many degrees counter-clockwise.
        tags: Container metadata.
    """
    frames = list(frames)
    stored = [np.rot90(frame.pixels, -rotation // 90) for frame in frames]
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        container.metadata.update(tags or {})
        video = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": preset, "g": "90"})
        video.height, video.width = stored[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = TICK
        video.codec_context.thread_count = 1  # more threads would change the bytes
        if rotation:
            video.set_display_rotation(rotation)
        if audio:
            sound = container.add_stream("aac", rate=AUDIO_RATE, layout="mono", bit_rate=40_000)
        for frame, pixels in zip(frames, stored, strict=True):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            image.pts, image.duration, image.time_base = int(frame.time / TICK), int(frame.duration / TICK), TICK
            container.mux(video.encode(image))
        container.mux(video.encode(None))
        if audio:
            seconds = frames[-1].time + frames[-1].duration
            samples = av.AudioFrame.from_ndarray(audio_samples(seconds), format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = AUDIO_RATE, 0, Fraction(1, AUDIO_RATE)
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    write_truth(path, frames)


def write_truth(path: Path, frames: Sequence[Frame]) -> None:
    """Write PATH.gt.json, one frame per line: index, timestamp in seconds, boxes in pixels of the displayed frame."""
    lines = []
    for index, frame in enumerate(frames):
        boxes = [
            {"id": number, "xyxy": box}
            | ({"label": frame.labels[number]} if frame.labels else {})
            | ({"visible": frame.visible[number]} if frame.visible else {})
            for number, box in frame.boxes.items()
        ]
        lines.append(json.dumps({"index": index, "time": round(float(frame.time), 6), "boxes": boxes}))
    label = "" if any(frame.labels for frame in frames) else '"label": "face",\n'
    head = f'"video": {json.dumps(path.name)},\n{label}"frames": [\n'
    path.with_name(path.name + ".gt.json").write_text("{\n" + head + ",\n".join(lines) + "\n]\n}\n")
