"""The records that a batch writes, as `mdtool.records.batch` describes them."""

import time
from collections.abc import Sequence
from typing import Any

from engine.contract import EngineError
from mdtool.errors import OutputError, TooSlow
from mdtool.jobs.batch.video_frames import Film
from mdtool.jobs.each_input import cause_of
from mdtool.jobs.inference.image_input import Shot, Version
from mdtool.records.batch import SCHEMA, Record

CODES = {TooSlow: "slow", MemoryError: "memory", EngineError: "model", OutputError: "output", OSError: "output"}


def said(size: tuple[int, int], since: float, answers: list[dict[str, Any]]) -> Record:
    """What equal pictures have in common. since: when work on it began, on the clock of `time.perf_counter`."""
    spent = round(1000 * (time.perf_counter() - since), 1)
    return {"width": size[0], "height": size[1], "milliseconds": spent, "answers": answers}


def of_picture(shot: Shot, about: Record, what: Record, made: Sequence[str]) -> Record:
    """about: what all records have; what: as `said`; made: beside it."""
    at = {} if shot.time is None else {"time": shot.time}
    kept = {name: what[name] for name in ("width", "height", "milliseconds", "answers")}
    head = {"schema": SCHEMA, "input": shot.source.name, **at, **fields_of(shot.version), **about, **kept}
    return head | {"made": list(made)} if made else head


def of_film(film: Film, about: Record, made: Sequence[str]) -> Record:
    record = of_picture(film.shot, about, said(film.size, film.since, []), made) | {"frames": film.frames}
    if film.is_live:
        record["live"] = True
    return record | {"incomplete": film.incomplete} if film.incomplete else record


def of_failure(shot: Shot, about: Record, error: Exception) -> Record:
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "input")
    return {"schema": SCHEMA, "input": shot.source.name, **about, "error": {"code": code, "cause": cause_of(error)}}


def fields_of(version: Version) -> Record:
    fields = {"sha256": version.sha256, "bytes": version.size, "modified": version.modified}
    return fields | {"served": version.served} if version.served else fields


def version_of(record: Record) -> Version:
    return Version(record["sha256"], record.get("bytes"), record.get("modified"), record.get("served", ""))
