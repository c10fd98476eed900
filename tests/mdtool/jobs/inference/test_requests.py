"""Answers come in the order of the photos and prompts, however the model finishes them, and each as soon as it can."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contract import (
    Answer,
    CaptionRequest,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    QueryRequest,
    Request,
    TextDelta,
)
from mdtool.errors import InputError
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.print_answers import TextLines
from mdtool.jobs.inference.read_ahead import PollTimeout, read_ahead
from mdtool.jobs.inference.requests import Event, ImageRequest, in_order, run_requests
from mdtool.media.sources.inputs import Input

PIXELS = np.zeros((2, 3, 3), np.uint8)


def photos(*names: str) -> list[InputImage]:
    """With pixels, but "broken" could not be read, and the model sees nothing in "empty"."""
    return [photo(name) for name in names]


def photo(name: str) -> InputImage:
    source = Input(Path(name), Path(name), name)
    if name == "broken":
        return InputImage(source, error=InputError("damaged"))
    return InputImage(source, PIXELS[:0] if name == "empty" else PIXELS)


def done(index: int, result: Any) -> Done:
    """With anything as the result."""
    return Done(index, result)


class Scripted:
    """Takes all requests at once, and then plays these events; the real one's order depends on what it says."""

    name = "scripted"
    image_batch_size = 3

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.requests: list[Request] = []
        self.batches: list[int] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[int]:
        if any(image.size == 0 for image in images):
            raise EngineError("can't be seen")
        self.batches.append(len(images))
        return [sum(self.batches) - len(images) + number for number in range(len(images))]

    def scheduler(self) -> "Script":
        return Script(self)


class Script:
    """Takes all requests there are, and then plays the events."""

    free_slots = 100

    def __init__(self, model: Scripted) -> None:
        self.requests, self.events = model.requests, [*model.events]

    @property
    def idle(self) -> bool:
        return not (self.requests and self.events)

    def add(self, request: Request) -> int:
        self.requests.append(request)
        return len(self.requests) - 1

    def step(self) -> list[Event]:
        return [] if self.idle else [self.events.pop(0)]


def played(model: Scripted, shots: Sequence[InputImage], requests: Sequence[Request]) -> list[tuple[str, Event]]:
    return [(asked.source.name, event) for asked, event in in_order(run_requests(shots, model, requests))]  # type: ignore[arg-type]


def test_what_comes_out_of_order_waits_for_its_turn() -> None:
    events: list[Event] = [
        TextDelta(1, "b"),
        TextDelta(0, "a"),
        done(2, "C"),
        done(1, "B"),
        TextDelta(0, "aa"),
        done(0, "A"),
    ]
    out = played(Scripted(events), photos("0", "1", "2"), [CaptionRequest(None)])
    assert out == [
        ("0", TextDelta(0, "a")), ("0", TextDelta(0, "aa")), ("0", done(0, "A")),
        ("1", TextDelta(1, "b")), ("1", done(1, "B")), ("2", done(2, "C")),
    ]  # fmt: skip


def test_out_of_order_all_comes_as_it_comes() -> None:
    events: list[Event] = [TextDelta(1, "b"), TextDelta(0, "a"), done(1, "B"), done(0, "A")]
    stream = run_requests(photos("0", "broken", "1"), Scripted(events), [CaptionRequest(None)])  # type: ignore[arg-type]
    assert [(one.source.name, type(event)) for one, event in stream] == [
        ("1", TextDelta), ("broken", Failed), ("0", TextDelta), ("1", Done), ("0", Done),
    ]  # fmt: skip


@pytest.mark.parametrize("keep", [True, False])
def test_pixels_are_kept_only_where_copies_are_wanted(keep: bool) -> None:
    model = Scripted([done(0, "A")])
    ((asked, _),) = run_requests(photos("0"), model, [CaptionRequest(None)], keep_pixels=keep)  # type: ignore[arg-type]
    assert asked.size == (3, 2)
    assert (asked.image.pixels is PIXELS) == keep


def test_the_first_in_turn_is_passed_on_at_once() -> None:
    model = Scripted([TextDelta(0, "a"), TextDelta(0, "b"), done(0, "ab")])
    stream = in_order(run_requests(photos("0"), model, [CaptionRequest(None)]))  # type: ignore[arg-type]
    assert next(stream)[1] == TextDelta(0, "a")


def test_each_photo_is_encoded_once_for_all_questions() -> None:
    names = [str(number) for number in range(Scripted.image_batch_size + 1)]
    model = Scripted([done(index, index) for index in reversed(range(2 * len(names)))])
    out = played(model, photos(*names), [QueryRequest(None, "x"), QueryRequest(None, "y")])
    assert model.batches == [Scripted.image_batch_size, 1]
    assert [event.index for _, event in out] == list(range(2 * len(names)))
    asked: list[tuple[Any, str]] = [(r.image, r.question) for r in model.requests if isinstance(r, QueryRequest)]
    assert asked == [(number, question) for number in range(len(names)) for question in "xy"]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("fault", ["broken", "empty"])
