"""The page of a report: whole in itself, safe with any words, right in its numbers, and small."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mdtool.report.contents import Attention, Chapter, EmbeddedImage, Example, Row
from mdtool.report.page import page
from mdtool.report.style import STYLE
from mdtool.report.times import format_clock, joined, ticks

VOID = {"meta", "img", "br", "hr", "input", "link"}
EMPTY_IN_SVG = {"rect", "line"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "'); alert(1); ('",
    "</title></style><script src=//evil.example/x.js></script>",
    "&lt;b&gt; &amp; &#60;",
    "two\nlines\r\tand\0more\x1b[31m",
    "שלום עולם",
    "photo\u202egnp.exe\u2066\u2069",
    "name\udcff\udc80.mp4",
    "https://example.org/a.mp4?b=c&d=e",
    "",
]


def picture(form: str = "JPEG") -> EmbeddedImage:
    file = io.BytesIO()
    Image.new("RGB", (64, 36), (90, 120, 150)).save(file, form)
    return EmbeddedImage(file.getvalue())


def chapter(word: str = "gun", source: str = "in.mp4") -> Chapter:
    """One with everything in it, said in this word."""
    return Chapter(
        source=source,
        model="moondream2",
        prompts=[word, "cigarette"],
        duration=90.5,
        frames=2715,
        keyframes=181,
        notes=[word],
        rows=[
            Row(word, True, 3, 120, [(1.0, 3.25), (30, 31.5)], 0.123),
            Row("smoking", False, 0, 0, [], 0.0),
        ],
        cuts=[12.0, 40.5],
        examples=[Example(picture(), [word], 2.5)],
        heat=picture("PNG"),
        counts={word: 3, "cigarette": 1},
        attention=[Attention(word, {word: 6.0, "out of frame": 2.0})],
    )


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list["Element"] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def all(self, tag: str, kind: str = "") -> list["Element"]:
        here = [self] if self.tag == tag and kind in ["", *self.attributes.get("class", "").split()] else []
        return here + [found for one in self.inside for found in one.all(tag, kind)]

    @property
    def text(self) -> str:
        return "".join(self.words)


class Tree(HTMLParser):
    """Reads a page strictly: whatever is opened is closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root], f"{self._open[-1].tag} is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].inside.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY_IN_SVG
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words.append(data)


def read(html: str) -> Element:
    return Tree(html).root


def everything(element: Element) -> list[Element]:
    return [element, *(found for one in element.inside for found in everything(one))]


def rows_of(root: Element, table: int = 0) -> list[list[str]]:
    """Its cells as text, the header's first."""
    rows = root.all("table")[table].all("tr")
    return [[cell.text for cell in row.inside] for row in rows]


def bars(root: Element, lane: int) -> list[tuple[float, float, str]]:
    """(left, right) in per cent, and what is told on hovering."""
    drawn = []
    for rect in root.all("div", "lane")[lane].all("rect"):
        left, width = (float(rect.attributes[name].removesuffix("%")) for name in ("x", "width"))
        drawn.append((left, left + width, rect.all("title")[0].text))
    return drawn


