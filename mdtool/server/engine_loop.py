"""One thread that runs the requests of all routes on all models of a server, by continuous batching.

Requests of a model share the steps of its scheduler, whatever their skill; a new one joins between two steps. Before
that, its images are encoded and its prompt is prepared, first come first served, in pieces between the decode steps of
others (as the chunks of a prefill in Agrawal et al. 2023, Sarathi), so that no text under way stands still meanwhile.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from engine.contract import Answer, Cancelled, ChatCache, Done, EncodedImage, EngineError, Event, Failed, Scheduler
from engine.generation.kept_images import KeptImages
from engine.generation.verbs import VisionModel
from engine.torch_threads import apply_number_of_threads
from mdtool.errors import MdtoolError
from mdtool.model_selection import KEPT_IMAGE_BYTES
from mdtool.server.counters import Counters
from mdtool.server.preparation import Preparation, Submission
from mdtool.server.process import return_freed_memory, settle_heap
from mdtool.server.refusals import DeadlineExceeded, Draining, EngineStopped, QueueFull, Refused
from mdtool.server.running import Mailbox, Running, Timings
from mdtool.server.served_models import ServedModels

MAX_GAP = 0.18  # seconds from a decode step to the end of the next one, in which other requests are prepared
CHECK_SECONDS = 0.005  # of preparation, after which cancellations and arrivals are looked for: pieces may be shorter
DECAY = 0.95  # of the estimates of how long a piece and a step take, from one to the next: some take twice as long
RATE_SPAN = 32  # ended requests that the estimate of the waiting time is based on
TIDY_EVERY = 256  # encoded images, as returning freed memory takes some milliseconds
QUEUE_SIZE = 64
KEPT_CONVERSATION_BYTES = 1 << 28


@dataclass(eq=False)
class _Entry:
    """A request on its way.

    Attributes:
        work: Its preparation, once that has begun.
        is_short: No image has to be encoded for it, so that it overtakes those of others.
        ticket: Of its model's scheduler, once it is there.
        ended: Its last event was put into the mailbox.
        cancelled: Set in any thread; the loop then ends it.
    """

    submission: Submission
    mailbox: Mailbox
    timings: Timings = field(default_factory=Timings)
    work: Generator[None, None, Any] | None = None
    is_short: bool = False
    ticket: int | None = None
    ended: bool = False
    cancelled: bool = False

    @property
    def model(self) -> str:
        return self.submission.model


@dataclass(eq=False)
class _Loaded:
    """A model in memory.

    Attributes:
        running: Its requests in the scheduler, by ticket.
        used: The time of its last request.
        stepped: The time of its last step, if a request went on after it.
    """

    model: VisionModel
    scheduler: Scheduler
    preparation: Preparation
    running: dict[int, _Entry] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    stepped: float | None = None


class EngineLoop:
    """Owns the models, their schedulers and the encoded images. `submit` is called in event loops; see `Running`.

    Attributes:
        counters: What was done since the start.
        failure: Why the loop ended, in one line; None: it works.
    """

    def __init__(
        self,
        models: ServedModels,
        *,
        queue_size: int = QUEUE_SIZE,
        kept_image_bytes: int = KEPT_IMAGE_BYTES,
        kept_conversation_bytes: int = KEPT_CONVERSATION_BYTES,
        batch: int | None = None,
    ) -> None:
        """Create a loop that is not started.

        Args:
            models: That it serves.
            queue_size: Most requests that wait for their turn.
            kept_image_bytes: Memory for encoded images, which are found again by their content.
            kept_conversation_bytes: Memory for the conversations of each model, whose next turn then computes only what
                is new.
            batch: Most requests of a model at a time; None: as many as fit into memory.

        Raises:
            ValueError: No request may wait.
        """
        if queue_size < 1:
            raise ValueError(f"queue_size must be 1 or more, not {queue_size}")
        self.models, self.counters = models, Counters()
        self.failure: str | None = None
        self._queue_size, self._batch = queue_size, batch
        self._kept_conversation_bytes = kept_conversation_bytes
        self._kept = KeptImages[EncodedImage](kept_image_bytes)
        self._kept_bytes = 0
        self._lock = threading.Condition()  # of the following three; notified when there are no entries
        self._entries: dict[_Entry, None] = {}  # all that have not ended
        self._waiting: list[_Entry] = []
        self._arrived: list[tuple[str, VisionModel | Exception]] = []  # models that were loaded
        self._wake = threading.Event()
        self._draining = self._closing = False
        self._loading: set[str] = set()
        self._loaded: dict[str, _Loaded] = {}
        self._preparing: list[_Entry] = []
        self._outbox: defaultdict[asyncio.AbstractEventLoop, list[tuple[Mailbox, Event]]] = defaultdict(list)
        self._step_seconds = self._piece_seconds = 0.0
        self._tidied = 0
        self._ends: list[float] = []
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # -- called in other threads

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, submission: Submission) -> Running:
        """Queue a request. Must be called in an event loop, where its events are taken.

        Raises:
            UnknownModel: No model has this name.
            QueueFull: Too many requests wait.
            Draining: The loop takes no more requests.
            EngineStopped: The loop has ended.
        """
        entry = _Entry(submission, Mailbox(asyncio.get_running_loop()))
        try:
            self.models.check(submission.model)
            with self._lock:
                self._check_open()
                self._entries[entry] = None
                self._waiting.append(entry)
        except Refused as error:
            self.counters.refused[type(error).__name__] += 1
            raise
        self.counters.submitted += 1
        self._wake.set()
        return Running(entry.mailbox, entry.timings, partial(self._cancel, entry), partial(self._position, entry))

    @property
    def healthy(self) -> bool:
        """Whether the loop works."""
        return self.failure is None and self._thread.is_alive()

    @property
    def draining(self) -> bool:
        """Whether it takes no more requests."""
        return self._draining

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """The number of requests that are prepared or under way."""
        return len(self._entries) - len(self._waiting)

    @property
    def decoding(self) -> int:
        """The number of requests under way in the steps of a model."""
        return sum(len(loaded.running) for loaded in list(self._loaded.values()))

    @property
    def image_cache(self) -> tuple[int, int, int]:
        """Hits, misses and bytes of the encoded images."""
        return self.counters.image_hits, self.counters.image_misses, self._kept_bytes

    def drain(self, timeout: float) -> bool:
        """Take no more requests, and wait until all have ended.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether all have ended.
        """
        self._draining = True
        with self._lock:
            return self._lock.wait_for(lambda: not self._entries, timeout)

    def close(self) -> None:
        """End the thread; requests that have not ended fail with EngineStopped."""
        self._draining = self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _check_open(self) -> None:
        if self.failure is not None:
            raise EngineStopped(self.failure)
        if self._draining:
            raise Draining
        if len(self._waiting) >= self._queue_size:
            raise QueueFull(self._retry_after())

    def _retry_after(self) -> int:
        """Estimate the seconds until the queue is empty, from the rate of the last requests."""
        ends = self._ends[-RATE_SPAN:]
        rate = (len(ends) - 1) / max(ends[-1] - ends[0], 1e-3) if len(ends) > 1 else 1.0
        return max(1, min(60, round(len(self._waiting) / rate)))

    def _cancel(self, entry: _Entry) -> None:
        if not entry.ended:
            entry.cancelled = True
            self._wake.set()

    def _position(self, entry: _Entry) -> int:
        with self._lock:
            return self._waiting.index(entry) + 1 if entry in self._waiting else 0

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._take_models()
                self._unload_idle()
                self._end_cancelled_and_late()
                self._start_waiting()
                busy = bool(self._preparing) or self._any_running()
                if busy:
                    self._prepare()
                    self._step()
                self._flush()
                if not busy:
                    self._wake.wait(self._seconds_to_wait())
                    self._wake.clear()
        except BaseException as error:  # of the loop itself, or a panic of a library: nothing can go on
            self.failure = f"the engine stopped: {type(error).__name__}: {error}"
        finally:
            self._end_all(self.failure or "the server was stopped")

    def _take_models(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for name, model in arrived:
            self._loading.discard(name)
            if isinstance(model, Exception):
                for entry in [entry for entry in self._entries if entry.model == name]:
                    self._end(entry, Failed(0, model))
                continue
            apply_number_of_threads()
            conversations = ChatCache(self._kept_conversation_bytes)
            preparation = Preparation(model, self._kept, self.counters, conversations)
            self._loaded[name] = _Loaded(model, model.scheduler(self._batch), preparation)
            self.models.loaded = frozenset(self._loaded)
            settle_heap()

    def _end_cancelled_and_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            entries = list(self._entries)
        for entry in entries:
            deadline = entry.submission.deadline
            if entry.cancelled:
                self._end(entry, Failed(0, Cancelled()))
                self.counters.cancelled += 1
            elif deadline is not None and now > deadline:
                self._end(entry, Failed(0, DeadlineExceeded()))
                self.counters.late += 1

    def _start_waiting(self) -> None:
        """Begin to prepare waiting requests, and load the models that they need."""
        with self._lock:
            waiting = list(self._waiting)
        for entry in waiting:
            loaded = self._loaded.get(entry.model)
            if loaded is None:
                if entry.model not in self._loading:
                    self._loading.add(entry.model)
                    self.models.start_loading(entry.model, partial(self._arrive, entry.model))
                continue
            if loaded.scheduler.free_slots <= sum(each.model == entry.model for each in self._preparing):
                continue
            entry.is_short = self._knows_images(entry.submission)
            if not entry.is_short and not all(each.is_short for each in self._preparing):
                continue
            with self._lock:
                self._waiting.remove(entry)
            entry.timings.started = loaded.used = time.monotonic()
            entry.work = loaded.preparation.prepare(entry.submission, partial(_set_encoded, entry.timings))
            self._preparing.append(entry)

    def _knows_images(self, submission: Submission) -> bool:
        """Whether a request needs not wait for the images of others, as it has none that must be encoded."""
        if not submission.images:
            return True
        return submission.has_keys and all(key in self._kept for key in submission.image_keys)

    def _arrive(self, name: str, model: VisionModel | Exception) -> None:
        with self._lock:
            self._arrived.append((name, model))
        self._wake.set()

    def _prepare(self) -> None:
        """Run pieces of preparation for as long as the decode steps of others may wait."""
        begin = checked = now = time.monotonic()
        until = begin + MAX_GAP - self._step_seconds
        while self._preparing and (now == begin or now + self._piece_seconds < until):
            entry = min(self._preparing, key=lambda each: not each.is_short)
            assert entry.work
            try:
                next(entry.work)
            except StopIteration as end:
                self._preparing.remove(entry)
                loaded = self._loaded[entry.model]
                entry.ticket = loaded.scheduler.add(end.value)
                loaded.running[entry.ticket] = entry
                self._kept_bytes = self._kept.nbytes
                self._tidy()
            except Exception as error:
                self._end(entry, Failed(0, _without_traceback(error)))
            took, now = time.monotonic() - now, time.monotonic()
            self._piece_seconds = max(took, DECAY * self._piece_seconds)
            if now - checked >= CHECK_SECONDS or not self._preparing:
                checked = now
                self._end_cancelled_and_late()
                self._start_waiting()

    def _tidy(self) -> None:
        if self.counters.image_misses >= self._tidied + TIDY_EVERY:
            self._tidied = self.counters.image_misses
            return_freed_memory()

    def _any_running(self) -> bool:
        return any(not loaded.scheduler.idle for loaded in self._loaded.values())

    def _step(self) -> None:
        begin = time.monotonic()
        for loaded in self._loaded.values():
            if loaded.scheduler.idle:
                continue
            self.counters.steps += 1
            self.counters.batch_sizes[len(loaded.running)] += 1
            try:
                events = loaded.scheduler.step()
            except EngineError as error:  # out of memory, or damaged weights: no sequence can go on
                loaded.scheduler = loaded.model.scheduler(self._batch)
                events = [Failed(ticket, error) for ticket in loaded.running]
            now = time.monotonic()
            if loaded.stepped:
                self.counters.longest_gap = max(self.counters.longest_gap, now - loaded.stepped)
            for entry in loaded.running.values():
                entry.timings.prefilled = entry.timings.prefilled or now
            for event in events:
                if running := loaded.running.get(event.index):
                    self._dispatch(running, event)
            loaded.stepped = now if loaded.running else None
        self._step_seconds = max(time.monotonic() - begin, DECAY * self._step_seconds)

    def _dispatch(self, entry: _Entry, event: Event) -> None:
        entry.timings.first_text = entry.timings.first_text or time.monotonic()
        if isinstance(event, Done | Failed):
            self._end(entry, event)
        else:
            self._outbox[entry.mailbox.loop].append((entry.mailbox, event))

    def _end(self, entry: _Entry, event: Done | Failed) -> None:
        """Put the last event of a request into its mailbox, and free its place."""
        if entry.ended:
            return
        entry.ended, entry.timings.ended = True, time.monotonic()
        if entry.work:
            entry.work.close()
        if entry in self._preparing:
            self._preparing.remove(entry)
        if entry.ticket is not None:
            loaded = self._loaded[entry.model]
            del loaded.running[entry.ticket]
            loaded.scheduler.cancel(entry.ticket)
            loaded.used = entry.timings.ended
        self._count(event)
        self._outbox[entry.mailbox.loop].append((entry.mailbox, event))
        with self._lock:
            if entry in self._waiting:
                self._waiting.remove(entry)
            del self._entries[entry]
            if not self._entries:
                self._lock.notify_all()

    def _count(self, event: Done | Failed) -> None:
        counters = self.counters
        if isinstance(event, Failed):
            counters.failed += not isinstance(event.error, Cancelled | DeadlineExceeded)
            return
        counters.done += 1
        self._ends = [*self._ends[-RATE_SPAN:], time.monotonic()]
        if isinstance(event.result, Answer):
            counters.prompt_tokens += event.result.prompt_tokens
            counters.generated_tokens += len(event.result.tokens)

    def _flush(self) -> None:
        """Pass events to the event loops that wait for them."""
        for loop, events in self._outbox.items():
            try:
                loop.call_soon_threadsafe(_deliver, events)
            except RuntimeError:  # it was closed
                with self._lock:
                    for entry in self._entries:
                        entry.cancelled |= entry.mailbox.loop is loop
        self._outbox.clear()

    def _unload_idle(self) -> None:
        limit, now = self.models.idle_unload, time.monotonic()
        if limit is None:
            return
        with self._lock:
            wanted = {entry.model for entry in self._entries}
        for name in [name for name, loaded in self._loaded.items() if now - loaded.used >= limit]:
            if name not in wanted:
                del self._loaded[name]
                self.models.loaded = frozenset(self._loaded)
                self._kept.drop(partial(_is_of_model, name))
                self._kept_bytes = self._kept.nbytes
                settle_heap()

    def _seconds_to_wait(self) -> float | None:
        """Return the time until something is due that no other thread announces."""
        with self._lock:
            times = [entry.submission.deadline for entry in self._entries if entry.submission.deadline is not None]
        if self.models.idle_unload is not None:
            times += [loaded.used + self.models.idle_unload for loaded in self._loaded.values()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _end_all(self, reason: str) -> None:
        with self._lock:
            entries = list(self._entries)
        for entry in entries:
            self._end(entry, Failed(0, EngineStopped(reason)))
        self._flush()


def _set_encoded(timings: Timings) -> None:
    timings.encoded = time.monotonic()


def _is_of_model(name: str, key: Any) -> bool:
    """Whether a key of `Submission.image_keys` is of this model."""
    return bool(key[0] == name)


def _without_traceback(error: Exception) -> Exception:
    """Return an error of a request without its traceback, which would keep its images alive as long as the event."""
    return error.with_traceback(None) if isinstance(error, EngineError | ValueError | MdtoolError) else error


def _deliver(events: list[tuple[Mailbox, Event]]) -> None:
    for mailbox, event in events:
        mailbox.events.put_nowait(event)
