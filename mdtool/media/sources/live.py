"""Reads what plays now, a camera or a stream: the newest picture wins, and a source that is lost is asked for again.

Pictures are stamped with the time on the wall clock since the first one, evenly as the source counts them, so that a
recording plays at the speed of life whatever the source says of its rate.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
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
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import CONTAINERS, Damage, display_matrix, explain

TIME_BASE = Fraction(1, 90_000)
MOST_READY = 8  # pictures that wait to be taken; a newer one takes the place of the oldest
RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each try to get a lost source back
STABLE_SECONDS = 10.0  # seconds of pictures after which a loss counts as the first one
BEHIND, AHEAD = 0.5, 30.0  # seconds that the source's clock may be off the wall clock before it is set anew
OPEN_SECONDS, SILENT_SECONDS = 10.0, 10.0
USUAL_RATE = 30.0
POLL_SECONDS = 0.1
PROTOCOLS = "http,https,httpproxy,tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt,tls,crypto,data"
FORMATS = CONTAINERS + ",hls,rtsp,rtp,sdp,mpjpeg"


class Connection(Protocol):
    """One connection to a source. streams: as PyAV describes them, the first of `videos` is read."""

    videos: list[Any]
    streams: list[Any]

    def __iter__(self) -> Iterator[av.VideoFrame | av.Packet]: ...
    def close(self) -> None: ...


def open_address(address: Address) -> InputContainer:
    """InputError where there is nothing that can be read. What is read can name nothing on this machine's disk."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
    if address.is_real_time:
        options["fflags"] = "nobuffer"
    if address.scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    try:
        waits = (OPEN_SECONDS, SILENT_SECONDS)
        return av.open(address.text, "r", options=options, timeout=waits, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise InputError(explain(error)) from error


class NetworkStream:
    """A stream that FFmpeg opens."""

    def __init__(self, address: Address) -> None:
        self.container = open_address(address)
        self.streams = list(self.container.streams)
        self.videos = list(self.container.streams.video)[:1]
        if not self.videos or not self.videos[0].codec_context:
            self.container.close()
            raise InputError("has no moving pictures, only sound or data")
        self.videos[0].thread_type = "SLICE"  # threads that each take a picture would hold some of them back

    def __iter__(self) -> Iterator[av.VideoFrame | av.Packet]:
        """Until it ends, or InputError. Pictures that can't be decoded are passed over."""
        (video,) = self.videos
        packets = self.container.demux()
        while True:
            asked = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError) as error:
                raise InputError(explain(error)) from error
            if time.monotonic() - asked >= SILENT_SECONDS:  # FFmpeg gave what it had when it gave up, to wait again
                raise InputError(f"nothing came for {SILENT_SECONDS:.0f} seconds")
            if not packet.size:
                continue
            if packet.stream_index != video.index:
                yield packet
                continue
            try:
                yield from video.decode(packet)
            except av.FFmpegError:
                continue

    def close(self) -> None:
        self.container.close()


class Camera:
    """A camera of this machine, by OpenCV."""

    def __init__(self, number: int) -> None:
        import cv2

        self._capture = cv2.VideoCapture(number)
        self._open = self._capture.isOpened()
        if not self._open:
            raise InputError(f"there is no camera {number}, or another program uses it")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        picture = SimpleNamespace(
            index=0,
            type="video",
            average_rate=Fraction(rate if 1 <= rate <= 240 else USUAL_RATE).limit_denominator(1001),
            guessed_rate=None,
            time_base=TIME_BASE,
            sample_aspect_ratio=Fraction(1),
            disposition=0,
            metadata={},
            codec_context=SimpleNamespace(color_range=0, field_order=0),
        )
        self.videos = self.streams = [picture]

    def __iter__(self) -> Iterator[av.VideoFrame | av.Packet]:
        while self._open:
            read, pixels = self._capture.read()
            if not read:
                raise InputError("the camera gives no more pictures")
            yield av.VideoFrame.from_ndarray(np.asarray(pixels, np.uint8), "bgr24").reformat(format="yuv420p")

    def close(self) -> None:
        self._open = False
        self._capture.release()


def connect(address: Address) -> Connection:
    """InputError where nothing can be had."""
    return NetworkStream(address) if address.camera is None else Camera(address.camera)


@dataclass
class WallClockMapper:
    """From the times that a source gives, in seconds, to those on the wall clock since `start`.

    paced: the source gives pictures before they are due; `at` tells when that is.
    """

    start: float
    faster_than_real_time: bool
    shift: float | None = None
    last: float = -1.0

    def at(self, said: float | None, now: float) -> float:
        """Seconds since start. said: None where the source does not say. now: on the clock that start is on."""
        since = now - self.start
        if said is None:
            timestamp = since
        else:
            off = None if self.shift is None else said + self.shift - since
            if off is None or off < -BEHIND or off > (AHEAD if self.faster_than_real_time else 0):
                self.shift = since - said
            timestamp = said + (self.shift or 0.0)
        self.last = max(timestamp, self.last + float(TIME_BASE))
        return self.last


