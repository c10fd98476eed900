"""Encoded segments of an unfinished video output on disk, so that a killed run can resume without encoding them again.

A video stream is encoded in segments of SECONDS, each by a new encoder, so that a segment does not depend on which run
encoded those before it. The file of a complete segment holds a line that names the format, then each packet as pts, dts
and duration (little-endian int64, in the encoder's time base), the number of frames of the segment that the encoder had
received when it returned the packet (uint32), flags (uint8, 1: keyframe), size (uint32), and the packet's bytes.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from mdtool.media.files.atomic_file import create_new
from mdtool.media.video.frame import Packet

SECONDS = 20.0
FORMAT = b"mdtool.packets/1\n"
_HEAD = struct.Struct("<qqqIBI")
_NONE = -(1 << 63)


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
                file.write(_HEAD.pack(*times, packet.duration or 0, encoded.after, packet.is_keyframe, packet.size))
                file.write(bytes(packet))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

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
                pts, dts, duration, after, is_keyframe, size = _HEAD.unpack(head)
                packet: Packet = av.Packet(file.read(size))
                packet.pts = None if pts == _NONE else pts
                packet.dts = None if dts == _NONE else dts
                packet.duration = duration
                packet.is_keyframe = bool(is_keyframe)
                yield EncodedPacket(packet, after)

    def _path(self, stream: int, segment: int) -> Path:
        return self.folder / f"{stream}-{segment:06}.packets"
