"""Encoded segments of an unfinished video output on disk, so that a killed run can resume without encoding them again.

A video stream is encoded in segments of SECONDS, each by a new encoder, so that a segment does not depend on which run
encoded those before it. The file of a complete segment holds a line that names the format, then each packet as pts, dts
and duration (little-endian int64, in the encoder's time base), the number of frames of the segment that the encoder had
received when it returned the packet (uint32), flags (uint8, 1: keyframe), size (uint32), number of side data (uint8),
the packet's bytes, and each side data, such as alpha, as its type (uint32), size (uint32) and bytes.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av
from av.packet import PacketSideData, PktSideDataT

from mdtool.media.files.atomic_file import create_new, sync
from mdtool.media.video.frame import Packet

SECONDS = 20.0
FORMAT = b"mdtool.packets/2\n"
_HEAD = struct.Struct("<qqqIBIB")
_SIDE_DATA = struct.Struct("<II")
_NONE = -(1 << 63)
_TYPES = get_args(PktSideDataT)  # in the order of FFmpeg's enum
_create_side_data: Any = PacketSideData  # whose arguments PyAV's stubs lack


def segment_index(offset: Fraction) -> int:
    """Return the segment of a frame that follows the first by `offset` seconds."""
    return int(offset / Fraction(SECONDS))


@dataclass(frozen=True)
class EncodedPacket:
    """A packet of a segment.

    Attributes:
        packet: The packet.
        after: Number of frames of the segment that the encoder had received when it returned the packet.
    """

    packet: Packet
    after: int


@dataclass(frozen=True)
class EncodedSegments:
    """The saved segments of one output.

    Attributes:
        folder: An existing folder that holds their files.
    """

    folder: Path

    def has(self, stream: int, segment: int) -> bool:
        """Return whether a segment is saved."""
        return self._path(stream, segment).exists()

    def any(self) -> bool:
        """Return whether any segment is saved."""
        return any(self.folder.glob("*.packets"))

    def remove(self, stream: int, segment: int) -> None:
        """Remove a segment, so that it is encoded again."""
        self._path(stream, segment).unlink(missing_ok=True)

    def save(self, stream: int, segment: int, packets: Sequence[EncodedPacket]) -> None:
        """Save a complete segment atomically.

        Raises:
            OSError: It can't be written.
        """
        path = self._path(stream, segment)
        part = path.with_suffix(".part")
        with create_new(part) as file:
            file.write(FORMAT)
            for encoded in packets:
                packet = encoded.packet
                times = (_NONE if time is None else time for time in (packet.pts, packet.dts))
                side_data = list(packet.iter_sidedata())
                flags = packet.is_keyframe, packet.size, len(side_data)
                file.write(_HEAD.pack(*times, packet.duration or 0, encoded.after, *flags))
                file.write(bytes(packet))
                for data in side_data:
                    file.write(_SIDE_DATA.pack(_TYPES.index(data.data_type), data.data_size) + bytes(data))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync(self.folder)

    def read(self, stream: int, segment: int) -> Iterator[EncodedPacket]:
        """Yield the packets of a saved segment, without stream and time base.

        Raises:
            ValueError: The file has another format.
            OSError: It can't be read.
        """
        path = self._path(stream, segment)
        with path.open("rb") as file:
            if file.readline() != FORMAT:
                raise ValueError(f"{path}: not a file of encoded packets")
            while head := file.read(_HEAD.size):
                pts, dts, duration, after, is_keyframe, size, count = _HEAD.unpack(head)
                packet: Packet = av.Packet(file.read(size))
                packet.pts = None if pts == _NONE else pts
                packet.dts = None if dts == _NONE else dts
                packet.duration = duration
                packet.is_keyframe = bool(is_keyframe)
                for _ in range(count):
                    kind, length = _SIDE_DATA.unpack(file.read(_SIDE_DATA.size))
                    data = _create_side_data(kind, length)
                    data.update(file.read(length))
                    packet.set_sidedata(data)
                yield EncodedPacket(packet, after)

    def _path(self, stream: int, segment: int) -> Path:
        return self.folder / f"{stream}-{segment:06}.packets"