class LiveReader:
    """An open source; `next_event` its events, as those of a VideoReader, while they come. Close it after.

    dropped: pictures that were too old when they could have been taken; reconnects: how often it was got back.
    The first connection is made at once: InputError if there is none.
    """

    seconds = None
    frames = None

    def __init__(self, address: Address, duration: float | None = None) -> None:
        """duration: seconds after which it ends by itself."""
        self._address = address
        self._duration = duration
        self._connection = self._first = connect(address)
        self.dropped = self.reconnects = 0
        self.damage = Damage()
        self.metadata: dict[str, str] = {}
        self.chapters: list[Any] = []
        self._ready: deque[Frame | av.Packet] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._ended = False
        self._taken = 0
        self._clock_map: WallClockMapper | None = None
        self._matrix: bytes | None = None
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    @property
    def videos(self) -> list[Any]:
        return self._first.videos

    @property
    def streams(self) -> list[Any]:
        """Of the first connection, which is kept for as long as something may be made like it."""
        return self._first.streams

    def rate(self, stream: int) -> float:
        """Frames a second that the source says it has."""
        (video,) = self.videos
        said = float(video.average_rate or video.guessed_rate or USUAL_RATE)
        return said if 1 <= said <= 240 else USUAL_RATE

    def next_event(self, seconds: float) -> Frame | av.Packet | None:
        """What came next, or None if nothing does for so long. StopIteration at the end, InputError if it is lost."""
        with self._changed:
            if not self._ready and not self._ended:
                self._changed.wait(seconds)
            if self._ready:
                return self._numbered(self._ready.popleft())
            if self._error:
                raise self._error
            if self._ended:
                raise StopIteration
            return None

    def _numbered(self, event: Frame | av.Packet) -> Frame | av.Packet:
        if not isinstance(event, Frame):
            return event
        self._taken += 1
        return replace(event, index=self._taken - 1)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(SILENT_SECONDS)
        self._first.close()

    # -- in the thread that reads

    def _run(self) -> None:
        try:
            self._read_on()
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_on(self) -> None:
        losses = 0
        while True:
            begin = time.monotonic()
            reason = "it ended"
            try:
                for event in self._connection:
                    if self._closed.is_set():
                        return
                    now = time.monotonic()
                    if self._clock_map is None and isinstance(event, av.Packet):
                        continue  # the clock starts with the first picture, which may take a while to come
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

    def _is_over(self, since: float) -> bool:
        return self._duration is not None and since >= self._duration

    def _reconnect(self, losses: int, reason: str) -> None:
        """A new connection, after a while that grows with every loss in a row. InputError when it was tried enough."""
        if self._connection is not self._first:
            self._connection.close()
        for wait in RETRY_DELAYS[losses - 1 :]:
            if self._closed.wait(wait):
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
        raise InputError(f"was lost and could not be had back: {reason}")

    def _pass_on(self, event: av.VideoFrame | av.Packet, clock_map: WallClockMapper, now: float) -> None:
        if isinstance(event, av.Packet):
            if (
                clock_map.shift is not None
                and self._is_known(event.stream)
                and event.pts is not None
                and event.time_base
            ):
                ticks = round(Fraction(clock_map.shift) / event.time_base)
                event.pts += ticks
                event.dts = event.dts + ticks if event.dts is not None else None
                self._put(event)
            return
        timestamp = clock_map.at(event.time, now)
        early = timestamp - (time.monotonic() - clock_map.start)
        if clock_map.faster_than_real_time and early > 0 and self._closed.wait(early):
            return
        self._put(self._frame(event, timestamp))

    def _is_known(self, stream: Any) -> bool:
        """Whether the first connection has the same stream in the same place."""
        first = self.streams[stream.index] if stream.index < len(self.streams) else None
        return first is not None and first.type == stream.type and first.name == stream.name

    def _frame(self, picture: av.VideoFrame, timestamp: float) -> Frame:
        if self._matrix is None:
            self._matrix = display_matrix(picture) or b""
        return Frame(
            picture,
            index=0,
            pts=round(timestamp / TIME_BASE),
            time_base=TIME_BASE,
            stream=self.videos[0].index,
            orientation=(from_display_matrix(self._matrix) if self._matrix else None) or UPRIGHT,
            matrix=self._matrix or None,
            aspect=self.videos[0].sample_aspect_ratio or Fraction(1),
        )

    def _put(self, event: Frame | av.Packet) -> None:
        with self._changed:
            self._ready.append(event)
            frames = [one for one in self._ready if isinstance(one, Frame)]
            if len(frames) > MOST_READY:
                self._ready.remove(frames[0])
                self.dropped += 1
            self._changed.notify_all()


def next_frame(reader: LiveReader) -> Frame:
    """The first that comes. InputError where none does."""
    for _ in range(round(SILENT_SECONDS / POLL_SECONDS)):
        raise_if_interrupted()
        try:
            event = reader.next_event(POLL_SECONDS)
        except StopIteration:
            break
        if isinstance(event, Frame):
            return event
    raise InputError("gives no picture")
