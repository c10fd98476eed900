"""Makes a treated copy of a video: read, annotate, paint and write, side by side."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from mdtool.interruption import check_not_ending
from mdtool.media.canvas import of_frame
from mdtool.media.files.pipe import PipedOut
from mdtool.media.video.edits import Pictures, edited
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter
from mdtool.pipeline.annotate import AnnotatedEvent, Event, annotate
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.run import Inquiry, Run
from mdtool.pipeline.stages import Stopwatch, ahead
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

# A window of frames, so that the encoder has work while the model is called.
MOST_WAITING, LEAST_WAITING, WAITING_BYTES = 48, 2, 48 << 20


def rework_video(reader: VideoReader, where: Path | PipedOut, muxer: str, run: Run, *, report: Report) -> None:
    clock = run.clock
    kept = run.work.kept if run.work else None
    writer = VideoWriter(
        where, muxer, reader,
        encoding=run.form.encoding, keep_metadata=run.form.keep_metadata, edit=run.edit, kept=kept,
    )  # fmt: skip
    report.duration = reader.seconds
    total = reader.frames
    waiting = frames_waiting(reader)
    try:
        with ExitStack() as stages:  # ended from the last to the first, before the reader is closed under them
            begin = stages.enter_context
            decoded = begin(closing(ahead(with_luma(clock.each("decode", reader)), waiting)))
            annotated = begin(closing(ahead(annotated_video(decoded, run.known, reader, clock), waiting)))
            painted = begin(closing(ahead(_painted(annotated, writer, run, report), waiting)))
            for event in edited(painted, run.edit, report.notes) if run.edit else painted:
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
        became = "hidden whole" if run.covers_unjudged else "left as they are"
        report.notes.append(f"damaged frames are {became}, for they can't be judged")


def frames_waiting(reader: VideoReader) -> int:
    """How many frames may wait behind each stage."""
    return min(MOST_WAITING, max(LEAST_WAITING, WAITING_BYTES // reader.frame_bytes))


def with_luma(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Frame):
            event.luma  # noqa: B018  made here, in the decoding thread
        yield event


def annotated_video(
    events: Iterable[Event], known: Inquiry | RecordedFindings, reader: VideoReader, clock: Stopwatch
) -> Iterator[AnnotatedEvent]:
    """The events with what is known of every frame."""
    if isinstance(known, RecordedFindings):
        yield from recorded_frames(events, known)
        return
    question, total = known.question, reader.frames
    if question.max_calls is not None and total:
        question = replace(question, sampling=question.sampling.limited(question.max_calls, total))
    yield from annotate(events, known.detect, question, reader.rate, clock=clock)


def recorded_frames(events: Iterable[Event], known: RecordedFindings) -> Iterator[AnnotatedEvent]:
    """The events with what was recorded of every frame. InputError if that is of other frames, or of more of them."""
    for event in events:
        if isinstance(event, Frame):
            yield AnnotatedFrame(event, known.of(event.stream, event.index, event.shown_size))
        else:
            yield event
    check_not_ending()  # for then the input may only seem to be at its end
    known.check_end()


def _painted(events: Iterable[AnnotatedEvent], writer: VideoWriter, run: Run, report: Report) -> Iterator[Event]:
    pictures = Pictures(run.edit.cut)
    for event in events:
        if isinstance(event, AnnotatedFrame):
            run.note(report, event.moment, event.verdict)
            frame = pictures.moved(event.frame)
            if frame is None:
                continue
            if not writer.knows(frame):
                with run.clock.time("paint"):
                    picture = writer.fit(frame)
                    run.treatment.paint(of_frame(picture, frame.orientation), event.moment, event.verdict)
                frame = replace(frame, picture=picture)
            yield frame
        else:
            yield event
