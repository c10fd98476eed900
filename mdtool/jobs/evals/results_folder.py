"""The folder of an evaluation: the log of answers, a scored sample a line, the summary, the page of failures."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mdtool.errors import InputError, OutputError, UsageError, output_errors_for, record_fault
from mdtool.jobs.evals.sample import Figure, Scored
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.stdout import json_text

ANSWERS, SAMPLES, SUMMARY, FAILURES = "answers.jsonl", "samples.jsonl", "summary.json", "failures.html"
SAMPLE_SCHEMA, SUMMARY_SCHEMA = "mdtool.evaluation-sample/1", "mdtool.evaluation/1"
Summary = Mapping[str, Any]  # of `summary.json`
SUMMARY_TYPES = {"task": str, "prompts": str, "model": str, "settings": str, "computing": dict, "is_distance": bool}


@dataclass(frozen=True)
class Results:
    """What a folder holds: the summary, and the scored samples by their ids."""

    folder: Path
    summary: Summary
    samples: Mapping[str, Scored]

    @property
    def figures(self) -> list[Figure]:
        """The figures of the summary."""
        return [Figure(**one) for one in self.summary["figures"]]


def check_folder(folder: Path, settings: str, overwrite: bool) -> None:
    """Check that a folder may take an evaluation: a new one, or that of the same task and settings, which goes on.

    Raises:
        OutputError: It holds another evaluation, and may not be overwritten.
    """
    path = folder / SUMMARY
    if overwrite or not path.exists():
        return
    summary = _json(path)
    if summary.get("settings") != settings:
        raise OutputError(
            f"{folder}: holds another evaluation, of {summary.get('model')} on {summary.get('task')} with other "
            "settings; give another folder, or --overwrite"
        )


def write_results(folder: Path, summary: Summary, scored: list[Scored], page: str) -> None:
    """Write samples, summary and page of failures. Raises OutputError if they can't be written."""
    lines = "".join(json_text({"schema": SAMPLE_SCHEMA, **asdict(one)}, (",", ":")) + "\n" for one in scored)
    for name, text in ((SAMPLES, lines), (FAILURES, page), (SUMMARY, json.dumps(summary, indent=2) + "\n")):
        with output_errors_for(folder / name), AtomicFile(folder / name, overwrite=True) as file:
            file.part.write_text(text, "utf-8", "backslashreplace")
            file.commit()


def read_results(folder: Path) -> Results:
    """Read the results of an evaluation.

    Raises:
        UsageError: It is no such folder.
        InputError: What it holds is damaged.
    """
    if not (folder / SUMMARY).is_file() or not (folder / SAMPLES).is_file():
        raise UsageError(f"{folder}: is no folder of a finished evaluation; `mdtool eval TASK --out` writes such")
    summary, path = _json(folder / SUMMARY), folder / SAMPLES
    samples: dict[str, Scored] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    one = _scored(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise InputError(f"{path}: line {number}: {record_fault(error)}") from error
                samples[one.id] = one
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror or error}") from error
    return Results(folder, summary, samples)


def _scored(record: dict[str, Any]) -> Scored:
    """Return a scored sample. Raises ValueError, KeyError, TypeError or AttributeError if it is damaged."""
    if record.pop("schema") != SAMPLE_SCHEMA:
        raise ValueError("is of another version of mdtool")
    one = Scored(**record | {"groups": tuple(record["groups"])})
    _check_types(record, {"id": str, "request": str, "unit": str})
    if not math.isfinite(one.score):
        raise ValueError(f"the score is {one.score}")
    return one


def _check_types(record: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    for name, kind in types.items():
        if not isinstance(record[name], kind):
            raise TypeError(name)


def _json(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text("utf-8"))
        if summary["schema"] != SUMMARY_SCHEMA:
            raise ValueError("is of another version of mdtool")
        _check_types(summary, SUMMARY_TYPES)
        for figure in summary["figures"]:
            _check_types(asdict(Figure(**figure)), {"name": str, "value": float | int | None})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: {record_fault(error)}") from error
    found: dict[str, Any] = summary
    return found
