"""Reading a video in file order: decoded frames of its video streams, and the packets of all others for stream copy."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import av
from av.container import InputContainer
from av.stream import Disposition

from mdtool.errors import InputError
from mdtool.media.files.pipe import PipeReader
from mdtool.media.image.display_matrix import UPRIGHT, from_display_matrix
from mdtool.media.video.alpha import decoder_of
from mdtool.media.video.colour_codes import check_colour_codes
from mdtool.media.video.container_structure import is_broken
from mdtool.media.video.frame import Frame, Packet, is_stretched, pixel_aspect
from mdtool.media.video.frame_rate import frame_rate
from mdtool.media.video.lost_packets import LostPackets
from mdtool.media.video.side_data import display_matrix
from mdtool.media.video.source_clock import SourceClock, may_be_reset, shifted_chapters, start_of
from mdtool.media.video.trimmed_packets import TrimmedPackets
from mdtool.media.video.truncation import is_truncated

# Demuxers that may be used: containers that hold their own media. Playlists and scripts (hls, concat, dash, ...) are
# excluded, since they make the demuxer open any file or URL that they name.
CONTAINERS = (
    "apng,asf,av1,avi,dv,flv,gif,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nsv,nut,obu,ogg,"
    "rm,vc1,wtv,yuv4mpegpipe"
)

# With several, FFmpeg reads the errors of an H.264 or MPEG-4 picture while another thread still decodes it, and PyAV
# drops the error of a packet if others' frames came with it: damage would be told in one run, and not in the next.
DECODER_THREADS = 1

# Codecs whose decoder begins at any picture, and shows grey for what it is predicted from: frames before the first
# keyframe are damaged, where other decoders give none.
WITHOUT_KEYFRAME = ("flv1", "h263", "mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2")

MAX_BEFORE_SPLICE = 2  # packets before a splice, of which the demuxer takes one for corrupt


@dataclass
class Damage:
    """What of a video could not be read.

    Attributes:
        packets: Number of packets that the decoder rejected, or skipped although they hold a picture.
        frames: Number of frames that were decoded with errors.
        ended_early: Whether the file is truncated.
        skips: Whether its structure is damaged, so that parts in the middle were passed over.
        lost: Why a part of it did not arrive; "" if all did.
    """

    packets: int = 0
    frames: int = 0
    ended_early: bool = False
    skips: bool = False
    lost: str = ""

    def __bool__(self) -> bool:
        return bool(self.packets or self.frames or self.ended_early or self.skips or self.lost)

    def __str__(self) -> str:
        parts = [f"damaged frames: {self.frames}"] if self.frames else []
        parts += [f"unreadable packets: {self.packets}"] if self.packets else []
        parts += ["it ends earlier than its header or index states"] if self.ended_early else []
        parts += ["its structure is broken, so that parts are left out"] if self.skips else []
        parts += [self.lost] if self.lost else []
        return ", ".join(parts)


class VideoReader:
    """An open video. Iterate it once for its frames and the packets of its other streams. Close it after.

    Attributes:
        container: The open container.
        videos: Its video streams, without cover art.
        damage: What could not be read so far.
        start: What a player shows as 0, in seconds on the container's clock. All times that are read count from it.
        splices: Number of jumps of the clock that were closed so far.
    """

    def __init__(
        self, source: Path | BinaryIO | PipeReader | InputContainer, failure: Callable[[], str] = lambda: ""
    ) -> None:
        """Open a video.

        Args:
            source: A file, a file object, or an open container.
            failure: Returns why a part of an open container did not arrive; "" if all did.

        Raises:
            InputError: It can't be read, or has no video stream that can be decoded.
        """
        self.container = source if isinstance(source, InputContainer) else _opened(source)
        self.damage = Damage()
        self._failure = failure
        self._source = None if isinstance(source, InputContainer) else source
        self.start = start_of(self.container)
        self.splices = 0
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
            stream.codec_context.thread_count = DECODER_THREADS

    def __enter__(self) -> Self:
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
        return shifted_chapters(self.container.chapters(), -self.start)

    @property
    def seconds(self) -> float | None:
        """The duration that the container states."""
        if not self.container.duration:
            return None
        stated = self.container.duration / av.time_base
        # FFmpeg writes into Matroska when the video ends on the container's clock
        counts_from_0 = "matroska" in self.container.format.name and "Lavf" in self.metadata.get("ENCODER", "")
        return stated - max(float(self.start), 0) if counts_from_0 and stated > self.start else stated

    @property
    def frames(self) -> int | None:
        """The approximate number of frames of all video streams; None if it can't be estimated."""
        return sum(s.frames or round((self.seconds or 0) * (frame_rate(s) or 0)) for s in self.videos) or None

    @property
    def frame_bytes(self) -> int:
        """The approximate memory of a decoded frame of the largest video stream, in bytes."""
        return max(s.codec_context.width * s.codec_context.height * 2 for s in self.videos)

    @property
    def notes(self) -> list[str]:
        """Sentences for the person about what was read."""
        notes = [
            f"its pixels are said to have sides of {aspect.numerator}:{aspect.denominator}, which is unusual: "
            "frames are analysed as displayed and as stored"
            for aspect in map(pixel_aspect, self.videos)
            if is_stretched(aspect)
        ]
        if self.splices:
            jumps = "once" if self.splices == 1 else f"{self.splices} times"
            notes.append(
                f"its clock jumps {jumps}: from there on all streams are shifted, so that they go on without a gap"
            )
        return notes

    def rate(self, stream: int) -> float:
        """Return the average frame rate, in frames per second, of the video stream with this index."""
        return float(frame_rate(self.container.streams[stream]) or 30)

    def __iter__(self) -> Iterator[Frame | Packet]:
        """Yield the frames and packets in file order.

        Raises:
            InputError: At the end, if no frame could be decoded.
        """
        decoders = {stream.index: _Decoder(stream, self.damage) for stream in self.videos}
        end = Fraction(0)
        trimmed = TrimmedPackets()
        for packet in self._packets():
            if packet.pts is not None and packet.time_base:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index in decoders:
                yield from decoders[packet.stream_index].decode(packet, self.splices)
            elif not trimmed.drops(packet):
                yield packet
        for decoder in decoders.values():
            yield from decoder.decode(None, self.splices)
        if not any(decoder.count for decoder in decoders.values()):
            raise InputError("contains no frame that can be decoded")
        self.damage.ended_early |= self._stops_short(decoders, end)
        self.damage.skips |= self._source is not None and is_broken(self._source)

    def frames_from(self, stream: int, seconds: float) -> Iterator[Frame]:
        """Yield the frames of a video stream from the last keyframe before a time on, or from the start.

        Args:
            stream: Index of the stream.
            seconds: The time to seek to.

        Yields:
            Frames, whose `index` is not that in the stream.
        """
        video: Any = self.container.streams[stream]
        if self._has_splices:
            self._seek_to_start()
            yield from self._frames_of(video)
            return
        with suppress(av.FFmpegError):
            self.container.seek(round((Fraction(seconds) + self.start) / video.time_base), stream=video)
        frames = self._frames_of(video)
        first = next(frames, None)
        if first is None or first.time > seconds:  # seeking is unreliable in some containers
            self._seek_to_start()
            frames, first = self._frames_of(video), None
        if first:
            yield first
        yield from frames

    def packet_times(self, stream: int) -> Iterator[tuple[int | None, bool]]:
        """Yield the time stamp of each packet of a stream whose picture is shown, and whether it is a keyframe."""
        self._seek_to_start()
        for packet in self._packets():
            if packet.stream_index == stream and not packet.is_discard:
                yield packet.pts, packet.is_keyframe

    def _seek_to_start(self) -> None:
        with suppress(av.FFmpegError):
            self.container.seek(self.container.start_time or 0)

    @cached_property
    def _has_splices(self) -> bool:
        """Whether the clock jumps, so that a time can't be sought. It takes a pass over the packets to know."""
        if not may_be_reset(self.container):
            return False
        self._seek_to_start()
        for _ in self._packets():
            pass
        found = self.splices > 0
        self._seek_to_start()
        return found

    def _frames_of(self, stream: Any) -> Iterator[Frame]:
        decoder = _Decoder(stream, self.damage)
        for packet in self._packets():
            if packet.stream_index == stream.index:
                yield from decoder.decode(packet, self.splices)
        yield from decoder.decode(None, self.splices)

    def _packets(self) -> Iterator[Packet]:
        clock = SourceClock(self.container)
        for packet in clock.correct(self._stored_packets()):
            self.splices = max(self.splices, clock.splices)
            yield packet

    def _stored_packets(self) -> Iterator[Packet]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                self.damage.lost = self._failure()
                return
            except av.FFmpegError:
                self.damage.ended_early = True
                return
            if packet.size:  # the empty packets at the end would flush decoders, which the caller does
                yield packet

    def _stops_short(self, decoders: "dict[int, _Decoder]", end: Fraction) -> bool:
        """Return whether less was read than the header or the index states."""
        if self._source and is_truncated(self._source):
            return True
        kind = self.container.format.name
        if "mov" in kind:
            # an edit list may show fewer samples, or more, than there are
            samples = {s.index: min(s.frames, len(s.index_entries)) for s in self.videos}
            return any(0 < decoders[index].packets < count for index, count in samples.items())
        if "matroska" in kind and self.container.duration:
            stated = self.container.duration / av.time_base  # from the start, or from 0 on the container's clock
            return stated - float(end + max(self.start, Fraction(0))) > 1.0
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
        self.rejected = 0
        codec = stream.codec_context.codec.canonical_name
        self.lost = LostPackets(codec)
        self.has_begun = codec not in WITHOUT_KEYFRAME
        self.last: int | None = None
        self.matrix: bytes | None = None
        self.step = max(1, round(1 / ((frame_rate(stream) or 30) * stream.time_base)))
        self.waiting: list[Packet] = []  # the first of them may be corrupt
        self.splices = 0  # before the first of them

    def decode(self, packet: Packet | None, splices: int) -> Iterator[Frame]:
        """Yield the frames that a packet completes, or with None flush the decoder.

        Where recordings were joined, the continuity counter of MPEG-TS jumps, and the demuxer takes one of the last
        packets before the splice for corrupt. So such a packet waits for the next few.

        Args:
            packet: The next packet.
            splices: Number of jumps of the clock up to it.
        """
        if not self.waiting:
            if packet is None or not packet.is_corrupt:
                yield from self._decode(packet, is_corrupt=False)
                return
            self.splices = splices
        is_joined = packet is not None and packet.is_keyframe and splices > self.splices
        if packet is not None:
            self.waiting.append(packet)
            if not is_joined and len(self.waiting) <= MAX_BEFORE_SPLICE:
                return
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            yield from self._decode(each, is_corrupt=each.is_corrupt and not is_joined)
        if packet is None:
            yield from self._decode(None, is_corrupt=False)

    def _decode(self, packet: Packet | None, is_corrupt: bool) -> Iterator[Frame]:
        self.packets += packet is not None
        if packet is not None and not packet.is_discard:
            self.lost.sent(packet.pts, packet.size, is_keyframe=packet.is_keyframe)
        try:
            images = self.context.decode(packet)
        except av.error.EOFError:
            return
        except av.FFmpegError:
            self.damage.packets += 1
            self.rejected += 1
            return
        for image in images:
            check_colour_codes(image)
            self.lost.received(image.pts)
        if packet is None:
            self.damage.packets += max(0, self.lost.count - self.rejected)
        for image in images:
            self.has_begun |= bool(image.key_frame)
            yield self._frame(image, corrupt=is_corrupt or image.is_corrupt or not self.has_begun)

    def _frame(self, image: av.VideoFrame, corrupt: bool) -> Frame:
        self.damage.frames += corrupt
        pts = image.pts if image.pts is not None else image.dts
        if self.last is not None:
            pts = self.last + self.step if pts is None else max(pts, self.last + 1)
        self.last = pts or 0
        self.count += 1
        if self.count == 1:
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
            aspect=pixel_aspect(self.stream),
            corrupt=corrupt,
        )


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
