"""Reads findings that were recorded before, for the inputs of a job."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.pipeline.findings_file import RecordedFindings, spooled
from mdtool.pipeline.targets import Targets


@contextmanager
def rereadable(findings: Path | None, sources: Sequence[Input]) -> Iterator[Path | None]:
    """Provide findings that can be read once for each source: a copy of stdin, unless there is only one source."""
    if findings is None or len(sources) == 1:
        yield findings
    else:
        with spooled(findings) as copy:
            yield copy


def recorded(findings: Path, source: Input, targets: Targets) -> RecordedFindings:
    """Open the recorded findings of one source; of a single input the file name alone has to match."""
    return RecordedFindings(findings, source.name, not targets.many, digest=partial(content_digest, source))
