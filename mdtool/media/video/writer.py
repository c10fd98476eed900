"""Writes a video: pictures encoded again, every other stream of the source copied as it is."""

import contextlib
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from functools import partial
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
from mdtool.media.video.edits import UNEDITED, AudioChunk, Edit
from mdtool.media.video.encoded_segments import EncodedSegments, segment_index
from mdtool.media.video.encoding import Encoding, audio_encoder, pixel_format
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.video_encoder import VideoEncoder

MUXERS = {
    ".3g2": "3g2", ".3gp": "3gp", ".asf": "asf", ".avi": "avi", ".flv": "flv", ".m2ts": "mpegts", ".m4v": "mp4",
    ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".mpeg": "mpeg", ".mpg": "mpeg", ".mts": "mpegts",
    ".mxf": "mxf", ".nut": "nut", ".ogg": "ogg", ".ogv": "ogg", ".ts": "mpegts", ".webm": "webm", ".wmv": "asf",
}  # fmt: skip
STREAM_TAGS = ("language", "title")  # of streams; others may say who made them, where, and with what
AUDIO_BIT_RATE = 192_000  # a second
BT709 = 1
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
# By what FFmpeg calls it: how many times its core's rate is doubled, and the type of its core.
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")  # from 1 on; others are told in more than a number
AAC_KINDS = {"Main": (1, 1), "LC": (1, 2), "SSR": (1, 3), "LTP": (1, 4), "HE-AAC": (2, 2), "HE-AACv2": (2, 2)}
MPEG4_TICKS = 60000  # its second can be divided in a few more, which no common rate divides


def muxer_for(name: str) -> str:
    """The container format that a file name stands for."""
    suffix = Path(name).suffix.lower()
    if suffix not in MUXERS:
        raise UsageError(f"{name}: can't tell the format from its name; end it in .mp4, .mkv, .mov or .webm")
    return MUXERS[suffix]


