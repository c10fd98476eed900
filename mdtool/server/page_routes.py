"""The web page: its files, and what it needs to know of the server."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from engine.catalog import hub
from engine.catalog.published import PublishedModel, published
from engine.contract import Abilities, EngineError
from mdtool import __version__
from mdtool.jobs.moderate.find_policy import presets
from mdtool.model_selection import PREFERRED
from mdtool.server.api_error import ApiError
from mdtool.server.served_models import ServedModel
from mdtool.server.service import service_of
from mdtool.server.streaming import sse

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent / "page"
FILES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
} | {f"{name}.js": (f"{name}.js", "text/javascript") for name in ("api", "jobs", "page", "picture", "words")}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
PULL_PING_SECONDS = 1.0
REASONING_FAMILY = "moondream"


def _serve(path: str) -> None:
    name, media_type = FILES[path]

    @router.get(f"/{path}")
    async def page_file() -> Response:
        return FileResponse(FOLDER / name, media_type=media_type, headers=HEADERS)


for _path in FILES:
    _serve(_path)


@router.get("/v1/page")
async def page(request: Request) -> Response:
    """Return what the page shows: the models and what they can do, those that could be pulled, and the policies."""
    models = service_of(request).models
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
            + [_absent(model) for model in absent],
            "able": dict.fromkeys(("query", "caption", "detect", "gaze", "redact", "moderate"), PREFERRED),
            "policies": presets(),
        }
    )


def _can(abilities: Abilities) -> dict[str, Any]:
    return {"skills": sorted(abilities.prompts)}


def _absent(model: PublishedModel) -> dict[str, Any]:
    assert model.source
    terms = {"bytes": model.source.bytes, "licence": model.source.licence}
    return {"id": model.name, "here": False} | terms | _can(model.abilities)


@router.post("/v1/models/{name}/pull")
async def pull(request: Request, name: str) -> Response:
    """Download a published model and serve it; a stream that ends with `done` or `error`."""
    model = published().get(name)
    if model is None:
        raise ApiError(404, f"no model {name!r} is published", "model", "model_not_found", quotes=True)
    service = service_of(request)

    async def progress() -> AsyncGenerator[bytes]:
        work = asyncio.ensure_future(asyncio.to_thread(hub.pull, model))
        while not work.done():
            yield b"event: progress\n" + sse({"fraction": None})
            await asyncio.wait({work}, timeout=PULL_PING_SECONDS)
        try:
            work.result()
            service.models.add(name, ServedModel(name))
        except EngineError as error:
            yield b"event: error\n" + sse({"message": str(error)})
        else:
            yield b"event: done\n" + sse({"fraction": 1.0})

    return StreamingResponse(progress(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
