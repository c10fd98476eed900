"""The records that a batch writes, as `mdtool.records.batch` describes them."""

from collections.abc import Sequence

from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.messages import ImageResult, ItemFailed, VideoResult
from mdtool.records.batch import SCHEMA, Record


def image_record(name: str, common_fields: Record, result: ImageResult, *, made_outputs: Sequence[str]) -> Record:
    """name: of the input. about: what all records of a run have. made: beside the record."""
    at = {} if result.time is None else {"time": result.time}
    head = {"schema": SCHEMA, "input": name, **at, **version_fields(result.version), **common_fields}
    record = head | _common(result) | {"answers": result.answers}
    return record | {"made": list(made_outputs)} if made_outputs else record


def duplicate_record(
    name: str, common_fields: Record, version: ContentVersion, original_record: Record, *, made_outputs: Sequence[str]
) -> Record:
    """equal: the record of a picture with the same content."""
    head = {"schema": SCHEMA, "input": name, **version_fields(version), **common_fields}
    record = head | {key: original_record[key] for key in ("width", "height", "milliseconds", "answers")}
    return record | {"made": list(made_outputs)} if made_outputs else record


def video_record(name: str, common_fields: Record, result: VideoResult, *, made_outputs: Sequence[str]) -> Record:
    record = {"schema": SCHEMA, "input": name, **version_fields(result.version), **common_fields, **_common(result)}
    record |= {"answers": [], **({"made": list(made_outputs)} if made_outputs else {}), "frames": result.frames}
    if result.live:
        record["live"] = True
    return record | {"incomplete": result.incomplete} if result.incomplete else record


def failure_record(name: str, common_fields: Record, failed: ItemFailed) -> Record:
    return {"schema": SCHEMA, "input": name, **common_fields, "error": {"code": failed.code, "cause": failed.cause}}


def _common(result: ImageResult | VideoResult) -> Record:
    width, height = result.size
    return {"width": width, "height": height, "milliseconds": result.milliseconds}


def version_fields(version: ContentVersion) -> Record:
    fields = {"sha256": version.sha256, "bytes": version.size, "modified": version.modified}
    return fields | {"served": version.http_validator} if version.http_validator else fields


def version_from_record(record: Record) -> ContentVersion:
    return ContentVersion(record["sha256"], record.get("bytes"), record.get("modified"), record.get("served", ""))
