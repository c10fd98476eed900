"""Reading a video in file order: decoded frames of its video streams, and the packets of all others for stream copy."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition

from mdtool.errors import InputError
from mdtool.media.files.pipe import PipeReader
from mdtool.media.image.display_matrix import UPRIGHT, from_display_matrix
from mdtool.media.video.alpha import decoder_of
from mdtool.media.video.frame import Frame, Packet

# Demuxers that may be used: containers that hold their own media. Playlists and scripts (hls, concat, dash, ...) are
# excluded, since they make the demuxer open any file or URL that they name.
CONTAINERS = (
    "apng,asf,av1,avi,dv,flv,gif,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nsv,nut,obu,ogg,"
    "rm,vc1,wtv,yuv4mpegpipe"
)


@dataclass
class Damage:
    """What of a video could not be read.

    Attributes:
        packets: Number of packets that the decoder rejected.
        frames: Number of frames that were decoded with errors.
        ended_early: Whether the file is truncated.
    """

    packets: int = 0
    frames: int = 0
    ended_early: bool = False

    def __bool__(self) -> bool:
        return bool(self.packets or self.frames or self.ended_early)

    def __str__(self) -> str:
        parts = [f"{self.frames} frames damaged"] if self.frames else []
        parts += [f"{self.packets} packets unreadable"] if self.packets else []
        parts += ["it ends earlier than its index states"] if self.ended_early else []
        return ", ".join(parts)


class VideoReader:
    """An open video. Iterate it once for its frames and the packets of its other streams. Close it after.

    Attributes:
        container: The open container.
        videos: Its video streams, without cover art.
        damage: What could not be read so far.
    """

    def __init__(self, source: Path | BinaryIO | PipeReader | InputContainer) -> None:
        """Open a video.

        Args:
            source: A file, a file object, or an open container.

        Raises:
            InputError: It can't be read, or has no video stream that can be decoded.
        """
        self.container = source if isinstance(source, InputContainer) else _opened(source)
        self.damage = Damage()
        self.videos = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        readable = all(s.codec_context and s.codec_context.pix_fmt and s.codec_context.width for s in self.videos)
        if not self.videos or not readable:
            self.close()
            raise InputError(
                "its video stream is damaged, or its codec is not supported"
                if self.videos
                else "has no video stream, only audio or data"
            )
        for stream in self.videos:
            stream.thread_type = "AUTO"

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    @property
    def streams(self) -> list[Any]:
        """All streams of the container."""
        return list(self.container.streams)

    @property
    def metadata(self) -> dict[str, str]:
        """The tags of the container."""
        return dict(self.container.metadata)

    @property
    def chapters(self) -> list[Any]:
        """The chapters, as PyAV describes them."""
        return self.container.chapters()

    @property
    def seconds(self) -> float | None:
        """The duration that the container states."""
        return self.container.duration / av.time_base if self.container.duration else None

    @property
    def frames(self) -> int | None:
        """The approximate number of frames of all video streams; None if it can't be estimated."""
        return sum(s.frames or round((self.seconds or 0) * (s.average_rate or 0)) for s in self.videos) or None

    @property
    def frame_bytes(self) -> int:
        """The approximate memory of a decoded frame of the largest video stream, in bytes."""
        return max(s.codec_context.width * s.codec_context.height * 2 for s in self.videos)

    def rate(self, stream: int) -> float:
        """Return the average frame rate, in frames per second, of the video stream with this index."""
        video = self.container.streams[stream]
        return float(video.average_rate or video.guessed_rate or 30)

    def __iter__(self) -> Iterator[Frame | Packet]:
        """Yield the frames and packets in file order.

        Raises:
            InputError: At the end, if no frame could be decoded.
        """
        decoders = {stream.index: _Decoder(stream, self.damage) for stream in self.videos}
        end = Fraction(0)
        for packet in self._packets():
            if packet.pts is not None and packet.time_base:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index in decoders:
                yield from decoders[packet.stream_index].decode(packet)
            else:
                yield packet
        for decoder in decoders.values():
            yield from decoder.decode(None)
        if not any(decoder.count for decoder in decoders.values()):
            raise InputError("contains no frame that can be decoded")
        self.damage.ended_early |= self._stops_short(decoders, end)

    def frames_from(self, stream: int, seconds: float) -> Iterator[Frame]:
        """Yield the frames of a video stream from the last keyframe before a time on, or from the start.

        Args:
            stream: Index of the stream.
            seconds: The time to seek to.

        Yields:
            Frames, whose `index` is not that in the stream.
        """
        video: Any = self.container.streams[stream]
        with suppress(av.FFmpegError):
            self.container.seek(round(seconds / video.time_base), stream=video)
        frames = self._frames_of(video)
        first = next(frames, None)
        if first is None or first.time > seconds:  # seeking is unreliable in some containers
            with suppress(av.FFmpegError):
                self.container.seek(self.container.start_time or 0)
                frames, first = self._frames_of(video), None
        if first:
            yield first
        yield from frames

    def _frames_of(self, stream: Any) -> Iterator[Frame]:
        decoder = _Decoder(stream, self.damage)
        for packet in self._packets():
            if packet.stream_index == stream.index:
                yield from decoder.decode(packet)
        yield from decoder.decode(None)

    def _packets(self) -> Iterator[Packet]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self.damage.ended_early = True
                return
            if packet.size:  # the empty packets at the end would flush decoders, which the caller does
                yield packet

    def _stops_short(self, decoders: "dict[int, _Decoder]", end: Fraction) -> bool:
        """Return whether less was read than the index states, in formats whose index is written last."""
        kind = self.container.format.name
        if "mov" in kind:
            return any(0 < decoders[s.index].packets < s.frames for s in self.videos)
        if "matroska" in kind and self.seconds:
            begin = Fraction(self.container.start_time or 0, av.time_base)
            return self.seconds - float(end - begin) > 1.0
        return False


