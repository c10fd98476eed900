"""Errors as responses, in the form that the clients of each API read."""

from starlette.responses import JSONResponse

from engine.contract import EngineError, ModelUnavailable
from mdtool.errors import InputError
from mdtool.memory import NoRoom, OverBudget
from mdtool.server.api_error import ApiError, no_memory, too_large_for_memory
from mdtool.server.refusals import DeadlineExceeded, Draining, EngineStopped, QueueFull, UnknownModel

OLLAMA = "/api/"


def error_response(error: ApiError, path: str) -> JSONResponse:
    """Return the response of an error on a path below the root path."""
    content = {"error": error.line} if path.startswith(OLLAMA) else error.content
    return JSONResponse(content, error.status, error.headers)


def known_error(error: Exception) -> Exception:
    """Return what a client is told of an error of the engine or the engine loop; the error itself if it is ours."""
    if isinstance(error, QueueFull):
        return ApiError(429, str(error), code="queue_full", retry_after=error.retry_after, reason="queue")
    if isinstance(error, Draining | EngineStopped):
        return ApiError(503, str(error), retry_after=5.0, reason="draining")
    if isinstance(error, UnknownModel):
        return ApiError(404, str(error), "model", "model_not_found", quotes=True)
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return ApiError(504, "the request took longer than the server allows", code="timeout", reason="deadline")
    if isinstance(error, ModelUnavailable):
        return ApiError(500, str(error), "model", "model_unavailable")
    if isinstance(error, NoRoom):
        return no_memory("the image")
    if isinstance(error, OverBudget):
        return too_large_for_memory("image_url")
    if isinstance(error, EngineError | ValueError | InputError):
        return ApiError(400, str(error), quotes=True)
    return error
