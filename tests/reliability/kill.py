"""Kills the program at random moments, starts it again, and checks what lies there after each.

    python kill.py [--seconds N | --kills N] [--seed N]

An output is the old one or the new one, whole; at the end each input has its output or its record once, and nothing
else is left. After a SIGTERM or SIGINT nothing is left either, but the work folder of a long video, from which the next
run resumes.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

import forked
from corpus import media
from make_media import make_video

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MAX_KILLS = 6  # before a run may end by itself
SECONDS = 120.0  # of CPU time, that a run may take
LONG = "long.mp4"
MEDIA = ("redact", "in", "-o", "out", "--preset", "ultrafast", "--quiet")
RECORDS = ("--jsonl", "out.jsonl", "--quiet")
MARK = ".filled-by-mdtool"  # of a folder of crops: no leftover


@dataclass(frozen=True)
class Scenario:
    """A command that is killed.

    Attributes:
        command: Run in a folder that has the inputs in `in`.
        before: Run first, uninterrupted: makes what is there already.
        is_batch: It writes records to out.jsonl, not files to `out`.
    """

    command: tuple[str, ...]
    before: tuple[str, ...] = ()
    is_batch: bool = False


SCENARIOS = {
    "redact": Scenario(MEDIA),
    "redact --overwrite": Scenario((*MEDIA, "--overwrite"), before=(*MEDIA, "--style", "solid")),
    "moderate": Scenario(("moderate", *MEDIA[1:], "-p", "face", "--action", "pixelate")),
    "detect": Scenario(("detect", "in", "face", *RECORDS, "--save-crops", "out"), is_batch=True),
    "caption": Scenario(("caption", "in", "--model", "pocket", *RECORDS), is_batch=True),
}  # fmt: skip


@dataclass
class Tally:
    """Counts of a run."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def write_inputs(folder: Path) -> None:
    """Write pictures of some formats, short clips, and one of a minute, for which there is a work folder."""
    folder.mkdir()
    for ending in ("jpg", "png", "webp", "gif", "tif"):
        for number, data in enumerate(media()[ending][:2]):
            (folder / f"{number}.{ending}").write_bytes(data)
    (folder / "clip.mkv").write_bytes(media()["mkv"][2])
    child = os.fork()  # encoders start threads, none of which may run before the forks of the program
    if not child:
        make_video(folder / LONG, [Fraction(number, 2) for number in range(130)], face=True, rate=2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its path in the folder; temporary ones and those in work folders left out."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    shown = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in shown}


class Killer:
    """Runs scenarios on the same inputs."""

    def __init__(self, folder: Path, rng: random.Random, tally: Tally) -> None:
        """Prepare the inputs, and run each command once to its end.

        Args:
            folder: An empty folder.
            rng: Chooses moments and signals.
            tally: Counts.
        """
        self._folder, self._rng, self._tally = folder, rng, tally
        os.environ["TMPDIR"] = str(folder / "tmp")
        tempfile.tempdir = None
        (folder / "tmp").mkdir()
        write_inputs(folder / "in")
        self._whole = {name: self._run_whole(scenario) for name, scenario in SCENARIOS.items()}

    def _run_whole(self, scenario: Scenario) -> tuple[dict[str, str], dict[str, str], list[str], int]:
        """Return the files before and after, the records, and for how many naps the command ran."""
        place = self._place(scenario)
        old, naps = contents(place / "out"), 0
        child = forked.start(scenario.command, place)
        while not os.waitpid(child, os.WNOHANG)[0]:
            time.sleep(forked.POLL_SECONDS)
            naps += 1
        files = contents(place / "out")
        assert files or scenario.is_batch, (place / "stderr").read_text()
        return old, files, keys(place) if scenario.is_batch else [], naps

    def _place(self, scenario: Scenario) -> Path:
        place = self._folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        (place / "out").mkdir(parents=True)
        (place / "in").symlink_to(self._folder / "in")
        if scenario.before:
            outcome = forked.run(scenario.before, place, SECONDS)
            assert outcome.code == 0, outcome.err
        return place

    def round(self, name: str) -> None:
        """Kill a scenario several times, let it end, and check."""
        scenario = SCENARIOS[name]
        old, new, records, naps = self._whole[name]
        place = self._place(scenario)
        problem = partial(self._problem, name)
        for _ in range(self._rng.randint(1, MAX_KILLS)):
            by, before = self._rng.choice(SIGNALS), _hidden(place)
            child = forked.start(scenario.command, place)
            for _ in range(self._rng.randint(1, max(2, naps))):
                if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    break
                time.sleep(forked.POLL_SECONDS)
            else:
                os.kill(child, by)
                self._tally.kills[name] += 1
            outcome = forked.finish(child, place, SECONDS)
            self._check_after_kill(outcome, (old, new), place, before, problem=problem)
        outcome = forked.run(scenario.command, place, SECONDS)
        if outcome.code != 0:
            problem(f"the last run ended with {outcome.code}: {outcome.err[-300:]}")
        if contents(place / "out") != new:
            problem(f"other outputs: {sorted(dict(contents(place / 'out').items() ^ new.items()))}")
        if scenario.is_batch and (found := keys(place)) != records:
            problem(
                f"other records: {Counter(found) - Counter(records)} too many, {Counter(records) - Counter(found)} lost"
            )
        hidden = [path for path in self._folder.rglob(".*") if path.name != MARK]
        if left := [*hidden, *(self._folder / "tmp").iterdir()]:
            problem(f"left behind: {[path.name for path in left]}")
        self._tally.rounds[name] += 1

    def _problem(self, name: str, what: str) -> None:
        line = f"{name}, round {self._tally.rounds[name]}: {what}"
        self._tally.problems.append(line)
        print(line, flush=True)

    def _check_after_kill(
        self,
        outcome: forked.Outcome,
        versions: tuple[dict[str, str], dict[str, str]],
        place: Path,
        before: set[str],
        *,
        problem: Callable[[str], None],
    ) -> None:
        """Check what is there after a signal; `before`: what an earlier SIGKILL has left."""
        old, new = versions
        if outcome.code not in (0, 130, -signal.SIGKILL):
            problem(f"ended with {outcome.code} after a signal: {outcome.err[-300:]}")
        if "Traceback" in outcome.err or "unexpected" in outcome.err:
            problem(f"said {outcome.err[-300:]}")
        for file, digest in contents(place / "out").items():
            if digest not in (old.get(file), new.get(file)):
                problem(f"{file} is neither the old nor the new one")
        if missing := old.keys() - contents(place / "out").keys():
            problem(f"old outputs are gone: {missing}")
        if outcome.code != -signal.SIGKILL:
            left = sorted(_hidden(place) - before)
            if left or any((self._folder / "tmp").iterdir()):
                problem(f"left behind after an interruption: {left or 'temporary files'}")


def _hidden(place: Path) -> set[str]:
    """Return the names of temporary files; the work folder of the long video is none."""
    return {path.name for path in (place / "out").rglob(".*") if path.name not in (MARK, f".{LONG}.work")}


def keys(place: Path) -> list[str]:
    """Return one line for each record in out.jsonl, sorted: which input, frame or time it is of."""
    lines = (place / "out.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b"", "a torn line"
    records = [json.loads(line) for line in lines]
    return sorted(f"{one.get('input', one.get('source'))} {one.get('frame')} {one.get('time')}" for one in records)


def run(seed: int, tally: Tally, *, seconds: float | None = None, kills: int | None = None) -> None:
    """Kill all scenarios in turn, until the time or the number is reached.

    Args:
        seed: Of the moments and signals.
        tally: Counts; also what was done before an interruption.
        seconds: How long; None for no limit.
        kills: How many; None for no limit.
    """
    forked.preload()
    media()
    end = time.monotonic() + (seconds or 1e9)
    with tempfile.TemporaryDirectory(prefix="mdtool-kill-") as name:
        before = os.environ.get("TMPDIR")
        try:
            killer = Killer(Path(name), random.Random(seed), tally)
            while True:
                for scenario in SCENARIOS:
                    if time.monotonic() > end or (kills is not None and tally.kills.total() >= kills):
                        return
                    killer.round(scenario)
        finally:
            os.environ.pop("TMPDIR")
            if before:
                os.environ["TMPDIR"] = before
            tempfile.tempdir = None


def main() -> int:
    """Run from the command line; return 1 if anything was found."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=float(os.environ.get("KILL_SECONDS", "60")))
    options.add_argument("--kills", type=int)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    print(f"seed {given.seed}", flush=True)
    tally = Tally()
    with suppress(KeyboardInterrupt):
        run(given.seed, tally, seconds=None if given.kills else given.seconds, kills=given.kills)
    print(json.dumps({"kills": tally.kills, "rounds": tally.rounds}))
    print(f"{tally.kills.total()} kills, {len(tally.problems)} problems")
    return bool(tally.problems)


if __name__ == "__main__":
    sys.exit(main())
