"""Thousands of pictures: a record of each, what is made beside it, and how a run ends and goes on."""

import contextlib
import hashlib
import http.server
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import COMMAND, Outcome, run, running_program, spawn, wait_until
from make_media import SAMPLES, make_video
from PIL import Image
from stream_servers import WebServer

from engine.contract import Abilities, Answer, CaptionRequest, Done, Request
from mdtool.console import Console
from mdtool.errors import MdtoolError
from mdtool.jobs.batch import work_queue
from mdtool.jobs.batch.coordinator import BatchPlan, Coordinator
from mdtool.jobs.batch.executor import ThreadExecutor
from mdtool.jobs.batch.messages import BatchTask, VideoTask
from mdtool.jobs.batch.output_format import open_sink
from mdtool.jobs.batch.progress import Progress
from mdtool.media.sources.discover import Selection
from mdtool.tracking.sampling import Sampling

SECONDS = 50
FACE = SAMPLES / "portrait.jpg"
POCKET = ("--model", "pocket")

records_file = pytest.mark.posix("a lock on the file of records")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five small pictures, the last in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    portrait = Image.open(FACE).convert("RGB")
    portrait.thumbnail((160, 160))
    for number, name in enumerate(["a.jpg", "b.png", "c.bmp", "d.webp", "deep/e.jpg"]):
        portrait.crop((number, 0, portrait.width, portrait.height)).save(folder / name)
    return folder


