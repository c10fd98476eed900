"""Damages bytes at random: bits, integers at their limits, pieces that are cut, repeated, moved or of another file."""

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal

LIMITS = (0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEAD_BYTES = 600  # where most formats state sizes and kinds
MAX_CHANGES = 8
ORDERS: tuple[Literal["big"], Literal["little"]] = ("big", "little")
MAX_BYTES = 4 << 20
TOKENS = (
    b"-1", b"0", b"1e308", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"[" * 3000, b"9" * 400, b"%s", b"\0",
    b"\xff\xfe", b"\x1b]0;title\x07", b"\\ud800", b"\xed\xa0\x80", b"../" * 9, b"1:0:0", b"file:///etc/passwd",
)  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random, is_text: bool = False) -> bytes:
    """Return a damaged copy.

    Args:
        data: An intact file.
        others: Files of the same format, from which pieces are taken.
        rng: Chooses the changes.
        is_text: Whether numbers and words are replaced too.
    """
    changed = bytearray(data)
    kinds = [*TEXT_CHANGES, *CHANGES] if is_text else CHANGES
    for _ in range(rng.randint(1, rng.choice((1, 2, MAX_CHANGES)))):
        if not changed:
            break
        rng.choice(kinds)(changed, others, rng)
    return bytes(changed[:MAX_BYTES])


def _place(data: bytearray, rng: random.Random) -> int:
    end = len(data) if rng.random() < 0.5 else min(HEAD_BYTES, len(data))
    return rng.randrange(end)


def _piece(data: Sequence[int], rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + 1 + int(len(data) ** rng.random()))


def _flip_bit(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    data[_place(data, rng)] = rng.randrange(256)


def _set_integer(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8))
    value = rng.choice((rng.choice(LIMITS), rng.getrandbits(8 * size), (1 << 8 * size) - rng.choice(LIMITS[:8])))
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, rng.choice(ORDERS))


def _add_to_integer(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at, size, order = _place(data, rng), rng.choice((1, 2, 4)), rng.choice(ORDERS)
    value = int.from_bytes(data[at : at + size], order) + rng.randint(-16, 16)
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _randomise(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start, end = _piece(data, rng)
    end = min(end, start + 64)
    data[start:end] = rng.randbytes(end - start)


def _cut_end(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _delete(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start, end = _piece(data, rng)
    del data[start:end]


def _repeat(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start, end = _piece(data, rng)
    data[start:start] = data[start:end] * rng.choice((1, 1, 2, 8))


def _move(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start, end = _piece(data, rng)
    piece = data[start:end]
    del data[start:end]
    at = rng.randrange(len(data) + 1)
    data[at:at] = piece


def _splice(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    start, end = _piece(other, rng)
    at = _place(data, rng)
    data[at : at + (end - start) * rng.randint(0, 1)] = other[start:end]


def _replace_number(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if found := list(re.finditer(rb"-?[0-9][0-9.e+-]*", data)):
        start, end = rng.choice(found).span()
        data[start:end] = rng.choice((*TOKENS, str(rng.choice(LIMITS)).encode()))


def _replace_word(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if found := list(re.finditer(rb'"[^"]{0,80}"|[A-Za-z_]+', data)):
        start, end = rng.choice(found).span()
        data[start:end] = rng.choice((*TOKENS, bytes(data[slice(*rng.choice(found).span())])))


def _repeat_line(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at:at] = [rng.choice(lines)] * rng.choice((1, 2, 50))
    data[:] = b"".join(lines)


Change = Callable[[bytearray, Sequence[bytes], random.Random], None]
CHANGES: list[Change] = [
    _flip_bit, _flip_bit, _set_byte, _set_integer, _set_integer, _add_to_integer, _randomise, _cut_end, _delete,
    _repeat, _move, _splice,
]  # fmt: skip
TEXT_CHANGES: list[Change] = [_replace_number, _replace_number, _replace_word, _replace_word, _repeat_line] * 2
