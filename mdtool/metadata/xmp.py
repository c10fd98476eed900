"""The description in an XMP packet (ISO 16684-1): dc:description, a language alternative with an x-default text.

Only the bytes of the description are changed; everything else in a packet is preserved.
"""

import re
from dataclasses import dataclass
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from mdtool.errors import InputError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
DESCRIPTION = (f"{RDF} RDF", f"{RDF} Description", f"{DC} description")
TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%s">%s</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


@dataclass
class _Elements:
    """Byte offsets of elements in a packet: (of its start tag, of its end tag), or None."""

    default: tuple[int, int] | None = None  # rdf:li of x-default
    alternatives: tuple[int, int] | None = None  # rdf:Alt
    description: tuple[int, int] | None = None
    rdf: tuple[int, int] | None = None
    about: str | None = None  # of the first rdf:Description; all of them must have the same


def with_description(packet: bytes, text: str) -> bytes:
    """Return a packet with this text as the x-default description; texts in other languages are preserved.

    Args:
        packet: An XMP packet; empty: a new one is made.
        text: The description.

    Raises:
        InputError: The packet is damaged, or its description has an unsupported form.
    """
    packet = packet.strip(b"\0 \r\n\t")
    elements = _find(packet) if packet else _Elements()
    content = escape(text)
    item = f'<rdf:li xmlns:rdf="{RDF}" xml:lang="x-default">{content}</rdf:li>'
    description = f'<dc:description xmlns:dc="{DC}" xmlns:rdf="{RDF}"><rdf:Alt>{item}</rdf:Alt></dc:description>'
    about = quoteattr(elements.about or "")
    subject = f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={about}>{description}</rdf:Description>'
    if elements.default:
        return _replace(packet, elements.default, content, item)
    if elements.alternatives and not _is_empty(packet, elements.alternatives):
        begin = _tag(packet, elements.alternatives[0]).end()
        return packet[:begin] + item.encode() + packet[begin:]
    if elements.description:
        begin, end = elements.description
        last = begin if _is_empty(packet, elements.description) else end
        return packet[:begin] + description.encode() + packet[_tag(packet, last).end() :]
    if elements.about is not None and elements.rdf:
        return packet[: elements.rdf[1]] + subject.encode() + packet[elements.rdf[1] :]
    return (PACKET % (RDF, subject)).encode()


def _replace(packet: bytes, element: tuple[int, int], content: str, whole: str) -> bytes:
    """Replace the content of an element, or the whole element if it is an empty tag."""
    begin = _tag(packet, element[0])
    if _is_empty(packet, element):
        return packet[: begin.start()] + whole.encode() + packet[begin.end() :]
    return packet[: begin.end()] + content.encode() + packet[element[1] :]


def _is_empty(packet: bytes, element: tuple[int, int]) -> bool:
    return _tag(packet, element[0]).group().endswith(b"/>")


def _tag(packet: bytes, at: int) -> "re.Match[bytes]":
    found = TAG.match(packet, at)
    assert found  # expat has parsed it
    return found


def _find(packet: bytes) -> _Elements:
    elements = _Elements()
    open_elements: list[tuple[str, int, dict[str, str]]] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        open_elements.append((name, parser.CurrentByteIndex, attributes))
        if tuple(element[0] for element in open_elements[-2:]) == DESCRIPTION[:2]:
            if DESCRIPTION[2] in attributes:
                raise InputError("its XMP description has an unsupported form")
            if elements.about is None:
                elements.about = attributes.get(f"{RDF} about", attributes.get("about", ""))

    def end(name: str) -> None:
        _, begin, attributes = open_elements.pop()
        span = begin, parser.CurrentByteIndex
        path = (*(element[0] for element in open_elements), name)
        below = path[path.index(DESCRIPTION[0]) :] if DESCRIPTION[0] in path else ()
        if below == DESCRIPTION[:1]:
            elements.rdf = span
        elif below == DESCRIPTION:
            elements.description = span
        elif below == (*DESCRIPTION, f"{RDF} Alt"):
            elements.alternatives = span
        elif below == (*DESCRIPTION, f"{RDF} Alt", f"{RDF} li") and attributes.get(LANGUAGE) == "x-default":
            elements.default = span

    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        packet.decode()
        parser.Parse(packet, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise InputError(f"its XMP is damaged: {error}") from error
    return elements
