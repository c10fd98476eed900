"""What was found before, for the inputs that it is of."""

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
    """Findings that can be read for each of the sources; what is piped in for a single one is taken as it comes."""
    if findings is None or len(sources) == 1:
        yield findings
    else:
        with spooled(findings) as copy:
            yield copy


def recorded(findings: Path, source: Input, targets: Targets) -> RecordedFindings:
    return RecordedFindings(findings, source.name, not targets.many, digest=partial(content_digest, source))