def _opened(source: Path | BinaryIO | PipeReader) -> InputContainer:
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    where: Any = f"file:{source}" if isinstance(source, Path) else source
    try:
        container: InputContainer = av.open(where, "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(explain(error)) from error
    return container


class _Decoder:
    """The decoder of one stream. Timestamps of its frames always increase."""

    def __init__(self, stream: Any, damage: Damage) -> None:
        self.stream = stream
        self.context = decoder_of(stream)
        self.damage = damage
        self.count = 0
        self.packets = 0
        self.last: int | None = None
        self.matrix: bytes | None = None
        rate = stream.average_rate or stream.guessed_rate or 30
        self.step = max(1, round(1 / (rate * stream.time_base)))

    def decode(self, packet: Packet | None) -> Iterator[Frame]:
        """Yield the frames that a packet completes, or with None flush the decoder."""
        self.packets += packet is not None
        try:
            images = self.context.decode(packet)
        except av.error.EOFError:
            return
        except av.FFmpegError:
            self.damage.packets += 1
            return
        for image in images:
            yield self._frame(image, is_packet_corrupt=packet is not None and packet.is_corrupt)

    def _frame(self, image: av.VideoFrame, is_packet_corrupt: bool) -> Frame:
        corrupt = is_packet_corrupt or image.is_corrupt
        self.damage.frames += corrupt
        pts = image.pts if image.pts is not None else image.dts
        if self.last is not None:
            pts = self.last + self.step if pts is None else max(pts, self.last + 1)
        self.last = pts or 0
        self.count += 1
        if self.count == 1:
            # Only once: side data makes a reference cycle with its frame, so only the garbage collector would free it.
            self.matrix = display_matrix(image)
        return Frame(
            image,
            index=self.count - 1,
            pts=self.last,
            time_base=self.stream.time_base,
            duration=image.duration,
            stream=self.stream.index,
            orientation=(from_display_matrix(self.matrix) if self.matrix else None) or UPRIGHT,
            matrix=self.matrix,
            aspect=self.stream.sample_aspect_ratio or Fraction(1),
            corrupt=corrupt,
        )


def display_matrix(frame: av.VideoFrame) -> bytes | None:
    """Return the frame's display matrix (nine little-endian int32), or None."""
    side_data: Any = frame.side_data
    return next((bytes(data) for data in side_data if data.type.name == "DISPLAYMATRIX"), None)


def explain(error: Exception) -> str:
    """Return a one-line message for an error of opening or reading a medium."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "may not be read: permission denied"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a file"
    if isinstance(error, av.error.EOFError):
        return "empty or ends before anything can be read"
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return "not a video or image in a supported format, or it is damaged at its start or end"
    return f"can't be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
