"""Encoded pictures that are kept never go into a file that only has their name."""

import os
from fractions import Fraction
from pathlib import Path

import av

from mdtool.media.video.encoded_segments import EncodedPacket, EncodedSegments


def test_what_a_killed_run_left_as_a_link_is_not_written_to(tmp_path: Path) -> None:
    other, segments = tmp_path / "other", EncodedSegments(tmp_path)
    other.write_bytes(b"precious")
    os.link(other, tmp_path / "0-000003.part")
    packet = av.Packet(b"a picture")
    packet.pts, packet.dts, packet.time_base = 7, 5, Fraction(1, 30)
    segments.save(0, 3, [EncodedPacket(packet, after=2)])
    assert other.read_bytes() == b"precious"
    (read,) = segments.read(0, 3)
    assert (bytes(read.packet), read.packet.pts, read.packet.dts, read.after) == (b"a picture", 7, 5, 2)
