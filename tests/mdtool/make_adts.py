"""AAC as in transport streams: with a header before each frame (ADTS; ISO/IEC 14496-3, 1.A.2)."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
from make_media import add_video, constant_rate_times, mux, pictures, sound

HEADER, AFTER_LENGTH, LENGTHS = 7, 13, (1 << 13) - 1  # bytes, bits behind a frame's length in them, its mask
FILL, SBR, END = "110", "1101", "111"  # elements of a frame (4.5.2.1), and what a fill element can hold (4.5.2.8)


def adts(rate: int, layout: str, seconds: float = 1.0) -> bytes:
    """Encode a tone in AAC-LC."""
    file = io.BytesIO()
    with av.open(file, "w", "adts") as container:
        stream = container.add_stream("aac", rate)
        stream.codec_context.layout = layout
        mux(container, sound(stream, seconds))
    return file.getvalue()


def he_aac(core: bytes) -> bytes:
    """Make HE-AAC with this AAC-LC as its core, at twice the rate; no encoder in PyAV's wheels produces it.

    Each frame gets a fill element with empty spectral band replication data, so that a decoder only doubles the rate.
    The headers describe the core, as in all HE-AAC with implicit signalling (1.6.5.3).
    """
    return b"".join(map(_with_sbr, _frames(core)))


def transport_stream(path: Path, audio: bytes) -> Path:
    """Mux video frames and audio into a transport stream."""
    with av.open(io.BytesIO(audio), "r", "aac") as source, av.open(f"file:{path}", "w", "mpegts") as container:
        video, copy = add_video(container), container.add_stream_from_template(source.streams.audio[0])
        packets = [packet for packet in source.demux() if packet.dts is not None]
        for packet in packets:
            packet.stream = copy
        mux(container, pictures(video, constant_rate_times(30)) + packets)
    return path


def _frames(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + HEADER], "big") >> AFTER_LENGTH & LENGTHS
        yield data[at : at + length]
        at += length


def _with_sbr(frame: bytes) -> bytes:
    """Insert a fill element of one byte, in bits, before the end element."""
    bits = "".join(f"{byte:08b}" for byte in frame[HEADER:]).rstrip("0").removesuffix(END)
    bits += FILL + f"{1:04b}" + SBR.ljust(8, "0") + END
    size = -(-len(bits) // 8)
    header = int.from_bytes(frame[:HEADER], "big") & ~(LENGTHS << AFTER_LENGTH) | HEADER + size << AFTER_LENGTH
    return header.to_bytes(HEADER, "big") + int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big")
