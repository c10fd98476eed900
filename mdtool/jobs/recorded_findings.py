"""Reads findings that were recorded before, for the inputs of a job."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mdtool.console import Console
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.pipeline.findings_file import RecordedFindings, spooled
from mdtool.pipeline.targets import Targets
from mdtool.pipeline.track_selection import TrackSelection


@contextmanager
def rereadable(findings: Path | None, sources: Sequence[Input], selection: TrackSelection) -> Iterator[Path | None]:
    """Provide findings that can be read as often as needed: a copy of stdin, unless one source needs them once."""
    if findings is None or (len(sources) == 1 and not selection):
        yield findings
    else:
        with spooled(findings) as copy:
            yield copy


def recorded(findings: Path, source: Input, targets: Targets, selection: TrackSelection) -> RecordedFindings:
    """Open the selected recorded findings of one source; of a single input the file name alone has to match."""
    digest = partial(content_digest, source)
    return RecordedFindings(findings, source.name, not targets.many, digest=digest, transform=selection.apply)


def check_selection(
    selection: TrackSelection, findings: Path, sources: Sequence[Input], targets: Targets, *, console: Console
) -> None:
    """Check a selection, and say which tracks it leaves out; raises as `TrackSelection.check` does."""
    if selection and (line := selection.check(findings, [source.name for source in sources], not targets.many)):
        console.note(line)
