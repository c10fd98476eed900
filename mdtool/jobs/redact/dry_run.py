"""The dry run of `mdtool redact`: prints what would be done, and an estimate of the time."""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engine.contract import ModelUnavailable
from mdtool.errors import ExitCode, library_faults
from mdtool.escaping import one_line
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import error_message
from mdtool.media.image.animation import Animation
from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_media
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.stream_plan import plan_stream
from mdtool.media.video.timecode import is_timecode, timecode_loss, timecode_of
from mdtool.media.video.writer import muxer_for
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import ModelInference, OutputOptions
from mdtool.pipeline.targets import Targets
from mdtool.stdout import write_stdout
from mdtool.tracking.keyframe_sampler import WINDOW_FRAMES
from mdtool.tracking.sampling import Sampling


def print_plan(
    sources: Iterable[Input],
    targets: Targets,
    request: AnalysisRequest,
    inference: ModelInference | None,
    *,
    output_options: OutputOptions,
    verified: Sampling | None = None,
) -> ExitCode:
    """Print for each input its output, its streams, its frames, and an estimate of the model calls, to stdout.

    Args:
        sources: The inputs.
        targets: The paths of their outputs.
        request: What to detect, on which frames.
        inference: The model inference; None: findings are read from a file.
        output_options: How the outputs would be written.
        verified: The frames of the outputs that would be verified; None for no verification.

    Returns:
        The exit code.
    """
    code = ExitCode.OK
    for source in sources:
        try:
            with library_faults(), ExitStack() as stack:
                if targets.is_own_output(source):
                    continue
                target = targets.for_input(source)
                if isinstance(target, Path):
                    targets.reserve(source, target)
                media = open_media(source, stack)
                lines = [f"{source.name} -> {target or 'stdout'}"]
                if isinstance(media, VideoReader):
                    lines += _streams(media, target, output_options)
                lines += _frames(media, request, inference)
                if verified:
                    lines.append(_verification(verified))
        except ModelUnavailable:  # which ends all inputs
            raise
        except Exception as error:
            raise_if_interrupted()
            sys.stderr.write(one_line(f"mdtool: {source.name}: {error_message(error)}") + "\n")
            code = ExitCode.SOME_FAILED
        else:
            write_stdout("\n  ".join(map(one_line, lines)) + "\n")
    return code


def _verification(verified: Sampling) -> str:
    frames = "every frame" if verified.fps is None else f"{verified.fps:g} frames per second"
    return f"verification of {frames} of the output: about 8 model calls a frame, 1 with another --verify-model"


def _streams(media: VideoReader, target: Path | Address | None, output_options: OutputOptions) -> Iterable[str]:
    is_file = isinstance(target, Path)
    muxer = output_options.muxer or (muxer_for(target.name) if isinstance(target, Path) else "matroska")
    for stream in media.streams:
        if stream in media.videos:
            size_text = f"{stream.codec_context.width}x{stream.codec_context.height}"
            rate_text = f"{media.rate(stream.index):.4g} frames/s"
            yield f"stream {stream.index}: video {stream.codec_context.name} {size_text}, {rate_text}: redacted"
        else:
            name = f"{stream.type} {stream.codec_context.name}" if stream.codec_context else stream.type
            plan = plan_stream(stream, muxer, keep_metadata=output_options.keep_metadata, piped=not is_file)
            yield f"stream {stream.index}: {name}: {plan}"
    timecode = timecode_of(media.streams, media.metadata) if output_options.keep_metadata else None
    if timecode is not None and not any(is_timecode(stream) for stream in media.streams):
        loss = timecode_loss(timecode, muxer, media.videos[0])
        yield f"time code left out: {loss}" if loss else f"time code {timecode}: kept"


def _frames(media: object, request: AnalysisRequest, inference: ModelInference | None) -> Iterable[str]:
    if isinstance(media, VideoReader):
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
