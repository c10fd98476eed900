"""What a redaction would do, told without doing it."""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack

import numpy as np

from mdtool.errors import Exit, MdtoolError
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
) -> Exit:
    """On stdout: for each input its output, its streams, its frames, and the looks that they may take."""
    outcome = Exit.OK
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
            outcome = Exit.SOME_FAILED
        else:
            sys.stdout.write("\n  ".join(lines) + "\n")
    return outcome


def _lines(media: object, request: AnalysisRequest, inference: ModelInference | None) -> Iterable[str]:
    if isinstance(media, VideoReader):
        for stream in media.container.streams:
            name = stream.codec_context.name if stream.codec_context else stream.type
            if stream in media.videos:
                measures = f"{stream.codec_context.width}x{stream.codec_context.height}"
                speed = f"{media.rate(stream.index):.4g} frames/s"
                yield f"stream {stream.index}: video {name} {measures}, {speed}: redacted"
            else:
                yield f"stream {stream.index}: {stream.type} {name}: copied, if the output's format can hold it"
        first = media.videos[0].codec_context
        frames, rate, size = media.frames, media.rate(media.videos[0].index), (first.height, first.width)
    elif isinstance(media, Animation):
        frames, rate, size = media.frame_count, 10.0, (media.height, media.width)
    else:
        yield "a photo: one look"
        return
    if frames is None:
        yield "how many frames it has is not known before they are read"
        return
    yield f"{frames} frames"
    if inference is None:
        yield "no looks: what is hidden is read from the findings"
        return
    sampling = request.sampling
    windows = -(-frames // WINDOW_FRAMES)
    regular = -(-frames // sampling.frames_between(rate)) + windows
    most = frames if sampling.auto else regular
    fewest = windows + 1 if sampling.auto else regular - windows
    looks = [min(n, frames, request.max_calls or frames) for n in (fewest, most)]
    begin = time.perf_counter()
    inference.detect([np.zeros((*size, 3), np.uint8)])
    each = time.perf_counter() - begin
    most_seconds = looks[1] * each
    yield f"{inference.model} looks at {looks[0]} to {looks[1]} of them: about {most_seconds:.0f} s of its time at most"
