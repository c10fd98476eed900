"""Process a live source: write it to files, each complete when it is closed, to stdout, or to a streaming address."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av

from engine.contract import EngineError
from mdtool.errors import InputError, MdtoolError, OutputError, UsageError
from mdtool.media.canvas import frame_canvas
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.sources.address import MUXERS, Address
from mdtool.media.sources.live import LiveReader
from mdtool.media.video.encoding import Encoding
from mdtool.media.video.frame import Frame
from mdtool.media.video.muxer_errors import clock
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter, muxer_for
from mdtool.pipeline.annotate import AnnotatedEvent
from mdtool.pipeline.findings_file import RecordedFindings
from mdtool.pipeline.live import LiveAnnotator
from mdtool.pipeline.run import Run
from mdtool.pipeline.silence import Silencer
from mdtool.pipeline.targets import Target
from mdtool.records.run_report import Report
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

Packet: TypeAlias = "av.Packet[Any]"  # PyAV's class is generic for type checkers only

LIVE_PRESET = "veryfast"  # of the encoder: it must keep up with the source
LAST_SOUND = 0.5  # seconds of sound that are kept after the last frame


def process_live(reader: LiveReader, target: Target, run: Run, report: Report, *, overwrite: bool) -> None:
    """Process a live source until it ends, is lost, or the person interrupts; then finish the current file.

    What was recorded is kept: before the source was lost, and before an error.

    Args:
        reader: The live source.
        target: File to write, streaming address, or None for stdout.
        run: Where findings come from, the effect, and how to write.
        report: Filled in place.
        overwrite: Replace existing files.

    Raises:
        UsageError: The run has recorded findings.
        InputError: The source was lost before its first frame.
        OutputError: The output can't be written.
        EngineError: The model failed.
    """
    if isinstance(run.findings_source, RecordedFindings):
        raise UsageError("--from-findings: a live source has no recorded findings; leave the option out")
    findings_source, delay = run.findings_source, run.live.delay
    annotator = LiveAnnotator(
        reader,
        findings_source.detect,
        findings_source.request,
        delay=delay,
        clock=run.clock,
        blank_late=run.masks_unjudged,
    )
    writer = _LiveWriter(reader, target, overwrite, run)
    silencer = Silencer()
    with closing(writer), _kept_on_error(writer):
        with live_events(annotator, report) as events:
            for event in events:
                if isinstance(event, AnnotatedFrame):
                    run.note(report, event.info, event.findings)
                    report.duration = event.info.time
                    for packet in silencer.known(event.info.time, run.is_silent()) if run.is_silent else ():
                        writer.write_packet(packet)
                    writer.write_frame(event)
                elif run.is_silent and event.stream.type == "audio":
                    silencer.push(event)
                    continue
                else:
                    writer.write_packet(event)
                run.progress(report, None)
        writer.finish()
    report.notes += [*writer.notes, annotator.summary()]


@contextmanager
def live_events(annotator: LiveAnnotator, report: Report) -> Iterator[Iterator[AnnotatedEvent]]:
    """Iterate over annotated events until the source ends or is lost, or the person interrupts.

    A lost source makes the report incomplete.

    Raises:
        InputError: The source was lost before its first frame.
    """
    try:
        with closing(annotator.events()) as events:
            yield events
    except KeyboardInterrupt:  # raised by raise_if_interrupted; the normal end of a live run
        pass
    except InputError as lost:
        if not report.frames:
            raise
        report.incomplete = str(lost)


@contextmanager
def _kept_on_error(writer: "_LiveWriter") -> Iterator[None]:
    """Keep the file that an error interrupts, and name it in the error."""
    try:
        yield
    except (MdtoolError, EngineError) as error:
        kept = writer.keep()
        if kept is None:
            raise
        said = f"{error}; what was recorded until then is kept: {kept}"
        raise (EngineError if isinstance(error, EngineError) else OutputError)(said) from error


class _LiveWriter:
    """Writes a single stream, or one file per segment."""

    def __init__(self, reader: LiveReader, target: Target, overwrite: bool, run: Run) -> None:
        self._reader = reader
        self._target = target
        self._overwrite = overwrite
        self._segment = run.live.segment
        self._run = run
        self._encoding = _low_latency(run.output_options.encoding, streaming=not isinstance(target, Path))
        self._count = 0
        self._start = self._last = 0.0  # of the file and of its last frame, in seconds
        self._held: deque[Packet] = deque()  # packets that are ahead of the frames, which wait for their analysis
        self._stack = ExitStack()
        self._file: AtomicFile | None = None
        self._writer: VideoWriter | None = None
        self.notes: list[str] = []

    def write_packet(self, packet: Packet) -> None:
        """Copy a packet, when the frames have got to its time, into the file of these."""
        self._held.append(packet)

    def write_frame(self, event: AnnotatedFrame) -> None:
        """Paint and encode a frame, with its timestamp relative to the start of the file."""
        frame = event.frame
        if self._writer and self._segment is not None and frame.time - self._start >= self._segment:
            self._write_held(frame.time)
            self.finish()
        writer = self._writer or self._open(frame)
        with self._run.clock.time("paint"):
            image = writer.convert(frame)
            self._run.effect.paint(frame_canvas(image, frame.orientation), event.info, event.findings)
        with self._run.clock.time("encode"):
            writer.write(replace(frame, image=image, pts=self._relative_pts(frame)))
            self._last = frame.time
            self._write_held(frame.time)

    def _write_held(self, until: float) -> None:
        """Write the packets up to a time, in seconds; those before the start of the file are dropped."""
        while self._held and _seconds(self._held[0]) <= until:
            packet = self._held.popleft()
            ticks = round(self._start / packet.time_base)
            if self._writer and packet.pts is not None and packet.pts >= ticks:
                packet.pts -= ticks
                packet.dts = packet.dts - ticks if packet.dts is not None else None
                self._writer.write(packet)

    def _relative_pts(self, frame: Frame) -> int:
        return frame.pts - round(self._start / frame.time_base)

    def _open(self, frame: Frame) -> VideoWriter:
        self._count += 1
        self._start = frame.time
        target = self._target
        if isinstance(target, Address):
            output: Path | PipeWriter | Address = target
            muxer = self._run.output_options.muxer or MUXERS[target.scheme]
        elif target is None:
            output, muxer = PipeWriter(sys.stdout.buffer), self._run.output_options.muxer or "matroska"
        else:
            name = f"{target.stem}-{self._count:04}{target.suffix}" if self._segment is not None else target.name
            self._file = self._stack.enter_context(AtomicFile(target.with_name(name), self._overwrite))
            output, muxer = self._file.part, self._run.output_options.muxer or muxer_for(target.name)
        output_options = self._run.output_options
        self._writer = VideoWriter(
            output, muxer, self._reader, encoding=self._encoding, keep_metadata=output_options.keep_metadata
        )
        return self._writer

    def finish(self) -> None:
        """Complete the current file."""
        if self._writer:
            self._write_held(self._last + LAST_SOUND if self._segment is None else self._last)
            self._writer.close()
            writer, self._writer = self._writer, None
            self.notes += [note for note in writer.notes if note not in self.notes]
            if self._file:
                self._file.commit()
                self._file = None
            self._stack.close()

    def keep(self) -> str | None:
        """Complete the current file as far as possible after an error.

        Returns:
            Its duration and name; None if there is nothing to keep.
        """
        if self._writer is None or self._file is None:
            return None
        writer, self._writer = self._writer, None
        with suppress(MdtoolError):
            writer.close()
        writer.abandon()
        with suppress(MdtoolError):
            duration = _duration(self._file.part)
            self._file.commit()
            return f"{clock(duration)} in {self._file.target}"
        return None

    def close(self) -> None:
        """Abandon a file that was not finished."""
        if self._writer:
            self._writer.abandon()
        self._stack.close()


def _seconds(packet: Packet) -> Fraction:
    return (packet.pts or 0) * packet.time_base


def _duration(path: Path) -> float:
    """Return where the frames of a video end, in seconds. InputError if it has none."""
    with VideoReader(path) as reader:
        return max(event.time + float(event.duration * event.time_base) for event in reader if isinstance(event, Frame))


def _low_latency(encoding: Encoding, streaming: bool) -> Encoding:
    preset = encoding.preset if encoding.codec or encoding.preset else LIVE_PRESET
    return replace(encoding, preset=preset, at_once=streaming)
