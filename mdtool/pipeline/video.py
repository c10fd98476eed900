"""Process a video: decode, annotate, paint and encode, each stage in a thread of its own."""

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
from mdtool.memory import ACCOUNT, budget, check_fits
from mdtool.pipeline.annotate import AnnotatedEvent, Event, annotate
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.run import ModelInference, Run
from mdtool.pipeline.stages import Stopwatch, prefetch
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

# As many frames as in a window of the sampler, so that the encoder has work during a model call.
FEWEST_FRAMES = 48  # in decoder threads, queues and a window, where the last two are as short as can be
QUEUE_SHARE = 32  # of the budget of memory, one part for each queue
MAX_QUEUED_FRAMES, MIN_QUEUED_FRAMES, MAX_QUEUED_BYTES = 48, 2, 48 << 20


class StaleSegments(Exception):
    """Segments of parts were encoded with other masks than the whole video has. They are removed: run it again."""


def process_video(reader: VideoReader, output: Path | PipeWriter, muxer: str, run: Run, *, report: Report) -> None:
    """Process a video, and write the result.

    Args:
        reader: The video.
        output: File or pipe to write to.
        muxer: Container format by FFmpeg's name.
        run: Where findings come from, the effect, the edit, and how to write.
        report: Filled in place.

    Raises:
        InputError: The video can't be decoded, or recorded findings don't match it.
        OutputError: The output can't be written.
        EngineError: The model failed, unless the request masks such frames.
        StaleSegments: It has to be run again.
    """
    clock = run.clock
    segments = run.work.segments if run.work else None
    writer = VideoWriter(
        output, muxer, reader,
        encoding=run.output_options.encoding, keep_metadata=run.output_options.keep_metadata,
        edit=run.edit, segments=segments,
    )  # fmt: skip
    total = reader.frames
    depth = queue_depth(reader)
    try:
        with ExitStack() as stack:  # ends the last stage first, and all before the reader is closed
            start_stage = stack.enter_context
            start_stage(ACCOUNT.holding(FEWEST_FRAMES * reader.frame_bytes))
            decoded = start_stage(closing(prefetch(precompute_luma(clock.each("decode", reader)), depth)))
            annotated = start_stage(
                closing(prefetch(annotate_video(decoded, run.findings_source, reader, clock), depth))
            )
            repainted = start_stage(closing(prefetch(painted(annotated, writer, run, report), depth)))
            for event in apply_edit(repainted, run.edit, report.notes) if run.edit else repainted:
                with clock.time("encode"):
                    writer.write(event)
                run.progress(report, total)
        if run.work and run.work.remove_stale():
            raise StaleSegments
        with clock.time("encode"):
            writer.close()
    except BaseException:
        writer.abandon()
        raise
    report.notes += [*reader.notes, *writer.notes]
    report.incomplete = f"damaged: {reader.damage}" if reader.damage else ""
    if reader.damage.frames:
        outcome = "masked whole" if run.masks_unjudged else "left unchanged"
        report.notes.append(f"damaged frames are {outcome}: they can't be analysed")


def queue_depth(reader: VideoReader) -> int:
    """Return the most frames that may wait behind each stage, so that they fit into MAX_QUEUED_BYTES.

    Raises:
        InputError: Even as few frames as possible would take more than the budget of memory.
    """
    check_fits(FEWEST_FRAMES * reader.frame_bytes)
    limit = min(MAX_QUEUED_BYTES, budget() // QUEUE_SHARE)
    return min(MAX_QUEUED_FRAMES, max(MIN_QUEUED_FRAMES, limit // reader.frame_bytes))


def precompute_luma(events: Iterable[Event]) -> Iterator[Event]:
    """Compute the luma image of every frame in the thread that iterates, which is the decoding one."""
    for event in events:
        if isinstance(event, Frame):
            event.luma  # noqa: B018  a cached property
        yield event


def annotate_video(
    events: Iterable[Event], findings_source: ModelInference | RecordedFindings, reader: VideoReader, clock: Stopwatch
) -> Iterator[AnnotatedEvent]:
    """Annotate the frames of a video, from the model or with recorded findings; see `annotate`, `recorded_frames`."""
    if isinstance(findings_source, RecordedFindings):
        yield from recorded_frames(events, findings_source)
        return
    request, total = findings_source.request, reader.frames
    if request.max_calls is not None and total:
        request = replace(request, sampling=request.sampling.limited(request.max_calls, total))
    yield from annotate(events, findings_source.detect, request, reader.rate, clock=clock)


def recorded_frames(events: Iterable[Event], findings_source: RecordedFindings) -> Iterator[AnnotatedEvent]:
    """Annotate frames with recorded findings.

    Raises:
        InputError: The findings lack a frame, or have another size or more frames.
    """
    for event in events:
        if isinstance(event, Frame):
            yield AnnotatedFrame(event, findings_source.for_frame(event.stream, event.index, event.display_size))
        else:
            yield event
    raise_if_interrupted()  # an interrupted reader looks like one at its end
    findings_source.check_end()


def painted(events: Iterable[AnnotatedEvent], writer: VideoWriter, run: Run, report: Report) -> Iterator[Event]:
    """Paint the frames, and report what was found on them; those of saved segments keep their pixels.

    A saved segment of a part whose masks are other ones is noted as stale in the work folder.
    """
    cutter = FrameCutter(run.edit.cut)
    masks = run.work.part_masks() if run.work else None
    for event in events:
        if isinstance(event, AnnotatedFrame):
            run.note(report, event.info, event.findings)
            report.reach(event.info)
            frame = cutter.retime(event.frame)
            if frame is None:
                continue
            if not writer.is_encoded(frame):
                with run.clock.time("paint"):
                    image = writer.convert(frame)
                    run.effect.paint(frame_canvas(image, frame.orientation), event.info, event.findings)
                frame = replace(frame, image=image)
            elif run.work and masks and not masks.agree(event.info, event.findings):
                run.work.stale.add((frame.stream, writer.segment_of(frame)))
            yield frame
        else:
            yield event
