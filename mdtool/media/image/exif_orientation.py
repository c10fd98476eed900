"""The EXIF orientation tag: reading it, and applying it to pixels (EXIF 2.32, TIFF 6.0, BigTIFF)."""

import struct

import numpy as np

ORIENTATION = 0x0112
EXIF_HEAD = b"Exif\0\0"  # precedes the TIFF header
BIGTIFF = 43
INTEGERS = {1: "B", 3: "H", 4: "I"}  # field types BYTE, SHORT and LONG


def orientation(exif: bytes) -> int:
    """Return the orientation (1..8) of EXIF data or of a whole TIFF or BigTIFF; 1 where none is stated.

    Only this entry of the first IFD is parsed, so it is found however malformed the others are.
    """
    while exif.startswith(EXIF_HEAD):
        exif = exif[len(EXIF_HEAD) :]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2], "")
    try:
        if not order:
            return 1
        big = struct.unpack_from(f"{order}H", exif, 2)[0] == BIGTIFF
        (at,) = struct.unpack_from(f"{order}Q", exif, 8) if big else struct.unpack_from(f"{order}I", exif, 4)
        entry = struct.Struct(f"{order}HHQ8s" if big else f"{order}HHI4s")
        count = struct.Struct(f"{order}Q" if big else f"{order}H")
        (entries,) = count.unpack_from(exif, at)
        for number in range(entries):
            tag, kind, values, field = entry.unpack_from(exif, at + count.size + number * entry.size)
            if tag == ORIENTATION and values == 1 and kind in INTEGERS:
                (turn,) = struct.unpack_from(f"{order}{INTEGERS[kind]}", field)
                return turn if turn in range(1, 9) else 1
    except (struct.error, OverflowError):  # truncated
        pass
    return 1


def upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Apply an EXIF orientation (1..8) to stored pixels (HxWxC); the result is always a C-ordered copy."""
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.array(pixels, order="C")
