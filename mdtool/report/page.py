"""Renders the HTML page of a report, with a chapter for each input."""

from collections.abc import Iterable, Sequence

from mdtool import __version__
from mdtool.escaping import html_escaped
from mdtool.report.contents import Chapter, Example
from mdtool.report.markup import escape_text, image_tag, number, section
from mdtool.report.style import STYLE
from mdtool.report.tables import attention, counts, rules_table, status_badge
from mdtool.report.timeline import timeline
from mdtool.report.times import format_clock

# Besides the escaping, the Content Security Policy keeps the browser from running scripts and loading resources.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(title: str, chapters: Sequence[Chapter]) -> str:
    """Render a self-contained HTML document that can be encoded as UTF-8."""
    body = "".join(_chapter(place, chapter) for place, chapter in enumerate(chapters, 1))
    return document(title, _contents(chapters) if len(chapters) > 1 else "", body)


def document(title: str, header: str, body: str) -> str:
    """Return a self-contained HTML document.

    Args:
        title: As plain text.
        header: HTML below the title.
        body: HTML of the main part.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html_escaped(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape_text(title)}</h1>
{header}</header>
<main>
{body}</main>
<footer>Made by mdtool {__version__}.</footer>
</body>
</html>
"""


def _contents(chapters: Sequence[Chapter]) -> str:
    lines = (
        f'<li><a href="#input-{place}">{escape_text(chapter.source)}</a> {_verdict(chapter)}</li>\n'
        for place, chapter in enumerate(chapters, 1)
    )
    return f'<nav aria-label="inputs"><ol>\n{"".join(lines)}</ol></nav>\n'


def _chapter(place: int, chapter: Chapter) -> str:
    verdict = _verdict(chapter)
    parts = [
        f'<article id="input-{place}">\n<h2>{escape_text(chapter.source)}</h2>\n',
        f'<p class="verdict">{verdict}</p>\n' if verdict else "",
        _facts(chapter),
        "".join(f'<p class="note">{escape_text(note)}</p>\n' for note in chapter.notes),
        section("Findings", rules_table(chapter.rows)),
        section("Timeline", timeline(chapter)),
        section("Examples", _examples(chapter.examples)),
        section("Heatmap", _heat(chapter)),
        section("Objects", counts(chapter.counts)),
        section("Attention", attention(chapter.attention, timed=chapter.duration is not None)),
        "</article>\n",
    ]
    return "".join(parts)


def _verdict(chapter: Chapter) -> str:
    """Render the verdict; empty without rules."""
    rules = [row for row in chapter.rows if row.hit is not None]
    hits = [row for row in rules if row.hit]
    if not rules:
        return ""
    names = f": {_list(row.name for row in hits)}" if hits else ""
    return f"{status_badge(bool(hits))} {number(len(hits))} of {number(len(rules))} rules hit{names}"


def _facts(chapter: Chapter) -> str:
    facts = [
        ("Model", escape_text(chapter.model) if chapter.model else ""),
        ("Prompts", _list(chapter.prompts)),
        ("Length", format_clock(chapter.duration) if chapter.duration else ""),
        ("Frames", number(chapter.frames) if chapter.frames else ""),
        ("Keyframes", number(chapter.keyframes) if chapter.frames else ""),
    ]
    lines = "".join(f"<div><dt>{name}</dt><dd>{fact}</dd></div>\n" for name, fact in facts if fact)
    return f"<dl>\n{lines}</dl>\n" if lines else ""


def _examples(examples: Sequence[Example]) -> str:
    return f'<div class="sheet">\n{"".join(map(_example, examples))}</div>' if examples else ""


def _example(example: Example) -> str:
    alt, caption = ", ".join(example.labels) or "frame", _list(example.labels)
    if example.time is not None:
        time = format_clock(example.time)
        alt, caption = f"{alt} at {time}", f"<b>{time}</b> {caption}"
    return f"<figure>{image_tag(example.image, alt)}<figcaption>{caption}</figcaption></figure>\n"


def _heat(chapter: Chapter) -> str:
    if chapter.heat is None:
        return ""
    image = image_tag(chapter.heat, "heatmap over a frame")
    caption = "Positions of objects" if chapter.heat_shows == "objects" else "Where people looked"
    return f"<figure>{image}<figcaption>{caption}, over all frames.</figcaption></figure>"


def _list(texts: Iterable[str]) -> str:
    return ", ".join(map(escape_text, texts))
