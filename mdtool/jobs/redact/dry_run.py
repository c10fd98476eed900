"""The dry run of `mdtool redact`: prints what would be done, and an estimate of the time."""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack

import numpy as np

from mdtool.errors import ExitCode, MdtoolError
from mdtool.media.image.animation import Animation
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_media
from mdtool.media.video.reader import VideoReader
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import ModelInference
from mdtool.pipeline.targets import Targets
from mdtool.tracking.keyframe_sampler import WINDOW_FRAMES


def print_plan(
    sources: Iterable[Input], targets: Targets, request: AnalysisRequest, inference: ModelInference | None
) -> ExitCode:
    """Print for each input its output, its streams, its frames, and an estimate of the model calls, to stdout.

    Args:
        sources: The inputs.
        targets: The paths of their outputs.
        request: What to detect, on which frames.
        inference: The model inference; None: findings are read from a file.

    Returns:
        The exit code.
    """
    code = ExitCode.OK
    for source in sources:
        try:
            with ExitStack() as stack:
                target = targets.for_input(source)
                lines = [
                    f"{source.name} -> {target or 'stdout'}",
                    *_lines(open_media(source, stack), request, inference),
                ]
        except MdtoolError as error:
            sys.stderr.write(f"mdtool: {source.name}: {error}\n")
            code = ExitCode.SOME_FAILED
        else:
            sys.stdout.write("\n  ".join(lines) + "\n")
    return code


def _lines(media: object, request: AnalysisRequest, inference: ModelInference | None) -> Iterable[str]:
    if isinstance(media, VideoReader):
        for stream in media.container.streams:
            name = stream.codec_context.name if stream.codec_context else stream.type
            if stream in media.videos:
                size_text = f"{stream.codec_context.width}x{stream.codec_context.height}"
                rate_text = f"{media.rate(stream.index):.4g} frames/s"
                yield f"stream {stream.index}: video {name} {size_text}, {rate_text}: redacted"
            else:
                yield f"stream {stream.index}: {stream.type} {name}: stream copy, if the output's format supports it"
        first = media.videos[0].codec_context
        frames, rate, size = media.frames, media.rate(media.videos[0].index), (first.height, first.width)
    elif isinstance(media, Animation):
        frames, rate, size = media.frame_count, 10.0, (media.height, media.width)
    else:
        yield "an image: one model call"
        return
    if frames is None:
        yield "the number of frames is not known in advance"
        return
    yield f"{frames} frames"
    if inference is None:
        yield "no model calls: what to hide is read from the findings"
        return
    sampling = request.sampling
    windows = -(-frames // WINDOW_FRAMES)
    regular = -(-frames // sampling.frames_between(rate)) + windows
    most = frames if sampling.auto else regular
    fewest = windows + 1 if sampling.auto else regular - windows
    low, high = (min(count, frames, request.max_calls or frames) for count in (fewest, most))
    since = time.perf_counter()
    inference.detect([np.zeros((*size, 3), np.uint8)])
    seconds = high * (time.perf_counter() - since)
    yield f"{low} to {high} keyframes analysed by {inference.model}: about {seconds:.0f} s of model time at most"
