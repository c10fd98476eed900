"""Measures `mdtool serve` on loopback, beside the engine itself in the same run."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from engine.contract import CaptionRequest, DetectRequest, Generation, QueryRequest
from engine.generation.verbs import VisionModel
from mdtool.jobs.bench.recipe import machine
from mdtool.jobs.bench.served import Client, Picture, ServerProcess, server_process
from mdtool.model_selection import ComputeConfig, LoadCallbacks

PARTS = ("gap", "overhead", "throughput", "questions", "disconnect", "memory", "faults", "drain")
LARGE = (2000, 1500)  # pixels: thirteen crops of a Moondream
STREAMS = 4  # under way while a large photo arrives
TOKENS = 40  # of a caption
LONG = 700  # tokens of an answer that is not read to its end
ANSWER_TOKENS = 10
QUESTIONS = ("What is this?", "What colour is it?", "Where is it?", "How many are there?", "Is it large?")
OBJECT = "red circle"
BLOCKS, BLOCK = 50, 10  # of detections, by turns in the engine and through the server
SETTLING = 0.05  # seconds after which the threads of either process have stopped to wait busily
DISCONNECTS, STEPS = 10, 20
POLLING = 0.015  # seconds between two looks at the metrics, which take time from the server's steps
CANCELLED, BROKEN = 0.05, 0.01  # shares of faulty requests
KNOWN = 16  # pictures that the requests among faulty ones are about
BAD_BODIES = (b"{", b"[]", b'{"image_url": "data:image/jpeg;base64,AAAA", "object": "x"}', b'{"object": "x"}')


@dataclass(frozen=True)
class Load:
    """How much is measured.

    Attributes:
        clients: That ask at the same time.
        rounds: Captions of each client.
        pictures: Distinct pictures of the measurement of memory.
        requests: Of which some are faulty.
        side: Pixels of a picture's side.
    """

    clients: int = 16
    rounds: int = 2
    pictures: int = 2000
    requests: int = 10_000
    side: int = 378


@dataclass(frozen=True)
class Measurement:
    """A number, and what it is."""

    name: str
    value: float
    unit: str = ""


@dataclass(frozen=True)
class ServeTimings:
    """The measurements of a server."""

    model: str
    machine: dict[str, Any]
    measurements: list[Measurement]


@dataclass(frozen=True)
class _Bench:
    model: VisionModel
    server: ServerProcess
    client: Client
    load: Load

    def picture(self, seed: int) -> Picture:
        return Picture.drawn(seed, self.load.side, self.load.side)


def bench_serve(
    name_or_path: str,
    computing: ComputeConfig,
    callbacks: LoadCallbacks,
    *,
    parts: Sequence[str] = PARTS,
    load: Load = Load(),
) -> ServeTimings:
    """Start a server and measure it.

    Args:
        name_or_path: The model.
        computing: How it computes, there and here.
        callbacks: Receive messages of loading, and the name of each part.
        parts: Of `PARTS`; in that order.
        load: How much.

    Raises:
        EngineError: The model can't be loaded.
        MdtoolError: The server did not start, or an answer is wrong.
    """
    model = computing.load(name_or_path, callbacks)
    arguments = ["--model", name_or_path, *_arguments(computing), "--queue", str(10 * load.clients)]
    measurements: list[Measurement] = []

    async def run(server: ServerProcess) -> None:
        client = Client(server.url)
        bench = _Bench(model, server, client, load)
        try:
            await client.ask("caption", bench.picture(999), settings={"max_tokens": 2})  # the model is loaded
            for part in (part for part in PARTS if part in parts):
                callbacks.note(f"measuring: {part}")
                measurements.extend(await _MEASURE[part](bench))
        finally:
            await client.close()

    with server_process(arguments) as server:
        asyncio.run(run(server))
    return ServeTimings(model.name, dict(machine()), measurements)


def _arguments(computing: ComputeConfig) -> list[str]:
    given = {"device": computing.device, "dtype": computing.dtype, "quantize": computing.quantize, "kv": computing.kv}
    return [text for name, value in given.items() if value for text in (f"--{name}", value)]


async def _gap(bench: _Bench) -> list[Measurement]:
    """Measure for how long running streams stand still while a large photo is encoded."""
    ended = asyncio.Event()

    async def reader(seed: int) -> None:
        fields = {"settings": {"max_tokens": LONG, "temperature": 0}}
        async with bench.client.stream("caption", bench.picture(seed), **fields) as lines:
            async for _ in lines:
                if ended.is_set():
                    return

    readers = [asyncio.create_task(reader(seed)) for seed in range(STREAMS)]
    while await bench.client.metric("num_requests_decoding") < STREAMS and not all(map(asyncio.Task.done, readers)):
        await asyncio.sleep(0.05)
    photo = Picture.drawn(1000, *LARGE)
    begin = time.perf_counter()
    await bench.client.ask("caption", photo, settings={"max_tokens": 2})
    seconds = time.perf_counter() - begin
    ended.set()
    for task in readers:
        task.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    longest = await bench.client.metric("longest_step_gap_seconds")
    return [
        Measurement(f"longest time between two tokens of {STREAMS} streams, a photo of {LARGE} arriving", longest, "s"),
        Measurement("that photo's answer", seconds, "s"),
    ]


async def _overhead(bench: _Bench) -> list[Measurement]:
    """Time the same detections in the engine and through the server, in blocks by turns."""
    alone, served, outside = [], [], []
    for block in range(BLOCKS + 1):
        first = 2000 + block * BLOCK
        pictures = [bench.picture(seed) for seed in range(first, first + BLOCK)]
        await asyncio.sleep(SETTLING)
        for picture in pictures:
            begin = time.perf_counter()
            bench.model.results([DetectRequest(bench.model.encode([picture.pixels])[0], OBJECT)])
            alone.append(1000 * (time.perf_counter() - begin))
        await asyncio.sleep(SETTLING)
        for picture in pictures:
            begin = time.perf_counter()
            answer = await bench.client.ask("detect", picture, object=OBJECT)
            served.append(1000 * (time.perf_counter() - begin))
            outside.append(served[-1] - answer["metrics"]["ttft_ms"])
        if not block:  # which warmed both up
            for times in (alone, served, outside):
                times.clear()
    median = statistics.median
    return [
        Measurement("a detection in the engine, median", median(alone), "ms"),
        Measurement("the same, p99", _p99(alone), "ms"),
        Measurement("overhead of the server over it, difference of the medians", median(served) - median(alone), "ms"),
        Measurement("the same, of the p99", _p99(served) - _p99(alone), "ms"),
        Measurement("time of a request outside the engine loop, median", median(outside), "ms"),
        Measurement("the same, p99", _p99(outside), "ms"),
    ]


def _p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


async def _throughput(bench: _Bench) -> list[Measurement]:
    """Compare captions of many clients with a batch of the engine, and with one client."""
    load, seeds = bench.load, iter(range(3000, 10**6))
    generation = Generation(temperature=0.0, max_tokens=TOKENS)

    def batch() -> None:
        encoded = bench.model.encode([bench.picture(next(seeds)).pixels for _ in range(load.clients)])
        bench.model.results([CaptionRequest(one, "normal", generation) for one in encoded])

    async def rate(clients: int, rounds: int) -> float:
        pictures = [[bench.picture(next(seeds)) for _ in range(rounds)] for _ in range(clients)]

        async def client(own: Sequence[Picture]) -> None:
            for picture in own:
                await bench.client.ask("caption", picture, settings={"max_tokens": TOKENS, "temperature": 0})

        begin = time.perf_counter()
        await asyncio.gather(*map(client, pictures))
        return clients * rounds / (time.perf_counter() - begin)

    begin = time.perf_counter()
    batch()
    engine = load.clients / (time.perf_counter() - begin)
    many, one = await rate(load.clients, load.rounds), await rate(1, 2 * load.rounds)
    return [
        Measurement(f"captions of {TOKENS} tokens, {load.clients} clients", many, "pictures/s"),
        Measurement(f"against the engine's batch of {load.clients}", many / engine, "x"),
        Measurement("against one client", many / one, "x"),
    ]


async def _questions(bench: _Bench) -> list[Measurement]:
    """Compare several questions on a picture with the engine, one at a time and without a cache."""
    pictures = [bench.picture(seed) for seed in range(4000, 4000 + bench.load.rounds)]
    generation = Generation(temperature=0.0, max_tokens=ANSWER_TOKENS)
    begin = time.perf_counter()
    for picture in pictures:
        for question in QUESTIONS:
            [encoded] = bench.model.encode([picture.pixels])
            bench.model.results([QueryRequest(encoded, question, False, generation=generation)])
    alone = time.perf_counter() - begin

    async def ask(picture: Picture, question: str) -> None:
        settings = {"max_tokens": ANSWER_TOKENS, "temperature": 0}
        await bench.client.ask("query", picture, question=question, reasoning=False, settings=settings)

    begin = time.perf_counter()
    for picture in pictures:
        for question in QUESTIONS:
            await ask(picture, question)
    in_turn = time.perf_counter() - begin
    return [Measurement(f"{len(QUESTIONS)} questions on a picture in turn, against no cache", alone / in_turn, "x")]


async def _disconnect(bench: _Bench) -> list[Measurement]:
    """Measure the time from a closed connection to the freed place."""
    times = []
    for seed in range(5000, 5000 + DISCONNECTS):
        body = {"image_url": bench.picture(seed).url, "settings": {"max_tokens": LONG, "temperature": 0}}
        request = asyncio.create_task(bench.client.post("caption", body))
        while not (await bench.client.metric("num_requests_decoding") or request.done()):
            await asyncio.sleep(POLLING)
        request.cancel()
        begin = time.perf_counter()
        with suppress(asyncio.CancelledError):
            await request
        while await bench.client.metric("num_requests_running"):
            await asyncio.sleep(POLLING)
        times.append(time.perf_counter() - begin)
    return [
        Measurement("from a closed connection to a freed place, longest", 1000 * max(times), "ms"),
        Measurement("a step of such a request in the engine, longest", 1000 * max(_step_seconds(bench)), "ms"),
    ]


def _step_seconds(bench: _Bench) -> Iterator[float]:
    """Yield how long each of the first steps of a caption takes."""
    scheduler = bench.model.scheduler(1)
    [encoded] = bench.model.encode([bench.picture(5000).pixels])
    scheduler.add(CaptionRequest(encoded, "normal", Generation(temperature=0.0, max_tokens=LONG)))
    for _ in range(STEPS):
        begin = time.perf_counter()
        scheduler.step()
        yield time.perf_counter() - begin


async def _memory(bench: _Bench) -> list[Measurement]:
    """Measure whether the server's memory grows with distinct pictures, after as many that fill its cache of them."""
    count, sizes = bench.load.pictures, []
    for number in range(2 * count):
        await bench.client.ask("detect", bench.picture(10_000 + number), object=OBJECT)
        sizes.append(bench.server.resident_bytes)
    del sizes[:count]
    quarter = max(1, len(sizes) // 4)
    second, last = statistics.mean(sizes[quarter : 2 * quarter] or sizes), statistics.mean(sizes[-quarter:])
    return [
        Measurement(f"memory after {2 * count} pictures", sizes[-1] * 1e-6, "MB"),
        Measurement("last quarter against second", 100 * (last / second - 1), "%"),
    ]


async def _faults(bench: _Bench) -> list[Measurement]:
    """Send many requests, some of which are cancelled or broken, and check all answers."""
    chance, counts = random.Random(0), Counter[str]()
    pictures = [bench.picture(seed) for seed in range(6000, 6000 + KNOWN)]
    expected = [
        (await bench.client.ask("detect", picture, object=OBJECT), (await bench.client.ask("caption", picture)))
        for picture in pictures
    ]
    numbers = iter(range(bench.load.requests))

    async def one() -> str:
        kind, which = chance.random(), chance.randrange(KNOWN)
        if kind < BROKEN:
            reply = await bench.client.post("detect", chance.choice(BAD_BODIES))
            return "broken" if reply.status_code == 400 else f"broken, status {reply.status_code}"
        skill = chance.choice(("detect", "caption"))
        body = {"image_url": pictures[which].url, "object": OBJECT}
        task = asyncio.create_task(bench.client.post(skill, body))
        if kind < BROKEN + CANCELLED:
            await asyncio.sleep(chance.random() * 0.1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return "cancelled"
        reply = await task
        if reply.status_code != 200:
            return f"status {reply.status_code}"
        key = "objects" if skill == "detect" else "caption"
        wanted = expected[which][skill == "caption"]
        return "right" if reply.json()[key] == wanted[key] else "wrong"

    async def client() -> None:
        for _ in numbers:
            counts[await one()] += 1

    await asyncio.gather(*(client() for _ in range(bench.load.clients)))
    await asyncio.sleep(0.2)
    left = await bench.client.metric("num_requests_running") + await bench.client.metric("num_requests_waiting")
    found = [Measurement(f"of {bench.load.requests} requests: {name}", count) for name, count in sorted(counts.items())]
    return [*found, Measurement("places that were not freed", left)]


async def _drain(bench: _Bench) -> list[Measurement]:
    """End the server under load, and count the requests it was sent before, and lost; later ones may be refused."""
    counts = Counter[str]()
    ending = asyncio.Event()

    async def client(number: int) -> None:
        for seed in range(20_000 + 1000 * number, 20_000 + 1000 * (number + 1)):
            body, before = {"image_url": bench.picture(seed).url, "object": OBJECT}, not ending.is_set()
            try:
                reply = await bench.client.post("detect", body)
            except httpx.HTTPError:
                counts["lost"] += before
                return
            counts["answered" if reply.status_code == 200 else f"status {reply.status_code}"] += 1
            if reply.status_code != 200:
                return

    clients = [asyncio.create_task(client(number)) for number in range(bench.load.clients)]
    await asyncio.sleep(1.0)
    ending.set()
    code = await asyncio.to_thread(bench.server.end)
    await asyncio.gather(*clients)
    return [
        Measurement("ended under load: answered", counts["answered"]),
        Measurement("lost", counts["lost"]),
        Measurement("exit code", code),
    ]


_MEASURE: dict[str, Callable[[_Bench], Awaitable[list[Measurement]]]] = {
    "gap": _gap,
    "overhead": _overhead,
    "throughput": _throughput,
    "questions": _questions,
    "disconnect": _disconnect,
    "memory": _memory,
    "faults": _faults,
    "drain": _drain,
}


def table(timings: ServeTimings) -> Iterator[str]:
    """Yield the measurements as lines of a Markdown table."""
    yield ", ".join(f"{name} {value}" for name, value in {"model": timings.model, **timings.machine}.items())
    yield ""
    yield "| what | measured |"
    yield "|---|---|"
    for each in timings.measurements:
        number = f"{each.value:.3g}" if abs(each.value) < 100 else f"{each.value:.0f}"
        yield f"| {each.name} | {number} {each.unit}".rstrip() + " |"