def records(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert data.endswith(b"\n") or not data
    return [json.loads(line) for line in data.splitlines()]


def names(path: Path) -> list[str]:
    return [Path(one["input"]).name for one in records(path)]


def ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


@records_file
def test_each_picture_has_one_record(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert ok(run("detect", photos, "face", "--jsonl", out)).out == b""
    assert sorted(names(out)) == ["a.jpg", "b.png", "c.bmp", "d.webp", "e.jpg"]
    one = next(one for one in records(out) if one["input"].endswith("a.jpg"))
    assert one["schema"] == "mdtool.batch/1"
    assert one["input"] == str(photos / "a.jpg")
    assert (one["bytes"], one["modified"]) == ((photos / "a.jpg").stat().st_size, (photos / "a.jpg").stat().st_mtime_ns)
    assert (one["model"], len(one["sha256"]), one["milliseconds"] > 0) == ("centerface", 64, True)
    (answer,) = one["answers"]
    assert (answer["prompt"], answer["complete"], len(answer["objects"])) == ("face", True, 1)


@records_file
def test_what_is_done_is_not_done_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    ok(run("detect", photos, "face", "--jsonl", out))
    before = out.read_bytes()
    assert "0 processed, 5 already done" in ok(run("detect", photos, "face", "--jsonl", out)).err
    assert out.read_bytes() == before
    os.utime(photos / "a.jpg")
    assert "0 processed, 5 already done" in ok(run("detect", photos, "face", "--jsonl", out)).err
    shutil.copy(photos / "deep" / "e.jpg", photos / "a.jpg")
    (photos / "f.jpg").write_bytes((photos / "a.jpg").read_bytes())
    assert "2 processed, 4 already done" in ok(run("detect", photos, "face", "--jsonl", out)).err
    assert sorted(names(out)) == ["a.jpg", "b.png", "c.bmp", "d.webp", "e.jpg", "f.jpg"]
    settings = {one["settings"] for one in records(out)}
    assert "6 processed" in ok(run("detect", photos, "face", "--threshold", "0.7", "--jsonl", out)).err
    assert len(records(out)) == 12
    assert len({one["settings"] for one in records(out)} - settings) == 1
    assert "6 processed" in ok(run("detect", photos, "face", "--jsonl", out, "--overwrite")).err
    assert len(records(out)) == 6


@records_file
def test_records_of_another_version_stay_and_are_told(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    ok(run("detect", photos, "face", "--jsonl", out))
    new = records(out)[0]["settings"]
    out.write_text(out.read_text().replace(new, "9f86d081884c7d65"))
    again = ok(run("detect", photos, "face", "--jsonl", out))
    assert "5 processed" in again.err
    assert f"{out}: 5 records are from another version of mdtool" in again.err
    assert sorted(one["settings"] for one in records(out)) == [new] * 5 + ["9f86d081884c7d65"] * 5
    other = ok(run("detect", photos, "face", "--jsonl", tmp_path / "new.jsonl", "--threshold", "0.7"))
    assert "another version" not in other.err
    ok(run("detect", photos, "face", "--jsonl", out, "--overwrite"))
    assert "another version" not in ok(run("detect", photos, "face", "--jsonl", out, "--threshold", "0.7")).err


@records_file
def test_a_failed_input_has_a_record_and_is_tried_again(photos: Path, tmp_path: Path) -> None:
    out, bad = tmp_path / "out.jsonl", photos / "b.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:200])
    outcome = run("detect", photos, "face", "--jsonl", out)
    assert outcome.code == 1
    assert f"mdtool: {bad}: damaged" in outcome.err
    assert "4 processed, 1 failed" in outcome.err
    (failed,) = (one for one in records(out) if "error" in one)
    assert (failed["input"], failed["error"]["code"]) == (str(bad), "input")
    bad.write_bytes(good)
    assert "1 processed, 4 already done" in ok(run("detect", photos, "face", "--jsonl", out)).err
    assert sorted(names(out)) == ["a.jpg", "b.png", "c.bmp", "d.webp", "e.jpg"]
    assert not any("error" in one for one in records(out))


def test_in_the_order_of_the_inputs(photos: Path, tmp_path: Path) -> None:
    (photos / "b.png").write_bytes(b"no picture")
    shutil.copy(photos / "c.bmp", photos / "cc.bmp")
    outcome = run("detect", photos, "face", "--jsonl", "-", "--ordered", "--dedupe")
    assert [Path(one["input"]).name for one in outcome.json] == ["a.jpg", "b.png", "c.bmp", "cc.bmp", "d.webp", "e.jpg"]


def test_the_pictures_of_a_list_an_archive_and_a_pattern(photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(photos / "a.jpg", "in/a.jpg")
    listed = f"{photos / 'b.png'}\0{tmp_path / 'more.zip'}\0{photos / 'deep'}\0".encode()
    outcome = ok(run("detect", "-p", "face", "--files-from", "-", "-0", "--exclude", "e.*", "--ordered", stdin=listed))
    assert [one["input"] for one in outcome.json] == [str(photos / "b.png"), f"{tmp_path / 'more.zip'}/in/a.jpg"]
    assert (
        outcome.json[1]["answers"][0]["objects"]
        == ok(run("detect", photos / "a.jpg", "face", "--jsonl", "-")).json[0]["answers"][0]["objects"]
    )


@records_file
def test_many_questions_make_one_record(tmp_path: Path) -> None:
    asked = ("--question", "How many circles are there?", "--question", "Is there a star?")
    ok(run("query", SAMPLES / "scenes" / "one.png", *asked, *POCKET, "--jsonl", f"{tmp_path}/", "--quiet"))
    (one,) = records(tmp_path / "query.jsonl")
    assert [answer["question"] for answer in one["answers"]] == list(asked[1::2])
    assert one["answers"][1]["answer"].lower().startswith("yes")


@records_file
def test_the_moments_of_a_video(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", 30, size=(96, 64))
    out = tmp_path / "out.jsonl"
    asking = ("caption", clip, "--length", "short", *POCKET, "--sample", "10", "--jsonl", out, "--ordered")
    ok(run(*asking))
    *frames, whole = records(out)
    assert [one["time"] for one in frames] == pytest.approx([0, 1 / 3, 2 / 3], abs=1e-3)
    assert all(one["answers"][0]["caption"] for one in frames)
    assert (whole["frames"], whole["answers"]) == (3, [])
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(lines[0] + lines[1] + lines[2][:30])
    ok(run(*asking))
    again = records(out)
    assert [one.get("time") for one in again] == [one.get("time") for one in [*frames, whole]]
    assert "0 processed, 1 already done" in ok(run(*asking)).err


@records_file
def test_a_video_that_breaks_off(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mkv", 240, size=(96, 64))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    out = tmp_path / "out.jsonl"
    for told in ("0 processed, 1 failed", "0 processed, 1 failed"):
        outcome = run("point", clip, "circle", *POCKET, "--sample", "60", "--jsonl", out)
        assert outcome.code == 1
        assert f"{clip}: damaged" in outcome.err
        assert "the output holds what could be read" in outcome.err
        assert told in outcome.err
    *frames, whole = records(out)
    assert "damaged" in whole["incomplete"]
    assert len(frames) == whole["frames"]


@records_file
def test_equal_pictures_are_asked_about_once(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for name in ("x.jpg", "y.jpg"):
        shutil.copy(photos / "a.jpg", photos / name)
    ok(run("detect", photos, "face", "--jsonl", out, "--dedupe"))
    spent = {Path(one["input"]).name: one["milliseconds"] for one in records(out)}
    assert len(spent) == 7
    assert spent["a.jpg"] == spent["x.jpg"] == spent["y.jpg"] != spent["b.png"]
    shutil.copy(photos / "a.jpg", photos / "z.jpg")
    ok(run("detect", photos, "face", "--jsonl", out, "--dedupe"))
    assert records(out)[-1]["milliseconds"] == spent["a.jpg"]


@records_file
def test_other_forms(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for form, made in (("csv", "out.csv"), ("coco", "out.coco.json"), ("yolo", "out.yolo")):
        ok(run("detect", photos, "face", "--jsonl", out, "--format", form))
        assert (tmp_path / made).exists()
        ok(run("detect", photos, "face", "--jsonl", out, "--format", form))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6
    assert len(json.loads((tmp_path / "out.coco.json").read_text())["annotations"]) == 5
    assert (tmp_path / "out.yolo" / "labels" / "deep" / "e.txt").read_text().startswith("0 ")
    (tmp_path / "new.csv").write_text("mine")
    outcome = run("detect", photos, "face", "--jsonl", tmp_path / "new.jsonl", "--format", "csv")
    assert outcome.code == 74
    assert (tmp_path / "new.csv").read_text() == "mine"
    assert run("detect", photos, "face", "--format", "csv").code == 2
    assert run("detect", photos, "face", "--jsonl", tmp_path / "same.csv", "--format", "csv").code == 2
    ok(run("detect", photos, "face", "--threshold", "0.7", "--jsonl", out, "--format", "csv"))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6
    clip = make_video(tmp_path / "clip.mp4", 5, size=(96, 64))
    ok(run("detect", clip, "face", "--from", "0.1", "--jsonl", tmp_path / "v.jsonl", "--format", "csv"))
    outcome = run("detect", clip, "face", "--from", "3", "--jsonl", tmp_path / "late.jsonl", "--format", "csv")
    assert outcome.code == 1
    assert "no frame is in the time span" in outcome.err


@records_file
def test_texts_beside_the_pictures(tmp_path: Path) -> None:
    picture, text = tmp_path / "one.png", tmp_path / "one.txt"
    shutil.copy(SAMPLES / "scenes" / "one.png", picture)
    asking = ("caption", picture, "--length", "short", *POCKET, "--jsonl", tmp_path / "out", "--sidecar", "txt")
    ok(run(*asking))
    said = text.read_text().strip()
    assert said == records(tmp_path / "out")[0]["answers"][0]["caption"].strip()
    text.write_text("mine\n")
    ok(run(*asking, "--overwrite"))
    assert text.read_text() == "mine\n"
    ok(run(*asking, "--overwrite", "--sidecar-mode", "append"))
    assert text.read_text() == f"mine\n{said}\n"
    ok(run(*asking, "--overwrite", "--sidecar-mode", "overwrite"))
    assert text.read_text() == f"{said}\n"


@records_file
def test_what_is_made_later_asks_nothing(tmp_path: Path) -> None:
    picture, out = tmp_path / "one.png", tmp_path / "out"
    shutil.copy(SAMPLES / "scenes" / "one.png", picture)
    asking = ("detect", picture, "star", "--model", "pocket", "--jsonl", out)
    ok(run(*asking))
    (first,) = records(out)
    ok(run(*asking, "--draw", tmp_path / "drawn"))
    (second,) = records(out)
    assert second == first | {"made": ["draw"]}
    assert Image.open(tmp_path / "drawn" / "one.png").tobytes() != Image.open(picture).convert("RGB").tobytes()
    assert "0 processed, 1 already done" in ok(run(*asking, "--draw", tmp_path / "drawn")).err


@records_file
def test_two_pictures_with_one_text(tmp_path: Path) -> None:
    for name in ("one.png", "one.webp"):
        Image.open(SAMPLES / "scenes" / "one.png").save(tmp_path / name)
    asking = ("caption", tmp_path, "--length", "short", *POCKET, "--jsonl", tmp_path / "out", "--sidecar", "txt")
    outcome = run(*asking)
    assert outcome.code == 1
    assert "would go to" in outcome.err
    for _ in range(2):
        (failed,) = (one for one in records(tmp_path / "out") if "error" in one)
        assert failed["input"] == str(tmp_path / "one.webp")
        assert run(*asking).code == 1


@records_file
def test_a_caption_in_the_picture_itself(tmp_path: Path) -> None:
    picture, out = tmp_path / "one.png", tmp_path / "out"
    shutil.copy(SAMPLES / "scenes" / "one.png", picture)
    asking = ("caption", picture, "--length", "short", *POCKET, "--jsonl", out, "--embed")
    ok(run(*asking))
    (one,) = records(out)
    assert one["answers"][0]["caption"].strip().encode() in picture.read_bytes()
    assert one["bytes"] == picture.stat().st_size
    assert "1 already done" in ok(run(*asking)).err


@records_file
def test_copies_with_boxes_and_crops(photos: Path, tmp_path: Path) -> None:
    asking = ("detect", photos, "face", "--jsonl", tmp_path / "out.jsonl")
    made = ("--draw", tmp_path / "drawn", "--save-crops", tmp_path / "crops")
    ok(run(*asking, *made))
    drawn = Image.open(tmp_path / "drawn" / "deep" / "e.jpg")
    assert drawn.size == Image.open(photos / "deep" / "e.jpg").size
    assert (tmp_path / "drawn" / "c.bmp.jpg").exists()
    assert sorted(path.name for path in (tmp_path / "crops" / "face").rglob("*.jpg"))[0] == "a.jpg-0.jpg"
    ok(run(*asking, *made))
    outcome = run("detect", photos, "face", "--jsonl", "-", "--draw", photos)
    assert outcome.code == 74
    assert "not empty" in outcome.err


@records_file
def test_the_time_runs_out(photos: Path, tmp_path: Path) -> None:
    asking = ("detect", photos, "face", "--jsonl", tmp_path / "out.jsonl")
    outcome = run(*asking, "--time-budget", "0.000001")
    assert outcome.code == 75
    assert "run the same command again to continue" in outcome.err
    ok(run(*asking, "--time-budget", "1h"))
    assert len(records(tmp_path / "out.jsonl")) == 5
    ok(run(*asking, "--time-budget", "0.000001"))


@records_file
def test_the_time_runs_out_within_a_video(photos: Path, tmp_path: Path) -> None:
    clip, out = make_video(tmp_path / "clip.mp4", 300, size=(96, 64)), tmp_path / "out.jsonl"
    asking = ("detect", clip, photos, "face", "--sample", "every", "--ordered", "--jsonl", out)
    outcome = run(*asking, "--time-budget", "0.3")
    assert outcome.code == 75, outcome.err
    assert "run the same command again to continue" in outcome.err
    assert not out.exists() or str(clip) not in out.read_text()
    ok(run(*asking))
    assert [one["frame"] for one in records(out) if "frame" in one] == list(range(300))
    assert [one["frames"] for one in records(out) if "frames" in one] == [300]
    assert len(records(out)) == 306


def test_too_many_failures_end_it(photos: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "c.bmp"):
        (photos / name).write_bytes(b"no picture")
    outcome = run("detect", photos, "face", "--jsonl", "-", "--max-errors", "1", "--ordered")
    assert outcome.code == 1
    assert "mdtool: stopped: more than 1 input failed" in outcome.err
    assert len(outcome.json) == 2
    assert run("detect", photos, "face", "--jsonl", "-", "--max-errors", "3").code == 1


@pytest.fixture
def slow() -> Iterator[str]:
    """The address of a server that never answers."""
    release = threading.Event()

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.wait(SECONDS)

        def log_message(self, *_: object) -> None:
            pass

    server = WebServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/photo.jpg"
    release.set()
    server.shutdown()
    server.server_close()


def test_an_input_that_takes_too_long_is_given_up(slow: str, photos: Path) -> None:
    begin = time.monotonic()
    outcome = spawn("detect", slow, photos, "face", "--jsonl", "-", "--timeout", "1", seconds=SECONDS)
    assert time.monotonic() - begin < SECONDS / 2
    assert outcome.code == 1
    assert {one.get("error", {}).get("code") for one in outcome.json} == {None, "slow"}
    assert len(outcome.json) == 6


@dataclass
class Served:
    """A clip on a server. told: what that says besides its size; asked: which requests it had. stalls: it gives a part,
    and then no more."""

    clip: Path
    address: str = ""
    told: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    stalls: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(make_video(tmp_path / "clip.mkv", 120, size=(96, 64)))

    class Telling(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            one.asked.append(self.path)
            data = one.clip.read_bytes()
            self.send_response(200)
            for name, value in {"Content-Length": str(len(data)), **one.told}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data[: len(data) * 2 // 3] if one.stalls else data)
                one.ended.wait(SECONDS if one.stalls else 0)

        def log_message(self, *_: object) -> None:
            pass

    server = WebServer(("127.0.0.1", 0), Telling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    one.address = f"http://127.0.0.1:{server.server_port}/clip.mkv"
    yield one
    one.ended.set()
    server.shutdown()
    server.server_close()


@records_file
@pytest.mark.parametrize("command", ["detect", "point"])
def test_a_video_on_a_server_is_known_again(served: Served, tmp_path: Path, command: str) -> None:
    asking = (command, served.address, "face", "--sample", "60", "--jsonl", tmp_path / "out.jsonl")
    for _ in range(2):  # without a word of its version it is asked about each time
        assert "1 processed" in ok(run(*asking)).err
    served.told["ETag"] = '"one"'
    served.asked.clear()
    assert "1 processed" in ok(run(*asking)).err
    assert len(served.asked) <= 3
    served.asked.clear()
    assert "0 processed, 1 already done" in ok(run(*asking)).err
    assert len(served.asked) == 1
    lines = len(records(tmp_path / "out.jsonl"))
    served.told["ETag"] = '"two"'
    assert "1 processed" in ok(run(*asking)).err
    assert len(records(tmp_path / "out.jsonl")) == lines
    (known,) = (one["served"] for one in records(tmp_path / "out.jsonl") if "frames" in one)
    assert known == f'"two" {served.clip.stat().st_size}'


@records_file
@pytest.mark.parametrize("command", ["detect", "point"])
def test_a_video_that_takes_too_long_is_given_up(served: Served, photos: Path, tmp_path: Path, command: str) -> None:
    served.stalls, served.told["ETag"] = True, '"one"'
    asking = (command, served.address, photos / "a.jpg", "-p", "face", "--sample", "60", "--jsonl", tmp_path / "out")
    outcome = run(*asking, "--timeout", "6")
    assert outcome.code == 1
    assert f"{served.address}: was not read within 6 s" in outcome.err
    codes = {one["input"]: one.get("error", {}).get("code") for one in records(tmp_path / "out") if "input" in one}
    assert codes == {served.address: "slow", str(photos / "a.jpg"): None}
    served.stalls = False
    assert "1 processed, 1 already done" in ok(run(*asking, "--timeout", "30s")).err
    told = [one.get("frame", one.get("time")) for one in records(tmp_path / "out")]
    assert told.count(None) == 2
    assert len(told) == len({*told}) + 1 == (122 if command == "detect" else 4)


@records_file
def test_pictures_that_appear(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with running_program("detect", photos, "face", "--jsonl", out, "--watch") as process:
        wait_until(lambda: out.exists() and len(out.read_bytes().splitlines()) == 5, SECONDS)
        for model in ("auto", "none-of-this-name"):  # which is not even looked for
            refused = run("detect", photos, "face", "--jsonl", out, "--model", model)
            assert refused.code == 74
            assert "another run is writing it" in refused.err
        shutil.copy(photos / "a.jpg", photos / "new.jpg")
        wait_until(lambda: len(out.read_bytes().splitlines()) == 6, SECONDS)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    assert sorted(names(out))[-1] == "new.jpg"


@pytest.mark.slow
@records_file
def test_a_video_that_is_still_written(tmp_path: Path) -> None:
    """It changes after it was answered, and then while it is asked about."""
    clip, out = tmp_path / "in" / "clip.mkv", tmp_path / "out.jsonl"
    clip.parent.mkdir()
    first, second, third = (
        make_video(tmp_path / f"{frames}.mkv", frames, size=(96, 64)).read_bytes() for frames in (2, 12, 5)
    )
    second = second[: len(second) * 9 // 10]

    def told(content: bytes, field: str) -> bool:
        digest = hashlib.sha256(content).hexdigest()
        lines = map(json.loads, out.read_bytes().split(b"\n")[:-1] if out.exists() else ())
        return any(one["sha256"] == digest and field in one for one in lines)

    asking = ("point", clip.parent, "circle", "--model", "pocket", "--sample", "every", "--jsonl", out)
    with running_program(*asking, "--watch") as process:
        for content, field in ((first, "frames"), (second, "time"), (third, "frames")):
            clip.write_bytes(content)
            wait_until(partial(told, content, field), SECONDS)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    assert "0 processed, 1 already done" in ok(run(*asking)).err
    *frames, whole = records(out)
    assert len({one["time"] for one in frames}) == len(frames) == whole["frames"] == 5


class LastFirst:
    """A model that answers what it is asked last first. change: called when it is asked for the second time."""

    name, revision, image_batch_size = "last-first", "", 1
    abilities = Abilities({"caption": None})

    def __init__(self, change: Callable[[], None]) -> None:
        self.change = change
        self.asked = 0
        self.tickets: list[int] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[None]:
        return [None] * len(images)

    def scheduler(self) -> "LastFirst":
        return self

    free_slots = 100

    @property
    def idle(self) -> bool:
        return not self.tickets

    def add(self, request: Request) -> int:
        self.asked += 1
        if self.asked == 2:
            self.change()
        self.tickets.append(self.asked)
        return self.asked

    def step(self) -> list[Done]:
        return [Done(self.tickets.pop(), Answer(""))] if self.tickets else []


@dataclass
class TwoInputs(Progress):
    """Ends the batch when two are done."""

    def tick(self) -> None:
        if self.processed == 2:
            raise MdtoolError("two are done")


@records_file
def test_a_video_that_changes_while_it_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "WATCH_POLL_SECONDS", 0.05)
    clip, out, console = make_video(tmp_path / "clip.mp4", 9, size=(96, 64)), tmp_path / "out", Console(quiet=True)

    def change() -> None:
        make_video(clip, 3, size=(96, 64))
        time.sleep(1)  # in which it is met again

    model: Any = LastFirst(change)
    with open_sink(out, overwrite=False) as sink:
        sink.begin("mine")
        common_fields = {"model": model.name, "revision": "", "settings": "mine"}
        task = BatchTask([CaptionRequest(None)], videos=VideoTask(Sampling(stride=1)))
        plan = BatchPlan(Selection([str(clip)]), common_fields, watch=True)
        with pytest.raises(MdtoolError, match="two are done"):
            Coordinator(plan, task, ThreadExecutor(model), sink, progress=TwoInputs(console)).run()
    *frames, whole = records(out)
    assert whole["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert sorted(one["time"] for one in frames) == [0.0, 0.033, 0.067]


@pytest.mark.posix("process substitution")
def test_names_from_a_pipe_that_is_no_stdin(photos: Path, tmp_path: Path) -> None:
    command = f"{shlex.join(COMMAND)} detect -p face --jsonl - --files-from <(find {photos} -type f)"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=SECONDS)
    assert len(done.stdout.splitlines()) == 5, done.stderr


@pytest.mark.posix("select on a pipe")
@pytest.mark.parametrize(("options", "code"), [(("--max-errors", "0"), 1), (("--time-budget", "2"), 75)])
def test_a_list_whose_end_does_not_come(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    begin = time.monotonic()
    asking = ("detect", "-p", "face", "--jsonl", "-", "--files-from", "-", *options)
    with running_program(*asking, stdin=subprocess.PIPE) as process:
        process.stdin.write(f"{tmp_path / 'missing.jpg'}\n".encode())
        process.stdin.flush()
        assert process.wait(SECONDS) == code
    assert time.monotonic() - begin < SECONDS / 2


def test_a_video_that_is_listed_twice(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", 30, size=(96, 64))
    asking = ("point", "-p", "circle", *POCKET, "--sample", "10", "--files-from", "-", "--ordered")
    outcome = ok(run(*asking, stdin=f"{clip}\n{clip}\n".encode()))
    assert [one.get("time") for one in outcome.json] == [0.0, 0.333, 0.667, None]


@records_file
def test_without_a_model_the_records_stay(photos: Path, tmp_path: Path) -> None:
    out, new = tmp_path / "out.jsonl", tmp_path / "new.jsonl"
    ok(run("detect", photos, "face", "--jsonl", out))
    before = out.read_bytes()
    for place in (out, new):
        asking = ("detect", photos, "face", "--jsonl", place, "--overwrite", "--model", "none-of-this-name")
        assert run(*asking).code == 4
    assert out.read_bytes() == before
    assert not new.exists()


@records_file
def test_progress_for_machines(photos: Path, tmp_path: Path) -> None:
    outcome = ok(run("detect", photos, "face", "--jsonl", tmp_path / "out", "--progress", "json"))
    told = [json.loads(line) for line in outcome.lines if line.startswith("{")]
    assert (told[-1]["asked"], told[-1]["failed"], told[-1]["before"]) == (5, 0, 0)


@pytest.mark.posix("shell scripts")
def test_nobody_reads_on(photos: Path, tmp_path: Path) -> None:
    command = f"{shlex.join(COMMAND)} detect {photos} face --jsonl - | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=SECONDS, text=True)
    first, code = done.stdout.splitlines()
    assert json.loads(first)["schema"] == "mdtool.batch/1"
    assert code == "141"
    assert "Error" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [["-0"], ["--files-from", "gone"], ["--time-budget", "soon"], ["--watch", "--files-from", "-"], ["--json"]],
    ids=" ".join,
)
def test_wrong_usage(photos: Path, tmp_path: Path, options: list[str]) -> None:
    outcome = run("detect", photos, "face", "--jsonl", tmp_path / "out", *options)
    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert not (tmp_path / "out").exists()


def test_no_picture_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("detect", tmp_path / "empty", "face", "--jsonl", "-").code == 3
    outcome = run("caption")
    assert outcome.code == 2
    assert len(outcome.lines) == 1


@records_file
def test_what_was_seen_is_kept_for_other_questions(tmp_path: Path) -> None:
    scenes, kept = SAMPLES / "scenes", tmp_path / "kept"
    plain, first, second = (tmp_path / name for name in ("plain", "first", "second"))
    for out, options in ((plain, ()), (first, ("--cache", kept)), (second, ("--cache", kept))):
        ok(run("caption", scenes, "--length", "short", *POCKET, "--jsonl", out, *options))
    entries = {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")}
    assert len(entries) == len(list(scenes.glob("*.png")))
    texts = [
        sorted((one["input"], one["answers"][0]["caption"]) for one in records(out)) for out in (plain, first, second)
    ]
    assert texts[0] == texts[1] == texts[2]
    ok(run("query", scenes, "How many stars are there?", *POCKET, "--jsonl", "-", "--cache", kept))
    assert set(kept.rglob("*.safetensors")) == entries.keys()
    assert run("caption", scenes, "--jsonl", "-", "--cache", kept, "--cache-size", "huge").code == 2


def test_an_archive_that_cant_be_read_fails_alone(tmp_path: Path) -> None:
    """Whatever error its library raises, and on the run that resumes too."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "b.png").write_bytes((SAMPLES / "group.png").read_bytes())
    with zipfile.ZipFile(photos / "a.zip", "w") as archive:
        archive.writestr("x", b"")
        archive.filelist[0].filename = ""
    (photos / "c.tar.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    for _ in range(2):
        outcome = run("detect", photos, "face", "--jsonl", tmp_path / "f")
        assert outcome.code == 1
        failed = [line for line in outcome.lines if "damaged: " in line]
        assert [line.split(": ")[1] for line in failed] == [str(photos / "a.zip"), str(photos / "c.tar.gz")]
    records = [json.loads(line) for line in (tmp_path / "f").read_text().splitlines()]
    assert {Path(record["input"]).name: "error" in record for record in records} == {
        "a.zip": True, "b.png": False, "c.tar.gz": True,
    }  # fmt: skip
    assert run("detect", photos, "face").out.count(b"face") == 4
