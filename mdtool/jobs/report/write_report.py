"""Writes an HTML report of all inputs in a file of findings."""

from pathlib import Path

from mdtool.errors import UsageError, output_errors_for
from mdtool.jobs.report.build_chapter import MAX_EXAMPLES, chapter_from_summary
from mdtool.jobs.report.findings_summary import FindingsSummary
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.findings_file import is_stdin, records
from mdtool.report.contents import Chapter
from mdtool.report.page import page
from mdtool.stdout import write_stdout

MAX_IMAGES = 600  # example frames on one page


def report_target(findings: Path, output: str | None) -> Path | None:
    """Return the path of the report; None: stdout.

    Args:
        findings: The file of findings.
        output: The `-o` option: a file, "-" for stdout, or None for NAME.html next to the findings.

    Raises:
        UsageError: The report would replace the findings, or has no name.
    """
    if output == "-":
        return None
    if output is None and is_stdin(findings):
        raise UsageError("-: findings from stdin give the report no name; give one with -o (-o - for stdout)")
    target = findings.with_suffix(".html") if output is None else Path(output)
    if target.exists() and findings.exists() and target.samefile(findings):
        raise UsageError(f"-o {target}: would replace the findings; give another name")
    return target


def write_report(findings: Path, target: Path | None, overwrite: bool) -> list[Chapter]:
    """Write the report.

    Args:
        findings: The file of findings.
        target: Its file; None: stdout.
        overwrite: Replace an existing file.

    Returns:
        Its chapters.

    Raises:
        InputError: The findings can't be read, or there are none.
        OutputError: The report can't be written.
    """
    title = "Findings" if is_stdin(findings) else findings.name
    if target is None:
        chapters = build_chapters(findings)
        write_stdout(page(title, chapters))
        return chapters
    with output_errors_for(target), AtomicFile(target, overwrite) as atomic:
        chapters = build_chapters(findings)
        for path in (findings, *(Path(chapter.source) for chapter in chapters)):
            atomic.restrict(path)
        atomic.part.write_text(page(title, chapters), "utf-8")
        atomic.commit()
    return chapters


def build_chapters(findings: Path) -> list[Chapter]:
    """Build a chapter for each input in the findings, in order.

    Raises:
        InputError: The findings can't be read, or there are none.
    """
    sources: dict[str, FindingsSummary] = {}
    for record in records(findings):
        sources.setdefault(record.source, FindingsSummary()).add(record)
    max_examples = min(MAX_EXAMPLES, MAX_IMAGES // len(sources))
    chapters = []
    for name, summary in sources.items():
        summary.finish()
        path = None if name == "-" else Path(name)
        chapters.append(chapter_from_summary(Input(path, Path("stdin"), name), summary, max_examples=max_examples))
    return chapters
