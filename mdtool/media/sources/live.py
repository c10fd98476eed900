"""Reading cameras and live streams: the oldest waiting frames are dropped, and a lost connection is re-established.

Frames get wall-clock timestamps since the first frame, smoothed by the source's own timestamps, so that a recording
plays in real time whatever frame rate the source states.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Protocol

import av
import numpy as np
from av.container import InputContainer

from mdtool.errors import InputError
from mdtool.interruption import raise_if_interrupted
from mdtool.media.image.display_matrix import UPRIGHT, from_display_matrix
from mdtool.media.sources.address import Address
from mdtool.media.sources.http_file import Transfer
from mdtool.media.sources.rtsp_redirect import check_redirect
from mdtool.media.sources.web_media import open_web
from mdtool.media.video.frame import Frame, Packet, pixel_aspect
from mdtool.media.video.frame_rate import frame_rate
from mdtool.media.video.reader import CONTAINERS, DECODER_THREADS, Damage, explain
from mdtool.media.video.side_data import display_matrix
from mdtool.media.video.source_clock import SourceClock
from mdtool.network.reach import Reach
from mdtool.network.urls import without_secrets

TIME_BASE = Fraction(1, 90_000)
MAX_QUEUED = 8  # frames; a newer one replaces the oldest
RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each attempt to reconnect
STABLE_SECONDS = 10.0  # a connection that lasts so long resets the count of losses
# Seconds that the source may be off the wall clock before the mapping is reset: behind it, and ahead of it if it is
# delivered in real time (where a burst, or a first frame that was late, puts it), or faster.
BEHIND, AHEAD, FAR_AHEAD = 0.5, 2.0, 30.0
TOLERATED, SLEW = 0.5, 0.001  # seconds ahead that are left alone, and those that each frame takes off what exceeds them
OPEN_SECONDS, SILENT_SECONDS = 10.0, 10.0  # timeouts to open, and for the next packet
DEFAULT_RATE = 30.0  # frames per second
MAX_APART = 10.0  # seconds from the last frame; a packet that is further off has a clock of its own
POLL_SECONDS = 0.1
PROTOCOLS = "tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt,tls"
# FFmpeg would look the name up again, and might be led elsewhere. By RTMP and TLS the server is told its name.
PINNED = ("rtsp", "udp", "rtp", "tcp", "srt")
FORMATS = CONTAINERS + ",rtsp,rtp"


@dataclass(frozen=True)
class DecodedFrame:
    """A frame as it was decoded, and whether a part of it was lost or damaged on the way."""

    image: av.VideoFrame
    corrupt: bool = False


class Connection(Protocol):
    """One connection to a source.

    Attributes:
        videos: Video streams, as PyAV describes them; the first is decoded.
        streams: All streams.
    """

    videos: list[Any]
    streams: list[Any]

    def __iter__(self) -> Iterator[DecodedFrame | Packet]:
        """Yield decoded frames and the packets of other streams until it ends or InputError."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


def open_address(address: Address) -> tuple[InputContainer, Transfer]:
    """Open a URL by FFmpeg. Protocols are restricted, so that what it sends can't refer to local files.

    Returns:
        The container, and what goes wrong while it is read, as far as that is known besides.

    Raises:
        InputError: Nothing can be read from it, or it leads into a private network that it does not name.
    """
    timeouts = (OPEN_SECONDS, SILENT_SECONDS)
    try:
        if not address.is_real_time:
            return open_web(address, timeouts)
        return _open_stream(address, timeouts), Transfer()
    except (av.FFmpegError, OSError) as error:
        raise InputError(without_secrets(explain(error))) from error