class VideoWriter:
    """Takes the events of a VideoReader, its frames perhaps painted on, and writes them to a new file.

    edit: what was done to the events, which then have sound in place of packets of sound.
    `notes` says in words what could not be kept. OutputError if the file can't be written.
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
        """kept: where encoded pictures are kept, for a run that goes on where this one is ended."""
        self.notes: list[str] = []
        self._source = source
        self._encoding = encoding
        self._keep_metadata = keep_metadata
        self._edit = edit
        self._muxer = muxer
        self._pipe = where if isinstance(where, PipeWriter) else None
        self._sends = isinstance(where, Address)
        target: Any = f"file:{where}" if isinstance(where, Path) else where
        if isinstance(where, Address):
            target = where.text
        try:
            self._container = av.open(target, "w", format=muxer, container_options=self._muxer_options())
        except ValueError as error:
            raise UsageError(f"--container {muxer}: there is no such container format") from error
        self._codec = encoding.codec_for(self._container)
        self._formats: dict[int, str] = {}
        self._first: dict[int, Frame] = {}
        self._early: list[Frame | av.Packet | AudioChunk] = []
        self._pictures: dict[int, VideoEncoder] = {}
        self._segments = segments
        self._copies: dict[int, Any] = {}
        self._recoded: dict[int, Any] = {}
        self._waiting: deque[av.Packet] = deque()
        self._last_dts: dict[int, int] = {}

    def _muxer_options(self) -> dict[str, str]:
        if self._sends:
            return {"flush_packets": "1"}
        if self._muxer not in ("mp4", "mov", "3gp", "3g2"):
            return {}
        tags = "+use_metadata_tags" if self._keep_metadata else ""
        return {"movflags": ("frag_keyframe+empty_moov+default_base_moof" if self._pipe else "faststart") + tags}

    # -- pictures in the form in which they are encoded

    def convert(self, frame: Frame) -> av.VideoFrame:
        """The frame's picture in the pixel format of its output stream: itself, where that is the same."""
        picture = frame.picture
        if frame.stream not in self._formats:
            self._formats[frame.stream] = pixel_format(picture, self._codec, self._encoding.pixel_format)
            self._note_loss(picture, self._formats[frame.stream])
        first = self._first.setdefault(frame.stream, frame).picture
        wanted = self._formats[frame.stream]
        if (picture.format.name, picture.width, picture.height) == (wanted, first.width, first.height):
            return picture
        rgb_to_yuv = picture.format.is_rgb and not wanted.startswith("gbr")
        colours: dict[str, Any] = {"dst_colorspace": BT709} if rgb_to_yuv else {}
        if not picture.format.is_rgb and picture.color_range:
            colours = {"src_color_range": picture.color_range, "dst_color_range": picture.color_range}
        return picture.reformat(width=first.width, height=first.height, format=wanted, **colours)

    def _note_loss(self, picture: av.VideoFrame, wanted: str) -> None:
        to = av.VideoFormat(wanted)
        if picture.width % 2 + picture.height % 2 and to.chroma_width(4) == 4 and picture.format.chroma_width(4) < 4:
            self.notes.append(
                f"{picture.width}x{picture.height} has an odd side: encoded as {wanted}, which {self._codec} can do; "
                "--codec libvpx-vp9 keeps the colours as they are"
            )
        elif to.components[0].bits < picture.format.components[0].bits:
            self.notes.append(f"{self._codec} can't keep {picture.format.name}: encoded as {wanted}")

    # -- events

    def is_encoded(self, frame: Frame) -> bool:
        """Whether the frame is kept already, as it is to be: then its picture is not looked at."""
        if self._segments is None:
            return False
        begin = self._first.setdefault(frame.stream, frame)
        return self._segments.has(frame.stream, segment_index((frame.pts - begin.pts) * frame.time_base))

    def write(self, event: Frame | av.Packet | AudioChunk) -> None:
        """One event of the source, in its order; frames as `convert` gives them."""
        try:
            if self._pictures:
                self._take(event)
            else:
                self._hold(event)
            if self._pipe:
                self._pipe.check()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def _hold(self, event: Frame | av.Packet | AudioChunk) -> None:
        """Keeps what comes before the first frame of every stream, which says how the file is to be."""
        self._early.append(event)
        if isinstance(event, Frame):
            self._first.setdefault(event.stream, event)
            if len(self._first) == len(self._source.videos):
                self._start()

    def close(self) -> None:
        """Ends every stream and the file."""
        try:
            if not self._pictures:
                self._start()
            for picture in self._pictures.values():
                self._mux_pictures(picture.end())
            self._pass_on(None)
            for stream in self._recoded.values():
                self._container.mux(stream.encode(None))
            self._container.close()
            if self._pipe:
                self._pipe.check()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def abandon(self) -> None:
        """Lets go of the file, whose content is of no use."""
        with contextlib.suppress(av.FFmpegError, OSError):  # the disk may be full still
            self._container.close()

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, BrokenPipeError):
            return error
        if not isinstance(error, OSError):  # how muxers and encoders refuse what they can't write down
            return OutputError(f"{self._muxer} with {self._codec} can't hold these streams or times; .mkv can")
        return OutputError(write_error_message(error))

    def _start(self) -> None:
        for stream in self._source.streams:
            if stream.index in self._first:
                self._add_picture(stream, self._first[stream.index])
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
            self._take(event)

    def _take(self, event: Frame | av.Packet | AudioChunk) -> None:
        if isinstance(event, Frame):
            fitted = self.convert(event)
            fitted.pts, fitted.time_base = event.pts, event.time_base
            fitted.pict_type = av.video.frame.PictureType.NONE
            self._mux_pictures(self._pictures[event.stream].take(fitted, event.duration))
        elif isinstance(event, AudioChunk):
            if event.stream in self._recoded:
                self._container.mux(self._recoded[event.stream].encode(event.frame))
        elif event.stream_index in self._recoded:
            for sound in event.decode():
                self._container.mux(self._recoded[event.stream_index].encode(sound))
        elif event.stream_index in self._copies:
            self._waiting.append(event)

    # -- streams

    def _add_picture(self, source: Any, frame: Frame) -> None:
        fitted = self.convert(frame)
        options = self._encoding.options(self._codec)
        try:
            stream: Any = self._container.add_stream(self._codec, source.average_rate, options=options)
        except ValueError as error:
            raise UsageError(f"--codec {self._codec}: {error}") from error
        settle = partial(self._settle, source, frame, fitted)
        settle(stream.codec_context)
        stream.time_base = stream.codec_context.time_base
        if frame.matrix:
            stream.set_display_matrix(np.frombuffer(frame.matrix, np.int32).tolist())
        self._describe(source, stream)
        self._open(stream.codec_context, options, source)

        def another() -> Any:
            context: Any = av.CodecContext.create(self._codec, "w")
            context.framerate = stream.codec_context.framerate
            context.options = options
            settle(context)
            context.flags = stream.codec_context.flags
            self._open(context, options, source)
            return context

        start = frame.pts * frame.time_base
        self._pictures[source.index] = VideoEncoder(stream, another, self._segments, number=source.index, start=start)

    def _settle(self, source: Any, frame: Frame, fitted: av.VideoFrame, context: Any) -> None:
        """Tells an encoder what pictures it will get. fitted: the frame's, as it will be encoded."""
        context.width, context.height, context.pix_fmt = fitted.width, fitted.height, fitted.format.name
        context.time_base = self._clock(source, frame)
        context.thread_type = "FRAME"  # x264 takes "SLICE", the default, for an order to cut pictures up
        context.flags |= Flags.frame_duration
        stated = source.codec_context
        context.color_range = frame.picture.color_range or stated.color_range
        converted = frame.picture.format.is_rgb and not fitted.format.is_rgb
        for tag in ("colorspace", "color_primaries", "color_trc"):
            setattr(context, tag, BT709 if converted else getattr(frame.picture, tag))
        if frame.aspect:
            context.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(0)
        if frame.picture.interlaced_frame:
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            context.field_order = stated.field_order

    def _open(self, context: Any, options: dict[str, str], source: Any) -> None:
        try:
            context.open()
        except (OSError, ValueError) as error:
            settings = ", ".join(f"{name} {value}" for name, value in options.items()) or "its own defaults"
            raise UsageError(
                f"--codec {self._codec} refuses {context.width}x{context.height} {context.pix_fmt} "
                f"at {float(source.average_rate or 0):.4g} frames/s with {settings}"
            ) from error

    def _clock(self, source: Any, frame: Frame) -> Fraction:
        """What times of pictures are counted in: as the source does, but for what can only count frames."""
        if source.average_rate and (self._muxer == "avi" or self._codec in ("mpeg1video", "mpeg2video")):
            return 1 / source.average_rate
        coarse = self._codec == "mpeg4" and frame.time_base.denominator > MPEG4_TICKS
        return Fraction(1, MPEG4_TICKS) if coarse else frame.time_base

    def _add_copy(self, source: Any) -> None:
        name = f"{source.type} stream {source.index}"
        if source.disposition & Disposition.attached_pic:
            self.notes.append(f"{name} left out: a cover picture, which may show what is hidden in the video")
            return
        if source.type == "attachment":
            if "matroska" in self._container.format.name:
                self._container.add_attachment(source.name or "", source.mimetype or "", source.data)
            else:
                self.notes.append(f"{name} left out: {self._muxer} can't hold it")
            return
        if source.type not in ("audio", "subtitle") and not self._keep_metadata:
            self.notes.append(f"{name} left out: it may say where and when this was filmed; --keep-metadata copies it")
            return
        if self._edit and source.type == "audio":
            self._add_edited(source, name)
            return
        setup = None
        if self._pipe and self._muxer == "matroska" and _is_adts(source):  # in a file it can be filled in later
            setup = _aac_setup(source.codec_context)
            if setup is None and source.codec_context.sample_rate:
                layout = source.codec_context.layout.name
                self._add_substitute(source, name, f"AAC in {layout} can't go into a pipe as it is")
                return
        try:
            stream: Any = self._container.add_stream_from_template(source)
        except (ValueError, OSError):
            self._add_substitute(source, name)
            return
        if setup:
            stream.codec_context.extradata = setup
        self._describe(source, stream)
        self._copies[source.index] = stream

    def _add_edited(self, source: Any, name: str) -> None:
        """Sound of which parts are silenced or cut: encoded again, with its own codec if there is an encoder for it."""
        if source.codec_context is None:
            self.notes.append(f"{name} left out: it can't be decoded to be changed")
            return
        codec = audio_encoder(source.codec_context) or self._default_audio_codec()
        try:
            self._add_sound(source, codec, max(source.codec_context.bit_rate or 0, AUDIO_BIT_RATE))
        except ValueError:  # the container holds it, but only as it came
            codec = self._default_audio_codec()
            self._add_sound(source, codec, AUDIO_BIT_RATE)
        self.notes.append(f"{name} encoded again as {codec}, for parts of it are changed")

    def _add_substitute(self, source: Any, name: str, why: str = "") -> None:
        """Where the container can't hold a stream as it is: sound is encoded again, anything else is left out."""
        if source.type != "audio" or source.codec_context is None:
            self.notes.append(f"{name} left out: {self._muxer} can't hold it")
            return
        codec = self._default_audio_codec()
        self._add_sound(source, codec, AUDIO_BIT_RATE)
        why = why or f"{self._muxer} can't hold {source.codec_context.name}"
        self.notes.append(f"{name} encoded again as {codec}: {why}")

    def _default_audio_codec(self) -> str:
        return "libopus" if self._muxer in ("webm", "ogg") else "aac"

    def _add_sound(self, source: Any, codec: str, bits: int) -> None:
        """bits: a second, for a codec that loses some. ValueError where the container does not take the codec."""
        given = source.codec_context
        stream: Any = self._container.add_stream(codec, 48000 if codec == "libopus" else given.sample_rate)
        context = stream.codec_context
        context.layout, context.bit_rate = given.layout, bits
        if given.format and given.format.name in [form.name for form in context.codec.audio_formats or []]:
            context.format = given.format
        self._describe(source, stream)
        self._recoded[source.index] = stream

    def _describe(self, source: Any, stream: Any) -> None:
        tags = source.metadata.items()
        stream.metadata.update({key: value for key, value in tags if self._keep_metadata or key in STREAM_TAGS})
        stream.disposition = source.disposition

    # -- packets, in the order of their times

    def _mux_pictures(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            if packet.dts is not None:
                self._pass_on(packet.dts * packet.time_base)
            self._container.mux_one(packet)

    def _pass_on(self, until: Fraction | None) -> None:
        """Writes the copied packets that are due before a time in seconds; None: all."""
        while self._waiting:
            packet = self._waiting[0]
            timestamp = packet.dts if packet.dts is not None else packet.pts
            if until is not None and timestamp is not None and timestamp * packet.time_base > until:
                return
            self._waiting.popleft()
            last = self._last_dts.get(packet.stream_index)
            if timestamp is not None and last is not None and timestamp <= last:  # a muxer takes no step back
                packet.dts = last + 1
                packet.pts = max(packet.pts or 0, packet.dts)
            if packet.dts is not None:
                self._last_dts[packet.stream_index] = packet.dts
            packet.stream = self._copies[packet.stream_index]
            self._container.mux_one(packet)


def _is_adts(source: Any) -> bool:
    """Whether it is AAC that says what it is in each packet, as in a transport stream, and not ahead."""
    context = source.codec_context
    return bool(source.type == "audio" and context and context.name == "aac" and not context.extradata)


def _aac_setup(context: Any) -> bytes | None:
    """What such AAC says of itself as containers want it to be said ahead: the AudioSpecificConfig of ISO/IEC 14496-3.
    None where it can't be told."""
    doubled, kind = AAC_KINDS.get(context.profile or "", (1, 0))
    rate = context.sample_rate // doubled
    layout = "mono" if context.profile == "HE-AACv2" else context.layout.name
    if not kind or rate not in AAC_RATES or layout not in AAC_LAYOUTS:
        return None
    channels = AAC_LAYOUTS.index(layout) + 1
    return (kind << 11 | AAC_RATES.index(rate) << 7 | channels << 3).to_bytes(2, "big")