def check_closed(html: str) -> None:
    """Nothing is run, and nothing is fetched from anywhere."""
    root = read(html)
    for element in everything(root):
        assert element.tag not in {
            "script",
            "link",
            "base",
            "iframe",
            "object",
            "embed",
            "form",
            "foreignobject",
            "use",
        }
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name == "href":
                assert value.startswith("#")
            elif name in {"src", "srcset", "xlink:href", "data", "action", "poster", "background"}:
                assert re.match(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+$", value)
            elif name not in {"alt", "title", "aria-label"}:
                assert not re.search(r"https?:|//|javascript:", value, re.IGNORECASE)
    styles = [style.text for style in root.all("style")]
    assert styles == [STYLE]
    assert not re.search(r"url\(|@import|https?:|//", STYLE)


def test_the_page_is_closed() -> None:
    check_closed(page("Moderation", [chapter()]))
    check_closed(page("Moderation", [chapter(), chapter("knife")]))


def test_the_browser_is_told_to_fetch_nothing() -> None:
    root = read(page("Moderation", [chapter()]))
    told = [meta.attributes["content"] for meta in root.all("meta") if "http-equiv" in meta.attributes]
    assert len(told) == 1
    assert "default-src 'none'" in told[0]
    assert "script-src" not in told[0]


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_no_word_has_any_force(word: str) -> None:
    """The page has the same elements, whatever the words; and it can be written."""
    html = page(word, [chapter(word, word)])
    html.encode("utf-8")
    check_closed(html)

    def shape(html: str) -> list[tuple[str, list[str]]]:
        return [(element.tag, list(element.attributes)) for element in everything(read(html))]

    assert shape(html) == shape(page("plain", [chapter("plain", "plain")]))


@given(st.text(st.characters(), max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_text_at_all_can_be_shown(word: str) -> None:
    html = page(word, [Chapter(word, prompts=[word], examples=[Example(picture(), [word])])])
    html.encode("utf-8")
    check_closed(html)


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("<b>&amp;", "<b>&amp;"),
        ("a\nb", "a\\nb"),
        ("name\udcff.mp4", "name\\udcff.mp4"),
        ("\u202egnp", "\\u202egnp"),
        ("可乐 שלום", "可乐 שלום"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_words_are_shown_as_they_are_or_spelt_out(word: str, seen: str) -> None:
    root = read(page(word, [Chapter(word)]))
    assert root.all("title")[0].text == seen
    assert root.all("h2")[0].text == seen
    assert root.all("h2")[0].inside[0].tag == "bdi"


def test_what_was_looked_at_is_told() -> None:
    root = read(page("Moderation", [chapter()]))
    facts = {fact.all("dt")[0].text: fact.all("dd")[0].text for fact in root.all("dl")[0].inside}
    assert facts == {
        "Model": "moondream2",
        "Prompts": "gun, cigarette",
        "Length": "1:30.5",
        "Frames": "2,715",
        "Keyframes": "181",
    }


def test_the_verdict_is_a_table() -> None:
    root = read(page("Moderation", [chapter()]))
    assert rows_of(root) == [
        ["Rule", "Verdict", "Objects", "Frames", "Seconds", "Largest area", "When"],
        ["gun", "hit", "3", "120", "3.8", "12.3\u00a0%", "0:01.0–0:03.2, 0:30.0–0:31.5"],
        ["smoking", "clear", "0", "0", "", "0.0\u00a0%", ""],
    ]
    assert root.all("p", "verdict")[0].text == "hit 1 of 2 rules hit: gun"


def test_labels_without_a_policy_have_no_verdict() -> None:
    root = read(page("Found", [Chapter("a.mp4", duration=5, rows=[Row("face", None, 2, 7, [(0, 2)], 0.00001)])]))
    assert rows_of(root) == [
        ["Label", "Objects", "Frames", "Seconds", "Largest area", "When"],
        ["face", "2", "7", "2.0", "<\u00a00.1\u00a0%", "0:00.0–0:02.0"],
    ]
    assert not root.all("p", "verdict")
    assert "hit" not in root.all("main")[0].text


def test_a_question_has_neither_objects_nor_areas() -> None:
    root = read(
        page("Asked", [Chapter("a.mp4", duration=5, rows=[Row("Is it night?", True, frames=7, spans=[(0, 2)])])])
    )
    assert rows_of(root)[0] == ["Rule", "Verdict", "Frames", "Seconds", "When"]


def test_a_photo_has_no_time() -> None:
    photo = Chapter("a.jpg", frames=1, keyframes=1, rows=[Row("face", True, 1, 1, [(0.0, 0.0)], 0.2)])
    root = read(page("StillImage", [replace(photo, examples=[Example(picture(), ["face"])])]))
    assert rows_of(root)[0] == ["Rule", "Verdict", "Objects", "Frames", "Largest area"]
    assert not root.all("div", "timeline")
    assert root.all("figcaption")[0].text == "face"
    assert root.all("img")[0].attributes["alt"] == "face"
    assert "Length" not in root.text


def test_what_is_lacking_is_left_out() -> None:
    root = read(page("Nothing", [Chapter("a.mp4")]))
    assert not root.all("h3")
    assert not root.all("table")
    assert not root.all("dl")
    assert [heading.text for heading in read(page("All", [chapter()])).all("h3")] == [
        "Findings", "Timeline", "Examples", "Heatmap", "Objects", "Attention",
    ]  # fmt: skip


def test_a_heat_map_says_what_it_shows() -> None:
    assert "Positions of objects, over all frames." in page("found", [chapter()])
    assert "Where people looked, over all frames." in page("found", [replace(chapter(), heat_shows="gaze")])


def test_several_inputs_have_a_list_with_anchors() -> None:
    assert not read(page("One", [chapter()])).all("nav")
    clear = Chapter("b.mp4", rows=[Row("gun", False)])
    root = read(page("Two", [chapter(source="a.mp4"), clear]))
    links = root.all("nav")[0].all("a")
    assert [link.text for link in links] == ["a.mp4", "b.mp4"]
    places = {article.attributes["id"]: article.all("h2")[0].text for article in root.all("article")}
    assert [places[link.attributes["href"].removeprefix("#")] for link in links] == ["a.mp4", "b.mp4"]
    assert [line.all("span", "pill")[0].text for line in root.all("nav")[0].all("li")] == ["hit", "clear"]


def test_bars_are_where_the_spans_are() -> None:
    root = read(page("Moderation", [chapter()]))
    lanes = root.all("div", "lane")
    assert [lane.all("span")[0].text for lane in lanes] == ["gun", "smoking", "scene cuts", ""]
    [one, other] = [(left, right) for left, right, _ in bars(root, 0)]
    assert one == pytest.approx((100 / 90.5, 325 / 90.5), abs=0.02)
    assert other == pytest.approx((3000 / 90.5, 3150 / 90.5), abs=0.02)
    assert [title for _, _, title in bars(root, 0)] == ["0:01.0–0:03.2", "0:30.0–0:31.5"]
    assert bars(root, 1) == []
    assert [title for _, _, title in bars(root, 2)] == ["0:12.0", "0:40.5"]
    assert [text.text for text in lanes[3].all("text")] == ["0:00", "0:30", "1:00", "1:30"]


def test_even_a_moment_can_be_seen_at_either_end() -> None:
    """A rectangle without width is not drawn at all."""
    moments = [(0.0, 0.0), (3600.0, 3600.0)]
    drawn = bars(read(page("Long", [Chapter("a.mp4", duration=3600, rows=[Row("gun", spans=moments)])])), 0)
    assert len(drawn) == 2
    assert all(0.1 <= right - left <= 0.2 and left >= 0 and right <= 100 for left, right, _ in drawn)


def test_a_clip_that_starts_late_fills_its_axis() -> None:
    late = Chapter("a.ts", start=95443.7, duration=10, rows=[Row("gun", spans=[(95443.7, 95448.7)])])
    root = read(page("Late", [late]))
    assert bars(root, 0) == [(0, 50, "26:30:43.7–26:30:48.7")]


def test_spans_beyond_the_stated_length_stay_on_the_axis() -> None:
    live = Chapter("camera", duration=None, rows=[Row("gun", spans=[(-1, 2), (5, 9)])])
    assert [(left, right) for left, right, _ in bars(read(page("LiveSettings", [live])), 0)] == [(0, 30), (60, 100)]


def test_overlapping_spans_count_once() -> None:
    found = Row("gun", spans=[(2, 4), (0, 3), (4.0000001, 5)])
    assert rows_of(read(page("", [Chapter("a.mp4", duration=9, rows=[found])])))[1][2:] == ["5.0", "0:00.0–0:05.0"]


def test_ten_thousand_spans_make_a_small_page() -> None:
    spans = [(3.6 * at, 3.6 * at + 0.5) for at in range(10_000)]
    rows = [Row(f"rule {at}", True, 1, 1, spans, 0.1) for at in range(5)]
    html = page("Long", [Chapter("a.mp4", duration=36_000, rows=rows, cuts=[start for start, _ in spans])])
    assert len(html) < 500_000
    root = read(html)
    when = rows_of(root)[1][6]
    assert when.startswith("0:00.0–0:00.5, 0:03.6–0:04.1, ")
    assert when.endswith(", and 9,990 more")
    assert when.count("–") == 10


def test_bars_closer_than_a_pixel_are_one() -> None:
    close = [(100.0, 101.0), (101.5, 102.0), (500.0, 501.0)]  # a pixel is about 4.5 s
    drawn = bars(read(page("", [Chapter("a.mp4", duration=3600, rows=[Row("gun", spans=close)])])), 0)
    assert [title for _, _, title in drawn] == ["1:40.0–1:42.0, 2 times", "8:20.0–8:21.0"]


def test_the_densest_lanes_stay_small() -> None:
    spans = [(3 * at, 3 * at) for at in range(800)]  # each two pixels from the next, at the most that can be told apart
    html = page("", [Chapter("a.mp4", duration=1200, rows=[Row("gun", spans=[(s / 2, t / 2) for s, t in spans])])])
    assert len(html) < 100_000


def test_a_typical_page_is_under_30_kb() -> None:
    spans = [(7.0 * at, 7.0 * at + 2) for at in range(30)]
    rows = [Row(f"a rule of the policy {at}", True, 12, 400, spans, 0.1) for at in range(5)]
    usual = replace(chapter(), duration=300, rows=rows, cuts=[4.0 * at for at in range(70)], examples=(), heat=None)
    assert len(page("Moderation", [usual]).encode()) < 30_000


def test_pictures_are_in_the_page_and_described() -> None:
    root = read(page("Moderation", [chapter("white dog")]))
    jpeg, png = root.all("img")
    assert jpeg.attributes["src"].startswith("data:image/jpeg;base64,")
    assert png.attributes["src"].startswith("data:image/png;base64,")
    assert jpeg.attributes["alt"] == "white dog at 0:02.5"
    assert "heatmap" in png.attributes["alt"]
    assert root.all("figcaption")[0].text == "0:02.5 white dog"


def test_counts_are_bars_longest_first() -> None:
    root = read(page("", [Chapter("a.mp4", counts={"cat": 1, "dog": 4, "cow": 0})]))
    assert rows_of(root)[1:] == [["dog", "", "4"], ["cat", "", "1"], ["cow", "", "0"]]
    assert [rect.attributes["width"] for rect in root.all("rect")] == ["100.0%", "25.0%", "0.0%"]


def test_attention_is_in_shares_of_each_person() -> None:
    people = [Attention("P1", {"P2": 1.0, "screen": 3.0}), Attention("P2", {"out of frame": 2.0}), Attention("P3", {})]
    root = read(page("", [Chapter("a.mp4", duration=4.0, attention=people)]))
    assert rows_of(root)[1:] == [
        ["P1", "screen", "", "75.0\u00a0%", "3.0"],
        ["P2", "", "25.0\u00a0%", "1.0"],
        ["P2", "out of frame", "", "100.0\u00a0%", "2.0"],
    ]


def test_of_a_photo_it_is_told_where_people_look_and_not_for_how_long() -> None:
    people = [Attention("person 1", {"person 2": 1.0}), Attention("person 2", {"out of the picture": 1.0})]
    root = read(page("", [Chapter("a.jpg", attention=people)]))
    assert rows_of(root) == [["Person", "Looks at"], ["person 1", "person 2"], ["person 2", "out of the picture"]]


def test_tables_and_drawings_can_be_read_aloud() -> None:
    root = read(page("Moderation", [chapter()]))
    headers = root.all("th")
    assert {header.attributes.get("scope") for header in headers} == {"col", "row", "rowgroup"}
    assert all(image.attributes["alt"] for image in root.all("img"))
    for drawing in root.all("svg"):
        assert drawing.attributes.get("aria-hidden") == "true" or drawing.inside[0].tag == "title"
    assert root.all("html")[0].attributes["lang"] == "en"


def luminance(colour: str) -> float:
    """Relative, of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_enough_in_both_schemes() -> None:
    schemes = [dict(re.findall(r"--(\w+):(#\w+)", line)) for line in STYLE.splitlines() if line.startswith("--")]
    assert len(schemes) == 2
    assert schemes[0]["paper"] != schemes[1]["paper"]
    for scheme in schemes:
        for ground in ("paper", "tint"):
            for ink in ("ink", "soft", "accent", "hit", "clear"):
                bright, dim = sorted((luminance(scheme[ground]), luminance(scheme[ink])), reverse=True)
                assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ground, ink)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Row("gun", spans=[(3, 2)]), "gun: a span can't last from 3 to 2 seconds"),
        (lambda: Row("gun", spans=[(0, float("nan"))]), "gun: a span can't last from 0 to nan seconds"),
        (lambda: Row("gun", spans=[(0, 1e300)]), r"gun: a span can't last from 0 to 1e\+300 seconds"),
        (lambda: Chapter("a.mp4", cuts=[float("inf")]), "a.mp4: cut can't be inf seconds"),
        (lambda: Chapter("a.mp4", duration=-1), "a.mp4: can't last -1 seconds"),
        (lambda: EmbeddedImage(b"<svg onload=alert(1)>"), "JPEG and PNG images only"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0:00.0"),
        (9.94, "0:09.9"),
        (59.96, "1:00.0"),
        (3599.99, "1:00:00.0"),
        (36_000, "10:00:00.0"),
        (-1.5, "-0:01.5"),
        (-0.01, "0:00.0"),
    ],
)
def test_clock(seconds: float, written: str) -> None:
    assert format_clock(seconds) == written


@given(st.floats(0.02, 1e6), st.floats(-100, 1e6))
def test_ticks_are_round_few_and_distinct(length: float, start: float) -> None:
    marks = ticks(start, start + length)
    assert len(marks) <= 7
    assert len({name for _, name in marks}) == len(marks)
    assert all(start - 1e-3 * length <= time <= start + length * 1.001 for time, _ in marks)
    gaps = [after - before for (before, _), (after, _) in pairwise(marks)]
    assert all(gap == pytest.approx(gaps[0]) for gap in gaps)


@given(st.floats(0.04, 36_000))
def test_an_axis_has_at_least_two_ticks(length: float) -> None:
    assert len(ticks(0, length)) >= 2


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8))), st.integers(0, 5))
def test_joined_spans_cover_the_same_seconds(parts: list[tuple[int, int]], gap: int) -> None:
    """Against a raster of half seconds, where a gap is filled if it is no wider than asked."""
    spans = [(float(start), float(start + length)) for start, length in parts]
    covered = {half for start, end in spans for half in range(int(2 * start), int(2 * end) + 1)}
    for half in sorted(covered):
        after = min((other for other in covered if other > half), default=half)
        if after - half <= 2 * gap:
            covered |= set(range(half, after))
    joint = joined(spans, gap)
    assert {half for span in joint for half in range(int(2 * span.start), int(2 * span.end) + 1)} == covered
    assert sum(span.parts for span in joint) == len(spans)
    assert all(after.start - before.end > gap for before, after in pairwise(joint))
