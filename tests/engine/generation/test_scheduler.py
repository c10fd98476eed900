"""Continuous batching with a decoder of a few lines: its hidden state is a checksum of all that a sequence was fed."""

import itertools
import random
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.contract import Answer, Cancelled, Done, EngineError, Event, Failed, TextDelta
from engine.generation import request_source
from engine.generation.requests import run_requests
from engine.generation.scheduler import CHUNK, ContextFull, Decoder, EmitText, Flow, Forward, Job, Scheduler

ABSURD = 1 << 60  # bytes


@dataclass(frozen=True)
class ReadSum:
    """The checksum, 0..96."""


@dataclass(frozen=True)
class ReadParity:
    """Of the checksum: "even" or "odd"."""


@dataclass
class Checksums:
    """most_fed, most_read: with more sequences than that it asks for more memory than there is."""

    context: int = 1000
    most_fed: int = 1000
    most_read: int = 1000
    fed: list[int] = field(default_factory=list)  # sequences of each step

    def start(self, prefix: Any) -> list[int]:
        return [prefix or 0]

    def room(self, cache: list[int]) -> int:
        return self.context - len(cache)

    def step(self, feeds: Sequence[tuple[list[int], Any, Sequence[int]]]) -> Tensor:
        if len(feeds) > self.most_fed:
            torch.empty(ABSURD, dtype=torch.uint8)
        self.fed.append(len(feeds))
        for cache, adapter, pieces in feeds:
            cache.extend(piece + (adapter or 0) for piece in pieces)
        return torch.tensor([[sum(i * x for i, x in enumerate(cache, start=1))] for cache, _, _ in feeds])

    def read(self, reads: Sequence[Any], hidden: Tensor) -> list[Any]:
        if len(reads) > self.most_read:
            torch.empty(ABSURD, dtype=torch.uint8)
        sums = (hidden[:, 0] % 97).tolist()
        return ["odd" if x % 2 else "even" for x in sums] if isinstance(reads[0], ReadParity) else sums


def counting(seed: int, turns: int) -> Flow:
    """Feeds what it reads, in one or two pieces, and tells it; reads both kinds."""
    chance, told = random.Random(seed), []
    yield Forward([seed, *range(chance.randint(0, 5))])
    for _ in range(turns):
        value = yield ReadSum()
        parity = yield ReadParity()
        assert parity == ["even", "odd"][value % 2]
        told.append(value)
        if chance.random() < 0.7:
            yield EmitText(f"{value} ")
        yield Forward([value] * chance.randint(1, 2))
    return told


def counted(seed: int, turns: int, prefix: int = 0, adapter: int = 0) -> Job:
    return Job(lambda: counting(seed, turns), prefix, adapter)


def jobs(count: int, seed: int = 0) -> list[Job]:
    chance = random.Random(seed)
    return [counted(i, chance.randint(0, 12), chance.randrange(50), chance.randrange(3)) for i in range(count)]


def run_jobs(wanted: Iterable[Any], decoder: Decoder, batch: int) -> Generator[Event, None, None]:
    """wanted: jobs, each of which is its own request."""
    scheduler: Scheduler[Any] = Scheduler(decoder, batch, lambda job: job)
    return run_requests(scheduler, wanted)


def done(index: int, result: Any) -> Done:
    """For flows that return something else than a model does."""
    return Done(index, result)


def results(events: Sequence[Any]) -> dict[int, Any]:
    return {event.index: event.result for event in events if isinstance(event, Done)}


