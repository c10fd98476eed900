"""Writing a video: frames are re-encoded, all other streams of the source are copied (stream copy)."""

import contextlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

from mdtool.errors import InputError, OutputError, UsageError, write_error_message
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.image.display_matrix import UPRIGHT, from_display_matrix
from mdtool.media.sources.address import Address
from mdtool.media.sources.live import LiveReader
from mdtool.media.video.alpha import is_translucent
from mdtool.media.video.edits import UNEDITED, AudioChunk, Edit
from mdtool.media.video.encoded_segments import EncodedSegments, segment_index
from mdtool.media.video.encoding import Encoding
from mdtool.media.video.frame import Frame, Packet
from mdtool.media.video.frame_rate import frame_rate
from mdtool.media.video.interlacing import (
    FIELD_FLAGS,
    MARKED,
    InterlacingEncoder,
    context_options,
    interlacing_loss,
)
from mdtool.media.video.mp4_boxes import free_boxes
from mdtool.media.video.muxer_errors import clock, is_refusal, logged_reason, reason
from mdtool.media.video.packet_muxer import PacketMuxer
from mdtool.media.video.picture_format import PictureFormat, choose_picture_format
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.side_data import (
    encoder_options,
    has_vexu,
    joined,
    lost,
    side_data_of,
    state_in_container,
)
from mdtool.media.video.source_clock import shifted_chapters
from mdtool.media.video.stream_plan import (
    CHAPTERS,
    Action,
    StreamPlan,
    plan_stream,
)
from mdtool.media.video.timecode import (
    COUNTED_TIMECODE,
    FILE_TIMECODE,
    is_timecode,
    timecode_in,
    timecode_loss,
    timecode_of,
)
from mdtool.media.video.video_encoder import VideoEncoder

MUXERS = {
    ".3g2": "3g2", ".3gp": "3gp", ".asf": "asf", ".avi": "avi", ".flv": "flv", ".m2ts": "mpegts", ".m4v": "mp4",
    ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".mpeg": "mpeg", ".mpg": "mpeg", ".mts": "mpegts",
    ".mxf": "mxf", ".nut": "nut", ".ogg": "ogg", ".ogv": "ogg", ".ts": "mpegts", ".webm": "webm", ".wmv": "asf",
}  # fmt: skip
STREAM_TAGS = ("language", "title")  # that are always copied; others may identify author, place or device
ROTATION = ("3g2", "3gp", "matroska", "mov", "mp4", "webm")  # muxers that keep a display matrix
LIVE_FRAGMENT = 1  # seconds of a live recording that may be lost when it is cut off
WORKS_IN = {  # video encoders for containers that are suggested
    "matroska": ("libx264", "libx265", "libvpx-vp9", "libvpx", "libsvtav1", "libaom-av1", "mpeg4", "mpeg2video"),
    "mp4": ("libx264", "libx265", "libsvtav1", "libaom-av1", "mpeg4"),
}
MPEG4_TICKS = 60000  # per second: MPEG-4 part 2 allows at most 65535, of which no common rate is a divisor


