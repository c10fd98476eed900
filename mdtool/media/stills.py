"""A few pictures out of an input that may have very many, for a report."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np

from mdtool.errors import InputError
from mdtool.findings import Moment
from mdtool.media.animation import Animation
from mdtool.media.frame import Frame
from mdtool.media.inputs import Input
from mdtool.media.opening import open_medium
from mdtool.media.photo import Photo
from mdtool.media.reader import VideoReader

NEAR = 2.0  # seconds: a frame that follows so soon is reached by decoding on, not by seeking
SAME_TIME = 1e-4  # seconds


def pictures_at(source: Input, moments: Sequence[Moment]) -> Iterator[tuple[Moment, np.ndarray]]:
    """HxWx3 uint8 RGB as displayed, of those moments for which the input has a frame, in about their order.

    InputError where it can't be read.
    """
    if source.path is None:
        raise InputError("came through a pipe")
    with ExitStack() as stack:
        medium = open_medium(source, stack)
        if isinstance(medium, Photo):
            yield moments[0], medium.rgb()
        elif isinstance(medium, VideoReader):
            yield from _of_video(medium, sorted(moments, key=lambda one: (one.stream, one.time)))
        else:
            yield from _of_animation(medium, {moment.frame: moment for moment in moments})


def _of_video(reader: VideoReader, moments: Sequence[Moment]) -> Iterator[tuple[Moment, np.ndarray]]:
    frames: Iterator[Frame] = iter(())
    stream, at = -1, -math.inf
    for moment in moments:
        if moment.stream not in {video.index for video in reader.videos}:
            continue
        if moment.stream != stream or not 0 <= moment.time - at < NEAR:
            frames = reader.frames_from(moment.stream, moment.time)
        stream, at = moment.stream, math.inf
        for frame in frames:
            at = frame.time
            if at > moment.time - SAME_TIME:
                if at < moment.time + SAME_TIME:
                    yield moment, frame.rgb()
                break


def _of_animation(animation: Animation, by_frame: dict[int, Moment]) -> Iterator[tuple[Moment, np.ndarray]]:
    for index, (pixels, _) in enumerate(animation.frames()):
        if index in by_frame:
            yield by_frame[index], np.ascontiguousarray(pixels[:, :, :3])
        if index >= max(by_frame):
            return
