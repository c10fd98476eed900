"""What every server has: health, readiness, metrics, models, and the description of its API."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from mdtool import __version__
from mdtool.server.model_name import served_name
from mdtool.server.openapi import describe_api, docs_page
from mdtool.server.served_models import ModelDescription
from mdtool.server.service import service_of

router = APIRouter(tags=["Server"])

CONTENT_SECURITY = "default-src 'none'; style-src 'unsafe-inline'"


@router.get("/health")
async def health(request: Request) -> Response:
    """Return whether the server works."""
    engine = service_of(request).engine
    if engine.healthy:
        return JSONResponse({"status": "ok", "server": f"mdtool {__version__}"})
    return JSONResponse({"status": "failed", "reason": engine.failure}, 503)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Return whether the server takes requests."""
    service = service_of(request)
    if service.lifecycle.draining:
        return JSONResponse({"status": "draining", "requests": service.lifecycle.active}, 503)
    if not service.engine.healthy:
        return JSONResponse({"status": "failed", "reason": service.engine.failure}, 503)
    return JSONResponse({"status": "ready", "models": list(service.models.names)})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return metrics in Prometheus' text format."""
    text = service_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/queue/{request_id}")
async def queue(request: Request, request_id: str) -> Response:
    """Tell what becomes of the request with this X-Request-ID: preparing, queued (with its place), running, none."""
    record = service_of(request).lifecycle.find(request_id)
    if record is None:
        return JSONResponse({"status": "none", "position": 0})
    if not record.running:
        return JSONResponse({"status": "preparing", "position": 0})
    position = max(running.position for running in record.running)
    return JSONResponse({"status": "queued" if position else "running", "position": position})


@router.get("/v1/models")
async def list_models(request: Request) -> Response:
    """List the models, as OpenAI's clients and as Moondream's read them."""
    models = service_of(request).models
    found = [models.describe(name) for name in models.names]
    return JSONResponse(
        {
            "object": "list",
            "data": [_openai_model(one) for one in found],
            "models": [_moondream_model(one) for one in found],
        }
    )


@router.get("/v1/models/{name:path}")
async def one_model(request: Request, name: str) -> Response:
    """Describe a model."""
    models = service_of(request).models
    return JSONResponse(_openai_model(models.describe(served_name(name, models.names)[0])))


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """Return the description of the API."""
    return JSONResponse(describe_api(request.app))


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Return a page that lists the routes."""
    page = docs_page(describe_api(request.app))
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY})


def _openai_model(found: ModelDescription) -> dict[str, Any]:
    return {"id": found.name, "object": "model", "created": 0, "owned_by": "mdtool"} | _about(found)


def _moondream_model(found: ModelDescription) -> dict[str, Any]:
    return {"id": found.name, "name": found.name, "description": found.summary, "version": found.revision}


def _about(found: ModelDescription) -> dict[str, Any]:
    return {"abilities": sorted(found.abilities.prompts), "loaded": found.loaded}
