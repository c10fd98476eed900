"""The length that a Matroska or WebM file states in its header (RFC 8794, RFC 9559)."""

from pathlib import Path

_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def is_cut_off(path: Path) -> bool:
    """Return whether a file ends before its segment does; False if the header doesn't state where that is."""
    with path.open("rb") as file:
        head = file.read(4096)
        length = file.seek(0, 2)
    header = _element(head, 0, _EBML)
    segment = _element(head, sum(header), _SEGMENT) if header else None
    return segment is not None and sum(segment) > length


def _element(data: bytes, at: int, kind: bytes) -> tuple[int, int] | None:
    """Return where the content of an element starts, and its size; None for another element or an unknown size."""
    at += len(kind)
    if data[at - len(kind) : at] != kind or not (first := data[at : at + 1]) or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    is_unknown = size == (1 << 7 * width) - 1
    return None if is_unknown else (at + width, size)
