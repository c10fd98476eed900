"""One page of HTML for all that a file of findings is of."""

from pathlib import Path

from mdtool.errors import NoInputFound, UsageError, output_errors_for
from mdtool.jobs.report.build_chapter import MAX_EXAMPLES, chapter_from_summary
from mdtool.jobs.report.findings_summary import FindingsSummary
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.findings_file import is_stdin, records
from mdtool.report.contents import Chapter
from mdtool.report.page import page
from mdtool.stdout import write_stdout

MAX_IMAGES = 600  # on one page


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
    """What is on it. Raises InputError for what is no findings, NoInputFound where there are none, OutputError."""
    title = "Findings" if is_stdin(findings) else findings.name
    if target is None:
        chapters = build_chapters(findings)
        write_stdout(page(title, chapters))
        return chapters
    with output_errors_for(target), AtomicFile(target, overwrite) as whole:
        chapters = build_chapters(findings)
        whole.part.write_text(page(title, chapters), "utf-8")
        whole.commit()
    return chapters


def build_chapters(findings: Path) -> list[Chapter]:
    """One for each input, in their order."""
    sources: dict[str, FindingsSummary] = {}
    for record in records(findings):
        sources.setdefault(record.source, FindingsSummary()).add(record)
    if not sources:
        raise NoInputFound(f"{findings}: holds no findings")
    max_examples = min(MAX_EXAMPLES, MAX_IMAGES // len(sources))
    chapters = []
    for name, summary in sources.items():
        summary.finish()
        path = None if name == "-" else Path(name)
        chapters.append(chapter_from_summary(Input(path, Path("stdin"), name), summary, max_examples=max_examples))
    return chapters
