"""The caption in IPTC-IIM 4.1 records: dataset 2:120 Caption-Abstract, in UTF-8.

In JPEG the records are in a Photoshop image resource.
"""

import hashlib
from collections.abc import Iterator

from mdtool.errors import InputError

Dataset = tuple[int, int, bytes]  # record number, dataset number, value
CHARSET, VERSION, CAPTION = (1, 90), (2, 0), (2, 120)
UTF8 = b"\x1b%G"  # the ISO 2022 escape sequence for UTF-8
CAPTION_BYTES = 2000
NO_TEXT = {0, 125, 200, 201, 202}  # datasets of record 2 that are not text
RECORDS, DIGEST = 0x0404, 0x0425  # Photoshop image resources: the IPTC records, and their MD5


def with_caption(records: bytes, text: str) -> bytes:
    """Return the records with the caption replaced; it is cut to 2000 bytes.

    Other text that is not UTF-8 is taken for Windows-1252, the most common legacy encoding, and converted.

    Raises:
        InputError: The records are damaged.
    """
    caption = text.encode()[:CAPTION_BYTES].decode(errors="ignore").encode()
    datasets = [_in_utf8(dataset) for dataset in _datasets(records) if dataset[:2] not in (CHARSET, CAPTION)]
    if not any(dataset[:2] == VERSION for dataset in datasets):
        datasets.append((*VERSION, b"\0\4"))
    datasets += [(*CHARSET, UTF8), (*CAPTION, caption)]
    return b"".join(_encode(*dataset) for dataset in sorted(datasets, key=lambda dataset: dataset[:2]))


def with_records(resources: bytes, records: bytes) -> bytes:
    """Return Photoshop image resources with the IPTC records replaced."""
    output = b""
    replaced = False
    for number, raw in _resources(resources):
        if number == RECORDS:
            output += b"" if replaced else _resource(RECORDS, records)
            replaced = True
        elif number == DIGEST:
            output += _resource(DIGEST, hashlib.md5(records, usedforsecurity=False).digest())
        else:
            output += raw
    return output if replaced else output + _resource(RECORDS, records)


def records_in(resources: bytes) -> bytes:
    """Return the IPTC records in Photoshop image resources; empty if there are none."""
    for number, raw in _resources(resources):
        if number == RECORDS:
            head = _head_size(raw)
            return raw[head : head + int.from_bytes(raw[head - 4 : head], "big")]
    return b""


def _datasets(records: bytes) -> Iterator[Dataset]:
    at = 0
    while records[at:].strip(b"\0"):  # some programs pad with zeros
        if records[at] != 0x1C or at + 5 > len(records):
            raise InputError("its IPTC is damaged")
        size, begin = int.from_bytes(records[at + 3 : at + 5], "big"), at + 5
        if size & 0x8000:  # extended dataset: the length of its size field
            begin += size & 0x7FFF
            size = int.from_bytes(records[at + 5 : begin], "big")
        if begin + size > len(records):
            raise InputError("its IPTC is damaged")
        yield records[at + 1], records[at + 2], records[begin : begin + size]
        at = begin + size


def _encode(record: int, number: int, value: bytes) -> bytes:
    size = len(value).to_bytes(2, "big") if len(value) < 0x8000 else b"\x80\4" + len(value).to_bytes(4, "big")
    return bytes([0x1C, record, number]) + size + value


def _in_utf8(dataset: Dataset) -> Dataset:
    record, number, value = dataset
    if record != 2 or number in NO_TEXT:
        return dataset
    try:
        value.decode()
    except UnicodeDecodeError:
        return record, number, value.decode("cp1252", "replace").encode()
    return dataset


def _resources(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each resource, and the resource with its header."""
    at = 0
    while at + 12 <= len(resources):
        head = _head_size(resources[at:])
        size = int.from_bytes(resources[at + head - 4 : at + head], "big")
        end = at + head + size + size % 2
        if end > len(resources) + size % 2:
            raise InputError("its Photoshop resources are damaged")
        yield int.from_bytes(resources[at + 4 : at + 6], "big"), resources[at:end]
        at = end


def _head_size(resource: bytes) -> int:
    """Return the size of the header: signature, number, name (a Pascal string padded to even length), size."""
    return 6 + (1 + resource[6]) + (1 + resource[6]) % 2 + 4


def _resource(number: int, value: bytes) -> bytes:
    head = b"8BIM" + number.to_bytes(2, "big") + b"\0\0" + len(value).to_bytes(4, "big")
    return head + value + b"\0" * (len(value) % 2)
