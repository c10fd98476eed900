"""Hides what was asked for in a video: read, judge, paint and write, side by side."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import av

from mdtool.jobs.redaction import Redaction, Run
from mdtool.jobs.report import Report
from mdtool.media.colour import fill_values
from mdtool.media.frame import Frame, planes
from mdtool.media.piped import PipedOut
from mdtool.media.reader import VideoReader
from mdtool.media.writer import VideoWriter
from mdtool.stream.judge import Event, JudgedEvent, judge
from mdtool.stream.stages import ahead
from mdtool.stream.watch import Judged

# Frames that may wait behind each stage: a window of them, so that the encoder has work while the model looks.
MOST_WAITING, LEAST_WAITING, WAITING_BYTES = 48, 2, 48 << 20


def redact_video(reader: VideoReader, where: Path | PipedOut, muxer: str, run: Run, report: Report) -> None:
    redaction, clock = run.redaction, run.clock
    writer = VideoWriter(where, muxer, reader, redaction.encoding, redaction.keep_metadata)
    report.duration = reader.seconds
    total = reader.frames
    waiting = min(MOST_WAITING, max(LEAST_WAITING, WAITING_BYTES // reader.frame_bytes))
    try:
        with ExitStack() as stages:  # ended from the last to the first, before the reader is closed under them
            begin = stages.enter_context
            decoded = begin(closing(ahead(_with_luma(clock.each("decode", reader)), waiting)))
            judged = begin(closing(ahead(_judged(decoded, run, reader, total), waiting)))
            for event in begin(closing(ahead(_painted(judged, writer, run, report), waiting))):
                with clock.time("encode"):
                    writer.write(event)
                run.progress(report, total)
        with clock.time("encode"):
            writer.close()
    except BaseException:
        writer.abandon()
        raise
    report.notes += writer.notes
    report.incomplete = str(reader.damage) if reader.damage else ""
    if reader.damage.frames:
        report.notes.append("damaged frames are hidden whole, for they can't be judged")


def _with_luma(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Frame):
            event.luma  # noqa: B018  made here, in the decoding thread
        yield event


def _judged(events: Iterable[Event], run: Run, reader: VideoReader, total: int | None) -> Iterator[JudgedEvent]:
    if run.recorded:
        for event in events:
            if isinstance(event, Frame):
                yield Judged(event, run.recorded.of(event.stream, event.index))
            else:
                yield event
        return
    assert run.model is not None
    question = run.redaction.question
    if question.max_calls is not None and total:
        question = replace(question, sampling=question.sampling.limited(question.max_calls, total))
    yield from judge(events, run.model, question, reader.rate, run.clock)


def _painted(events: Iterable[JudgedEvent], writer: VideoWriter, run: Run, report: Report) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Judged):
            frame = event.frame
            run.note(report, frame.stream, frame.index, frame.time, event.verdict)
            with run.clock.time("paint"):
                painted = paint(event, writer.fit(frame), run.redaction)
            yield painted
        else:
            yield event


def paint(judged: Judged, picture: av.VideoFrame, redaction: Redaction) -> Frame:
    """The frame with what is to be hidden painted over; picture: its own, in the format to be encoded."""
    verdict, frame = judged.verdict, judged.frame
    if verdict.regions or verdict.hidden:
        picture.make_writable()  # the decoder may still build later frames on it
        canvas = planes(picture)
        fill = fill_values(redaction.colour, picture)
        opaque = [(1 << picture.format.components[0].bits) - 1] * (len(canvas) - len(fill))
        redaction.hide(canvas, fill + opaque, verdict, frame.shown_size, frame.orientation)
    return replace(frame, picture=picture)
