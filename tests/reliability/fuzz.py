"""Feeds the program damaged files of every format, and saves those that it does not answer as it should.

    python fuzz.py [--seconds N | --inputs N] [--seed N] [--format NAME ...] [--from TURN] [--quick] [--save FOLDER]

Each input must give a result, or one line that says what is wrong, within 20 s: no crash, no hang, no traceback, no
"unexpected" error, nothing left behind. Inputs are numbered; format, seed and number make the same bytes again. Several
share a process, which is a fork; where something goes wrong, each is tried alone.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import forked
from corpus import CLIPS, GOLDEN, corpus, media
from mutation import mutated

from mdtool.errors import ExitCode

SECONDS_PER_INPUT = 20.0  # of CPU time
BATCH = 96  # for one start of the program costs as much as some fifty small pictures
MAX_PEAK = 3 << 30  # bytes of memory, with --memory 500MB
MEMORY = ("--quiet", "--memory", "500MB")
SAVED_PER_KIND = 3
ADDRESS = re.compile(rb" at 0x[0-9a-f]+>")
EXPECTED_CODES = {int(code) for code in ExitCode} - {ExitCode.INCOMPLETE, ExitCode.INTERRUPTED, ExitCode.CLOSED_PIPE}
Command = list[str]


@dataclass(frozen=True)
class Target:
    """How inputs of a format are given to the program.

    Attributes:
        seeds: Intact files, and the name that a damaged one gets; `{}` stands for its number.
        commands: Make the command for some files; taken in turn.
        batch: How many inputs share a command.
        is_text: Whether numbers and words are replaced too.
        fixed: Other files that the commands need, by name.
        every: In how many turns it is tried once: more for one that takes long.
    """

    seeds: Callable[[], list[bytes]]
    name: str
    commands: Sequence[Callable[[Sequence[str]], Command]]
    batch: int = 1
    is_text: bool = False
    fixed: Callable[[], dict[str, bytes]] = dict
    every: int = 1


@dataclass
class Tally:
    """Counts of a run."""

    inputs: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)


def _redact(files: Sequence[str]) -> Command:
    return ["redact", *files, "-o", "out/", "--keep-metadata", *MEMORY]


def _redact_fast(files: Sequence[str]) -> Command:
    return ["redact", *files, "-o", "out/", "--preset", "ultrafast", *MEMORY]


def _detect(files: Sequence[str]) -> Command:
    return ["detect", *files, "face", "--jsonl", "out.jsonl", *MEMORY]


def _embed(files: Sequence[str]) -> Command:
    return ["caption", *files, "--model", "pocket", "--embed", "--jsonl", "out.jsonl", *MEMORY]


def _moderate(files: Sequence[str]) -> Command:
    return ["moderate", *files, "-p", "face", "--action", "blur", "--preset", "ultrafast", "-o", "out/", *MEMORY]


def _gaze(files: Sequence[str]) -> Command:
    return ["gaze", *files, "--model", "pocket", "--report-only", "--jsonl", "out.jsonl", *MEMORY]


def _with(*command: str) -> Callable[[Sequence[str]], Command]:
    return lambda files: [*command, *MEMORY]


@cache
def _written_by_the_program() -> dict[str, bytes]:
    """Return the files that the program itself writes: findings and a results log."""
    with tempfile.TemporaryDirectory(prefix="mdtool-corpus-") as name:
        folder = Path(name)
        for number, ending in enumerate(("jpg", "png", "mp4")):
            (folder / f"{number}.{ending}").write_bytes(media()[ending][0])
        outcome = forked.run(["detect", "0.jpg", "1.png", "2.mp4", "face", "--jsonl", "log.jsonl"], folder, 60)
        assert outcome.code == 0, outcome.err
        outcome = forked.run(["redact", "2.mp4", "-o", "o.mp4", "--findings", "f.jsonl"], folder, 60)
        assert outcome.code == 0, outcome.err
        return {"results": (folder / "log.jsonl").read_bytes(), "findings": (folder / "f.jsonl").read_bytes()}


def _written(name: str) -> Callable[[], list[bytes]]:
    return lambda: [_written_by_the_program()[name]]


def _media_files() -> dict[str, bytes]:
    return {"0.jpg": media()["jpg"][0], "1.png": media()["png"][0], "2.mp4": media()["mp4"][0]}


def _blink() -> dict[str, bytes]:
    return {"blink.mp4": (GOLDEN.parents[1] / "sample_media" / "blink.mp4").read_bytes()}


def _checkpoint(folder: str, without: str) -> Callable[[], dict[str, bytes]]:
    def files() -> dict[str, bytes]:
        names = (
            "model.safetensors",
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "preprocessor_config.json",
        )
        found = {
            name: GOLDEN / folder / name for name in names if name != without and (GOLDEN / folder / name).exists()
        }
        return {"0.jpg": media()["jpg"][0], **{f"model/{name}": path.read_bytes() for name, path in found.items()}}

    return files


def _golden(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(GOLDEN / name).read_bytes() for name in names]


def _seeds(files: Callable[[], dict[str, list[bytes]]], name: str, number: int | None = None) -> list[bytes]:
    """Return the intact files of a format, or the one of that number."""
    found = files()[name]
    return found if number is None else found[number : number + 1]


def _of_model(folder: str, file: str, is_text: bool) -> Target:
    ask = _with("query", "0.jpg", "why?", "--model", "model", "--max-tokens", "2")
    return Target(
        _golden(f"{folder}/{file}"), f"model/{file}", [ask], is_text=is_text, fixed=_checkpoint(folder, file), every=4
    )


def _of_gguf(weights: str, projector: str, damaged: str) -> Target:
    ask = _with("query", "0.jpg", "why?", "--model", weights, "--mmproj", projector, "--max-tokens", "2")
    other = {weights, projector} - {damaged}

    def fixed() -> dict[str, bytes]:
        found = {path.name: path.read_bytes() for path in GOLDEN.rglob("*.gguf") if path.name in other}
        return {"0.jpg": media()["jpg"][0], **found}

    return Target(lambda: [next(GOLDEN.rglob(damaged)).read_bytes()], damaged, [ask], fixed=fixed, every=4)


def _targets() -> dict[str, Target]:
    pictures = [_redact, _detect, _embed]
    clips = [_redact_fast, _detect, _moderate]
    targets = {
        name: (
            Target(partial(_seeds, media, name), f"{{}}.{name}", clips, BATCH // 4)
            if name in CLIPS
            else Target(partial(_seeds, media, name), f"{{}}.{name}", pictures, BATCH)
        )
        for name in media()
    }
    for name in ("zip", "tar", "tar.gz"):
        targets[name] = Target(partial(_seeds, corpus, name), f"{{}}.{name}", [_detect], BATCH)
    text: dict[str, tuple[str, Sequence[Callable[[Sequence[str]], Command]], int, Callable[[], dict[str, bytes]]]] = {
        "m3u8": (
            "{}.m3u8",
            [_redact_fast],
            BATCH,
            lambda: {"clip.ts": media()["ts"][0], "list.m3u8": corpus()["m3u8"][0]},
        ),
        "settings": (
            "mdtool.toml",
            [_with("redact", "0.jpg", "-o", "out/"), _with("config", "show", "redact")],
            1,
            _media_files,
        ),
        "policy": (
            "p.toml",
            [_with("moderate", "0.jpg", "--policy", "p.toml", "--report-only", "--model", "pocket")],
            1,
            _media_files,
        ),
        "truth": ("t.json", [_with("eval", "redact", "blink.mp4", "t.json")], 1, _blink),
    }
    for name, (file, commands, batch, fixed) in text.items():
        targets[name] = Target(partial(_seeds, corpus, name), file, commands, batch, True, fixed)
    for number, ending in enumerate(("json", "toml", "txt")):
        ask = _with("query", "0.jpg", "--questions", f"q.{ending}", "--model", "pocket", "--max-tokens", "4")
        seeds = partial(_seeds, corpus, "questions", number)
        targets[f"questions.{ending}"] = Target(seeds, f"q.{ending}", [ask], is_text=True, fixed=_media_files)
    reuse = [
        _with("redact", "2.mp4", "--from-findings", "f.jsonl", "-o", "out/2.mp4", "--preset", "ultrafast"),
        _with("report", "f.jsonl", "-o", "out/f.html"),
        _with("render", "2.mp4", "--from-findings", "f.jsonl", "-o", "out/2.mp4", "--preset", "ultrafast"),
    ]
    targets["findings"] = Target(_written("findings"), "f.jsonl", reuse, is_text=True, fixed=_media_files)
    resume = _with("detect", "0.jpg", "1.png", "2.mp4", "face", "--jsonl", "log.jsonl")
    targets["results"] = Target(_written("results"), "log.jsonl", [resume], is_text=True, fixed=_media_files)
    for folder in ("moondream2", "lfm2-vl", "qwen3-vl"):
        for file in ("model.safetensors", "config.json", "tokenizer.json"):
            targets[f"{folder}.{file}"] = _of_model(folder, file, file.endswith(".json"))
    for weights, projector in (
        ("lfm2-vl-tiny-Q8_0.gguf", "mmproj-lfm2-vl-tiny-F16.gguf"),
        ("qwen3-vl-tiny-Q8_0.gguf", "mmproj-qwen3-vl-tiny-F16.gguf"),
        ("moondream2-tiny-Q4_0.gguf", "mmproj-moondream2-tiny-F16.gguf"),
    ):
        for damaged in (weights, projector):
            targets[damaged] = _of_gguf(weights, projector, damaged)
    return targets


@cache
def targets() -> dict[str, Target]:
    """Return how each format is given to the program."""
    return _targets()


def damaged(form: str, seed: int, number: int) -> bytes:
    """Return input `number` of a format."""
    target = targets()[form]
    rng = random.Random(f"{form} {seed} {number}")
    seeds = target.seeds()
    return mutated(rng.choice(seeds), seeds, rng, target.is_text)


def problems_of(form: str, turn: int, inputs: dict[int, bytes]) -> list[str]:
    """Give some inputs of a format to the program in one command, and return what is wrong with what it did."""
    target = targets()[form]
    with tempfile.TemporaryDirectory(prefix="mdtool-fuzz-") as name:
        folder = Path(name)
        names = {number: target.name.format(number) for number in inputs}
        for file, data in {**target.fixed(), **{names[number]: data for number, data in inputs.items()}}.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(data)
        (folder / "out").mkdir()
        command = target.commands[turn % len(target.commands)](list(names.values()))
        outcome = forked.run(command, folder, SECONDS_PER_INPUT)
        return [
            *_of_outcome(outcome),
            *_left_over(folder),
            *_unanswered(command, list(names.values()), folder, outcome),
        ]


def _of_outcome(outcome: forked.Outcome) -> Iterator[str]:
    lines = outcome.err.splitlines()
    if outcome.code is None:
        yield "hang"
    elif outcome.code < 0:
        yield f"crash by signal {-outcome.code}"
    elif outcome.code not in EXPECTED_CODES:
        yield f"exit code {outcome.code}"
    if "Traceback" in outcome.err:
        yield f"traceback: {lines[-1]}"
    for line in lines:
        if "unexpected " in line and "MDTOOL_DEBUG" in line:
            yield f"unexpected error: {line[line.index('unexpected ') :]}"
        elif not line.startswith("mdtool: ") and "Traceback" not in outcome.err and outcome.code is not None:
            yield f"another line on stderr: {line}"
        if ADDRESS.search(line.encode()):
            yield "the address of an object on stderr"
        if any(not c.isprintable() for c in line):
            yield "control characters on stderr"
    if outcome.code not in (0, 5, None) and not lines:
        yield f"exit code {outcome.code} without a line"
    if outcome.peak > MAX_PEAK:
        yield f"memory: {outcome.peak >> 30} GiB"


def _left_over(folder: Path) -> Iterator[str]:
    for path in folder.rglob(".*"):
        yield f"left behind: {path.name.rpartition('.')[2]}"


def _unanswered(command: Command, names: Sequence[str], folder: Path, outcome: forked.Outcome) -> Iterator[str]:
    """Yield what is wrong with the answers where each input gets one of its own."""
    if outcome.code is None or outcome.code < 0 or not names[0][0].isdigit():
        return
    if "out/" in command:
        for name in names:
            if not (folder / "out" / name).exists() and name not in outcome.err:
                yield "neither an output nor a line"
    elif names[0].endswith((".zip", ".tar", ".tar.gz")):
        return
    else:
        lines = (folder / "out.jsonl").read_bytes().splitlines()
        if any(map(ADDRESS.search, lines)):
            yield "the address of an object in a record"
        records = [json.loads(line) for line in lines]
        counts = Counter(
            record["input"] for record in records if record["schema"] == "mdtool.batch/1" and "time" not in record
        )
        for name in names:
            if counts[name] != 1:
                yield f"{counts[name]} records of an input"


def fuzz(form: str, turn: int, seed: int, tally: Tally, save: Path, *, quick: bool = False) -> None:
    """Try one batch of a format, or a quarter of one."""
    size = max(1, targets()[form].batch // (4 if quick else 1))
    numbers = range(turn * size, (turn + 1) * size)
    inputs = {number: damaged(form, seed, number) for number in numbers}
    tally.inputs[form] += size
    found = problems_of(form, turn, inputs)
    if not found:
        return
    alone = {number: problems_of(form, turn, {number: data}) if size > 1 else found for number, data in inputs.items()}
    if not any(alone.values()):
        alone[numbers[0]] = [f"only together, {numbers[0]} to {numbers[-1]}: {problem}" for problem in found]
    for number, problems in alone.items():
        for problem in dict.fromkeys(problems):
            kind = re.sub(r"\d+", "N", f"{form.rpartition('.')[2]}: {problem}")
            tally.problems[kind] += 1
            if tally.problems[kind] <= SAVED_PER_KIND:
                _save(save / f"{form}-{seed}-{number}", inputs[number], f"turn {turn}: {problem}\n")
                print(f"{form}, seed {seed}, number {number}, turn {turn}: {problem}", flush=True)


def _save(folder: Path, data: bytes, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input").write_bytes(data)
    with (folder / "problems.txt").open("a") as file:
        file.write(what)


def run(
    seed: int, tally: Tally, save: Path, *, seconds: float | None = None, inputs: int | None = None,
    formats: Sequence[str] = (), first: int = 0, quick: bool = False,
) -> None:  # fmt: skip
    """Try inputs of all formats in turn, until the time or the number is reached.

    Args:
        seed: Of the damage.
        tally: Counts; also what was done before an interruption.
        save: Folder for the inputs that the program does not answer as it should.
        seconds: How long; None for no limit.
        inputs: How many; None for no limit.
        formats: Which formats; empty for all.
        first: The turn to begin with.
        quick: Whether a batch is a quarter of what it is else, so that all formats have had a turn sooner.
    """
    forked.preload()
    end, turn = time.monotonic() + (seconds or 1e9), first
    while True:
        due = formats or [form for form, target in targets().items() if turn % target.every == 0]
        for form in due:
            if time.monotonic() > end or (inputs is not None and tally.inputs.total() >= inputs):
                return
            fuzz(form, turn, seed, tally, save, quick=quick)
        turn += 1


def main() -> int:
    """Run from the command line; return 1 if anything was found."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "60")))
    options.add_argument("--inputs", type=int)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--format", action="append", default=[])
    options.add_argument("--from", type=int, default=0, dest="first")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--save", type=Path, default=Path("build/fuzz"))
    given = options.parse_args()
    shutil.rmtree(given.save, ignore_errors=True)
    print(f"seed {given.seed}", flush=True)
    begin = time.monotonic()
    tally = Tally()
    with suppress(KeyboardInterrupt):
        run(
            given.seed, tally, given.save, seconds=None if given.inputs else given.seconds, inputs=given.inputs,
            formats=given.format, first=given.first, quick=given.quick,
        )  # fmt: skip
    print(json.dumps({"inputs": tally.inputs, "problems": tally.problems}, indent=2))
    print(f"{tally.inputs.total()} inputs, {tally.problems.total()} problems, {time.monotonic() - begin:.0f} s")
    return bool(tally.problems)


if __name__ == "__main__":
    sys.exit(main())
