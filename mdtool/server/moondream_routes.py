"""Moondream's API: /v1/caption, query, detect, point; gaze, which is ours; segment, which no model here has.

Recorded from the official client: events begin with `data: `, a stream ends with `completed`, and only a line that is
no JSON makes a client notice that a stream failed.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.contract import (
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    EncodedImage,
    GazeRequest,
    Grounding,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
)
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.call import Call, begin_call, in_thread, read_body
from mdtool.server.gaze_work import gazes_in
from mdtool.server.loop_model import LoopModel
from mdtool.server.openapi import body_of
from mdtool.server.running import Running
from mdtool.server.schemas import CaptionBody, GazeBody, ObjectBody, QueryBody, Reference
from mdtool.server.streaming import StreamFormat, sse, sse_comment, streamed, waiting_text
from recipes.gaze import Gaze
from recipes.regions import Region

router = APIRouter(tags=["Moondream"])

STREAM = StreamFormat("text/event-stream", lambda error: sse(error.content) + b"data: error\n\n", sse_comment)


@router.post("/v1/caption", openapi_extra=body_of(CaptionBody))
async def caption(request: Request) -> Response:
    """Describe an image."""
    body = await read_body(request, CaptionBody)
    call = begin_call(request, body.model, "caption", body.length)
    images = await call.images([body.image_url])
    generation = body.given_settings.generation
    running = call.submit(lambda encoded: CaptionRequest(encoded[0], body.length, generation, call.adapter), images)
    return await _text(request, call, running, "caption", stream=body.stream)


@router.post("/v1/query", openapi_extra=body_of(QueryBody))
async def query(request: Request) -> Response:
    """Answer a question."""
    body = await read_body(request, QueryBody)
    call = begin_call(request, body.model, "query", body.question)
    references = _references(body.spatial_refs)
    if references and body.image_url is None:
        raise bad_request("spatial_refs: they refer to an image; send one as image_url", "spatial_refs")
    images = await call.images([] if body.image_url is None else [body.image_url])
    generation = body.given_settings.generation

    def make(encoded: Sequence[EncodedImage]) -> QueryRequest:
        image = encoded[0] if encoded else None
        # The client sends it only when it is true, so its absence means false, whatever a model's default is.
        return QueryRequest(image, body.question, bool(body.reasoning), references, generation, call.adapter)

    return await _text(request, call, call.submit(make, images), "answer", stream=body.stream)


@router.post("/v1/detect", openapi_extra=body_of(ObjectBody))
async def detect(request: Request) -> Response:
    """Return the bounding boxes of objects."""
    body = await read_body(request, ObjectBody)
    call = begin_call(request, body.model, "detect", body.object)
    images = await call.images([body.image_url])
    limit = body.given_settings.max_objects
    running = call.submit(lambda encoded: DetectRequest(encoded[0], body.object, limit, call.adapter), images)
    result = await call.result(running)
    assert isinstance(result, ObjectList)
    return _reply(call, running, {"objects": [_box(item) for item in result.items if isinstance(item, Box)]})


@router.post("/v1/point", openapi_extra=body_of(ObjectBody))
async def point(request: Request) -> Response:
    """Return a point on each object."""
    body = await read_body(request, ObjectBody)
    call = begin_call(request, body.model, "point", body.object)
    if body.spatial_refs:
        raise bad_request("spatial_refs: no model here points by them; describe the place in words", "spatial_refs")
    images = await call.images([body.image_url])
    limit = body.given_settings.max_objects
    running = call.submit(lambda encoded: PointRequest(encoded[0], body.object, limit, call.adapter), images)
    result = await call.result(running)
    assert isinstance(result, ObjectList)
    points = [_point(item) for item in result.items if isinstance(item, Point)]
    return _reply(call, running, {"points": points, "count": len(points)})


@router.post("/v1/gaze", openapi_extra=body_of(GazeBody))
async def gaze(request: Request) -> Response:
    """Return where a person looks, null: out of the frame; without an eye, where all people look, by their faces."""
    body = await read_body(request, GazeBody)
    call = begin_call(request, body.model, "gaze")
    images = await call.images([body.image_url])
    eye = body.place
    if eye is None:
        return await _all_gazes(call, images[0].pixels)
    running = call.submit(lambda encoded: GazeRequest(encoded[0], eye), images)
    target = await call.result(running)
    return _reply(call, running, {"gaze": _point(target) if isinstance(target, Point) else None})


@router.post("/v1/segment")
async def segment(request: Request) -> Response:
    """Answer that no model here segments."""
    raise ApiError(501, "no model of this server segments images; /v1/detect returns boxes", code="not_supported")


async def _all_gazes(call: Call, image: np.ndarray) -> Response:
    model = LoopModel(call.model, call.service.engine, asyncio.get_running_loop())
    call.record.model, people = await in_thread(call.record, lambda: gazes_in(image, model))
    gazes = [_gaze(person) for person in people]
    return JSONResponse({"gazes": gazes, "model": call.record.model, "request_id": call.record.request_id})


def _gaze(person: Gaze) -> dict[str, Any]:
    return {
        "person": person.track,
        "face": _box(person.face),
        "eye": _point(person.eye),
        "gaze": _point(person.target) if person.target else None,
        "in_frame": person.in_frame,
        "method": person.method,
        "looks_at": person.looks_at,
    }


async def _text(request: Request, call: Call, running: Running, key: str, *, stream: bool) -> Response:
    if not stream:
        answer = await call.answer(running)
        return _reply(call, running, {key: answer.text} | _reasoning(answer))
    return await streamed(request, _chunks(call, running), STREAM, waiting_text(running))


async def _chunks(call: Call, running: Running) -> AsyncGenerator[bytes]:
    async for event in call.events(running):
        if isinstance(event, Done):
            assert isinstance(event.result, Answer)
            last = {"chunk": "", "completed": True} | _reasoning(event.result) | _about(call, running)
            yield sse(last)
        else:
            yield sse({"chunk": event.text, "completed": False, "request_id": call.record.request_id})


def _reply(call: Call, running: Running, content: dict[str, Any]) -> JSONResponse:
    return JSONResponse(content | _about(call, running))


def _about(call: Call, running: Running) -> dict[str, Any]:
    record, timings = call.record, running.timings
    tokens = {}
    if record.prompt_tokens:  # known of texts only
        tokens = {"input_tokens": record.prompt_tokens, "output_tokens": record.completion_tokens}
    times = {
        "prefill_time_ms": timings.prefill,
        "decode_time_ms": timings.decode,
        "ttft_ms": timings.time_to_first_token,
    }
    metrics: dict[str, float] = tokens | {name: round(1000 * value, 3) for name, value in times.items()}
    return {"finish_reason": record.finish, "metrics": metrics, "model": call.model, "request_id": record.request_id}


def _reasoning(answer: Answer) -> dict[str, Any]:
    if not answer.reasoning:
        return {}
    return {"reasoning": {"text": answer.reasoning, "grounding": [_grounding(one) for one in answer.grounding]}}


def _grounding(grounding: Grounding) -> dict[str, Any]:
    points = [[point.x, point.y] for point in grounding.points]
    return {"start_idx": grounding.start, "end_idx": grounding.end, "points": points}


def _references(given: Sequence[Reference] | None) -> tuple[tuple[float, ...], ...]:
    references = tuple(tuple(one) for one in given or ())
    if any(len(one) not in (2, 4) for one in references):
        raise bad_request("spatial_refs: each is [x, y] or [x_min, y_min, x_max, y_max], from 0 to 1", "spatial_refs")
    return references


def _box(box: Box | Region) -> dict[str, float]:
    corners = {"x_min": box.x_min, "y_min": box.y_min, "x_max": box.x_max, "y_max": box.y_max}
    return corners if box.score is None else corners | {"score": box.score}


def _point(point: Point) -> dict[str, float]:
    return {"x": point.x, "y": point.y}
