"""/v1/redact and /v1/moderate: pictures at once, videos as jobs, and the routes of jobs. All of them are ours."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from engine.generation.verbs import VisionModel
from mdtool.errors import InputError, UsageError
from mdtool.jobs.moderate.find_policy import load_policy, presets
from mdtool.memory import Attempt
from mdtool.model_selection import FACE_MODEL
from mdtool.pipeline.findings_file import records
from mdtool.pipeline.track_selection import Track
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.call import in_thread, read_body
from mdtool.server.error_response import known_error
from mdtool.server.images import image_bytes
from mdtool.server.loop_model import LoopModel
from mdtool.server.media_jobs import Kind, MediaJob, MediaJobs, Outcome
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
from mdtool.server.openapi import body_of
from mdtool.server.refusals import QueueFull
from mdtool.server.request_record import record_of
from mdtool.server.schemas import AgainBody, ModerateBody, RedactBody
from mdtool.server.service import service_of
from mdtool.server.streaming import STREAM_HEADERS, sse, sse_comment
from mdtool.server.uploads import Picture, as_picture, as_readable_picture, file_suffix, receive_file, result_suffix
from recipes.policy import Policy, policy_from_prompts
from recipes.redact import Name
from recipes.regions import Region

router = APIRouter(tags=["Redaction and moderation"])

EVENT_SECONDS = 0.25  # between two looks at a job
PING_EVENTS = 40  # looks without news, after which proxies are told that the stream lives
SOURCE, RESULT, FINDINGS = "source", "result", "findings.jsonl"


@router.post("/v1/redact", openapi_extra=body_of(RedactBody))
async def redact(
    request: Request,
    *,
    prompt: Annotated[list[str] | None, Query()] = None,
    style: Name = "blur",
    model: str | None = None,
    threshold: Annotated[float | None, Query(ge=0, le=1)] = None,
    name: str = "",
) -> Response:
    """Redact a picture in JSON at once, in each style; redact a video, which is the body itself, as a job."""
    _check_parameters(request, {"prompt", "style", "model", "threshold", "name"})
    if not _is_json(request):
        prompts = tuple(prompt or ("face",))
        detection = Detection(_model(request, model, prompts), prompts, threshold)
        return await _start(request, "redact", name, partial(_redact_video, detection, style), style=style)
    body = await read_body(request, RedactBody)
    prompts = tuple(body.prompts)
    detection = Detection(_model(request, body.model, prompts), prompts, body.threshold)
    picture = await _picture(request, body.image_url, as_picture)
    return await _answer(request, "redact", detection.model, partial(_redact_picture, detection, body.styles, picture))


@router.post("/v1/moderate", openapi_extra=body_of(ModerateBody))
async def moderate(
    request: Request,
    *,
    policy: str | None = None,
    prompt: Annotated[list[str] | None, Query()] = None,
    model: str | None = None,
    name: str = "",
) -> Response:
    """Judge a picture in JSON at once; judge a video, which is the body itself, as a job."""
    _check_parameters(request, {"policy", "prompt", "model", "name"})
    if not _is_json(request):
        rules = _policy(policy, prompt or [])
        chosen = _model(request, model, rules.prompts, rules.questions)
        return await _start(request, "moderate", name, partial(_judge_video, chosen, rules))
    body = await read_body(request, ModerateBody)
    rules = _policy(body.policy, body.prompts)
    chosen = _model(request, body.model, rules.prompts, rules.questions)
    picture = await _picture(request, body.image_url, as_readable_picture)
    return await _answer(request, "moderate", chosen, partial(_judge_picture, chosen, rules, picture))


@router.get("/v1/jobs/{id}")
async def job(request: Request, id: str) -> Response:
    """Tell how far a job is, and what it has made."""
    jobs, found = _job(request, id)
    return JSONResponse(jobs.as_dict(found))


@router.delete("/v1/jobs/{id}")
async def delete_job(request: Request, id: str) -> Response:
    """Cancel a job, and delete its files."""
    jobs, found = _job(request, id)
    await asyncio.to_thread(jobs.remove, found)
    return Response(status_code=204)


@router.get("/v1/jobs/{id}/events")
async def job_events(request: Request, id: str) -> Response:
    """Stream the progress of a job: events `progress`, `frame` (there is a newer one to show) and at last `end`."""
    jobs, found = _job(request, id)
    return StreamingResponse(_events(jobs, found), media_type="text/event-stream", headers=STREAM_HEADERS)


@router.get("/v1/jobs/{id}/frame")
async def job_frame(request: Request, id: str) -> Response:
    """Return the newest redacted frame, as a small JPEG."""
    _, found = _job(request, id)
    if found.frame is None:
        raise ApiError(404, "no frame is done yet")
    return Response(found.frame, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


@router.get("/v1/jobs/{id}/result")
async def job_result(request: Request, id: str) -> Response:
    """Return the redacted file; ranges of it too."""
    _, found = _job(request, id)
    result = found.outcome.result
    if result is None:
        raise ApiError(404, f"the job has no result: it is {found.status}")
    stem = Path(found.name).stem or "video"
    return FileResponse(result, filename=f"{stem}.redacted{result.suffix}", headers={"Cache-Control": "no-store"})


@router.post("/v1/jobs/{id}/again", openapi_extra=body_of(AgainBody))
async def redact_job_again(request: Request, id: str) -> Response:
    """Redact the video of a job that is done again, without some of its tracks: from its findings, without a model."""
    jobs, found = _job(request, id)
    body = await read_body(request, AgainBody)
    if found.kind != "redact" or found.outcome.result is None:
        raise bad_request("only a redaction that is done can be redacted again")
    without = [Track(track.track, track.stream) for track in body.without_tracks]
    known = [Track(track["track"], track["stream"]) for track in found.outcome.tracks]
    for track in without:
        if track not in known:
            name = f"{track.number} of stream {track.stream}"
            raise bad_request(f"without_tracks: no such track: {name}", "without_tracks")
    folder = jobs.new_folder()
    source = folder / found.source.name
    os.link(found.source, source)
    shutil.copyfile(found.folder / FINDINGS, folder / FINDINGS)
    style = body.style or found.style
    assert style  # every redaction has one
    again = MediaJob("redact", found.name, folder, source, style, partial(_redact_video_again, style, without))
    return _accepted(request, jobs, again)


def _is_json(request: Request) -> bool:
    content_type = request.headers.get("content-type", "application/json")
    if content_type.startswith("multipart/"):
        raise bad_request("send the video itself as the body, not a form: curl --data-binary @in.mp4")
    return "json" in content_type


def _check_parameters(request: Request, known: set[str]) -> None:
    """Refuse what is misspelt or given twice: it would leave something visible."""
    given = request.query_params
    if _is_json(request) and given:
        raise bad_request("the address has parameters, but the body is JSON: put them there")
    for name in given:
        if name not in known:
            raise bad_request(f"{name}: no such parameter; known: {', '.join(sorted(known))}", name)
        if name != "prompt" and len(given.getlist(name)) > 1:
            raise bad_request(f"{name}: given more than once", name)


def _policy(name: str | None, prompts: Sequence[str]) -> Policy:
    if name is not None and name not in presets():  # a path would be one on the server
        raise bad_request(f"policy: give one of {', '.join(presets())}", "policy")
    if (name is None) == (not prompts):
        raise bad_request("give a policy, or prompts that name what is not allowed", "policy")
    try:
        return load_policy(name) if name is not None else policy_from_prompts(prompts)
    except ValueError as error:
        raise bad_request(f"prompts: {error}", "prompts") from error


def _model(request: Request, name: str | None, prompts: Sequence[str], questions: Sequence[str] = ()) -> VisionModel:
    """Return the model of that name; None: the face detector if it finds all, else the first that does."""
    if not all(prompt.strip() for prompt in prompts):
        raise bad_request("prompts: one is empty; name what to hide, such as face", "prompts")
    service = service_of(request)
    names = service.models.names
    if name is not None:
        names = (name,)
    elif FACE_MODEL in names:
        names = (FACE_MODEL, *(each for each in names if each != FACE_MODEL))
    events = asyncio.get_running_loop()
    try:
        return first_that_serves((LoopModel(each, service.engine, events) for each in names), prompts, questions)
    except UsageError as error:
        raise bad_request(str(error), "model") from error


def _job(request: Request, id: str) -> tuple[MediaJobs, MediaJob]:
    jobs = service_of(request).jobs
    found = jobs.find(id)
    if found is None:
        raise ApiError(404, "there is no such job, or it has expired")
    return jobs, found


async def _picture(request: Request, reference: str, recognise: Callable[[bytes, int], Picture]) -> Picture:
    service, record = service_of(request), record_of(request)
    data = await image_bytes(reference, service.settings, service.decoders)
    loop, most = asyncio.get_running_loop(), service.settings.max_pixels

    def read() -> Picture:
        with Attempt(record.memory, record.held).taken():
            return recognise(data, most)

    try:
        return await loop.run_in_executor(service.decoders, read)
    except InputError as error:
        raise known_error(error) from error


async def _start(
    request: Request, kind: Kind, name: str, work: Callable[[MediaJob], Outcome], *, style: Name | None = None
) -> Response:
    service = service_of(request)
    jobs = service.jobs
    suffix = file_suffix(name, request.headers.get("content-type", ""))
    jobs.check_room()
    folder = jobs.new_folder()
    source = folder / f"{SOURCE}{suffix}"
    try:
        await receive_file(request, source, service.settings.max_upload_bytes)
    except BaseException:
        jobs.delete_folder(folder)
        raise
    return _accepted(request, jobs, MediaJob(kind, name, folder, source, style, work))


def _accepted(request: Request, jobs: MediaJobs, job: MediaJob) -> Response:
    record_of(request).skill = job.kind
    try:
        jobs.add(job)
    except QueueFull:
        jobs.delete_folder(job.folder)
        raise
    return JSONResponse(jobs.as_dict(job), 202)


async def _events(jobs: MediaJobs, job: MediaJob) -> AsyncGenerator[bytes]:
    shown, told, quiet, ended = 0, None, 0, False
    while not ended:
        ended = job.ended is not None
        state = jobs.as_dict(job)
        if job.frames_shown > shown:
            shown = job.frames_shown
            yield sse({"url": f"v1/jobs/{job.id}/frame?n={shown}"}, "frame")
        if state != told:
            told, quiet = state, 0
            yield sse(state, "progress")
        else:
            quiet += 1
            if quiet % PING_EVENTS == 0:
                yield sse_comment("running")
        if not ended:
            await asyncio.sleep(EVENT_SECONDS)
    yield sse(told, "end")


async def _answer(request: Request, skill: Kind, model: VisionModel, work: Callable[[], dict[str, Any]]) -> Response:
    """Do the work on a picture in a thread."""
    record = record_of(request)
    record.model, record.skill = model.name, skill

    def counted() -> dict[str, Any]:
        with Attempt(record.memory, record.held).taken():
            return work()

    return JSONResponse(await in_thread(record, counted))


# Work in threads.


def _redact_picture(detection: Detection, styles: Sequence[Name], picture: Picture) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mdtool-picture-") as name:
        source, findings = picture.write(Path(name, SOURCE)), Path(name, FINDINGS)
        images: dict[str, str] = {}
        for style in dict.fromkeys(styles):
            target, effect = Path(name, f"{style}{picture.suffix}"), redaction(style)
            if images:
                redact_again(source, target, findings, effect=effect)
            else:
                report = redact_file(source, target, findings, detection=detection, effect=effect)
                if report.incomplete:
                    raise bad_request(f"the image is {report.incomplete}", "image_url")
            images[style] = picture.data_url(target.read_bytes())
        regions: dict[int, Region] = {}  # the first of each track: an animation has many frames
        for record in records(findings):
            for region in record.findings.regions:
                regions.setdefault(region.track, region)
        return {
            "objects": [_object(region) for region in regions.values()],
            "images": images,
            "model": detection.model.name,
        }


def _object(region: Region) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = region.sides
    corners = {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}
    return {**corners, "label": region.label, "score": region.score}


def _judge_picture(model: VisionModel, policy: Policy, picture: Picture) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mdtool-picture-") as name:
        verdict = judge_file(picture.write(Path(name, SOURCE)), model=model, policy=policy)
    return {"verdict": verdict, "model": model.name}


def _redact_video(detection: Detection, style: Name, job: MediaJob) -> Outcome:
    target, findings, effect = _target(job), job.folder / FINDINGS, ShownEffect(redaction(style), FrameShow(job.show))
    report = redact_file(job.source, target, findings, detection=detection, effect=effect, progress=job.progress)
    return Outcome(Path(report.target), tracks_in(findings), warning=report.incomplete)


def _redact_video_again(style: Name, without: Sequence[Track], job: MediaJob) -> Outcome:
    target, findings, effect = _target(job), job.folder / FINDINGS, ShownEffect(redaction(style), FrameShow(job.show))
    report = redact_again(job.source, target, findings, without=without, effect=effect, progress=job.progress)
    return Outcome(Path(report.target), tracks_in(findings), warning=report.incomplete)


def _judge_video(model: VisionModel, policy: Policy, job: MediaJob) -> Outcome:
    verdict = judge_file(job.source, model=model, policy=policy, progress=job.progress, show=job.show)
    return Outcome(verdict=verdict, warning=str(verdict["incomplete"]))


def _target(job: MediaJob) -> Path:
    return job.folder / f"{RESULT}{result_suffix(job.source)}"
