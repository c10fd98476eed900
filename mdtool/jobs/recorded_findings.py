"""Reads findings that were recorded before, for the inputs of a job."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from mdtool.console import Console
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest
from mdtool.pipeline.findings_file import ContentCheck, RecordedFindings, spooled
from mdtool.pipeline.targets import Targets
from mdtool.pipeline.track_selection import TrackSelection, contents_of
from mdtool.records.findings import Record


@contextmanager
def rereadable(findings: Path | None, sources: Sequence[Input], again: bool) -> Iterator[Path | None]:
    """Provide findings that can be read as often as needed: a copy of stdin, unless that is once.

    Args:
        findings: The file, if any.
        sources: The inputs, for each of which they are read.
        again: Whether they are read again for one input.
    """
    if findings is None or (len(sources) == 1 and not again):
        yield findings
    else:
        with spooled(findings) as copy:
            yield copy


def content_check(source: Input, console: Console, force: bool) -> ContentCheck:
    """Return the check that recorded findings are of the source's content; what is not checked is said once.

    Args:
        source: The input.
        console: Where it is said.
        force: Whether findings of any content are wanted, under any name.
    """
    digest = None if force or source.path is None else cache(partial(content_digest, source))
    why = "" if digest else "--force-findings: " if force else "not a file: "
    return ContentCheck(digest, force, cache(lambda line: console.note(f"{source.name}: {why}{line}")))


def recorded(
    findings: Path,
    source: Input,
    targets: Targets,
    *,
    check: ContentCheck,
    transform: Callable[[Iterator[Record]], Iterator[Record]],
) -> RecordedFindings:
    """Open the recorded findings of one source; of a single input the file name alone has to match.

    Args:
        findings: The file.
        source: The input.
        targets: The outputs of the command.
        check: See `content_check`.
        transform: Selects what is used, such as `TrackSelection.apply`.
    """
    return RecordedFindings(findings, source.name, not targets.many, check=check, transform=transform)


def check_selection(
    selection: TrackSelection, findings: Path, sources: Sequence[Input], targets: Targets, *, console: Console
) -> None:
    """Check a selection, and say which tracks it leaves out; raises as `TrackSelection.check` does."""
    if selection and (line := selection.check(findings, [source.name for source in sources], not targets.many)):
        console.note(line)


def models_in(findings: Path, sources: Sequence[Input], targets: Targets) -> set[str]:
    """Return the names of the models that made recorded findings of the sources; "" where one is not recorded."""
    return contents_of(findings, [source.name for source in sources], not targets.many).models


def prompts_in(findings: Path, sources: Sequence[Input], targets: Targets) -> list[str]:
    """Return what recorded findings of the sources are of: their prompts, or without any their labels."""
    contents = contents_of(findings, [source.name for source in sources], not targets.many)
    prompts = sorted(set().union(*contents.prompts.values()))
    return prompts or sorted(contents.labels.values())
