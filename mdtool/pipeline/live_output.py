"""Makes a treated copy of what plays now, in files that are whole whenever it ends, or on its way to somewhere else."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import av

from mdtool.errors import InputError, UsageError
from mdtool.media.canvas import frame_canvas
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.sources.address import MUXERS, Address
from mdtool.media.sources.live import LiveReader
from mdtool.media.video.encoding import Encoding
from mdtool.media.video.frame import Frame
from mdtool.media.video.writer import VideoWriter, muxer_for
from mdtool.pipeline.annotate import AnnotatedEvent
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.live import LiveAnnotator
from mdtool.pipeline.run import Run
from mdtool.pipeline.silence import Silencer
from mdtool.pipeline.targets import Target
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

FAST = "veryfast"  # preset: to keep up with what comes


def process_live(reader: LiveReader, target: Target, run: Run, report: Report, *, overwrite: bool) -> None:
    """Until it ends, is lost, or the person interrupts: then the file that is under way is finished.

    What came before it was lost is kept. InputError if nothing did.
    """
    if isinstance(run.known, RecordedFindings):
        raise UsageError("--from-findings: what plays live was not there before; leave it out")
    known, delay = run.known, run.live.delay
    annotator = LiveAnnotator(
        reader, known.detect, known.request, delay=delay, clock=run.clock, blank_late=run.masks_unjudged
    )
    out = _Out(reader, target, overwrite, run)
    silencer = Silencer()
    with closing(out):
        with live_events(annotator, report) as events:
            for event in events:
                if isinstance(event, AnnotatedFrame):
                    run.note(report, event.info, event.findings)
                    report.duration = event.info.time
                    for packet in silencer.known(event.info.time, run.is_silent()) if run.is_silent else ():
                        out.write(packet)
                elif run.is_silent and event.stream.type == "audio":
                    silencer.push(event)
                    continue
                out.write(event)
                run.progress(report, None)
        out.finish()
    report.notes += [*out.notes, annotator.summary()]


@contextmanager
def live_events(annotator: LiveAnnotator, report: Report) -> Iterator[Iterator[AnnotatedEvent]]:
    """The events, until the person interrupts, or the source ends or is lost: then the report says so.

    InputError if it is lost before any frame came.
    """
    try:
        with closing(annotator.events()) as events:
            yield events
    except KeyboardInterrupt:  # as whoever works raises it where the person has interrupted
        pass
    except InputError as lost:
        if not report.frames:
            raise
        report.incomplete = str(lost)


class _Out:
    """One file after another, or a single stream."""

    def __init__(self, reader: LiveReader, target: Target, overwrite: bool, run: Run) -> None:
        self._reader = reader
        self._target = target
        self._overwrite = overwrite
        self._segment = run.live.segment
        self._run = run
        self._encoding = _fast(run.output_options.encoding, at_once=not isinstance(target, Path))
        self._count = 0
        self._began = 0.0
        self._stack = ExitStack()
        self._whole: AtomicFile | None = None
        self._writer: VideoWriter | None = None
        self.notes: list[str] = []

    def write(self, event: AnnotatedFrame | av.Packet) -> None:
        if isinstance(event, AnnotatedFrame):
            frame = event.frame
            if self._writer and self._segment is not None and frame.time - self._began >= self._segment:
                self.finish()
            writer = self._writer or self._begin(frame)
            with self._run.clock.time("paint"):
                picture = writer.convert(frame)
                self._run.effect.paint(frame_canvas(picture, frame.orientation), event.info, event.findings)
            with self._run.clock.time("encode"):
                writer.write(replace(frame, image=picture, pts=self._since(frame)))
        elif self._writer:  # sound before the first picture is no use
            ticks = round(self._began / event.time_base)
            if event.pts is not None and event.pts >= ticks:
                event.pts -= ticks
                event.dts = event.dts - ticks if event.dts is not None else None
                self._writer.write(event)

    def _since(self, frame: Frame) -> int:
        return frame.pts - round(self._began / frame.time_base)

    def _begin(self, frame: Frame) -> VideoWriter:
        self._count += 1
        self._began = frame.time
        target = self._target
        if isinstance(target, Address):
            where: Path | PipeWriter | Address = target
            muxer = self._run.output_options.muxer or MUXERS[target.scheme]
        elif target is None:
            where, muxer = PipeWriter(sys.stdout.buffer), self._run.output_options.muxer or "matroska"
        else:
            name = f"{target.stem}-{self._count:04}{target.suffix}" if self._segment is not None else target.name
            self._whole = self._stack.enter_context(AtomicFile(target.with_name(name), self._overwrite))
            where, muxer = self._whole.part, self._run.output_options.muxer or muxer_for(target.name)
        output_options = self._run.output_options
        self._writer = VideoWriter(
            where, muxer, self._reader, encoding=self._encoding, keep_metadata=output_options.keep_metadata
        )
        return self._writer

    def finish(self) -> None:
        """Ends the file that is under way."""
        if self._writer:
            writer, self._writer = self._writer, None
            writer.close()
            self.notes += [note for note in writer.notes if note not in self.notes]
            if self._whole:
                self._whole.commit()
                self._whole = None
            self._stack.close()

    def close(self) -> None:
        """Lets go of a file that could not be finished."""
        if self._writer:
            self._writer.abandon()
        self._stack.close()


def _fast(encoding: Encoding, at_once: bool) -> Encoding:
    preset = encoding.preset if encoding.codec or encoding.preset else FAST
    return replace(encoding, preset=preset, at_once=at_once)
