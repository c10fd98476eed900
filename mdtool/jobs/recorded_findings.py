"""Reads findings that were recorded before, for the inputs of a job."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mdtool.console import Console
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


def recorded(findings: Path, source: Input, targets: Targets, digest: Callable[[], str]) -> RecordedFindings:
    """Open the recorded findings of one source; of a single input the file name alone has to match."""
    return RecordedFindings(findings, source.name, not targets.many, digest=digest)


def digest_to_match(source: Input, console: Console, force: bool) -> Callable[[], str]:
    """Return the function that gives the SHA-256 which recorded findings must be of; "" for any, which is said.

    Args:
        source: The input.
        console: Where it is said.
        force: Whether findings of any content are wanted.
    """

    def any_content() -> str:
        why = "--force-findings" if force else "not a file"
        console.note(f"{source.name}: {why}: it is not checked that the findings are of this content")
        return ""

    return any_content if force or source.path is None else partial(content_digest, source)
