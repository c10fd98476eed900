"""Run mdtool repeatedly with the same arguments, killing it at random times, until it ends by itself.

    python kill_repeatedly.py KILLS SEED ARGUMENT...

Each run is a fork of this process, which has only loaded the program, so that the kill falls into the work and not into
the loading. Prints how many runs were killed.
"""

import importlib
import os
import random
import signal
import sys
import time

import mdtool.cli

PRELOADED_MODULES = (
    "mdtool.model_selection",
    "mdtool.cli.values",
    "mdtool.pipeline.run",
    "mdtool.jobs.batch.coordinator",
    "mdtool.jobs.batch.output_format",
    "engine.centerface",
)
MAX_SECONDS_TO_KILL = 0.5  # seconds until a run is killed


def run_until_done(kills: int, seed: int, arguments: list[str]) -> int:
    rng = random.Random(seed)
    for done in range(kills):
        child = os.fork()
        if not child:
            os._exit(mdtool.cli.run(arguments))
        end = time.monotonic() + rng.uniform(0, MAX_SECONDS_TO_KILL)
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return done
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return kills


if __name__ == "__main__":
    for name in PRELOADED_MODULES:
        importlib.import_module(name)
    print(run_until_done(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
