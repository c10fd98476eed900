"""Makes a treated copy of a video: read, annotate, paint and write, side by side."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from mdtool.interruption import raise_if_interrupted
from mdtool.media.canvas import frame_canvas
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.video.edits import FrameCutter, apply_edit
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter
from mdtool.pipeline.annotate import AnnotatedEvent, Event, annotate
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.run import ModelInference, Run
from mdtool.pipeline.stages import Stopwatch, prefetch
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

# A window of frames, so that the encoder has work while the model is called.
MAX_QUEUED_FRAMES, MIN_QUEUED_FRAMES, MAX_QUEUED_BYTES = 48, 2, 48 << 20


def process_video(reader: VideoReader, where: Path | PipeWriter, muxer: str, run: Run, *, report: Report) -> None:
    clock = run.clock
    segments = run.work.segments if run.work else None
    writer = VideoWriter(
        where, muxer, reader,
        encoding=run.output_options.encoding, keep_metadata=run.output_options.keep_metadata,
        edit=run.edit, segments=segments,
    )  # fmt: skip
    report.duration = reader.seconds
    total = reader.frames
    waiting = queue_depth(reader)
    try:
        with ExitStack() as stages:  # ended from the last to the first, before the reader is closed under them
            begin = stages.enter_context
            decoded = begin(closing(prefetch(precompute_luma(clock.each("decode", reader)), waiting)))
            annotated = begin(closing(prefetch(annotate_video(decoded, run.known, reader, clock), waiting)))
            painted = begin(closing(prefetch(_painted(annotated, writer, run, report), waiting)))
            for event in apply_edit(painted, run.edit, report.notes) if run.edit else painted:
                with clock.time("encode"):
                    writer.write(event)
                run.progress(report, total)
        with clock.time("encode"):
            writer.close()
    except BaseException:
        writer.abandon()
        raise
    report.notes += writer.notes
    report.incomplete = f"is damaged: {reader.damage}" if reader.damage else ""
    if reader.damage.frames:
        became = "hidden whole" if run.masks_unjudged else "left as they are"
        report.notes.append(f"damaged frames are {became}, for they can't be judged")


def queue_depth(reader: VideoReader) -> int:
    """How many frames may wait behind each stage."""
    return min(MAX_QUEUED_FRAMES, max(MIN_QUEUED_FRAMES, MAX_QUEUED_BYTES // reader.frame_bytes))


def precompute_luma(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Frame):
            event.luma  # noqa: B018  made here, in the decoding thread
        yield event


def annotate_video(
    events: Iterable[Event], known: ModelInference | RecordedFindings, reader: VideoReader, clock: Stopwatch
) -> Iterator[AnnotatedEvent]:
    """The events with what is known of every frame."""
    if isinstance(known, RecordedFindings):
        yield from recorded_frames(events, known)
        return
    request, total = known.request, reader.frames
    if request.max_calls is not None and total:
        request = replace(request, sampling=request.sampling.limited(request.max_calls, total))
    yield from annotate(events, known.detect, request, reader.rate, clock=clock)


def recorded_frames(events: Iterable[Event], known: RecordedFindings) -> Iterator[AnnotatedEvent]:
    """The events with what was recorded of every frame. InputError if that is of other frames, or of more of them."""
    for event in events:
        if isinstance(event, Frame):
            yield AnnotatedFrame(event, known.for_frame(event.stream, event.index, event.display_size))
        else:
            yield event
    raise_if_interrupted()  # for then the input may only seem to be at its end
    known.check_end()


def _painted(events: Iterable[AnnotatedEvent], writer: VideoWriter, run: Run, report: Report) -> Iterator[Event]:
    pictures = FrameCutter(run.edit.cut)
    for event in events:
        if isinstance(event, AnnotatedFrame):
            run.note(report, event.info, event.findings)
            frame = pictures.retime(event.frame)
            if frame is None:
                continue
            if not writer.is_encoded(frame):
                with run.clock.time("paint"):
                    picture = writer.convert(frame)
                    run.effect.paint(frame_canvas(picture, frame.orientation), event.info, event.findings)
                frame = replace(frame, image=picture)
            yield frame
        else:
            yield event
