"""The ASGI app: routes, layers and error handlers put together."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import ProcessCollector
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from mdtool import __version__
from mdtool.memory import Account
from mdtool.server import (
    media_routes,
    moondream_routes,
    ollama_routes,
    openai_chat,
    openai_responses,
    page_routes,
    server_routes,
)
from mdtool.server.access_log import AccessLog
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.engine_metrics import engine_metrics
from mdtool.server.error_response import error_response, known_error
from mdtool.server.guard import Guard
from mdtool.server.images import decoding_threads
from mdtool.server.lifecycle import Lifecycle
from mdtool.server.media_jobs import MediaJobs
from mdtool.server.metrics import Metrics
from mdtool.server.pulls import Pulls
from mdtool.server.refusals import Refused
from mdtool.server.request_record import record_of
from mdtool.server.served_models import ServedModels
from mdtool.server.server_settings import ServerSettings
from mdtool.server.service import Service, service_of

DESCRIPTION = "One engine behind the APIs of Moondream, OpenAI and Ollama."
FAMILIES = (
    moondream_routes,
    openai_chat,
    openai_responses,
    ollama_routes,
    media_routes,
    page_routes,
    server_routes,
)


def create_app(
    engine: EngineLoop,
    models: ServedModels,
    settings: ServerSettings,
    log: AccessLog | None = None,
) -> FastAPI:
    """Create the app of a server; `app.state.service` has its parts.

    Args:
        engine: Started, and ended by the caller.
        models: That the engine serves.
        settings: What the server's owner decided.
        log: The access log; None: there is none.
    """
    app = FastAPI(
        title="mdtool",
        version=__version__,
        description=DESCRIPTION,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # Moondream's client fails on a redirect
    )
    service = Service(
        engine,
        models,
        settings,
        Lifecycle(),
        Metrics(),
        MediaJobs(settings.jobs, settings.job_ttl),
        Pulls(),
        decoding_threads(),
        Account(settings.memory),
    )
    service.metrics.observe(lambda: engine_metrics(engine))
    ProcessCollector(registry=service.metrics.registry)
    app.state.service = service
    for family in FAMILIES:
        app.include_router(family.router)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    app.add_middleware(Guard, service=service, log=log or AccessLog(None))
    if settings.cors:  # outermost, so that errors have its headers too, and a preflight needs no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return app


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    record = record_of(request)
    record.fail(error)
    service_of(request).metrics.rejected(error)
    return error_response(error, record.path)


async def _refused(request: Request, error: Exception) -> Response:
    return await _api_error(request, known_error(error))


async def _parameter_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return await _api_error(request, bad_request(f"{name}: {first['msg']}", name))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "no such route; /docs lists all", 405: "this route has another method; /docs lists all"}
    known = ApiError(error.status_code, message.get(error.status_code, error.detail))
    response = error_response(known, record_of(request).path)
    response.headers.update(error.headers or {})
    return response
