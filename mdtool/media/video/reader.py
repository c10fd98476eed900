"""Reads a video: its pictures decoded, every other stream as packets to copy, in the order they lie in the file."""

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
from mdtool.media.video.frame import Frame

# What may be opened: containers that hold their own media. Playlists and scripts (hls, concat, dash, ...) are left
# out, for they make the demuxer open whatever they name, be it a file or an address.
CONTAINERS = (
    "apng,asf,av1,avi,dv,flv,gif,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nsv,nut,obu,ogg,"
    "rm,vc1,wtv,yuv4mpegpipe"
)


@dataclass
class Damage:
    """What of a video could not be read."""

    packets: int = 0  # refused by the decoder
    frames: int = 0  # decoded only in part
    ended_early: bool = False

    def __bool__(self) -> bool:
        return bool(self.packets or self.frames or self.ended_early)

    def __str__(self) -> str:
        parts = [f"{self.frames} frames damaged"] if self.frames else []
        parts += [f"{self.packets} packets unreadable"] if self.packets else []
        parts += ["it ends before its own index says"] if self.ended_early else []
        return ", ".join(parts)


class VideoReader:
    """An open video; iterate it once for its frames and the packets of its other streams. Close it after.

    InputError, in one line, for what is no video.
    """

    def __init__(self, source: Path | BinaryIO | PipeReader | InputContainer) -> None:
        """source: also a container that is open already."""
        self.container = source if isinstance(source, InputContainer) else _opened(source)
        self.damage = Damage()
        self.videos = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        readable = all(s.codec_context and s.codec_context.pix_fmt and s.codec_context.width for s in self.videos)
        if not self.videos or not readable:
            self.close()
            raise InputError(
                "its video is damaged or of a kind that can't be decoded"
                if self.videos
                else "has no moving pictures, only sound or data"
            )
        for stream in self.videos:
            stream.thread_type = "AUTO"

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.container.close()

    @property
    def streams(self) -> list[Any]:
        return list(self.container.streams)

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.container.metadata)

    @property
    def chapters(self) -> list[Any]:
        return self.container.chapters()

    @property
    def seconds(self) -> float | None:
        """Length, as the container states it."""
        return self.container.duration / av.time_base if self.container.duration else None

    @property
    def frames(self) -> int | None:
        """About how many frames all video streams have together, if that can be known before they are read."""
        return sum(s.frames or round((self.seconds or 0) * (s.average_rate or 0)) for s in self.videos) or None

    @property
    def frame_bytes(self) -> int:
        """About how much memory a decoded frame takes, of the largest video stream."""
        return max(s.codec_context.width * s.codec_context.height * 2 for s in self.videos)

    def rate(self, stream: int) -> float:
        """Frames a second, on average, of the video stream with this index."""
        chosen = self.container.streams[stream]
        return float(chosen.average_rate or chosen.guessed_rate or 30)

    def __iter__(self) -> Iterator[Frame | av.Packet]:
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
            raise InputError("holds no frame that can be decoded")
        self.damage.ended_early |= self._stops_short(decoders, end)

    def frames_from(self, stream: int, seconds: float) -> Iterator[Frame]:
        """Those of one video stream from the last key frame before a time on, as far as the file can be sought in.

        Their indices don't count.
        """
        chosen: Any = self.container.streams[stream]
        with suppress(av.FFmpegError):
            self.container.seek(round(seconds / chosen.time_base), stream=chosen)
        frames = self._frames_of(chosen)
        first = next(frames, None)
        if first is None or first.time > seconds:  # not every container is sought in well
            with suppress(av.FFmpegError):
                self.container.seek(self.container.start_time or 0)
                frames, first = self._frames_of(chosen), None
        if first:
            yield first
        yield from frames

    def _frames_of(self, stream: Any) -> Iterator[Frame]:
        decoder = _Decoder(stream, self.damage)
        for packet in self._packets():
            if packet.stream_index == stream.index:
                yield from decoder.decode(packet)
        yield from decoder.decode(None)

    def _packets(self) -> Iterator[av.Packet]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self.damage.ended_early = True
                return
            if packet.size:  # the empty ones at the end flush decoders, which is done apart
                yield packet

    def _stops_short(self, decoders: "dict[int, _Decoder]", end: Fraction) -> bool:
        """Whether less was read than an index states that is written last, when the length is known."""
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
        return av.open(where, "r", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(explain(error)) from error


class _Decoder:
    """Frames of one stream, with times that always go on."""

    def __init__(self, stream: Any, damage: Damage) -> None:
        self.stream = stream
        self.damage = damage
        self.count = 0
        self.packets = 0
        self.last: int | None = None
        self.matrix: bytes | None = None
        rate = stream.average_rate or stream.guessed_rate or 30
        self.step = max(1, round(1 / (rate * stream.time_base)))

    def decode(self, packet: av.Packet | None) -> Iterator[Frame]:
        """The frames that one packet completes, or with None those that are still in the decoder."""
        self.packets += packet is not None
        try:
            pictures = self.stream.decode(packet)
        except av.error.EOFError:
            return
        except av.FFmpegError:
            self.damage.packets += 1
            return
        for picture in pictures:
            yield self._frame(picture, broken=packet is not None and packet.is_corrupt)

    def _frame(self, picture: av.VideoFrame, broken: bool) -> Frame:
        corrupt = broken or picture.is_corrupt
        self.damage.frames += corrupt
        pts = picture.pts if picture.pts is not None else picture.dts
        if self.last is not None:
            pts = self.last + self.step if pts is None else max(pts, self.last + 1)
        self.last = pts or 0
        self.count += 1
        if self.count == 1:
            # Only once: PyAV ties a frame to its side data in a cycle, so its memory would wait for the collector.
            self.matrix = display_matrix(picture)
        return Frame(
            picture,
            index=self.count - 1,
            pts=self.last,
            time_base=self.stream.time_base,
            duration=picture.duration,
            stream=self.stream.index,
            orientation=(from_display_matrix(self.matrix) if self.matrix else None) or UPRIGHT,
            matrix=self.matrix,
            aspect=self.stream.sample_aspect_ratio or Fraction(1),
            corrupt=corrupt,
        )


def display_matrix(picture: av.VideoFrame) -> bytes | None:
    """The nine little-endian int32 that say how the picture is turned to be shown, if it says so."""
    attached: Any = picture.side_data
    return next((bytes(data) for data in attached if data.type.name == "DISPLAYMATRIX"), None)


def explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "may not be read: permission denied"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a file"
    if isinstance(error, av.error.EOFError):
        return "is empty or ends before anything can be read"
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
        return "is no video, photo or animation that can be read, or it is damaged at its start or end"
    return f"can't be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
