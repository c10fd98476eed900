"""Escapes text for HTML, and renders numbers and images. All text from outside passes through here."""

from base64 import b64encode

from mdtool.escaping import html_escaped
from mdtool.report.contents import EmbeddedImage


def escape_text(text: str) -> str:
    """Escape text for the page, isolated so that its writing direction does not affect the text around it."""
    return f"<bdi>{html_escaped(text)}</bdi>"


def image_tag(image: EmbeddedImage, alt: str) -> str:
    """Return an img element with a data URL.

    Args:
        image: The encoded image.
        alt: Alternative text, not escaped yet.
    """
    return f'<img src="data:image/{image.kind};base64,{b64encode(image.data).decode()}" alt="{html_escaped(alt)}">'


def percent(part: float) -> str:
    """Format a share, 0..1, as a percentage; one above zero never becomes "0.0 %"."""
    return "&lt;&nbsp;0.1&nbsp;%" if 0 < part < 0.001 else f"{part:.1%}".replace("%", "&nbsp;%")


def number(count: int) -> str:
    """Format an integer with thousands separators."""
    return f"{count:,}"


def bar(part: float) -> str:
    """Return a bar of this share of its cell's width, hidden from screen readers since a number stands next to it."""
    return f'<svg class="bar" aria-hidden="true"><rect width="{part:.1%}" height="100%"/></svg>'


def table(name: str, body: str) -> str:
    """Return a table that scrolls horizontally on a narrow page.

    Args:
        name: Its label for screen readers.
        body: The rows.
    """
    return f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table>{body}</table></div>'


def section(title: str, body: str) -> str:
    """Return a section; nothing for an empty body."""
    return f"<section>\n<h3>{title}</h3>\n{body}\n</section>\n" if body else ""
