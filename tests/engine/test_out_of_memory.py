"""A process that may not have the memory that a large batch wants: fewer go at a time, and the results are the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.posix("resource limits")

ROOT = Path(__file__).parents[2]

# The program is told how much more address space it may take than it has when a small batch has run.
PROGRAM = """
import json, resource, sys
import numpy as np
import torch
from PIL import Image
import engine

torch.set_num_threads(1)
folder, megabytes = sys.argv[1], int(sys.argv[2])
model = engine.load(f"{folder}/moondream2", engine.LoadOptions("cpu", "float32", resize="pillow"))
picture = np.array(Image.open(f"{folder}/images/img_a.png").convert("RGB"))
[encoded] = model.encode([picture])
long = "what is near the house and the dog? " * 30
brief = engine.Generation(temperature=0, max_tokens=3)
requests = [engine.QueryRequest(encoded, f"{long} {i}", False, generation=brief) for i in range(40)]

largest = 0
step = model.decoder.step
def watched(feeds):
    global largest
    hidden = step(feeds)
    largest = max(largest, len(feeds))
    return hidden
model.decoder.step = watched

def results(batch):
    done = {e.index: e.result.text for e in model.run(requests, batch) if isinstance(e, engine.Done)}
    return [done[index] for index in range(len(requests))]

wanted = results(2)
with open("/proc/self/statm") as pages:
    taken = int(pages.read().split()[0]) * resource.getpagesize()
limit = taken + megabytes * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
largest, error = 0, None
try:
    equal = results(len(requests)) == wanted
except engine.EngineError as caught:
    equal, error = False, str(caught)
print(json.dumps({"equal": equal, "error": error, "largest": largest, "different": len(set(wanted))}))
"""


def limited(megabytes: int) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "tests" / "golden"), str(megabytes)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    outcome: dict[str, Any] = json.loads(run.stdout)
    return outcome


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's account of a process's memory")
def test_too_large_a_batch_is_halved_until_it_fits() -> None:
    outcome = limited(80)
    assert outcome["equal"], outcome["error"]
    assert 1 <= outcome["largest"] < 40
    assert outcome["different"] > 1