def texts(events: Sequence[Any]) -> dict[int, str]:
    made: dict[int, str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            made[event.index] = made.get(event.index, "") + event.text
    return made


def alone(wanted: Sequence[Job]) -> tuple[dict[int, Any], dict[int, str]]:
    events = [list(run_jobs([job], Checksums(), 1)) for job in wanted]
    return (
        {i: results(one)[0] for i, one in enumerate(events)},
        {i: texts(one)[0] for i, one in enumerate(events) if texts(one)},
    )


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_gets_what_it_gets_alone(batch: int, seed: int) -> None:
    wanted = jobs(30, seed)
    decoder = Checksums()
    events = list(run_jobs(wanted, decoder, batch))
    assert (results(events), texts(events)) == alone(wanted)
    assert max(decoder.fed) == min(batch, 30)
    ended = set()
    for event in events:
        assert event.index not in ended
        if isinstance(event, Done):
            ended.add(event.index)
    assert ended == set(range(30))


def test_pieces_come_as_they_are_said_and_the_result_after_them() -> None:
    def speaking(words: Sequence[str]) -> Flow:
        yield EmitText("well, ")
        for word in words:
            yield Forward([1])
            yield EmitText(word)
            yield EmitText(" ")
        return len(words)

    decoder = Checksums()
    spoken = [Job(lambda: speaking(["one", "two"])), Job(lambda: speaking(["uno"]))]
    steps = [(event, len(decoder.fed)) for event in run_jobs(spoken, decoder, 2)]
    assert steps == [
        (TextDelta(0, "well, "), 0),
        (TextDelta(1, "well, "), 0),
        (TextDelta(0, "one"), 1),
        (TextDelta(0, " "), 1),
        (TextDelta(1, "uno"), 1),
        (TextDelta(1, " "), 1),
        (done(1, 1), 1),
        (TextDelta(0, "two"), 2),
        (TextDelta(0, " "), 2),
        (done(0, 2), 2),
    ]


def test_the_place_of_one_that_is_done_is_taken_at_once() -> None:
    decoder = Checksums()
    turns = [9, 1, 1, 4, 1, 2, 0]
    events = list(run_jobs([counted(i, n) for i, n in enumerate(turns)], decoder, 2))
    assert sum(decoder.fed) == sum(n + 1 for n in turns)
    assert decoder.fed == [2] * (len(decoder.fed) - 1) + [1]
    order = [event.index for event in events if isinstance(event, Done)]
    assert order.index(0) > order.index(3)


def test_jobs_are_drawn_as_places_come_free() -> None:
    drawn = 0

    def endless() -> Iterator[Job]:
        nonlocal drawn
        for seed in itertools.count():
            drawn += 1
            yield counted(seed, seed % 5)

    done = 0
    running = run_jobs(endless(), Checksums(), 4)
    assert drawn == 0
    for event in running:
        if isinstance(event, Done):
            done += 1
            assert drawn <= done + 4
        if done == 40:
            break
    running.close()
    assert drawn <= 44


def test_closing_early_ends_every_flow() -> None:
    ended = []

    def lasting(name: int) -> Flow:
        try:
            while True:
                yield Forward([1])
                yield EmitText("on ")
        finally:
            ended.append(name)

    running = run_jobs((Job(partial(lasting, name)) for name in itertools.count()), Checksums(), 3)
    for _ in range(10):
        next(running)
    running.close()
    assert sorted(ended) == [0, 1, 2]
    assert list(running) == []


def test_no_jobs_and_flows_without_steps() -> None:
    def silent() -> Flow:
        return "nothing to do"
        yield

    assert list(run_jobs([], Checksums(), 3)) == []
    decoder = Checksums()
    assert list(run_jobs([Job(silent)] * 5, decoder, 2)) == [done(i, "nothing to do") for i in range(5)]
    assert decoder.fed == []


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_none_would_never_end(batch: int) -> None:
    with pytest.raises(ValueError, match="batch must be 1 or more"):
        list(run_jobs(jobs(3), Checksums(), batch))


@pytest.mark.parametrize("error", [ValueError("no such length"), EngineError("no such skill")])
@pytest.mark.parametrize("when", ["at once", "after a feed", "after a piece", "after a read"])
def test_one_that_fails_fails_alone(error: Exception, when: str) -> None:
    def failing() -> Flow:
        if when == "at once":
            raise error
        yield Forward([1])
        if when == "after a feed":
            raise error
        if when == "after a piece":
            yield EmitText("so ")
            raise error
        yield ReadSum()
        raise error

    wanted = jobs(6)
    events = list(run_jobs([*wanted[:2], Job(failing), *wanted[2:]], Checksums(), 3))
    assert [event for event in events if isinstance(event, Failed)] == [Failed(2, error)]
    assert [event for event in events if isinstance(event, TextDelta) and event.index == 2] == (
        [TextDelta(2, "so ")] if when == "after a piece" else []
    )
    got = results(events)
    expected, _ = alone(wanted)
    assert [got[i] for i in (0, 1, 3, 4, 5, 6)] == list(expected.values())


def test_a_failure_that_is_kept_keeps_no_picture() -> None:
    class Picture:
        """Stands for the keys and values of one."""

    def failing() -> Flow:
        yield Forward([1])
        raise ValueError("no such length")

    class ImageEmbedder(Checksums):
        def start(self, prefix: Any) -> list[int]:
            return [0]

    picture = Picture()
    gone = weakref.ref(picture)
    events = run_jobs(iter([Job(failing, picture)]), ImageEmbedder(), 1)
    del picture
    [failed] = events
    assert isinstance(failed, Failed)
    assert str(failed.error) == "no such length"
    assert gone() is None


def test_a_full_context_is_told_to_the_flow() -> None:
    def growing(patient: bool) -> Flow:
        fed = 0
        try:
            while True:
                yield Forward([1, 2])
                fed += 2
        except ContextFull:
            if not patient:
                raise
        yield EmitText("full")
        yield Forward([3])  # which there is room for
        return fed + 1

    events = list(run_jobs([Job(lambda: growing(True)), Job(lambda: growing(False))], Checksums(context=12), 2))
    assert results(events) == {0: 11}
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert (failed.index, type(failed.error)) == (1, ContextFull)
    assert "too long" in str(failed.error)
    assert len(str(failed.error).splitlines()) == 1


def test_what_fits_exactly_is_fed() -> None:
    def whole(count: int) -> Flow:
        yield Forward([1] * count)
        return "fits"

    events = list(run_jobs([Job(partial(whole, n)) for n in (11, 12, 10)], Checksums(context=12), 3))
    assert results(events) == {0: "fits", 2: "fits"}


@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("part", ["most_fed", "most_read"])
def test_out_of_memory_fewer_go_on_at_a_time_and_nothing_is_said_twice(most: int, part: str) -> None:
    wanted = jobs(25, seed=3)
    decoder = Checksums()
    setattr(decoder, part, most)
    events = list(run_jobs(wanted, decoder, 16))
    assert (results(events), texts(events)) == alone(wanted)
    if part == "most_fed":
        assert max(decoder.fed) <= most


def test_out_of_memory_in_the_middle() -> None:
    """Sequences that have said half of their words already are started again: in silence until they are as far."""

    @dataclass
    class Shrinking(Checksums):
        def step(self, feeds: Sequence[tuple[list[int], Any, Sequence[int]]]) -> Tensor:
            self.most_fed = {6: 5, 16: 2, 40: 1}.get(len(self.fed), self.most_fed)  # as others take the memory
            return super().step(feeds)

    wanted = [counted(seed, 10 + seed) for seed in range(12)]
    starts = [0] * len(wanted)

    def counting_starts(index: int) -> Callable[[], Flow]:
        def flow() -> Flow:
            starts[index] += 1
            return (yield from counting(index, 10 + index))

        return flow

    watched = [Job(counting_starts(i), job.prefix, job.adapter) for i, job in enumerate(wanted)]
    events = list(run_jobs(watched, Shrinking(), 8))
    assert (results(events), texts(events)) == alone(wanted)
    assert starts[:4] == [1, 1, 1, 1]
    assert max(starts) > 2  # before they were as far as at first
    assert all(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize("part", ["most_fed", "most_read"])
def test_when_one_alone_does_not_fit_it_is_said_in_one_line(part: str) -> None:
    decoder = Checksums()
    setattr(decoder, part, 0)
    with pytest.raises(EngineError, match="out of memory") as error:
        list(run_jobs(jobs(5), decoder, 4))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("where", ["flow", "step", "read", "jobs"])
def test_faults_of_other_kinds_are_not_hidden(where: str) -> None:
    class Faulty(Checksums):
        def step(self, feeds: Sequence[tuple[list[int], Any, Sequence[int]]]) -> Tensor:
            if where == "step":
                raise RuntimeError("shapes cannot be multiplied")
            return super().step(feeds)

        def read(self, reads: Sequence[Any], hidden: Tensor) -> list[Any]:
            if where == "read":
                raise RuntimeError("shapes cannot be multiplied")
            return super().read(reads, hidden)

    def broken() -> Flow:
        yield Forward([1])
        if where == "flow":
            raise RuntimeError("shapes cannot be multiplied")

    def drawn() -> Iterator[Job]:
        yield counted(3, 3)
        yield Job(broken)
        if where == "jobs":
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(run_jobs(drawn(), Faulty(), 4))


def writing(words: Sequence[str]) -> Flow:
    """A text, which tells how far it was when it is cancelled."""
    said = ""
    try:
        for word in words:
            yield Forward([1])
            said += word
            yield EmitText(word)
    except Cancelled:
        return Answer(said, finish="cancelled")
    return Answer(said)


def listing() -> Flow:
    """Boxes, say, which are nothing unless they are whole."""
    while True:
        yield Forward([1])


def scheduler(batch: int, decoder: Checksums | None = None) -> Scheduler[Job]:
    return Scheduler(decoder or Checksums(), batch, lambda job: job)


def run_out(own: Scheduler[Job]) -> list[Event]:
    events = []
    while not own.idle:
        events += own.step()
    return events


def test_requests_are_added_at_any_time_and_wait_in_their_order() -> None:
    decoder = Checksums()
    own = scheduler(2, decoder)
    assert (own.idle, own.free_slots) == (True, 2)
    assert own.step() == []
    assert [own.add(counted(i, 2)) for i in range(2)] == [0, 1]
    assert (own.idle, own.free_slots) == (False, 0)
    own.step()
    wanted = [counted(i, 3) for i in range(6)]
    assert [own.add(job) for job in wanted[2:]] == [2, 3, 4, 5]
    assert own.free_slots == 0
    events = run_out(own)
    assert (own.idle, own.free_slots) == (True, 2)
    assert max(decoder.fed) == 2
    ended = [event.index for event in events if isinstance(event, Done)]
    assert sorted(ended[:2]) == [0, 1]
    assert sorted(ended[2:4]) == [2, 3]
    assert sorted(ended[4:]) == [4, 5]
    assert {i: results(events)[i] for i in range(2, 6)} == {i: alone([wanted[i]])[0][0] for i in range(2, 6)}
    assert own.add(counted(0, 1)) == 6


def test_every_step_takes_one_of_the_decoder() -> None:
    decoder = Checksums()
    own = scheduler(3, decoder)
    own.add(counted(1, 5))
    for taken in range(1, 4):
        own.step()
        assert len(decoder.fed) == taken
    own.add(counted(2, 5))
    own.step()
    assert decoder.fed == [1, 1, 1, 2]


def test_a_cancelled_text_is_what_was_written_so_far_and_the_others_go_on() -> None:
    own = scheduler(3)
    jobs_ = [Job(lambda: writing("abcdef")), Job(lambda: writing("ABCDEF")), Job(listing)]
    for job in jobs_:
        own.add(job)
    own.step()
    own.step()
    own.cancel(0)
    own.cancel(2)
    assert (own.idle, own.free_slots) == (False, 2)
    events = run_out(own)
    assert [event for event in events if event.index == 0] == [Done(0, Answer("ab", finish="cancelled"))]
    [failed] = [event for event in events if event.index == 2]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Cancelled)
    assert results(events)[1] == Answer("ABCDEF")


def test_one_that_waits_is_cancelled_without_a_step_and_one_that_ended_is_left_alone() -> None:
    decoder = Checksums()
    own = scheduler(1, decoder)
    for job in (Job(lambda: writing("ab")), Job(lambda: writing("xy")), Job(listing), Job(lambda: writing("cd"))):
        own.add(job)
    own.cancel(1)
    own.cancel(2)
    first = own.step()
    assert first[0] == Done(1, Answer("", finish="cancelled"))
    assert [type(event) for event in first] == [Done, Failed]
    own.cancel(1)
    own.cancel(99)
    assert results(run_out(own)) == {0: Answer("ab"), 3: Answer("cd")}
    own.cancel(0)
    assert own.idle
    assert decoder.fed == [1] * 4


def test_only_a_cancelled_one_makes_the_scheduler_busy_until_its_event_is_out() -> None:
    own = scheduler(1)
    own.cancel(own.add(Job(listing)))
    assert not own.idle
    assert [type(event) for event in own.step()] == [Failed]
    assert own.idle


def test_a_cancelled_one_frees_its_memory_before_the_next_step() -> None:
    class Picture:
        """Stands for the keys and values of one."""

    class Holding(Checksums):
        def start(self, prefix: Any) -> Any:
            cache = Tail([0])
            cache.picture = prefix
            return cache

    class Tail(list[int]):
        picture: Any = None

    picture = Picture()
    gone = weakref.ref(picture)
    own = scheduler(2, Holding())
    own.add(Job(lambda: writing("abc")))
    ticket = own.add(Job(listing, picture))
    del picture
    own.step()
    assert gone()
    own.cancel(ticket)
    assert gone() is None


def test_a_place_that_is_cancelled_is_taken_by_who_waits() -> None:
    own = scheduler(1)
    own.add(Job(listing))
    own.add(Job(lambda: writing("ab")))
    own.step()
    own.step()
    own.cancel(0)
    assert results(run_out(own)) == {1: Answer("ab")}


@pytest.mark.parametrize("error", [RuntimeError("a fault"), KeyError("x"), ValueError("bad"), EngineError("bad")])
@pytest.mark.parametrize("where", ["flow", "job"])
def test_whatever_a_request_raises_is_its_own_failure(error: Exception, where: str) -> None:
    def broken() -> Flow:
        yield Forward([1])
        raise error

    def make_job(job: Job | None) -> Job:
        if job is None:
            raise error
        return job

    own = Scheduler[Job | None](Checksums(), 2, make_job)
    own.add(Job(broken) if where == "flow" else None)
    own.add(Job(lambda: writing("abc")))
    events = []
    while not own.idle:
        events += own.step()
    assert [event for event in events if isinstance(event, Failed)] == [Failed(0, error)]
    assert results(events) == {1: Answer("abc")}


def test_out_of_memory_those_that_wait_again_come_before_the_others() -> None:
    own = scheduler(4, Checksums(most_fed=2))
    wanted = [counted(i, 3) for i in range(6)]
    for job in wanted:
        own.add(job)
    events = run_out(own)
    assert (results(events), texts(events)) == alone(wanted)
    ended = [event.index for event in events if isinstance(event, Done)]
    assert sorted(ended[2:4]) == [2, 3]


def test_a_slow_source_does_not_stall_those_under_way() -> None:
    """The second request comes only once ten steps of the first have been seen."""
    seen = threading.Event()
    waited = []

    def slow() -> Iterator[Job]:
        yield Job(lambda: writing("a" * 30))
        waited.append(seen.wait(60))
        yield Job(lambda: writing("b" * 3))

    decoder, pieces = Checksums(), 0
    events = []
    for event in run_jobs(slow(), decoder, 4):
        events.append(event)
        pieces += isinstance(event, TextDelta)
        if pieces == 10:
            seen.set()
    assert waited == [True]
    assert results(events) == {0: Answer("a" * 30), 1: Answer("bbb")}


def test_a_source_that_sends_nothing_more_stalls_nobody_and_closing_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_source, "JOIN", 0.1)
    held = threading.Event()
    closed = []

    def silent() -> Iterator[Job]:
        try:
            yield Job(lambda: writing("abc"))
            yield Job(lambda: writing("defg"))
            held.wait()
            yield Job(lambda: writing("never"))
        finally:
            closed.append(True)

    running = run_jobs(silent(), Checksums(), 4)
    events: list[Event] = []
    while len(results(events)) < 2:
        events.append(next(running))
    assert results(events) == {0: Answer("abc"), 1: Answer("defg")}
    running.close()
    assert not closed
    held.set()
    for thread in threading.enumerate():
        if thread.name == "requests":
            thread.join(60)
    assert closed == [True]


