"""The web page: its files, and what it needs to know of the server."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from engine.catalog import hub
from engine.catalog.published import PublishedModel, published
from engine.contract import Abilities
from mdtool import __version__
from mdtool.jobs.moderate.find_policy import presets
from mdtool.model_selection import PREFERRED
from mdtool.server.api_error import ApiError
from mdtool.server.page_files import FOLDER, PAGE_FILES
from mdtool.server.pulls import Pull
from mdtool.server.served_models import ServedModel
from mdtool.server.service import service_of
from mdtool.server.streaming import STREAM_HEADERS, sse

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
PULL_EVENT_SECONDS = 0.5
REASONING_FAMILY = "moondream"


async def page_file(request: Request) -> Response:
    """Return a file of the page."""
    name, media_type = PAGE_FILES[request.scope["route"].path]
    return FileResponse(FOLDER / name, media_type=media_type, headers=HEADERS)


for _path in PAGE_FILES:
    router.add_api_route(_path, page_file)


@router.get("/v1/page")
async def page(request: Request) -> Response:
    """Return what the page shows: the models and what they can do, those that could be pulled, and the policies."""
    service = service_of(request)
    models = service.models
    here = [models.describe(name) for name in models.names]
    known = published()
    absent = [model for name, model in known.items() if name not in models.names and model.source]
    return JSONResponse(
        {
            "version": __version__,
            "models": [
                {"id": one.name, "here": True, "reasoning": one.family == REASONING_FAMILY} | _can(one.abilities)
                for one in here
            ]
            + [_absent(model) | {"pulling": service.pulls.is_running(model.name)} for model in absent],
            "preferred": PREFERRED,
            "policies": presets(),
        }
    )


def _can(abilities: Abilities) -> dict[str, Any]:
    return {"skills": sorted(abilities.prompts)}


def _absent(model: PublishedModel) -> dict[str, Any]:
    assert model.source
    source = model.source
    terms = {"bytes": source.bytes, "licence": source.licence, "terms": source.terms}
    downloaded = hub.local(model) is not None
    return {"id": model.name, "here": False, "downloaded": downloaded} | terms | _can(model.abilities)


@router.post("/v1/models/{name}/pull")
async def pull(request: Request, name: str) -> Response:
    """Serve a published model, downloaded if it is not here; a stream that ends with `done` or `error`.

    Whoever asks again while it runs follows the same download.
    """
    model = published().get(name)
    if model is None:
        raise ApiError(404, f"no model {name!r} is published", "model", "model_not_found", quotes=True)
    service = service_of(request)
    running = service.pulls.start(model, lambda: service.models.add(name, ServedModel(name)))
    return StreamingResponse(_progress(running), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _progress(running: Pull) -> AsyncGenerator[bytes]:
    while not running.ended:
        yield sse(running.as_dict(), "progress")
        await asyncio.sleep(PULL_EVENT_SECONDS)
    if running.error:
        yield sse({"message": running.error}, "error")
    else:
        yield sse(running.as_dict(), "done")
