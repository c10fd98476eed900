"""Writing a video: frames are re-encoded, all other streams of the source are copied (stream copy)."""

import contextlib
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.stream import Disposition

from mdtool.errors import OutputError, UsageError, write_error_message
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.sources.address import Address
from mdtool.media.sources.live import LiveReader
from mdtool.media.video.alpha import is_translucent
from mdtool.media.video.edits import UNEDITED, AudioChunk, Edit
from mdtool.media.video.encoded_segments import EncodedSegments, segment_index
from mdtool.media.video.encoding import Encoding, audio_encoder
from mdtool.media.video.frame import Frame, Packet
from mdtool.media.video.interlacing import (
    FIELD_FLAGS,
    MARKED,
    InterlacingEncoder,
    context_options,
    interlacing_loss,
)
from mdtool.media.video.mp4_boxes import free_boxes
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
from mdtool.media.video.video_encoder import VideoEncoder

MUXERS = {
    ".3g2": "3g2", ".3gp": "3gp", ".asf": "asf", ".avi": "avi", ".flv": "flv", ".m2ts": "mpegts", ".m4v": "mp4",
    ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".mpeg": "mpeg", ".mpg": "mpeg", ".mts": "mpegts",
    ".mxf": "mxf", ".nut": "nut", ".ogg": "ogg", ".ogv": "ogg", ".ts": "mpegts", ".webm": "webm", ".wmv": "asf",
}  # fmt: skip
STREAM_TAGS = ("language", "title")  # that are always copied; others may identify author, place or device
AUDIO_BIT_RATE = 192_000  # bits per second
# AudioSpecificConfig of ISO/IEC 14496-3, 1.6.2.1.
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")  # channel configurations from 1 on
# FFmpeg's profile -> factor of the output rate to the core's (SBR doubles it), and audio object type of the core.
AAC_PROFILES = {"Main": (1, 1), "LC": (1, 2), "SSR": (1, 3), "LTP": (1, 4), "HE-AAC": (2, 2), "HE-AACv2": (2, 2)}
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
            self._container = av.open(target, "w", format=muxer, container_options=self._muxer_options())
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
        self._last_dts: dict[int, int] = {}

    def _muxer_options(self) -> dict[str, str]:
        if self._is_network:
            return {"flush_packets": "1"}
        if self._muxer not in ("mp4", "mov", "3gp", "3g2"):
            return {}
        tags = "+use_metadata_tags" if self._keep_metadata else ""
        return {"movflags": ("frag_keyframe+empty_moov+default_base_moof" if self._pipe else "faststart") + tags}

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
        if self._segments is None:
            return False
        first = self._first.setdefault(frame.stream, frame)
        return self._segments.has(frame.stream, segment_index((frame.pts - first.pts) * frame.time_base))

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
                self._container.mux(stream.encode(None))
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
        if not isinstance(error, OSError):  # how muxers and encoders reject streams and timestamps
            return OutputError(f"{self._muxer} with {self._codec} can't hold these streams or timestamps; .mkv can")
        return OutputError(write_error_message(error))

    def _start(self) -> None:
        for stream in self._source.streams:
            if stream.index in self._first:
                self._add_video(stream, self._first[stream.index])
            elif stream not in self._source.videos:
                self._add_copy(stream)
        if self._keep_metadata:
            self._container.metadata.update(self._source.metadata)
        chapters = self._source.chapters
        if self._edit.cut and chapters:
            self.notes.append("chapters left out: their times are those of the uncut video")
        else:
            self._container.set_chapters(chapters)
        early, self._early = self._early, []
        for event in early:
            self._write(event)

    def _write(self, event: Frame | Packet | AudioChunk) -> None:
        if isinstance(event, Frame):
            image = self.convert(event)
            self._note_losses(event, image)
            image.pts, image.time_base = event.pts, event.time_base
            image.pict_type = av.video.frame.PictureType.NONE
            self._mux_video(self._encoders[event.stream].encode(image, event.duration))
        elif isinstance(event, AudioChunk):
            if event.stream in self._recoded:
                self._container.mux(self._recoded[event.stream].encode(event.frame))
        elif event.stream_index in self._recoded:
            for samples in event.decode():
                self._container.mux(self._recoded[event.stream_index].encode(samples))
        elif event.stream_index in self._copies:
            self._pending.append(event)

    # -- streams

    def _add_video(self, source: Any, frame: Frame) -> None:
        self.convert(frame)
        stored, codec = self._formats[source.index], self._codec
        side_data, starts_interlaced = side_data_of(frame.image), frame.image.interlaced_frame
        fields = stored.can_code_fields(codec)
        options = joined(self._encoding.options(codec, stored.alpha), encoder_options(side_data, codec))
        interlaced_options = joined(options, context_options(codec, fields, is_second=not starts_interlaced))
        first_options = interlaced_options if starts_interlaced else options
        try:
            stream: Any = self._container.add_stream(codec, source.average_rate, options=first_options)
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
        except (OSError, ValueError) as error:
            settings = ", ".join(f"{name} {value}" for name, value in options.items()) or "its default options"
            raise UsageError(
                f"--codec {self._codec} does not support {context.width}x{context.height} {context.pix_fmt} "
                f"at {float(source.average_rate or 0):.4g} frames/s with {settings}"
            ) from error

    def _time_base(self, source: Any, frame: Frame) -> Fraction:
        """Return the encoder's time base: the source's, except for formats that can only count frames."""
        if source.average_rate and (self._muxer == "avi" or self._codec in ("mpeg1video", "mpeg2video")):
            return Fraction(1 / source.average_rate)
        coarse = self._codec == "mpeg4" and frame.time_base.denominator > MPEG4_TICKS
        return Fraction(1, MPEG4_TICKS) if coarse else frame.time_base

    def _add_copy(self, source: Any) -> None:
        name = f"{source.type} stream {source.index}"
        if source.disposition & Disposition.attached_pic:
            self.notes.append(f"{name} left out: it is cover art, which may show what is masked in the video")
            return
        if source.type == "attachment":
            if "matroska" in self._container.format.name:
                self._container.add_attachment(source.name or "", source.mimetype or "", source.data)
            else:
                self.notes.append(f"{name} left out: {self._muxer} can't hold it")
            return
        if source.type not in ("audio", "subtitle") and not self._keep_metadata:
            self.notes.append(f"{name} left out: it may hold place and time of recording; --keep-metadata copies it")
            return
        if self._edit and source.type == "audio":
            self._add_edited(source, name)
            return
        config = None
        if self._pipe and self._muxer == "matroska" and _is_adts(source):  # in a file the muxer adds it at the end
            config = _audio_specific_config(source.codec_context)
            if config is None and source.codec_context.sample_rate:
                layout = source.codec_context.layout.name
                self._add_substitute(source, name, f"AAC with layout {layout} can't be copied into a pipe")
                return
        try:
            stream: Any = self._container.add_stream_from_template(source)
        except (ValueError, OSError):
            self._add_substitute(source, name)
            return
        if config:
            stream.codec_context.extradata = config
        self._describe(source, stream)
        self._copies[source.index] = stream

    def _add_edited(self, source: Any, name: str) -> None:
        """Add an audio stream that is muted or cut: re-encoded with its own codec, if there is an encoder."""
        if source.codec_context is None:
            self.notes.append(f"{name} left out: it can't be decoded, so it can't be edited")
            return
        codec = audio_encoder(source.codec_context) or self._default_audio_codec()
        try:
            self._add_audio(source, codec, max(source.codec_context.bit_rate or 0, AUDIO_BIT_RATE))
        except ValueError:  # the container holds the codec only by stream copy
            codec = self._default_audio_codec()
            self._add_audio(source, codec, AUDIO_BIT_RATE)
        self.notes.append(f"{name} re-encoded as {codec}: parts of it were muted or cut")

    def _add_substitute(self, source: Any, name: str, why: str = "") -> None:
        """Re-encode an audio stream that can't be copied; leave out any other."""
        if source.type != "audio" or source.codec_context is None:
            self.notes.append(f"{name} left out: {self._muxer} can't hold it")
            return
        codec = self._default_audio_codec()
        self._add_audio(source, codec, AUDIO_BIT_RATE)
        why = why or f"{self._muxer} can't hold {source.codec_context.name}"
        self.notes.append(f"{name} re-encoded as {codec}: {why}")

    def _default_audio_codec(self) -> str:
        return "libopus" if self._muxer in ("webm", "ogg") else "aac"

    def _add_audio(self, source: Any, codec: str, bit_rate: int) -> None:
        """Add a re-encoded audio stream. ValueError if the container does not support the codec."""
        decoder = source.codec_context
        stream: Any = self._container.add_stream(codec, 48000 if codec == "libopus" else decoder.sample_rate)
        context = stream.codec_context
        context.layout, context.bit_rate = decoder.layout, bit_rate
        if decoder.format and decoder.format.name in [form.name for form in context.codec.audio_formats or []]:
            context.format = decoder.format
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
            self._container.mux_one(packet)

    def _mux_pending(self, until: Fraction | None) -> None:
        """Write the copied packets that are due up to a time in seconds; None for all."""
        while self._pending:
            packet = self._pending[0]
            timestamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and timestamp is not None and timestamp * packet.time_base > until:
                return
            self._pending.popleft()
            last = self._last_dts.get(packet.stream_index)
            if timestamp is not None and last is not None and timestamp <= last:  # muxers require an increasing dts
                packet.dts = last + 1
                packet.pts = max(packet.pts or 0, packet.dts)
            if packet.dts is not None:
                self._last_dts[packet.stream_index] = packet.dts
            packet.stream = self._copies[packet.stream_index]
            self._container.mux_one(packet)


def _is_adts(source: Any) -> bool:
    """Return whether a stream is AAC with ADTS headers, as in MPEG-TS, and so without an AudioSpecificConfig."""
    context = source.codec_context
    return bool(source.type == "audio" and context and context.name == "aac" and not context.extradata)


def _audio_specific_config(context: Any) -> bytes | None:
    """Return the AudioSpecificConfig (ISO/IEC 14496-3) of an ADTS stream, which Matroska needs in its header.

    None if profile, sample rate or channel layout can't be expressed in it.
    """
    factor, object_type = AAC_PROFILES.get(context.profile or "", (1, 0))
    rate = context.sample_rate // factor
    layout = "mono" if context.profile == "HE-AACv2" else context.layout.name
    if not object_type or rate not in AAC_RATES or layout not in AAC_LAYOUTS:
        return None
    channels = AAC_LAYOUTS.index(layout) + 1
    return (object_type << 11 | AAC_RATES.index(rate) << 7 | channels << 3).to_bytes(2, "big")