def test_sources_are_closed_when_their_requests_are_not_wanted_any_more() -> None:
    closed = []

    def endless() -> Iterator[Job]:
        try:
            while True:
                yield Job(lambda: writing("abc"))
        finally:
            closed.append(True)

    running = run_jobs(endless(), Checksums(), 2)
    assert isinstance(next(running), TextDelta)
    running.close()
    assert closed == [True]


def test_what_a_source_raises_is_raised_where_the_events_are_taken() -> None:
    class Interrupted(BaseException):
        pass

    def failing() -> Iterator[Job]:
        yield Job(lambda: writing("abc"))
        raise Interrupted("by someone")

    with pytest.raises(Interrupted, match="by someone") as caught:
        list(run_jobs(failing(), Checksums(), 2))
    assert any(entry.name == "failing" for entry in caught.traceback)


def test_a_source_computes_with_as_many_threads_as_the_caller() -> None:
    """For sums over another number of threads are rounded otherwise."""
    counts = []

    def counting_threads() -> Iterator[Job]:
        counts.append(torch.get_num_threads())
        yield Job(lambda: writing("a"))

    before = torch.get_num_threads()
    try:
        for wanted in (1, 2, 3):
            torch.set_num_threads(wanted)
            list(run_jobs(counting_threads(), Checksums(), 2))
    finally:
        torch.set_num_threads(before)
    assert counts == [1, 2, 3]


