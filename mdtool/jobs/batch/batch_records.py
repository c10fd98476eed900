"""The records that a batch writes, as `mdtool.records.batch` describes them."""

from collections.abc import Sequence

from mdtool.jobs.batch.content_version import Version
from mdtool.jobs.batch.messages import Answered, ItemFailed, VideoAnswered
from mdtool.records.batch import SCHEMA, Record


def of_picture(name: str, about: Record, answered: Answered, *, made: Sequence[str]) -> Record:
    """name: of the input. about: what all records of a run have. made: beside the record."""
    at = {} if answered.time is None else {"time": answered.time}
    head = {"schema": SCHEMA, "input": name, **at, **fields_of(answered.version), **about}
    record = head | _common(answered) | {"answers": answered.answers}
    return record | {"made": list(made)} if made else record


def of_equal(name: str, about: Record, version: Version, equal: Record, *, made: Sequence[str]) -> Record:
    """equal: the record of a picture with the same content."""
    head = {"schema": SCHEMA, "input": name, **fields_of(version), **about}
    record = head | {key: equal[key] for key in ("width", "height", "milliseconds", "answers")}
    return record | {"made": list(made)} if made else record


def of_video(name: str, about: Record, answered: VideoAnswered, *, made: Sequence[str]) -> Record:
    record = {"schema": SCHEMA, "input": name, **fields_of(answered.version), **about, **_common(answered)}
    record |= {"answers": [], **({"made": list(made)} if made else {}), "frames": answered.frames}
    if answered.live:
        record["live"] = True
    return record | {"incomplete": answered.incomplete} if answered.incomplete else record


def of_failure(name: str, about: Record, failed: ItemFailed) -> Record:
    return {"schema": SCHEMA, "input": name, **about, "error": {"code": failed.code, "cause": failed.cause}}


def _common(answered: Answered | VideoAnswered) -> Record:
    width, height = answered.size
    return {"width": width, "height": height, "milliseconds": answered.milliseconds}


def fields_of(version: Version) -> Record:
    fields = {"sha256": version.sha256, "bytes": version.size, "modified": version.modified}
    return fields | {"served": version.served} if version.served else fields


def version_of(record: Record) -> Version:
    return Version(record["sha256"], record.get("bytes"), record.get("modified"), record.get("served", ""))
