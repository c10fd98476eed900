"""Checks and times the engine on a GPU: `make gpu`, or `python tests/engine/check_gpu.py --device mps`.

Not a test of the suite: it wants a GPU for minutes. `--device cpu --table moondream2-tiny` tries the script itself.
"""

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import FAMILIES, GOLDEN, expected, generation
from golden import image as golden_image
from golden_lfm2vl import CASES as LFM2VL_CASES
from golden_lfm2vl import GOLDEN as LFM2VL
from golden_lfm2vl import image as lfm2vl_image
from golden_qwen import CASES as QWEN_CASES
from golden_qwen import FOLDER as QWEN
from golden_qwen import image as qwen_image

import engine
from engine.contract import (
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    Generation,
    LoadOptions,
    Message,
    ObjectList,
)
from engine.generation.steps import ReadToken
from engine.moondream.model import Moondream
from mdtool.jobs.bench.model import random_checkpoint
from mdtool.jobs.bench.recipe import machine
from mdtool.jobs.bench.timing import median_seconds, seconds

TINY = "moondream2-tiny"  # the golden model in the place of the real shapes
BATCHES = (1, 16, 64)
SIZES = {"two crops": (378, 378), "thirteen crops": (2000, 1500)}
LEAST_COSINE = {"int8": 0.99, "int4": 0.9}  # of hidden states of random weights
DECODE_STEPS = 20
GREEDY = Generation(temperature=0, top_p=1, min_p=0, repetition_penalty=1, presence_penalty=0)

Report = dict[str, Any]


def golden_moondream(device: str, compile: bool) -> Report:
    """Compare captions, answers and boxes of the golden Moondream models with the reference's, in one batch."""
    wrong: list[str] = []
    count = 0
    for family in FAMILIES:
        model = engine.load(str(GOLDEN / family), _float32(device, compile=compile))
        flows = {
            name: flow
            for name, flow in expected(family)["flows"].items()
            if flow["calls"][0]["skill"] in ("caption", "detect") and not name.startswith("lora")
        }
        calls = [flow["calls"][0] for flow in flows.values()]
        images = [model.encode([golden_image(call["image"])])[0] for call in calls]
        requests = [
            CaptionRequest(image, call["length"], generation(call))
            if call["skill"] == "caption"
            else DetectRequest(image, call["object"], call["settings"]["max_objects"])
            for image, call in zip(images, calls, strict=True)
        ]
        results = {event.index: event.result for event in model.run(requests) if isinstance(event, Done)}
        for index, (name, flow) in enumerate(flows.items()):
            result = results.get(index)
            wanted = flow["result"]
            if isinstance(result, Answer):
                same = result.text == wanted["caption"]
            elif not isinstance(result, ObjectList):  # it failed
                same = False
            else:
                boxes = [box for box in result.items if isinstance(box, Box)]
                found = [[box.x_min, box.y_min, box.x_max, box.y_max] for box in boxes]
                corners = [[box[key] for key in ("x_min", "y_min", "x_max", "y_max")] for box in wanted["objects"]]
                same = np.shape(found) == np.shape(corners) and np.allclose(found, corners, atol=1e-5)
            count += 1
            wrong += [] if same else [f"{family}: {name}"]
    return {"ok": not wrong, "compared": count, "wrong": wrong}


def golden_chats(device: str) -> Report:
    """Compare the greedy token ids of the golden Qwen3-VL and LFM2-VL with the reference's."""
    wrong: list[str] = []
    families = ((QWEN, QWEN_CASES, qwen_image), (LFM2VL, LFM2VL_CASES, lfm2vl_image))
    for folder, cases, image in families:
        model: Any = engine.load(str(folder), _float32(device))
        for name, case in cases.items():
            encoded = {picture: model.encode([image(picture)])[0] for picture in case["images"]}
            messages = [
                Message(role, tuple(value if kind == "text" else encoded[value] for kind, value in parts))
                for role, parts in case["turns"]
            ]
            ids = case["greedy_ids"]
            answer = model.chat(messages, replace(GREEDY, max_tokens=len(ids)))
            ended = len(answer.tokens) < len(ids)  # at the end-of-sequence token, which is not among them
            if list(answer.tokens) != ids[: len(answer.tokens)] or (ended and answer.finish != "stop"):
                wrong.append(f"{folder.name}: {name}")
    return {"ok": not wrong, "compared": sum(len(cases) for _, cases, _ in families), "wrong": wrong}


def quantised(device: str) -> Report:
    """Compare the hidden state after a prompt, in int8 and int4, with that of the unquantised model."""

    def hidden(quantize: str | None) -> torch.Tensor:
        model = engine.load(str(GOLDEN / "moondream2"), LoadOptions(device, "float32", quantize))
        assert isinstance(model, Moondream)
        [image] = model.encode([golden_image("img_a")])
        with torch.inference_mode():
            return model.decoder.step([(model.decoder.start(image.prefix), None, range(10, 20))]).float().cpu()

    plain = hidden(None)
    cosines = {kind: torch.cosine_similarity(plain, hidden(kind)).item() for kind in LEAST_COSINE}
    return {"ok": all(cosines[kind] >= least for kind, least in LEAST_COSINE.items()), "cosine": cosines}