def reads_long(prompt: int, turns: int = 0) -> Flow:
    """Feeds a long prompt at once, and tells its checksum."""
    yield Forward(list(range(prompt)))
    value = yield ReadSum()
    for _ in range(turns):
        yield Forward([value])
        value = yield ReadSum()
    return value


def test_a_long_prompt_is_read_in_chunks_while_others_go_on() -> None:
    decoder = Checksums(context=10_000)
    flows = [partial(reads_long, 3 * CHUNK + 5, 2), partial(counting, 1, 12), partial(reads_long, 2 * CHUNK, 1)]
    alone = []
    for flow in flows:
        single: Scheduler[int] = Scheduler(Checksums(context=10_000), 4, partial(Job, flow))
        single.add(0)
        alone.append(results_of(single))
    scheduler: Scheduler[int] = Scheduler(decoder, 4, lambda request: Job(flows[request]))
    for number in range(3):
        scheduler.add(number)
    together = results_of(scheduler)
    assert [together[number] for number in range(3)] == [one[0] for one in alone]
    assert decoder.fed[:4] == [2] * 4  # the first long prompt, and the one that is not long
    assert decoder.fed[4] == 3


def test_a_request_is_cancelled_between_the_chunks_of_its_prompt() -> None:
    kept: list[int] = []
    job = Job(partial(reads_long, 3 * CHUNK), keep=lambda cache: kept.append(len(cache)))
    scheduler: Scheduler[int] = Scheduler(Checksums(context=10_000), 4, lambda request: job)
    ticket = scheduler.add(0)
    scheduler.step()
    scheduler.cancel(ticket)
    [event] = scheduler.step()
    assert isinstance(event, Failed)
    assert scheduler.idle
    assert kept == [1 + CHUNK]


def results_of(scheduler: Scheduler[int]) -> dict[int, Any]:
    events: list[Event] = []
    while not scheduler.idle:
        events += scheduler.step()
    return {event.index: event.result for event in events if isinstance(event, Done)}