def muxer_for(name: str) -> str:
    """Return FFmpeg's muxer for the suffix of a file name.

    Raises:
        UsageError: The suffix is unknown.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in MUXERS:
        raise UsageError(f"{name}: has no suffix of a known container format; use .mp4, .mkv, .mov or .webm")
    return MUXERS[suffix]


class VideoWriter:
    """Writes the events of a VideoReader or LiveReader, whose frames may have been painted on, to a new video.

    Attributes:
        notes: Sentences for the person about what could not be preserved.
    """

    def __init__(
        self,
        where: Path | PipeWriter | Address,
        muxer: str,
        source: VideoReader | LiveReader,
        *,
        encoding: Encoding,
        keep_metadata: bool,
        edit: Edit = UNEDITED,
        segments: EncodedSegments | None = None,
    ) -> None:
        """Open the output. The header is written with the first frames.

        Args:
            where: A file, a pipe or a URL.
            muxer: FFmpeg's name of the container format.
            source: The reader whose streams, metadata and chapters are the template.
            encoding: Settings of the video encoder.
            keep_metadata: Whether tags and data streams are copied.
            edit: The edit that was applied to the events, which then contain decoded audio.
            segments: Where encoded segments are saved and read, to resume; None if the run can't be resumed.

        Raises:
            UsageError: The muxer or the encoder does not exist.
        """
        self.notes: list[str] = []
        self._source = source
        self._encoding = encoding
        self._keep_metadata = keep_metadata
        self._edit = edit
        self._muxer = muxer
        self._where = where
        self._pipe = where if isinstance(where, PipeWriter) else None
        self._is_network = isinstance(where, Address)
        target: Any = f"file:{where}" if isinstance(where, Path) else where
        if isinstance(where, Address):
            target = where.text
        try:
            options = {
                "fflags": "+bitexact",
                **self._muxer_options(),
            }  # no random ids, so that runs give the same bytes
            self._container = av.open(target, "w", format=muxer, container_options=options)
        except ValueError as error:
            raise UsageError(f"--container {muxer}: there is no such container format") from error
        self._codec = encoding.codec_for(self._container)
        self._formats: dict[int, PictureFormat] = {}
        self._first: dict[int, Frame] = {}
        self._losses: set[str] = set()
        # The container for side data: what is wrong in it is corrected in the complete file.
        is_file = isinstance(where, Path) or muxer not in ("mp4", "mov")
        self._holder = muxer if is_file else f"{muxer} in a stream"
        self._has_vexu = False
        self._early: list[Frame | Packet | AudioChunk] = []  # before the streams are created
        self._encoders: dict[int, VideoEncoder] = {}
        self._segments = segments
        self._copies: dict[int, Any] = {}
        self._recoded: dict[int, Any] = {}
        self._pending: deque[Packet] = deque()  # copied packets that are not due yet
        self._packet_muxer = PacketMuxer(self._container)
        self._last_ticks: dict[int, int] = {}  # of the frames of each video stream, in its encoder's time base

    def _muxer_options(self) -> dict[str, str]:
        if self._is_network:
            return {"flush_packets": "1"}
        if self._muxer not in ("mp4", "mov", "3gp", "3g2"):
            start = _kept_start(self._source, self._muxer)
            return {"output_ts_offset": f"{round(start * av.time_base)}us"} if start else {}
        tags = "+use_metadata_tags" if self._keep_metadata else ""
        if self._pipe:
            return {"movflags": f"frag_keyframe+empty_moov+default_base_moof{tags}"}
        if isinstance(self._source, LiveReader):  # readable up to where it ends, whatever ends it
            return {"movflags": f"hybrid_fragmented{tags}", "frag_duration": f"{LIVE_FRAGMENT * av.time_base}"}
        return {"movflags": f"faststart{tags}"}

    # -- conversion to the pixel format of the encoder

    def convert(self, frame: Frame) -> av.VideoFrame:
        """Return the frame's image in the pixel format and size of its output stream: itself, if these are the same.

        Raises:
            UsageError: The encoder does not support the requested pixel format.
        """
        if frame.stream not in self._formats:
            self._formats[frame.stream] = self._choose_format(frame)
        self._first.setdefault(frame.stream, frame)
        return self._formats[frame.stream].convert(frame.image)

    def _choose_format(self, frame: Frame) -> PictureFormat:
        if is_translucent(frame.image) and not self._formats:
            self._codec = self._encoding.codec_for(self._container, alpha=True)
        chosen = choose_picture_format(frame.image, self._codec, self._muxer, self._encoding.pixel_format)
        self.notes += chosen.notes
        return chosen

    # -- events

    def is_encoded(self, frame: Frame) -> bool:
        """Return whether the frame's segment is saved already, so that its pixels are not needed."""
        return self._segments is not None and self._segments.has(frame.stream, self.segment_of(frame))

    def segment_of(self, frame: Frame) -> int:
        """Return the index of the segment that a frame belongs to, if segments are saved."""
        first = self._first.setdefault(frame.stream, frame)
        return segment_index((frame.pts - first.pts) * frame.time_base)

    def write(self, event: Frame | Packet | AudioChunk) -> None:
        """Write one event of the source.

        Args:
            event: The next event in order. Frames that were painted on must have been converted by `convert` before.

        Raises:
            UsageError: The encoder refuses the settings.
            OutputError: The output can't be written.
            BrokenPipeError: The reader of the pipe has closed it.
        """
        try:
            if self._encoders:
                self._write(event)
            else:
                self._buffer(event)
            if self._pipe:
                self._pipe.check()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _buffer(self, event: Frame | Packet | AudioChunk) -> None:
        """Buffer events until each video stream has a frame, which determines the parameters of its encoder."""
        self._early.append(event)
        if isinstance(event, Frame):
            self._first.setdefault(event.stream, event)
            if len(self._first) == len(self._source.videos):
                self._start()

    def end_segments(self) -> None:
        """Save the segments that are being encoded as complete ones; nothing can be written after that.

        Raises:
            OutputError: They can't be saved.
        """
        try:
            for encoder in self._encoders.values():
                self._mux_video(encoder.end_segment())
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Flush all encoders and complete the file.

        Raises:
            UsageError: The encoder refuses the settings.
            OutputError: The output can't be written.
            BrokenPipeError: The reader of the pipe has closed it.
        """
        try:
            if not self._encoders:
                self._start()
            for encoder in self._encoders.values():
                self._mux_video(encoder.flush())
            self._mux_pending(None)
            for stream in self._recoded.values():
                self._mux_all(stream.encode(None))
            self._container.close()
            if self._has_vexu and isinstance(self._where, Path):
                free_boxes(self._where, b"vexu")
            if self._pipe:
                self._pipe.check()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def abandon(self) -> None:
        """Close the file without completing it."""
        with contextlib.suppress(av.FFmpegError, OSError):  # the disk may still be full
            self._container.close()

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, BrokenPipeError):
            return error
        if is_refusal(error):
            return OutputError(f"the {self._muxer} muxer, or an encoder, failed: {reason(error)}")
        return OutputError(write_error_message(error)) if isinstance(error, OSError) else error

    def _start(self) -> None:
        for stream in self._source.streams:
            if stream.index in self._first:
                self._add_video(stream, self._first[stream.index])
            elif stream not in self._source.videos:
                self._add_other(stream)
        if self._keep_metadata:
            self._container.metadata.update(self._source.metadata)
            self._keep_timecode()
        chapters = self._source.chapters
        if self._edit.cut and chapters:
            self.notes.append("chapters left out: their times are those of the uncut video")
        elif chapters and self._muxer not in CHAPTERS:
            self.notes.append(f"chapters left out: {self._muxer} can't hold them")
        else:
            self._container.set_chapters(shifted_chapters(chapters, _kept_start(self._source, self._muxer)))
        self._write_header()
        early, self._early = self._early, []
        for event in early:
            self._write(event)

    def _write_header(self) -> None:
        try:
            self._container.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            if refusal := logged_reason(self._trial_header):
                raise OutputError(
                    f"the {self._muxer} muxer refused its streams: {refusal}{self._suggestion()}"
                ) from error
            raise

    def _trial_header(self) -> None:
        """Write the header again, to memory."""
        with av.open(io.BytesIO(), "w", format=self._muxer) as trial:
            for stream in self._container.streams:
                trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()

    def _suggestion(self) -> str:
        """Return which container would work, after a semicolon; "" if none is known to."""
        for suffix in (".mkv", ".mp4"):
            muxer = MUXERS[suffix]
            if muxer != self._muxer and self._codec in WORKS_IN[muxer] and self._would_hold(muxer):
                return f"; {suffix} can hold them"
        return ""

    def _would_hold(self, muxer: str) -> bool:
        """Return whether another container keeps each stream as well as this one should."""
        others = [stream for stream in self._source.streams if stream not in self._source.videos]
        plans = [(self._plan(stream, muxer), self._plan(stream)) for stream in others]
        return all(plan.action is not Action.LEAVE_OUT or plan == own for plan, own in plans)

    def _plan(self, source: Any, muxer: str = "") -> StreamPlan:
        return plan_stream(
            source,
            muxer or self._muxer,
            keep_metadata=self._keep_metadata,
            is_edited=bool(self._edit),
            piped=self._pipe is not None,
        )

    def _write(self, event: Frame | Packet | AudioChunk) -> None:
        if isinstance(event, Frame):
            image = self.convert(event)
            self._note_losses(event, image)
            image.pts, image.time_base = event.pts, event.time_base
            image.pict_type = av.video.frame.PictureType.NONE
            self._mux_video(self._encoded(event, image))
        elif isinstance(event, AudioChunk):
            if event.stream in self._recoded:
                self._mux_all(self._recoded[event.stream].encode(event.frame))
        elif event.stream_index in self._recoded:
            for samples in event.decode():
                self._mux_all(self._recoded[event.stream_index].encode(samples))
        elif event.stream_index in self._copies:
            self._pending.append(event)

    def _encoded(self, frame: Frame, image: av.VideoFrame) -> Iterator[Packet]:
        """Encode a frame. OutputError if the encoder refuses it."""
        encoder = self._encoders[frame.stream]
        where = f"stream {frame.stream} at {clock(frame.time)}"
        ticks = round(frame.pts * frame.time_base / encoder.time_base)
        if ticks <= self._last_ticks.get(frame.stream, ticks - 1):
            if isinstance(self._source, LiveReader):  # whose times are those of arrival
                return
            raise OutputError(
                f"{self._muxer} with {self._codec} can't hold two frames with equal times in {where}: it counts in "
                f"steps of {encoder.time_base} s{self._suggestion()}"
            )
        self._last_ticks[frame.stream] = ticks
        try:
            yield from encoder.encode(image, frame.duration)
        except av.FFmpegError as error:
            if not is_refusal(error):
                raise
            raise OutputError(f"{self._codec} refused a frame of {where}: {reason(error)}") from error

    # -- streams

    def _keep_timecode(self) -> None:
        """Keep the source's time code, which FFmpeg describes by tags, as this container holds it."""
        source_streams, video = self._source.streams, self._source.videos[0]
        timecode = timecode_of(source_streams, self._source.metadata)
        if timecode is None:
            return
        outputs = {index: encoder.stream for index, encoder in self._encoders.items()}
        loss = timecode_loss(timecode, self._muxer, video)
        if loss and not any(is_timecode(stream) for stream in source_streams):  # of those the plan tells
            self.notes.append(f"time code left out: {loss}")
        if self._muxer in FILE_TIMECODE:
            self._container.metadata["timecode"] = timecode
        elif not loss and timecode_in(outputs[video.index].metadata) is None:
            outputs[video.index].metadata["timecode"] = timecode
        if self._muxer in COUNTED_TIMECODE:  # its muxer fails, or writes another, at one that it can't hold
            _drop_timecode(self._container.metadata)
            for source in self._source.videos:
                own = timecode_in(outputs[source.index].metadata)
                if own is not None and timecode_loss(own, self._muxer, source):
                    _drop_timecode(outputs[source.index].metadata)

    def _add_video(self, source: Any, frame: Frame) -> None:
        self.convert(frame)
        stored, codec = self._formats[source.index], self._codec
        side_data, starts_interlaced = side_data_of(frame.image), frame.image.interlaced_frame
        fields, pixels = stored.can_code_fields(codec), frame.image.width * frame.image.height
        options = joined(self._encoding.options(codec, stored.alpha, pixels), encoder_options(side_data, codec))
        interlaced_options = joined(options, context_options(codec, fields, is_second=not starts_interlaced))
        first_options = interlaced_options if starts_interlaced else options
        try:
            stream: Any = self._container.add_stream(codec, frame_rate(source), options=first_options)
        except ValueError as error:
            raise UsageError(f"--codec {codec}: {error}") from error
        self._container.container_options.update(state_in_container(side_data, codec, self._holder, stream))
        self._has_vexu |= has_vexu(side_data, self._holder)
        self._configure(source, frame, stream.codec_context, starts_interlaced and fields)
        if codec == "libx265" and self._muxer in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # with the parameter sets in the header; "hev1" is less known
        stream.time_base = stream.codec_context.time_base
        if frame.matrix:
            stream.set_display_matrix(np.frombuffer(frame.matrix, np.int32).tolist())
            if self._muxer not in ROTATION and from_display_matrix(frame.matrix) != UPRIGHT:
                self.notes.append(f"rotation left out: {self._muxer} can't hold it, so the picture is shown as stored")
        self._describe(source, stream)
        self._open(stream.codec_context, first_options, source)

        def open_context(interlaced: bool) -> Any:
            context: Any = av.CodecContext.create(codec, "w")
            context.framerate = stream.codec_context.framerate
            context.options = interlaced_options if interlaced else options
            self._configure(source, frame, context, interlaced and fields)
            if interlaced == starts_interlaced:
                context.flags = stream.codec_context.flags
            self._open(context, context.options, source)
            return context

        def create_encoder(context: Any = None) -> Any:
            if codec not in MARKED:
                return context or open_context(starts_interlaced)
            return InterlacingEncoder(
                codec, open_context, starts_interlaced=starts_interlaced, fields=fields, context=context
            )

        start = frame.pts * frame.time_base
        if self._muxer == "avi" and start >= 2 * stream.time_base:
            self.notes.append("late start left out: avi can't hold it, so the first frame is shown from the beginning")
        encoder = create_encoder(stream.codec_context)
        self._encoders[source.index] = VideoEncoder(
            stream, encoder, create_encoder, self._segments, number=source.index, start=start
        )

    def _configure(self, source: Any, frame: Frame, context: Any, fields: bool) -> None:
        """Set the parameters of an encoder for the frames of a stream, the first of which is given."""
        stored = self._formats[frame.stream]
        context.width, context.height, context.pix_fmt = stored.width, stored.height, stored.encoded_as
        context.time_base = self._time_base(source, frame)
        context.thread_type = "FRAME"  # "SLICE", the default, makes x264 encode several slices per frame
        context.flags |= Flags.frame_duration
        context.color_range, context.colorspace = stored.colour_range, stored.matrix
        context.color_primaries, context.color_trc = stored.primaries, stored.transfer
        if frame.aspect:
            context.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(0)
        if fields:
            context.flags |= FIELD_FLAGS
            context.field_order = source.codec_context.field_order

    def _note_losses(self, frame: Frame, image: av.VideoFrame) -> None:
        """Tell once of each flag and kind of side data that the output can't hold."""
        notes = lost(side_data_of(image), self._codec, self._holder)
        interlacing = interlacing_loss(
            self._codec,
            image.interlaced_frame,
            starts_interlaced=self._first[frame.stream].image.interlaced_frame,
            height=image.height,
            fields=self._formats[frame.stream].can_code_fields(self._codec),
        )
        for note in [*notes, *([interlacing] if interlacing else [])]:
            if note not in self._losses:
                self._losses.add(note)
                self.notes.append(note)

    def _open(self, context: Any, options: dict[str, str], source: Any) -> None:
        try:
            context.open()
        except (av.FFmpegError, OSError, ValueError) as error:
            settings = ", ".join(f"{name} {value}" for name, value in options.items()) or "its default options"
            cause = logged_reason(context.open)
            refused = (
                f"{self._codec} does not support {context.width}x{context.height} {context.pix_fmt} "
                f"at {float(frame_rate(source) or 0):.4g} frames/s with {settings}" + (f": {cause}" if cause else "")
            )
            if self._encoding.codec:
                raise UsageError(f"--codec {refused}") from error
            raise InputError(f"{refused}; give another --codec") from error

    def _time_base(self, source: Any, frame: Frame) -> Fraction:
        """Return the encoder's time base: the source's, except for formats that can only count frames."""
        rate = frame_rate(source)
        if rate and (self._muxer == "avi" or self._codec in ("mpeg1video", "mpeg2video")):
            return 1 / rate
        coarse = self._codec == "mpeg4" and frame.time_base.denominator > MPEG4_TICKS
        return Fraction(1, MPEG4_TICKS) if coarse else frame.time_base

    def _add_other(self, source: Any) -> None:
        """Add a stream that is not video as planned, and note what it loses."""
        plan = self._plan(source)
        if plan.why:
            self.notes.append(f"{source.type} stream {source.index} {plan}")
        if plan.action is Action.ATTACH:
            self._container.add_attachment(source.name or "", source.mimetype or "", source.data)
        elif plan.action is Action.ENCODE:
            self._add_audio(source, plan.codec, plan.bit_rate)
        elif plan.action is Action.COPY:
            stream: Any = self._container.add_stream_from_template(source)
            if plan.extradata:
                stream.codec_context.extradata = plan.extradata
            self._describe(source, stream)
            self._copies[source.index] = stream

    def _add_audio(self, source: Any, codec: str, bit_rate: int) -> None:
        """Add a re-encoded audio stream."""
        decoder = source.codec_context
        rates = av.Codec(codec, "w").audio_rates or [decoder.sample_rate]
        if codec == "mp2":  # whose lower rates, those of MPEG-2, don't allow every bit rate
            rates = [rate for rate in rates if rate >= 32000]
        rate = min((rate for rate in rates if rate >= decoder.sample_rate), default=max(rates))
        stream: Any = self._container.add_stream(codec, rate)
        context = stream.codec_context
        context.layout, context.bit_rate = _named_layout(decoder.layout), bit_rate
        if decoder.format and decoder.format.name in [form.name for form in context.codec.audio_formats or []]:
            context.format = decoder.format
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            raise OutputError(
                f"{codec} can't encode audio stream {source.index}, {decoder.layout.name} at {decoder.sample_rate} Hz: "
                f"{logged_reason(context.open) or reason(error)}"
            ) from error
        self._describe(source, stream)
        self._recoded[source.index] = stream

    def _describe(self, source: Any, stream: Any) -> None:
        tags = source.metadata.items()
        stream.metadata.update({key: value for key, value in tags if self._keep_metadata or key in STREAM_TAGS})
        stream.disposition = source.disposition

    # -- packets, interleaved by dts

    def _mux_video(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.dts is not None:
                self._mux_pending(packet.dts * packet.time_base)
            self._packet_muxer.mux(packet)

    def _mux_all(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            self._packet_muxer.mux(packet)

    def _mux_pending(self, until: Fraction | None) -> None:
        """Write the copied packets that are due up to a time in seconds; None for all."""
        while self._pending:
            packet = self._pending[0]
            timestamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and timestamp is not None and timestamp * packet.time_base > until:
                return
            self._pending.popleft()
            packet.stream = self._copies[packet.stream_index]
            self._packet_muxer.mux(packet)


def _drop_timecode(tags: dict[str, str]) -> None:
    for key in [key for key in tags if key.lower() == "timecode"]:
        del tags[key]


def _named_layout(layout: Any) -> str:
    """Return the usual name of a channel layout, of which some containers state only the number of channels."""
    usual = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
    is_number = layout.name == f"{layout.nb_channels} channels"
    return usual.get(layout.nb_channels, layout.name) if is_number else str(layout.name)


def _kept_start(source: VideoReader | LiveReader, muxer: str) -> Fraction:
    """Return at which time the output starts: where the source does, if both have the same kind of clock."""
    if isinstance(source, LiveReader) or source.start < 0 or muxer not in source.container.format.name.split(","):
        return Fraction(0)
    return Fraction(0) if "mov" in source.container.format.name else source.start