def gpu_tests() -> Report:
    """Run the tests that are marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/engine"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=Path(__file__).parents[2])
    return {"ok": ran.returncode == 0, "output": ran.stdout[-2000:]}


def table(device: str, shape: str, out_of_time: Callable[[], bool]) -> Report:
    """Time vision, prefill and decode steps of batches, eager and compiled, and the same weights quantised."""
    rows: list[Report] = []
    with _checkpoint(shape) as checkpoint:
        for options in (
            LoadOptions(device),
            LoadOptions(device, compile=True),
            LoadOptions(device, quantize="int8"),
            LoadOptions(device, quantize="int4"),
        ):
            if out_of_time():
                break
            since = time.perf_counter()
            model = engine.load(str(checkpoint), options)
            assert isinstance(model, Moondream)
            if model.compiled:
                model.warm_up()
            load = time.perf_counter() - since
            for batch in BATCHES:
                for name, (width, height) in SIZES.items():
                    if out_of_time():
                        break
                    how = {"quantize": options.quantize, "compile": options.compile, "batch": batch, "image": name}
                    try:
                        times: Report = dict(_times(model, batch, (height, width)))
                    except Exception:  # such as too little memory for a large batch
                        times = {"error": traceback.format_exc()}
                    rows.append(how | {"load_seconds": load} | times)
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            del model
            if device == "cuda":
                torch.cuda.empty_cache()
    ok = bool(rows) and not any("error" in row for row in rows) and not out_of_time()
    return {"ok": ok, "rows": rows}


def _times(model: Moondream, batch: int, size: tuple[int, int]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(batch)]
    embeddings = model.embed_images(images)  # the first run chooses kernels
    vision = seconds(lambda: model.embed_images(images), model.device)
    prefill = median_seconds(lambda: model.prefixes(embeddings), model.device, 3)
    prefixes = model.prefixes(embeddings)
    with torch.inference_mode():
        sequences = [model.decoder.start(prefix) for prefix in prefixes]
        model.decoder.step([(sequence, None, range(10, 20)) for sequence in sequences])

        def decode() -> None:
            hidden = model.decoder.step([(sequence, None, [20]) for sequence in sequences])
            model.decoder.read([ReadToken()] * batch, hidden)

        step = median_seconds(decode, model.device, DECODE_STEPS)
    return {
        "vision_images_per_second": batch / vision,
        "prefill_images_per_second": batch / prefill,
        "decode_step_seconds": step,
        "decode_tokens_per_second": batch / step,
    }


@contextmanager
def _checkpoint(shape: str) -> Iterator[Path]:
    if shape == TINY:
        yield GOLDEN / "moondream2"
    else:
        with random_checkpoint(shape) as folder:
            yield folder


def _float32(device: str, compile: bool = False) -> LoadOptions:
    return LoadOptions(device, "float32", compile=compile, resize="pillow")


def main() -> int:
    """Run every part that fits into the time; a part that raises fails alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--table", default="moondream2", help=f"shapes of the timed model; {TINY} tries the script")
    parser.add_argument("--seconds", type=float, default=460, help="no part begins after this time")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="where the results are written")
    args = parser.parse_args()
    since = time.monotonic()

    def out_of_time() -> bool:
        return bool(time.monotonic() - since > args.seconds)

    # In TF32 the float32 results would be those of 10 bits of mantissa.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    parts: dict[str, Callable[[], Report]] = {
        "goldens, Moondream": lambda: golden_moondream(args.device, compile=False),
        "goldens, Qwen3-VL and LFM2-VL": lambda: golden_chats(args.device),
        "int8 and int4": lambda: quantised(args.device),
        "compiled, with CUDA graphs": lambda: golden_moondream(args.device, compile=True),
        "tests marked gpu": gpu_tests,
        "table": lambda: table(args.device, args.table, out_of_time),
    }
    if args.device != "cuda":  # what applies elsewhere
        del parts["tests marked gpu"]
    environment = machine() | {"torch": torch.__version__, "device": args.device}
    if args.device == "cuda":
        environment["gpu"] = torch.cuda.get_device_name()
    reports: dict[str, Report] = {}
    for name, part in parts.items():
        began = time.monotonic()
        if out_of_time():
            reports[name] = {"ok": False, "error": "no time was left"}
            continue
        try:
            reports[name] = part()
        except Exception:  # whatever one part raises, the others still tell something
            reports[name] = {"ok": False, "error": traceback.format_exc()}
        reports[name]["seconds"] = round(time.monotonic() - began, 1)
        print(f"{'ok    ' if reports[name]['ok'] else 'FAILED'} {name} ({reports[name]['seconds']} s)", flush=True)
        args.json.write_text(json.dumps({"machine": environment, "parts": reports}, indent=2))
    return 0 if all(report["ok"] for report in reports.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
