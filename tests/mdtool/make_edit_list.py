"""MP4 files with edit lists (ISO/IEC 14496-12, 8.6.6)."""

from collections.abc import Iterator
from pathlib import Path

Edit = tuple[float | None, float]  # start in the track's media, None for an empty edit; duration; in seconds


def with_edits(path: Path, edits: dict[int, list[Edit]]) -> Path:
    """Give tracks of an MP4 whose index lies at its end these edit lists, by the number of the track; in place."""
    content = path.read_bytes()
    at, end = next(_boxes(content, b"moov", 0, len(content)))
    assert end == len(content), "its index must lie at its end"
    moov = content[at + 8 : end]
    start, _ = next(_boxes(moov, b"mvhd", 0, len(moov)))
    movie_scale = int.from_bytes(moov[start + 20 : start + 24], "big")
    made, done = b"", 0
    for number, (begin, stop) in enumerate(_boxes(moov, b"trak", 0, len(moov))):
        made += moov[done:begin] + _track(moov[begin + 8 : stop], edits.get(number), movie_scale)
        done = stop
    path.write_bytes(content[:at] + _box(b"moov", made + moov[done:]))
    return path


def _track(trak: bytes, edits: list[Edit] | None, movie_scale: int) -> bytes:
    if edits is None:
        return _box(b"trak", trak)
    media, _ = next(_boxes(trak, b"mdia", 0, len(trak)))
    header = trak.index(b"mdhd", media) - 4
    scale = int.from_bytes(trak[header + 20 : header + 24], "big")
    entries = b"".join(
        round(duration * movie_scale).to_bytes(4, "big")
        + (-1 if start is None else round(start * scale)).to_bytes(4, "big", signed=True)
        + b"\0\1\0\0"
        for start, duration in edits
    )
    made = _box(b"edts", _box(b"elst", bytes(4) + len(edits).to_bytes(4, "big") + entries))
    for begin, end in [*_boxes(trak, b"edts", 0, len(trak))][::-1]:
        trak = trak[:begin] + trak[end:]
    media, _ = next(_boxes(trak, b"mdia", 0, len(trak)))
    return _box(b"trak", trak[:media] + made + trak[media:])


def _box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def _boxes(content: bytes, kind: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at + 8 <= end:
        size = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == kind:
            yield at, at + size
        at += size
