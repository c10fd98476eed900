"""Encoded pictures kept beside an output that is being made, so that a run that was killed need not encode them again.

A video stream is encoded in stretches of SECONDS, each by an encoder of its own, so that a stretch comes out the same
whether or not those before it were encoded by the same run. A stretch that is whole has a file: a line that names the
format, then each packet as pts, dts and duration (little-endian int64, in the encoder's time base), how many pictures
of the stretch had gone in when it came out (uint32), flags (1: stands alone), size (uint32), and its bytes.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from mdtool.media.files.atomic_file import create_new

SECONDS = 20.0
FORMAT = b"mdtool.packets/1\n"
_HEAD = struct.Struct("<qqqIBI")
_NONE = -(1 << 63)


def segment_index(since: Fraction) -> int:
    """In which stretch a picture is that comes so many seconds after the first."""
    return int(since / Fraction(SECONDS))


@dataclass(frozen=True)
class EncodedPacket:
    """after: how many pictures of the stretch had gone into the encoder when the packet came out."""

    packet: av.Packet
    after: int


@dataclass(frozen=True)
class EncodedSegments:
    """The stretches of one output, in a folder that is there."""

    folder: Path

    def has(self, stream: int, segment: int) -> bool:
        return self._path(stream, segment).exists()

    def any(self) -> bool:
        return any(self.folder.glob("*.packets"))

    def save(self, stream: int, segment: int, packets: Sequence[EncodedPacket]) -> None:
        """Whole or not at all. Raises OSError."""
        path = self._path(stream, segment)
        part = path.with_suffix(".part")
        with create_new(part) as file:
            file.write(FORMAT)
            for one in packets:
                packet = one.packet
                times = (_NONE if time is None else time for time in (packet.pts, packet.dts))
                file.write(_HEAD.pack(*times, packet.duration or 0, one.after, packet.is_keyframe, packet.size))
                file.write(bytes(packet))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def read(self, stream: int, segment: int) -> Iterator[EncodedPacket]:
        """As they were kept, but without stream and time base. ValueError for a file that is none of these."""
        path = self._path(stream, segment)
        with path.open("rb") as file:
            if file.readline() != FORMAT:
                raise ValueError(f"{path}: holds no packets")
            while head := file.read(_HEAD.size):
                pts, dts, duration, after, alone, size = _HEAD.unpack(head)
                packet = av.Packet(file.read(size))
                packet.pts = None if pts == _NONE else pts
                packet.dts = None if dts == _NONE else dts
                packet.duration = duration
                packet.is_keyframe = bool(alone)
                yield EncodedPacket(packet, after)

    def _path(self, stream: int, segment: int) -> Path:
        return self.folder / f"{stream}-{segment:06}.packets"
