"""Words, numbers and pictures as HTML. All that comes from a person passes through here and loses its force."""

from base64 import b64encode
from html import escape

from mdtool.console import one_line
from mdtool.report.contents import EmbeddedImage

JOINERS = "\u200c\u200d"  # not printable by themselves, but Persian words and many emoji are made with them


def escape_attribute(text: str) -> str:
    """For attributes and titles. What is no text, or would turn the line around, is spelt out."""
    return escape("".join(letter if letter in JOINERS else one_line(letter) for letter in text))


def escape_text(text: str) -> str:
    """For the page itself: in whatever direction it is written, it turns nothing around it."""
    return f"<bdi>{escape_attribute(text)}</bdi>"


def image(picture: EmbeddedImage, alt: str) -> str:
    """alt: as it was given, not escaped yet."""
    return (
        f'<img src="data:image/{picture.kind};base64,{b64encode(picture.data).decode()}" alt="{escape_attribute(alt)}">'
    )


def percent(part: float) -> str:
    """A share of one in per cent. What is there at all is never called nothing."""
    return "&lt;&nbsp;0.1&nbsp;%" if 0 < part < 0.001 else f"{part:.1%}".replace("%", "&nbsp;%")


def number(count: int) -> str:
    return f"{count:,}"


def bar(part: float) -> str:
    """A bar as long as this share of its place. It only repeats a number that stands beside it."""
    return f'<svg class="bar" aria-hidden="true"><rect width="{part:.1%}" height="100%"/></svg>'


def table(name: str, body: str) -> str:
    """body: the rows. It scrolls by itself where the page is narrow."""
    return f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table>{body}</table></div>'


def section(title: str, body: str) -> str:
    """Nothing for an empty body."""
    return f"<section>\n<h3>{title}</h3>\n{body}\n</section>\n" if body else ""
