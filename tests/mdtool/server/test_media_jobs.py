"""Redactions and moderations in the server: on models of the engine loop, in private folders, until they expire."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.ImageOps import exif_transpose

from mdtool.errors import InputError, UsageError
from mdtool.jobs.moderate.find_policy import load_policy
from mdtool.pipeline.track_selection import Track
from mdtool.records.run_report import Report
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.loop_model import LoopModel
from mdtool.server.media_jobs import MAX_WAITING, MediaJob, MediaJobs, Outcome
from mdtool.server.media_work import (
    Detection,
    FrameShow,
    ShownEffect,
    first_that_serves,
    judge_file,
    redact_again,
    redact_file,
    redaction,
    tracks_in,
)
from mdtool.server.refusals import QueueFull
from mdtool.server.served_models import ServedModel, ServedModels

SAMPLES = Path(__file__).parents[3] / "sample_media"
SHAPES, PORTRAIT = SAMPLES / "shapes.mp4", SAMPLES / "portrait.jpg"


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, LoopModel]]:
    names = ("centerface", "pocket")
    engine = EngineLoop(ServedModels({name: ServedModel(name) for name in names}))
    engine.start()
    events = asyncio.new_event_loop()
    thread = threading.Thread(target=events.run_forever)
    thread.start()
    yield {name: LoopModel(name, engine, events) for name in names}
    engine.close()
    events.call_soon_threadsafe(events.stop)
    thread.join()
    events.close()


def pixels(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def jobs() -> Iterator[MediaJobs]:
    made = MediaJobs(1, 60)
    yield made
    made.close()


def wait(job: MediaJob) -> None:
    end = time.monotonic() + 60
    while job.ended is None and time.monotonic() < end:
        time.sleep(0.02)
    assert job.ended is not None


def wait_until_gone(folder: Path) -> None:
    end = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def job_of(jobs: MediaJobs, work: object) -> MediaJob:
    folder = jobs.new_folder()
    return MediaJob("redact", "clip.mp4", folder, folder / "clip.mp4", None, work)  # type: ignore[arg-type]


def test_a_picture_is_redacted_and_again_in_another_style_without_a_model(
    models: dict[str, LoopModel], tmp_path: Path
) -> None:
    model, findings = models["centerface"], tmp_path / "findings.jsonl"
    blurred, solid = tmp_path / "blurred.jpg", tmp_path / "solid.jpg"
    report = redact_file(PORTRAIT, blurred, findings, detection=Detection(model, ("face",)), effect=redaction("blur"))
    redact_again(PORTRAIT, solid, findings, effect=redaction("solid"))
    original, blurry, black = (
        np.array(exif_transpose(Image.open(path)).convert("RGB")).astype(int) for path in (PORTRAIT, blurred, solid)
    )
    assert len(report.tracks) == 1
    assert np.abs(original - blurry).max() > 60
    changed = np.abs(original - black).max(axis=2) > 60
    assert (black[changed] < 30).all(axis=1).mean() > 0.9


def beginning(source: Path, target: Path, frames: int) -> Path:
    """Copy the first frames of a video, encoded again without loss."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = (
            read.streams.video[0].width,
            read.streams.video[0].height,
            "yuv420p",
        )
        for frame, _ in zip(read.decode(video=0), range(frames), strict=False):
            frame.pts = None
            written.mux(stream.encode(frame))
        written.mux(stream.encode(None))
    return target


def test_a_video_is_redacted_with_frames_to_show_and_a_track_can_be_left_out(
    models: dict[str, LoopModel], tmp_path: Path
) -> None:
    model, findings = models["pocket"], tmp_path / "findings.jsonl"
    shapes = beginning(SHAPES, tmp_path / "shapes.mp4", 24)
    shown: list[bytes] = []
    steps: list[int] = []
    redact_file(
        shapes, tmp_path / "all.mp4", findings,
        detection=Detection(model, ("red circle",)),
        effect=ShownEffect(redaction("solid"), FrameShow(shown.append)),
        progress=lambda report, total: steps.append(report.frames),
    )  # fmt: skip
    frames = pixels(shapes)
    assert steps == sorted(steps)
    assert steps[-1] == len(frames) == 24
    assert shown
    assert shown[0][:2] == b"\xff\xd8"
    tracks = tracks_in(findings)
    assert tracks
    assert {track["label"] for track in tracks} == {"red circle"}
    everything = [Track(track["track"], track["stream"]) for track in tracks]
    redact_again(shapes, tmp_path / "none.mp4", findings, without=everything, effect=redaction("solid"))

    def change(path: Path) -> float:
        pairs = zip(pixels(path), frames, strict=True)
        return max(float((np.abs(a.astype(int) - b).max(axis=2) > 100).mean()) for a, b in pairs)

    assert change(tmp_path / "all.mp4") > 0.005
    assert change(tmp_path / "none.mp4") < 0.001


