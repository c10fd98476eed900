"""What an input's findings come to, for the report."""

from pathlib import Path

from mdtool.findings import records_of
from mdtool.media.inputs import Input
from mdtool.report.contents import Chapter, Row
from recipes.verdict import Ruling, Verdict


def chapter(source: Input, findings: Path, model: str, verdict: Verdict | None = None) -> Chapter:
    """One row for each rule."""
    kept = list(records_of(findings, source.name, by_name=False))
    return Chapter(
        source.name,
        model,
        prompts=kept[0].prompts if kept else (),
        start=kept[0].moment.time if kept else 0.0,
        duration=(verdict.seconds if verdict else 0.0) or None,
        frames=len(kept),
        looks=sum(record.verdict.looked for record in kept),
        rows=[_row(ruling) for ruling in verdict.rulings] if verdict else (),
        cuts=[record.moment.time for record in kept if record.verdict.cut],
    )


def _row(ruling: Ruling) -> Row:
    return Row(ruling.rule.name, ruling.hit, frames=ruling.frames, spans=ruling.spans, largest=ruling.area)
