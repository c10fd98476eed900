"""Writing packets to a container, counted in the ticks of each output stream."""

from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer
from av.format import Flags

from mdtool.errors import OutputError
from mdtool.media.video.frame import Packet
from mdtool.media.video.muxer_errors import clock, is_refusal, reason

FINE_TICK = Fraction(1, 1000)  # seconds; a time that moves by a tick of so little is the same to a person


class PacketMuxer:
    """Muxes packets of any stream, each stream in the order of its decoding times.

    A container counts each stream in ticks of its own, so that times that differ in the source may be equal in the
    output. Most muxers refuse such packets: they are moved on by a tick.
    """

    def __init__(self, container: OutputContainer) -> None:
        """Begin with a container whose header is written.

        Args:
            container: The output.
        """
        self._container = container
        self._allows_equal = Flags.ts_nonstrict in Flags(container.format.flags)
        self._last: dict[int, int] = {}  # decoding time of the last packet, by stream

    def mux(self, packet: Packet) -> None:
        """Write a packet, whose stream is one of the container's.

        Raises:
            OutputError: The muxer refuses it.
            OSError: It can't be written.
        """
        stream: Any = packet.stream
        stated = packet.pts if packet.pts is not None else packet.dts
        time = None if stated is None or not packet.time_base else stated * packet.time_base
        _count_in(packet, stream.time_base)
        self._put_after_last(packet, time)
        try:
            self._container.mux_one(packet)
        except av.FFmpegError as error:
            if not is_refusal(error):
                raise
            where = f"stream {stream.index} at {clock(time)}"
            raise OutputError(
                f"the {self._container.format.name} muxer refused a packet of {where}: {reason(error)}"
            ) from error

    def _put_after_last(self, packet: Packet, time: Fraction | None) -> None:
        stream: Any = packet.stream
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.dts is None:
            return
        may_be_equal = self._allows_equal and stream.type != "subtitle"
        least = self._last.get(stream.index, packet.dts - 1) + (not may_be_equal)
        if packet.dts < least:
            if stream.type == "video" and stream.time_base > FINE_TICK:
                raise OutputError(
                    f"the {self._container.format.name} muxer refused two packets with equal times in stream "
                    f"{stream.index} at {clock(time)}: it counts in steps of {stream.time_base} s"
                )
            packet.dts = least
        self._last[stream.index] = packet.dts
        if packet.pts is not None:
            packet.pts = max(packet.pts, packet.dts)


def _count_in(packet: Packet, time_base: Fraction) -> None:
    """Convert the times of a packet to ticks of another time base."""
    if packet.time_base and time_base and packet.time_base != time_base:
        ratio = packet.time_base / time_base
        packet.pts = None if packet.pts is None else round(packet.pts * ratio)
        packet.dts = None if packet.dts is None else round(packet.dts * ratio)
        packet.duration = round((packet.duration or 0) * ratio)
        packet.time_base = time_base
