"""The caption in IPTC records (IIM 4.1): 2:120 Caption-Abstract, in UTF-8.

In JPEG the records are one of Photoshop's image resources.
"""

import hashlib
from collections.abc import Iterator

from mdtool.errors import InputError

Dataset = tuple[int, int, bytes]  # record, number, value
CHARSET, VERSION, CAPTION = (1, 90), (2, 0), (2, 120)
UTF8 = b"\x1b%G"  # ISO 2022
CAPTION_BYTES = 2000
NO_TEXT = {0, 125, 200, 201, 202}  # of record 2
RECORDS, DIGEST = 0x0404, 0x0425  # Photoshop's resources: the records, and their MD5


def with_caption(records: bytes, text: str) -> bytes:
    """The records with this caption, in its first 2000 bytes, in place of one that was there.

    Other texts that are not UTF-8 are taken for Windows-1252, in which most programs wrote before, and made so.
    InputError for records that can't be read.
    """
    caption = text.encode()[:CAPTION_BYTES].decode(errors="ignore").encode()
    kept = [_in_utf8(one) for one in _datasets(records) if one[:2] not in (CHARSET, CAPTION)]
    if not any(one[:2] == VERSION for one in kept):
        kept.append((*VERSION, b"\0\4"))
    kept += [(*CHARSET, UTF8), (*CAPTION, caption)]
    return b"".join(_coded(*one) for one in sorted(kept, key=lambda one: one[:2]))


def with_records(resources: bytes, records: bytes) -> bytes:
    """Photoshop's resources with these records in place of those that were there."""
    made = b""
    held = False
    for number, raw in _resources(resources):
        if number == RECORDS:
            made += b"" if held else _resource(RECORDS, records)
            held = True
        elif number == DIGEST:
            made += _resource(DIGEST, hashlib.md5(records, usedforsecurity=False).digest())
        else:
            made += raw
    return made if held else made + _resource(RECORDS, records)


def records_in(resources: bytes) -> bytes:
    """The IPTC records in Photoshop's resources; empty where there are none."""
    for number, raw in _resources(resources):
        if number == RECORDS:
            head = _head_size(raw)
            return raw[head : head + int.from_bytes(raw[head - 4 : head], "big")]
    return b""


def _datasets(records: bytes) -> Iterator[Dataset]:
    at = 0
    while records[at:].strip(b"\0"):  # some programs fill up with zeros
        if records[at] != 0x1C or at + 5 > len(records):
            raise InputError("its IPTC is damaged")
        size, begin = int.from_bytes(records[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # then it tells how many bytes the size takes
            begin += size & 0x7FFF
            size = int.from_bytes(records[at + 5 : begin], "big")
        if begin + size > len(records):
            raise InputError("its IPTC is damaged")
        yield records[at + 1], records[at + 2], records[begin : begin + size]
        at = begin + size


def _coded(record: int, number: int, value: bytes) -> bytes:
    size = len(value).to_bytes(2, "big") if len(value) < 0x8000 else b"\x80\4" + len(value).to_bytes(4, "big")
    return bytes([0x1C, record, number]) + size + value


def _in_utf8(one: Dataset) -> Dataset:
    record, number, value = one
    if record != 2 or number in NO_TEXT:
        return one
    try:
        value.decode()
    except UnicodeDecodeError:
        return record, number, value.decode("cp1252", "replace").encode()
    return one


def _resources(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, the resource with its head)."""
    at = 0
    while at + 12 <= len(resources):
        head = _head_size(resources[at:])
        size = int.from_bytes(resources[at + head - 4 : at + head], "big")
        end = at + head + size + size % 2
        if end > len(resources) + size % 2:
            raise InputError("its Photoshop data are damaged")
        yield int.from_bytes(resources[at + 4 : at + 6], "big"), resources[at:end]
        at = end


def _head_size(resource: bytes) -> int:
    """Of a signature, a number, a name (its length first, made even), and a size."""
    return 6 + (1 + resource[6]) + (1 + resource[6]) % 2 + 4


def _resource(number: int, value: bytes) -> bytes:
    head = b"8BIM" + number.to_bytes(2, "big") + b"\0\0" + len(value).to_bytes(4, "big")
    return head + value + b"\0" * (len(value) % 2)
