"""One page of HTML for all that a file of findings is of."""

from pathlib import Path

from mdtool.errors import NoInput, UsageError, named
from mdtool.jobs.report.chapter import MOST_EXAMPLES, chapter_of
from mdtool.jobs.report.gather import Gathered
from mdtool.media.files.atomic_file import WholeFile
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.findings_file import is_stdin, records
from mdtool.report.contents import Chapter
from mdtool.report.page import page
from mdtool.stdout import put

MOST_PICTURES = 600  # on one page


def report_target(findings: Path, output: str | None) -> Path | None:
    """Where the page goes; None: to stdout. UsageError if that would replace the findings."""
    if output == "-":
        return None
    if output is None and is_stdin(findings):
        raise UsageError("-: say with -o where the report goes (-o - for stdout)")
    target = findings.with_suffix(".html") if output is None else Path(output)
    if target.exists() and findings.exists() and target.samefile(findings):
        raise UsageError(f"-o {target}: would replace the findings; give another name")
    return target


def write_report(findings: Path, target: Path | None, overwrite: bool) -> list[Chapter]:
    """What is on it. Raises InputError for what is no findings, NoInput where there are none, OutputError."""
    title = "Findings" if is_stdin(findings) else findings.name
    if target is None:
        chapters = chapters_of(findings)
        put(page(title, chapters))
        return chapters
    with named(target), WholeFile(target, overwrite) as whole:
        chapters = chapters_of(findings)
        whole.part.write_text(page(title, chapters), "utf-8")
        whole.commit()
    return chapters


def chapters_of(findings: Path) -> list[Chapter]:
    """One for each input, in their order."""
    sources: dict[str, Gathered] = {}
    for record in records(findings):
        sources.setdefault(record.source, Gathered()).add(record)
    if not sources:
        raise NoInput(f"{findings}: holds no findings")
    most = min(MOST_EXAMPLES, MOST_PICTURES // len(sources))
    chapters = []
    for name, gathered in sources.items():
        gathered.finish()
        path = None if name == "-" else Path(name)
        chapters.append(chapter_of(Input(path, Path("stdin"), name), gathered, most=most))
    return chapters
