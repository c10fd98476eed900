"""The end of a server, in this process: what it lets finish, and what is told of the rest."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from http_server import POCKET, SECONDS

from mdtool.errors import ExitCode
from mdtool.records.run_report import Report
from mdtool.server.app import create_app
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.media_jobs import MediaJob, Outcome
from mdtool.server.run_server import Listening, run_server
from mdtool.server.served_models import ServedModels
from mdtool.server.server_settings import ServerSettings
from mdtool.server.service import Service

pytestmark = pytest.mark.posix("signals")


def end_during_a_job(
    drain: float, work: Callable[[MediaJob, Service], Outcome]
) -> tuple[ExitCode, list[str], dict[str, Any]]:
    """Serve, and send SIGTERM once the events of a job are read; return code, notes, and the job's last event."""
    models = ServedModels(POCKET)
    engine = EngineLoop(models)
    app = create_app(engine, models, ServerSettings())
    service: Service = app.state.service
    folder = service.jobs.new_folder()
    job = MediaJob("redact", "clip.mp4", folder, folder / "clip.mp4", None, lambda job: work(job, service))
    service.jobs.add(job)
    notes: list[str] = []
    events: list[str] = []

    def follow() -> None:
        url = f"{notes[0].rpartition(' ')[2]}/v1/jobs/{job.id}/events"
        with httpx.stream("GET", url, timeout=SECONDS) as response:
            for line in response.iter_lines():
                if not events:
                    os.kill(os.getpid(), signal.SIGTERM)
                events.append(line)

    follower = threading.Thread(target=follow)

    def note(line: str) -> None:
        notes.append(line)
        if len(notes) == 1:
            follower.start()

    engine.start()
    code = run_server(app, Listening(port=0, drain=drain), note)
    engine.close()
    follower.join(SECONDS)
    assert not folder.exists()
    [*_, name, data, _] = events
    assert name == "event: end"
    return code, notes[1:], json.loads(data.removeprefix("data: "))


def test_a_job_that_takes_longer_than_the_drain_is_cut_off_told_and_counted() -> None:
    def endless(job: MediaJob, service: Service) -> Outcome:
        while True:
            job.progress(Report("clip.mp4", ""), None)
            time.sleep(0.01)

    code, notes, last = end_during_a_job(0.05, endless)
    assert code == ExitCode.SOME_FAILED
    assert notes == [
        "ending; 1 running requests have 0.05 s; a second signal ends now",
        "1 requests were cut off after 0.05 s; --drain gives them longer",
    ]
    assert last["status"] == "failed"
    assert "the server ended" in last["error"]


def test_a_job_that_ends_in_the_drain_is_not_cut_off() -> None:
    def until_the_drain(job: MediaJob, service: Service) -> Outcome:
        while not service.lifecycle.draining:
            time.sleep(0.01)
        return Outcome(warning="short")

    code, notes, last = end_during_a_job(SECONDS, until_the_drain)
    assert code == ExitCode.OK
    assert len(notes) == 1
    assert (last["status"], last["warning"]) == ("done", "short")