def test_a_picture_is_judged_by_a_policy(models: dict[str, LoopModel], tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rule]]\nname = "faces"\nprompt = ["face"]\naction = "flag"\n')
    verdict = judge_file(PORTRAIT, model=models["centerface"], policy=load_policy(str(policy)))
    assert verdict["hit"]
    assert [rule["rule"] for rule in verdict["rules"] if rule["hit"]] == ["faces"]
    assert verdict["model"] == "centerface"


def test_the_first_model_that_finds_all_is_chosen(models: dict[str, LoopModel]) -> None:
    assert first_that_serves(models.values(), ["face"]).name == "centerface"
    assert first_that_serves(models.values(), ["red circle"]).name == "pocket"
    with pytest.raises(UsageError, match="finds number plate"):
        first_that_serves([models["centerface"]], ["number plate"])


def test_jobs_run_one_after_another_in_private_folders(jobs: MediaJobs) -> None:
    go = threading.Event()

    def work(job: MediaJob) -> Outcome:
        go.wait(30)
        return Outcome(warning="short")

    first, second = job_of(jobs, work), job_of(jobs, work)
    jobs.add(first)
    jobs.add(second)
    assert first.folder.stat().st_mode & 0o777 == 0o700
    while first.status == "queued":
        time.sleep(0.01)
    assert (jobs.position(first), jobs.position(second)) == (0, 1)
    assert jobs.as_dict(second)["status"] == "queued"
    go.set()
    wait(second)
    assert jobs.as_dict(second) | {"status": "done", "warning": "short", "position": 0} == jobs.as_dict(second)


def test_a_job_that_fails_says_why_and_the_next_one_runs(jobs: MediaJobs) -> None:
    def fail(job: MediaJob) -> Outcome:
        raise UsageError("no such thing")

    failed, fine = job_of(jobs, fail), job_of(jobs, lambda job: Outcome())
    for job in (failed, fine):
        jobs.add(job)
        wait(job)
    assert (failed.status, failed.error, fine.status) == ("failed", "no such thing", "done")


def test_a_failure_names_the_file_as_the_person_does(jobs: MediaJobs) -> None:
    def fail(job: MediaJob) -> Outcome:
        raise InputError(f"{job.source}: can't be decoded; {job.folder / 'result.mp4'} was not written")

    job = job_of(jobs, fail)
    jobs.add(job)
    wait(job)
    assert job.error == "clip.mp4: can't be decoded; result.mp4 was not written"


def test_jobs_that_are_cut_off_fail_at_once_and_end_at_their_next_frame(jobs: MediaJobs) -> None:
    frames = threading.Event()
    ended: list[str] = []

    def work(job: MediaJob) -> Outcome:
        frames.wait(30)
        try:
            job.progress(Report("clip.mp4", ""), None)
        finally:
            ended.append(job.id)
        return Outcome()

    running, waiting = job_of(jobs, work), job_of(jobs, work)
    jobs.add(running)
    jobs.add(waiting)
    while running.status == "queued":
        time.sleep(0.01)
    assert jobs.active == 2
    assert jobs.cut_off() == 2
    assert jobs.active == 0
    assert jobs.as_dict(running)["status"] == "failed"
    assert "the server ended" in jobs.as_dict(waiting)["error"]
    frames.set()
    jobs.close()
    assert ended == [running.id]
    assert running.status == waiting.status == "failed"
    assert not running.folder.exists()
    assert not waiting.folder.exists()


def test_a_cancelled_job_ends_at_its_next_frame_and_its_files_are_deleted(jobs: MediaJobs) -> None:
    def work(job: MediaJob) -> Outcome:
        while True:
            job.progress(Report("clip.mp4", ""), None)
            time.sleep(0.01)

    job, waiting = job_of(jobs, work), job_of(jobs, work)
    jobs.add(job)
    jobs.add(waiting)
    jobs.remove(waiting)
    jobs.remove(job)
    wait(job)
    wait(waiting)
    assert job.status == waiting.status == "cancelled"
    assert jobs.find(job.id) is None
    wait_until_gone(job.folder)
    wait_until_gone(waiting.folder)


def test_jobs_expire_with_their_files() -> None:
    jobs = MediaJobs(1, 0)
    job = job_of(jobs, lambda job: Outcome())
    jobs.add(job)
    wait(job)
    wait_until_gone(job.folder)
    assert jobs.find(job.id) is None
    jobs.close()


def test_no_more_jobs_wait_than_may(jobs: MediaJobs) -> None:
    go = threading.Event()

    def work(job: MediaJob) -> Outcome:
        go.wait(30)
        return Outcome()

    first = job_of(jobs, work)
    jobs.add(first)
    while first.status == "queued":
        time.sleep(0.01)
    for _ in range(MAX_WAITING):
        jobs.add(job_of(jobs, work))
    with pytest.raises(QueueFull):
        jobs.add(job_of(jobs, work))
    go.set()
