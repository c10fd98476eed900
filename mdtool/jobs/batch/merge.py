"""Joins the records of shards in one file, after a check that none is missing and no input is there twice."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mdtool.errors import InputError, read_error_message
from mdtool.jobs.batch.results_log import ResultsLog
from mdtool.media.sources.shard import Shard, parse_shard
from mdtool.records.batch import Record
from mdtool.records.findings import BATCH_SCHEMA, SCHEMA, SHARD_SCHEMA


@dataclass
class MergeCounts:
    """Counts of a merge.

    Attributes:
        added: Inputs that were added to the file.
        failed: Of them those that failed.
        skipped: Inputs that an earlier merge had added.
    """

    added: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass
class _Part:
    """What the file of a shard holds. names: of the inputs with a record of its settings."""

    path: Path
    shard: Shard
    inputs: int
    settings: str
    names: set[str] = field(default_factory=set)


def check_shards(paths: Sequence[Path]) -> list[str]:
    """Return what is wrong with the files of all shards, a line each; nothing if they can be merged.

    Raises:
        InputError: A file can't be read, or holds anything else than records.
    """
    parts, faults = [], []
    for path in paths:
        part = _read_part(path)
        if part is None:
            faults.append(f"{path}: is not the whole of a shard; run it with --shard to its end")
        else:
            parts.append(part)
            if len(part.names) < part.inputs:
                lacking = f"{part.inputs - len(part.names)} of {part.inputs} inputs"
                faults.append(f"{path}: lacks {lacking}; run shard {part.shard} again")
    return faults + list(_conflicts(parts))


def merge_shards(out: Path, paths: Sequence[Path]) -> MergeCounts:
    """Append the records of checked shards to a file that `ResultsLog` keeps; those that it has are skipped.

    Raises:
        OutputError: The file can't be written.
    """
    counts = MergeCounts()
    with ResultsLog(out, overwrite=False) as log:
        for number, path in enumerate(paths):
            part = _read_part(path)
            assert part
            if number == 0:
                log.begin(part.settings)
            for record, line in _lines(path):
                if record.get("settings") == part.settings and record["schema"] != SHARD_SCHEMA:
                    _copy(record, line, log, counts)
    return counts


def _copy(record: Record, line: str, log: ResultsLog, counts: MergeCounts) -> None:
    entry = log.entry(record["source"] if record["schema"] == SCHEMA else record["input"])
    identity = None if "error" in record else record.get("sha256") or record.get("served", "")
    if entry and entry.version.identity == identity and (entry.whole or record.get("time") in (entry.times or ())):
        counts.skipped += record["schema"] == BATCH_SCHEMA and "time" not in record
    elif record["schema"] == SCHEMA:
        log.write(line)
    else:
        log.add(record)
        if "time" not in record:
            counts.added += 1
            counts.failed += "error" in record


def _conflicts(parts: Sequence[_Part]) -> Iterator[str]:
    """Yield what is wrong with the parts together."""
    if not parts:
        return
    first = parts[0]
    by_index: dict[int, _Part] = {}
    owners: dict[str, _Part] = {}
    for part in parts:
        if part.settings != first.settings:
            yield f"{part.path}: is of other settings, or another model, than {first.path}"
        elif part.shard.of != first.shard.of:
            yield f"{part.path}: is shard {part.shard}, but {first.path} is {first.shard}"
        elif part.shard.index in by_index:
            yield f"{part.path}: is shard {part.shard}, like {by_index[part.shard.index].path}"
        else:
            by_index[part.shard.index] = part
            for name in sorted(part.names):
                owner = owners.setdefault(name, part)
                if owner is not part:
                    yield f"{part.path}: has {name}, like {owner.path}; were the shards made of the same inputs?"
    for index in range(1, first.shard.of + 1):
        if index not in by_index:
            yield f"shard {Shard(index, first.shard.of)} is missing; give its file too"


def _read_part(path: Path) -> _Part | None:
    """Return what the file of a shard holds; None if its run has not ended."""
    names: dict[str, set[str]] = {}  # by settings
    end: Record | None = None
    for record, _ in _lines(path):
        end = record if record["schema"] == SHARD_SCHEMA else None
        if record["schema"] == BATCH_SCHEMA and "time" not in record:
            names.setdefault(record["settings"], set()).add(record["input"])
    if end is None:
        return None
    return _Part(path, parse_shard(end["shard"]), end["inputs"], end["settings"], names.get(end["settings"], set()))


def _lines(path: Path) -> Iterator[tuple[Record, str]]:
    """Yield the records of a file with their lines, up to a last line that is incomplete."""
    number = 0
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open(encoding="utf-8", errors="surrogateescape", newline="\n"))
            for line in file:
                number += 1
                if not line.endswith("\n"):
                    return
                record = json.loads(line)
                if record["schema"] not in (SCHEMA, BATCH_SCHEMA, SHARD_SCHEMA):
                    raise ValueError
                yield record, line
        except OSError as error:
            raise InputError(f"{path}: {read_error_message(error)}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not a record of a batch") from error