def test_a_photo_that_cannot_be_read_or_encoded_fails_in_its_turn(place: int, fault: str) -> None:
    names = ["0", "1"]
    names.insert(place, fault)
    out = played(Scripted([done(1, "B"), done(0, "A")]), photos(*names), [CaptionRequest(None)])
    assert [name for name, _ in out] == names
    assert isinstance(out[place][1], Failed)


def test_nothing_but_broken_photos() -> None:
    out = played(Scripted([]), photos("broken"), [CaptionRequest(None), CaptionRequest(None, "short")])
    assert [type(event) for _, event in out] == [Failed]


class Paced:
    """Answers each request in ten steps. moments: when steps were taken, and how many requests they were for."""

    name, image_batch_size = "paced", 1

    def __init__(self) -> None:
        self.left: dict[int, int] = {}
        self.added = 0
        self.moments: list[tuple[float, int]] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        return [EncodedImage()] * len(images)

    def scheduler(self) -> "Paced":
        return self

    @property
    def idle(self) -> bool:
        return not self.left

    @property
    def free_slots(self) -> int:
        return 4 - len(self.left)

    def add(self, request: Request) -> int:
        self.left[self.added], self.added = 10, self.added + 1
        return self.added - 1

    def step(self) -> list[Event]:
        self.moments.append((time.monotonic(), len(self.left)))
        self.left = {ticket: left - 1 for ticket, left in self.left.items()}
        done: list[Event] = [Done(ticket, Answer("")) for ticket, left in self.left.items() if not left]
        self.left = {ticket: left for ticket, left in self.left.items() if left}
        return done


def test_a_source_that_sleeps_keeps_no_answer_waiting() -> None:
    """A picture comes each second: the answers under way go on meanwhile, and a place is filled as it comes."""
    poll_timeout, model = PollTimeout(), Paced()

    def read(source: Input) -> np.ndarray:
        if source.name != "0":
            with one_at_a_time:
                time.sleep(1)
        return PIXELS

    one_at_a_time = threading.Lock()
    sources = [photo(str(number)).source for number in range(3)]
    attempts = read_ahead(sources, read, 4, poll_timeout=poll_timeout)
    pictures = (InputImage(one.item, one.value, one.error) if one else None for one in attempts)
    begin, ended = time.monotonic(), []
    for _ in run_requests(pictures, model, [CaptionRequest(None)], poll_timeout=poll_timeout):  # type: ignore[arg-type]
        ended.append(time.monotonic() - begin)
    assert ended[0] < 0.9  # and not when the next picture has come
    assert len(ended) == 3


def test_places_are_filled_while_others_go_on() -> None:
    poll_timeout, model = PollTimeout(), Paced()

    def pictures() -> Iterator[InputImage | None]:
        for number in range(8):
            yield photo(str(number))
            yield None

    assert len(list(run_requests(pictures(), model, [CaptionRequest(None)], poll_timeout=poll_timeout))) == 8  # type: ignore[arg-type]
    assert max(count for _, count in model.moments) == 4
    assert len(model.moments) < 8 * 10 / 2


def asked(request: Request, name: str = "a.jpg") -> ImageRequest:
    return ImageRequest(0, photo(name), request, number=0, size=(3, 2), last=True, since=0.0)


def printed(lines: TextLines, events: Iterable[tuple[ImageRequest, Event]], capfd: pytest.CaptureFixture[str]) -> str:
    for one, event in events:
        lines(one, event)
    return capfd.readouterr().out


def test_text_is_printed_piece_by_piece(capfd: pytest.CaptureFixture[str]) -> None:
    one, lines = asked(CaptionRequest(None)), TextLines(with_name=False, with_question=False)
    events: list[Event] = [
        *(TextDelta(0, text) for text in ("\n ", " Two dogs ", "run.\n\n", "\x1bFast.\n")),
        done(0, ""),
    ]
    steps = [printed(lines, [(one, event)], capfd) for event in events]
    assert steps == ["", "Two dogs", " run.", "\n\nFast.", "\n"]


def test_of_several_texts_each_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = asked(QueryRequest(None, "q\t1")), asked(QueryRequest(None, "q2"), "b\n.jpg")
    events: list[Event] = [TextDelta(0, " one\n"), TextDelta(0, "two\tthree\n"), done(0, "")]
    lines = TextLines(with_name=True, with_question=True)
    out = printed(lines, [(one, event) for one in (first, second) for event in events], capfd)
    assert out == "a.jpg\tq\\t1\tone two three\nb\\n.jpg\tq2\tone two three\n"


def test_no_text_is_an_empty_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(TextLines(True, False), [(asked(CaptionRequest(None)), done(0, ""))], capfd) == "a.jpg\t\n"


def test_a_failure_ends_the_line_that_was_begun(capfd: pytest.CaptureFixture[str]) -> None:
    one, other = asked(CaptionRequest(None)), asked(CaptionRequest(None))
    events: list[tuple[ImageRequest, Event]] = [(one, TextDelta(0, "half")), (one, Failed(0, ValueError()))]
    out = printed(TextLines(False, False), [*events, (other, Failed(1, ValueError()))], capfd)
    assert out == "half\n"
