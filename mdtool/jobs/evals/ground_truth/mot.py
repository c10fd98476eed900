"""Ground truth of MOTChallenge: a line an object and frame, `frame,id,left,top,width,height,conf,class,visibility`.

Source: Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016; the "MOT 1.1" format of CVAT.
"""

import configparser
from collections import defaultdict
from pathlib import Path

from mdtool.errors import InputError, read_error_message
from mdtool.jobs.evals.ground_truth.truth import (
    GroundTruth,
    TrueFrame,
    TrueObject,
    checked_box,
    checked_part,
    stated_size,
)

SEQUENCE_INFO, FRAMES_FOLDER, LABELS = "seqinfo.ini", "img1", "labels.txt"
MAX_FRAMES = 10_000_000
DEFAULT_RATE = 30.0  # frames per second


def read_mot(path: Path) -> GroundTruth:
    """Read a MOT file: `gt/gt.txt` of a sequence, or one next to a clip.

    Frames count from 1. So do pixels in MOTChallenge's own sequences, which have a `seqinfo.ini`; others, as CVAT
    exports them, count pixels from 0. What has a conf of 0 is ignored. Where CVAT's `labels.txt` stands next to the
    file, the class is the number of a line in it; else objects have no label.

    Raises:
        InputError: It can't be read, or is none.
    """
    objects: dict[int, list[TrueObject]] = defaultdict(list)
    first = 1.0 if sequence_info(path.parent.parent) else 0.0  # number of the first pixel
    try:
        labels = (path.parent / LABELS).read_text("utf-8").split("\n") if (path.parent / LABELS).exists() else []
        for place, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.strip():
                try:
                    frame, found = _parsed(line, first, [label.strip() for label in labels])
                except (ValueError, OverflowError) as error:
                    raise InputError(f"{path}: not a MOT ground truth: line {place}: {error}") from error
                objects[frame].append(found)
    except OSError as error:
        raise InputError(f"{path}: {read_error_message(error)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a MOT ground truth: not UTF-8 text") from error
    length, size = _length(path.parent.parent), _size(path.parent.parent)
    frames = tuple(TrueFrame(tuple(objects.get(n, ()))) for n in range(1, (length or max(objects, default=0)) + 1))
    return GroundTruth(path, frames, complete=length is not None, size=size)


def _parsed(line: str, first: float, labels: list[str]) -> tuple[int, TrueObject]:
    """Return the number of the frame, from 1 on, and the object."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 6:
        raise ValueError("has less than six values: frame,id,left,top,width,height")
    frame, number = int(float(fields[0])), int(float(fields[1]))
    if not 1 <= frame <= MAX_FRAMES:
        raise ValueError(f"frame {fields[0]}: frames count from 1")
    left, top, width, height = (float(value) for value in fields[2:6])
    left, top = left - first, top - first
    kind = int(float(fields[7])) if len(fields) > 7 else 0
    return frame, TrueObject(
        number,
        checked_box(left, top, left + width, top + height),
        labels[kind - 1] if 1 <= kind <= len(labels) else None,
        checked_part(min(max(float(fields[8]), 0.0), 1.0)) if len(fields) > 8 else 1.0,
        ignored=len(fields) > 6 and float(fields[6]) == 0,
    )


def sequence_info(folder: Path) -> configparser.SectionProxy | None:
    """Return what `seqinfo.ini` of a MOT sequence says, or None without one.

    Raises:
        InputError: It can't be read.
    """
    path = folder / SEQUENCE_INFO
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if not parser.read(path, encoding="utf-8"):
            return None
        return parser["Sequence"]
    except (configparser.Error, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"{path}: not the seqinfo.ini of a MOT sequence: it has no section [Sequence]") from error


def frame_rate(folder: Path) -> float:
    """Return the frames per second of a MOT sequence; DEFAULT_RATE where it does not say."""
    info = sequence_info(folder)
    rate = _number(info.get("frameRate"), folder) if info else None
    return rate or DEFAULT_RATE


def _length(folder: Path) -> int | None:
    """Return the number of frames that a MOT sequence says it has."""
    info = sequence_info(folder)
    length = _number(info.get("seqLength"), folder) if info else None
    return int(length) if length and length <= MAX_FRAMES else None


def _size(folder: Path) -> tuple[int, int] | None:
    """Return the width and height that a MOT sequence says its images have."""
    info = sequence_info(folder)
    try:
        return stated_size(info.get("imWidth"), info.get("imHeight")) if info else None
    except ValueError as error:
        raise InputError(f"{folder / SEQUENCE_INFO}: imWidth and imHeight are no whole numbers") from error


def _number(text: str | None, folder: Path) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise InputError(f"{folder / SEQUENCE_INFO}: {text!r} is no number") from error