def _open_stream(address: Address, timeouts: tuple[float, float]) -> InputContainer:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS, "fflags": "nobuffer"}
    reach = Reach(address.host)
    found = reach.addresses(address.host, 0) if address.host else []
    if address.scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
        check_redirect(address, reach, OPEN_SECONDS)
    failed: Exception = OSError("no address")
    pinned = [address.at(one) for one in found] if address.scheme in PINNED else []
    for url in pinned or [address.text]:
        try:
            return av.open(url, "r", options=options, timeout=timeouts, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            failed = error
    raise failed


class NetworkStream:
    """A connection to a URL, by FFmpeg."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            InputError: It can't be opened, or has no video stream.
        """
        self.container, self._transfer = open_address(address)
        self.streams = list(self.container.streams)
        self.videos = list(self.container.streams.video)[:1]
        if not self.videos or not self.videos[0].codec_context:
            self.container.close()
            raise InputError("has no video stream, only audio or data")
        self.videos[0].codec_context.thread_count = DECODER_THREADS

    def __iter__(self) -> Iterator[DecodedFrame | Packet]:
        """Yield decoded frames and other packets until it ends. Frames that can't be decoded are skipped.

        Raises:
            InputError: The connection is lost.
        """
        (video,) = self.videos
        for packet in SourceClock(self.container).correct(self._arriving()):
            if packet.stream_index != video.index:
                yield packet
                continue
            with suppress(av.FFmpegError):
                for image in video.decode(packet):
                    yield DecodedFrame(image, corrupt=packet.is_corrupt or image.is_corrupt)

    def _arriving(self) -> Iterator[Packet]:
        packets = self.container.demux()
        while True:
            begin = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                if self._transfer.failure:
                    raise InputError(self._transfer.failure) from None
                return
            except (av.FFmpegError, OSError) as error:
                raise InputError(without_secrets(explain(error))) from error
            if time.monotonic() - begin >= SILENT_SECONDS:  # on a timeout FFmpeg returns what it has
                raise InputError(f"no data arrived for {SILENT_SECONDS:.0f} seconds")
            if packet.size:
                yield packet

    def close(self) -> None:
        """Disconnect."""
        self.container.close()


class Camera:
    """A connection to a local camera, by OpenCV."""

    def __init__(self, number: int) -> None:
        """Open the camera.

        Args:
            number: Its device number.

        Raises:
            InputError: It can't be opened.
        """
        import cv2

        self._capture = cv2.VideoCapture(number)
        self._open = self._capture.isOpened()
        if not self._open:
            raise InputError(f"there is no camera {number}, or another program uses it")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        stream = SimpleNamespace(
            index=0,
            type="video",
            average_rate=Fraction(rate if 1 <= rate <= 240 else DEFAULT_RATE).limit_denominator(1001),
            guessed_rate=None,
            time_base=TIME_BASE,
            sample_aspect_ratio=Fraction(1),
            disposition=0,
            metadata={},
            codec_context=SimpleNamespace(color_range=0, field_order=0, sample_aspect_ratio=Fraction(1)),
        )
        self.videos = self.streams = [stream]

    def __iter__(self) -> Iterator[DecodedFrame | Packet]:
        """Yield frames until it is closed.

        Raises:
            InputError: The camera is lost.
        """
        while self._open:
            read, pixels = self._capture.read()
            if not read:
                raise InputError("the camera delivers no more frames")
            image = av.VideoFrame.from_ndarray(np.asarray(pixels, np.uint8), "bgr24")
            yield DecodedFrame(image.reformat(format="yuv420p"))

    def close(self) -> None:
        """Release the camera."""
        self._open = False
        self._capture.release()


def connect(address: Address) -> Connection:
    """Connect to a camera or URL.

    Raises:
        InputError: It can't be opened.
    """
    return NetworkStream(address) if address.camera is None else Camera(address.camera)


@dataclass
class WallClockMapper:
    """Maps a source's timestamps to wall-clock time since `start`, in seconds.

    Attributes:
        start: Reading of the monotonic clock at the first frame.
        faster_than_real_time: Whether the source delivers frames before they are due, as an HTTP server does.
        shift: What is added to the source's timestamps; None before the first frame and after a reconnect.
        last: The last result.
    """

    start: float
    faster_than_real_time: bool
    shift: float | None = None
    last: float = -1.0

    def at(self, stated: float | None, now: float) -> float:
        """Return the timestamp of a frame in seconds since `start`, later than all before.

        Args:
            stated: The source's timestamp in seconds; None if it states none.
            now: Reading of the monotonic clock on arrival.
        """
        elapsed = now - self.start
        if stated is None:
            timestamp = elapsed
        else:
            offset = None if self.shift is None else stated + self.shift - elapsed
            if offset is None or offset < -BEHIND or offset > (FAR_AHEAD if self.faster_than_real_time else AHEAD):
                self.shift = elapsed - stated
            elif offset > TOLERATED and not self.faster_than_real_time:
                self.shift = (self.shift or 0.0) - min(SLEW, offset - TOLERATED)
            timestamp = stated + (self.shift or 0.0)
        self.last = max(timestamp, self.last + float(TIME_BASE))
        return self.last


class LiveReader:
    """An open live source, read by a thread; `next_event` returns events like those of a VideoReader. Close it after.

    Attributes:
        dropped: Frames that were dropped from a full queue.
        reconnects: How often the connection was re-established.
        damaged: Frames that were lost or damaged in part on the way.
        damage: Always empty: a live source is never whole.
        metadata: Always empty.
        chapters: Always empty.
    """

    seconds = None
    frames = None

    def __init__(self, address: Address, duration: float | None = None) -> None:
        """Connect, and start to read.

        Args:
            address: The camera or URL.
            duration: Seconds after which it ends; None for no limit.

        Raises:
            InputError: It can't be opened.
        """
        self._address = address
        self._duration = duration
        self._connection = self._first = connect(address)
        self.dropped = self.damaged = self.reconnects = 0
        self.damage = Damage()
        self.metadata: dict[str, str] = {}
        self.chapters: list[Any] = []
        self._queue: deque[Frame | Packet] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._ended = False
        self._returned = 0
        self._clock_map: WallClockMapper | None = None
        self._matrix: bytes | None = None
        self._last_pts = -1
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    @property
    def videos(self) -> list[Any]:
        """The video stream of the first connection, in a list."""
        return self._first.videos

    @property
    def streams(self) -> list[Any]:
        """All streams of the first connection, which stays open as the template of outputs."""
        return self._first.streams

    def rate(self, stream: int) -> float:
        """Return the frame rate that the source states, in frames per second, if it is plausible."""
        (video,) = self.videos
        stated = float(frame_rate(video) or DEFAULT_RATE)
        return stated if 1 <= stated <= 240 else DEFAULT_RATE

    def next_event(self, seconds: float) -> Frame | Packet | None:
        """Return the next frame or packet, or None if nothing arrives within a timeout in seconds.

        Raises:
            StopIteration: The source has ended.
            InputError: The connection was lost and can't be re-established.
        """
        with self._changed:
            if not self._queue and not self._ended:
                self._changed.wait(seconds)
            if self._queue:
                return self._numbered(self._queue.popleft())
            if self._error:
                raise self._error
            if self._ended:
                raise StopIteration
            return None

    def _numbered(self, event: Frame | Packet) -> Frame | Packet:
        if not isinstance(event, Frame):
            return event
        self._returned += 1
        return replace(event, index=self._returned - 1)

    def close(self) -> None:
        """Stop the thread and disconnect."""
        self._closed.set()
        self._thread.join(SILENT_SECONDS)
        self._first.close()

    # -- in the reading thread

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read(self) -> None:
        losses = 0
        while True:
            begin = time.monotonic()
            reason = "the stream ended"
            try:
                for event in self._connection:
                    if self._closed.is_set():
                        return
                    now = time.monotonic()
                    if self._clock_map is None and isinstance(event, av.Packet):
                        continue  # the clock starts with the first frame, which may be late
                    if self._clock_map is None:
                        self._clock_map = WallClockMapper(now, faster_than_real_time=not self._address.is_real_time)
                    if self._is_over(now - self._clock_map.start):
                        return
                    self._pass_on(event, self._clock_map, now)
            except InputError as error:
                reason = str(error)
            losses = 1 if time.monotonic() - begin > STABLE_SECONDS else losses + 1
            self._reconnect(losses, reason)
            if self._closed.is_set():
                return

    def _is_over(self, elapsed: float) -> bool:
        return self._duration is not None and elapsed >= self._duration

    def _reconnect(self, losses: int, reason: str) -> None:
        """Connect again, after a delay that grows with each consecutive loss. InputError after the last attempt."""
        if self._connection is not self._first:
            self._connection.close()
        for delay in RETRY_DELAYS[losses - 1 :]:
            if self._closed.wait(delay):
                return
            try:
                self._connection = connect(self._address)
            except InputError as error:
                reason = str(error)
                continue
            self.reconnects += 1
            if self._clock_map:
                self._clock_map.shift = None
            return
        raise InputError(f"the connection was lost and could not be re-established: {reason}")

    def _pass_on(self, event: DecodedFrame | Packet, clock_map: WallClockMapper, now: float) -> None:
        if isinstance(event, av.Packet):
            if (
                clock_map.shift is not None
                and self._is_known(event.stream)
                and event.pts is not None
                and event.time_base
            ):
                ticks = round(Fraction(clock_map.shift) / event.time_base)
                event.pts += ticks
                if abs(float(event.pts * event.time_base) - clock_map.last) > MAX_APART:
                    return
                event.dts = event.dts + ticks if event.dts is not None else None
                self._put(event)
            return
        timestamp = clock_map.at(event.image.time, now)
        early = timestamp - (time.monotonic() - clock_map.start)
        if clock_map.faster_than_real_time and early > 0 and self._closed.wait(early):
            return
        self._put(self._frame(event, timestamp))

    def _is_known(self, stream: Any) -> bool:
        """Return whether the first connection has the same stream at the same index."""
        first = self.streams[stream.index] if stream.index < len(self.streams) else None
        return first is not None and first.type == stream.type and first.name == stream.name

    def _frame(self, decoded: DecodedFrame, timestamp: float) -> Frame:
        image = decoded.image
        self.damaged += decoded.corrupt
        if self._matrix is None:
            self._matrix = display_matrix(image) or b""
        self._last_pts = max(round(timestamp / TIME_BASE), self._last_pts + 1)
        return Frame(
            image,
            index=0,
            pts=self._last_pts,
            time_base=TIME_BASE,
            stream=self.videos[0].index,
            orientation=(from_display_matrix(self._matrix) if self._matrix else None) or UPRIGHT,
            matrix=self._matrix or None,
            aspect=pixel_aspect(self.videos[0]),
            corrupt=decoded.corrupt,
        )

    def _put(self, event: Frame | Packet) -> None:
        with self._changed:
            self._queue.append(event)
            frames = [queued for queued in self._queue if isinstance(queued, Frame)]
            if len(frames) > MAX_QUEUED:
                self._queue.remove(frames[0])
                self.dropped += 1
            self._changed.notify_all()


def next_frame(reader: LiveReader) -> Frame:
    """Return the first frame.

    Raises:
        InputError: None arrives within `SILENT_SECONDS`.
    """
    for _ in range(round(SILENT_SECONDS / POLL_SECONDS)):
        raise_if_interrupted()
        try:
            event = reader.next_event(POLL_SECONDS)
        except StopIteration:
            break
        if isinstance(event, Frame):
            return event
    raise InputError("delivers no frame")
