"""Work on a part of a long video, whose work folder the run over the whole video takes over; see `resume`.

The sampler sees frames on both sides of a part, from the start of one of its windows on, so that tracks cross borders.
The run over the whole video tracks again, with the predictions of all parts, and encodes again what has other masks.
"""

import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

from mdtool.interruption import raise_if_interrupted
from mdtool.media.sources.inputs import Input
from mdtool.media.video.frame import Frame
from mdtool.media.video.part import Part, PartReader
from mdtool.media.video.writer import VideoWriter, muxer_for
from mdtool.memory import ACCOUNT
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import ModelInference, Run
from mdtool.pipeline.stages import Stopwatch, prefetch
from mdtool.pipeline.video import FEWEST_FRAMES, annotate_video, painted, precompute_luma, queue_depth
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame, CallBudget, KeyframeSampler

OVERLAP = 2  # windows of the sampler before and after a part; a track coasts less than one


def analyse_part(source: Input, part: Part, inference: ModelInference) -> None:
    """Run the model on the keyframes of a part; its predictions are logged by the detector of `inference`.

    Raises:
        InputError: The video can't be read as it was split.
        EngineError: The model failed, unless the request masks such frames.
    """
    assert source.path
    with PartReader(source.path.absolute(), part) as reader:
        with closing(_annotated(reader, reader.first_frame(), inference, Stopwatch())) as frames:
            for _ in frames:
                pass
        raise_if_interrupted()  # an interrupted reader looks like one at its end


def encode_part(source: Input, target: Path, part: Part, run: Run) -> None:
    """Process a part, and save its encoded segments and what its masks are.

    Args:
        source: The video.
        target: The output of the whole video, which is not written.
        part: The part.
        run: A model inference, the effect, how to write, and the work folder.

    Raises:
        InputError: The video can't be read as it was split.
        EngineError: The model failed, unless the request masks such frames.
        OutputError: The work can't be saved.
    """
    assert source.path
    assert run.work
    assert isinstance(run.findings_source, ModelInference)
    report = Report(source.name, str(target), run.model)
    with ExitStack() as stack:
        reader = stack.enter_context(PartReader(source.path.absolute(), part))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mdtool-"))
        run.on_frame = stack.enter_context(run.work.masks()).write
        writer = VideoWriter(
            Path(folder) / "part", run.output_options.muxer or muxer_for(target.name), reader,
            encoding=run.output_options.encoding, keep_metadata=run.output_options.keep_metadata,
            segments=run.work.segments,
        )  # fmt: skip
        stack.callback(writer.abandon)
        first = reader.first_frame()
        writer.convert(first)  # segments count from it, and it decides the format
        annotated = stack.enter_context(closing(_annotated(reader, first, run.findings_source, run.clock)))
        depth = queue_depth(reader)
        for event in stack.enter_context(closing(prefetch(painted(annotated, writer, run, report), depth))):
            writer.write(event)
        raise_if_interrupted()  # an interrupted reader looks like one at its end
        writer.end_segments()


def _annotated(
    reader: PartReader, first: Frame, inference: ModelInference, clock: Stopwatch
) -> Generator[AnnotatedFrame]:
    """Yield the annotated frames of the part, without those around it."""
    part, window = reader.part, _window(reader, first, inference.request)
    start = max(0, part.begin // window - OVERLAP) * window
    stop = (-(-part.end // window) + OVERLAP) * window
    frames = precompute_luma(clock.each("decode", reader.frames_between(start, stop)))
    with (
        ACCOUNT.holding(FEWEST_FRAMES * reader.frame_bytes),
        closing(prefetch(frames, queue_depth(reader))) as decoded,
    ):
        for event in annotate_video(decoded, inference, reader, clock):
            if isinstance(event, AnnotatedFrame) and part.begin <= event.frame.index < part.end:
                yield event


def _window(reader: PartReader, frame: Frame, request: AnalysisRequest) -> int:
    """Return how many frames the sampler annotates together."""
    sampler = KeyframeSampler(lambda frames: [], request.sampling, CallBudget(), reader.rate(frame.stream))
    return sampler.window_size(frame)
