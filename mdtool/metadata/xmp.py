"""The description in an XMP packet (ISO 16684-1): dc:description, a text in each language, of which x-default is shown.

A packet is changed only where the description stands, so that whatever else programs keep there stays to the byte.
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
class _Places:
    """In bytes from the start of a packet: (where an element begins, where its end tag begins), or None."""

    default: tuple[int, int] | None = None  # the text that is shown
    alternatives: tuple[int, int] | None = None  # the texts in all languages
    described: tuple[int, int] | None = None
    rdf: tuple[int, int] | None = None
    about: str | None = None  # of the first rdf:Description, which all must have in common


def with_description(packet: bytes, text: str) -> bytes:
    """The packet with this text as what is shown; without a packet a new one. Texts in other languages stay.

    InputError for a packet that can't be read.
    """
    packet = packet.strip(b"\0 \r\n\t")
    places = _find(packet) if packet else _Places()
    words = escape(text)
    shown = f'<rdf:li xmlns:rdf="{RDF}" xml:lang="x-default">{words}</rdf:li>'
    texts = f'<dc:description xmlns:dc="{DC}" xmlns:rdf="{RDF}"><rdf:Alt>{shown}</rdf:Alt></dc:description>'
    about = quoteattr(places.about or "")
    subject = f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={about}>{texts}</rdf:Description>'
    if places.default:
        return _put(packet, places.default, words, shown)
    if places.alternatives and not _is_empty(packet, places.alternatives):
        begin = _tag(packet, places.alternatives[0]).end()
        return packet[:begin] + shown.encode() + packet[begin:]
    if places.described:
        begin, end = places.described
        last = begin if _is_empty(packet, places.described) else end
        return packet[:begin] + texts.encode() + packet[_tag(packet, last).end() :]
    if places.about is not None and places.rdf:
        return packet[: places.rdf[1]] + subject.encode() + packet[places.rdf[1] :]
    return (PACKET % (RDF, subject)).encode()


def _put(packet: bytes, element: tuple[int, int], content: str, whole: str) -> bytes:
    """Content in place of what an element has, or, where it is one empty tag, the whole in place of it."""
    begin = _tag(packet, element[0])
    if _is_empty(packet, element):
        return packet[: begin.start()] + whole.encode() + packet[begin.end() :]
    return packet[: begin.end()] + content.encode() + packet[element[1] :]


def _is_empty(packet: bytes, element: tuple[int, int]) -> bool:
    return _tag(packet, element[0]).group().endswith(b"/>")


def _tag(packet: bytes, at: int) -> "re.Match[bytes]":
    found = TAG.match(packet, at)
    assert found  # expat has read it
    return found


def _find(packet: bytes) -> _Places:
    places = _Places()
    open_now: list[tuple[str, int, dict[str, str]]] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        open_now.append((name, parser.CurrentByteIndex, attributes))
        if tuple(one[0] for one in open_now[-2:]) == DESCRIPTION[:2]:
            if DESCRIPTION[2] in attributes:
                raise InputError("its XMP has a description in a form that can't be changed")
            if places.about is None:
                places.about = attributes.get(f"{RDF} about", attributes.get("about", ""))

    def end(name: str) -> None:
        _, begin, attributes = open_now.pop()
        span = begin, parser.CurrentByteIndex
        path = (*(one[0] for one in open_now), name)
        below = path[path.index(DESCRIPTION[0]) :] if DESCRIPTION[0] in path else ()
        if below == DESCRIPTION[:1]:
            places.rdf = span
        elif below == DESCRIPTION:
            places.described = span
        elif below == (*DESCRIPTION, f"{RDF} Alt"):
            places.alternatives = span
        elif below == (*DESCRIPTION, f"{RDF} Alt", f"{RDF} li") and attributes.get(LANGUAGE) == "x-default":
            places.default = span

    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        packet.decode()
        parser.Parse(packet, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise InputError(f"its XMP is damaged: {error}") from error
    return places
