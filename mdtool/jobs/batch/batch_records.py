"""Builds the records that a batch writes; `mdtool.records.schemas` describes their schema."""

from collections.abc import Sequence

from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.messages import ImageResult, ItemFailed, VideoResult
from mdtool.media.sources.shard import Shard
from mdtool.records.batch import Record
from mdtool.records.findings import BATCH_SCHEMA, SHARD_SCHEMA


def image_record(name: str, common_fields: Record, result: ImageResult, *, made_outputs: Sequence[str]) -> Record:
    """Build the record of an image, or of one frame of a video.

    Args:
        name: The input's name.
        common_fields: Fields that all records of a run share.
        result: The answers, or the error.
        made_outputs: Kinds of side outputs that were written.
    """
    time = {} if result.time is None else {"time": result.time}
    head = {"schema": BATCH_SCHEMA, "input": name, **time, **version_fields(result.version), **common_fields}
    record = head | _common(result) | {"answers": result.answers}
    return record | {"made": list(made_outputs)} if made_outputs else record


def duplicate_record(
    name: str, common_fields: Record, version: ContentVersion, original_record: Record, *, made_outputs: Sequence[str]
) -> Record:
    """Build the record of an image whose answers are copied from an image with the same content.

    Args:
        name: The input's name.
        common_fields: Fields that all records of a run share.
        version: The version of its content.
        original_record: The record of that image.
        made_outputs: Kinds of side outputs that were written.
    """
    head = {"schema": BATCH_SCHEMA, "input": name, **version_fields(version), **common_fields}
    record = head | {key: original_record[key] for key in ("width", "height", "milliseconds", "answers")}
    return record | {"made": list(made_outputs)} if made_outputs else record


def video_record(name: str, common_fields: Record, result: VideoResult, *, made_outputs: Sequence[str]) -> Record:
    """Build the record that ends a video, after the records or findings of its frames."""
    record = {
        "schema": BATCH_SCHEMA,
        "input": name,
        **version_fields(result.version),
        **common_fields,
        **_common(result),
    }
    record |= {"answers": [], **({"made": list(made_outputs)} if made_outputs else {}), "frames": result.frames}
    if result.live:
        record["live"] = True
    return record | {"incomplete": result.incomplete} if result.incomplete else record


def failure_record(name: str, common_fields: Record, failed: ItemFailed) -> Record:
    """Build the record of an input that failed."""
    return {
        "schema": BATCH_SCHEMA,
        "input": name,
        **common_fields,
        "error": {"code": failed.code, "cause": failed.cause},
    }


def shard_record(shard: Shard, inputs: int, settings: str) -> Record:
    """Build the record that ends a shard, by which `mdtool merge` knows that nothing is missing."""
    return {"schema": SHARD_SCHEMA, "shard": str(shard), "inputs": inputs, "settings": settings}


def _common(result: ImageResult | VideoResult) -> Record:
    width, height = result.size
    return {"width": width, "height": height, "milliseconds": result.milliseconds}


def version_fields(version: ContentVersion) -> Record:
    """Return the fields of a record that identify the input's content."""
    fields = {"sha256": version.sha256, "bytes": version.size, "modified": version.modified}
    return fields | {"served": version.http_validator} if version.http_validator else fields


def version_from_record(record: Record) -> ContentVersion:
    """Return the content version that a record stores."""
    return ContentVersion(record["sha256"], record.get("bytes"), record.get("modified"), record.get("served", ""))
