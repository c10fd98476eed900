"""Text from outside, such as names, labels, prompts, answers of models and errors, made harmless for where it is shown.

One function a place: `one_line` and `several_lines` for terminals, `json_escaped` for JSON that may be shown on one,
`html_escaped` for pages.
"""

import re
from html import escape

JOINERS = "\u200c\u200d"  # not printable by themselves, but needed in Persian words and many emoji
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters, which a terminal obeys
# What reorders or hides the letters after it, other line breaks, and bytes of names that are not UTF-8.
_MISLEADING = "\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_OBEYED = re.compile(f"{CONTROL_CHARACTERS.pattern[:-1]}{_MISLEADING}]")
_OBEYED_IN_JSON = re.compile(f"[\x7f-\x9f{_MISLEADING}]")  # json itself escapes what lies below


def one_line(text: str) -> str:
    """Return text, such as a file name, with line breaks, control characters and undecodable bytes escaped."""
    return "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode() for c in text)


def several_lines(text: str) -> str:
    """Return text, such as an answer of a model, with its line feeds and without what else a terminal obeys."""
    return _OBEYED.sub("", text)


def json_escaped(text: str) -> str:
    """Return a JSON text with whatever a terminal would obey escaped as JSON does."""
    return _OBEYED_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def html_escaped(text: str) -> str:
    """Return text for an attribute or an element of HTML; control characters, and what reorders, are spelt out."""
    return escape(one_line(text))
