"""Ollama's API: /api/chat, generate, tags, show, ps, version. Streams are lines of JSON."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.contract import Answer, Done
from mdtool import __version__
from mdtool.server.answer_schema import AnswerSchema, parse_schema
from mdtool.server.api_error import bad_request
from mdtool.server.call import Call, begin_call, read_body
from mdtool.server.conversation import ROLES, Answering, Conversation, Picture, Turn, request_maker
from mdtool.server.model_name import served_name
from mdtool.server.openai_chat import answer_text
from mdtool.server.openapi import body_of
from mdtool.server.running import Running
from mdtool.server.schemas import (
    OllamaBody,
    OllamaChatBody,
    OllamaGenerateBody,
    OllamaMessage,
    OllamaShowBody,
)
from mdtool.server.served_models import ModelDescription
from mdtool.server.service import service_of
from mdtool.server.streaming import StreamFormat, json_line, streamed, waiting_text

router = APIRouter(tags=["Ollama"])

STREAM = StreamFormat("application/x-ndjson", lambda error: json_line({"error": error.line}))
NEVER = "0001-01-01T00:00:00Z"  # how Ollama writes a time that there isn't
NANOSECONDS = 1_000_000_000


@router.post("/api/chat", openapi_extra=body_of(OllamaChatBody))
async def chat(request: Request) -> Response:
    """Go on with a conversation about images."""
    body = await read_body(request, OllamaChatBody)
    if body.tools:
        raise bad_request("tools: the models of this server call none", "tools")
    if not body.messages:
        return _loaded(request, body, {"message": {"role": "assistant", "content": ""}})
    return await _answer(request, body, _conversation(body.messages), "message")


@router.post("/api/generate", openapi_extra=body_of(OllamaGenerateBody))
async def generate(request: Request) -> Response:
    """Answer a prompt."""
    body = await read_body(request, OllamaGenerateBody)
    if not body.prompt and not body.images:
        return _loaded(request, body, {"response": ""})
    before = [OllamaMessage(role="system", content=body.system)] if body.system else []
    user = OllamaMessage(role="user", content=body.prompt, images=body.images)
    return await _answer(request, body, _conversation([*before, user]), "response")


@router.get("/api/tags")
async def tags(request: Request) -> Response:
    """List the models."""
    models = service_of(request).models
    return JSONResponse({"models": [_model(models.describe(name)) for name in models.names]})


@router.get("/api/ps")
async def running_models(request: Request) -> Response:
    """List the models that are in memory."""
    models = service_of(request).models
    found = [models.describe(name) for name in models.names]
    extra = {"size_vram": 0, "expires_at": NEVER}
    return JSONResponse({"models": [_model(one) | extra for one in found if one.loaded]})


@router.post("/api/show", openapi_extra=body_of(OllamaShowBody))
async def show(request: Request) -> Response:
    """Describe a model."""
    body = await read_body(request, OllamaShowBody)
    models = service_of(request).models
    name, _ = served_name(body.model or body.name, models.names)
    found = models.describe(name)
    info: dict[str, Any] = {"general.architecture": found.family}
    if found.context:
        info[f"{found.family}.context_length"] = found.context
    return JSONResponse(
        {
            "license": found.licence,
            "modelfile": f"FROM {found.name}\n",
            "parameters": "",
            "template": "",
            "details": _details(found),
            "model_info": info,
            "capabilities": ["completion", "vision"],
            "modified_at": NEVER,
        }
    )


@router.get("/api/version")
async def version() -> Response:
    """Return the version."""
    return JSONResponse({"version": __version__})


def _conversation(messages: Sequence[OllamaMessage]) -> Conversation:
    turns = []
    for number, message in enumerate(messages):
        if message.role not in ROLES:
            raise bad_request(f"messages.{number}.role: must be system, user or assistant", f"messages.{number}.role")
        images = [Picture(image) for image in message.images or ()]
        turns.append(Turn(ROLES[message.role], (*images, message.content) if message.content else (*images,)))
    return Conversation(tuple(turns))


async def _answer(request: Request, body: OllamaBody, conversation: Conversation, key: str) -> Response:
    schema = _schema(body.format)
    call = begin_call(request, body.model, "chat", conversation.last_text)
    thinks = body.think is not None and body.think is not False
    answering = Answering(body.generation, call.adapter, schema.allowed if schema else None, thinks)
    make = request_maker(conversation, call.abilities, answering)
    images = await call.images(conversation.references, "images")
    running = call.submit(make, images)
    if body.stream:
        return await streamed(request, _chunks(call, running, key, schema), STREAM, waiting_text(running))
    answer = await call.answer(running)
    content = _content(key, answer_text(answer, schema), answer.reasoning)
    return JSONResponse(_head(call) | content | _end(running, answer))


def _schema(form: str | dict[str, Any] | None) -> AnswerSchema | None:
    if isinstance(form, str):
        if not form:
            return None
        raise bad_request(f"format: {form!r} is not supported; give a JSON Schema", "format")
    return None if form is None else parse_schema(form, "format")


async def _chunks(call: Call, running: Running, key: str, schema: AnswerSchema | None) -> AsyncGenerator[bytes]:
    async for event in call.events(running):
        if not isinstance(event, Done):
            if schema is None:
                yield json_line(_head(call) | _content(key, event.text) | {"done": False})
            continue
        answer = event.result
        assert isinstance(answer, Answer)
        last = "" if schema is None else answer_text(answer, schema)
        yield json_line(_head(call) | _content(key, last, answer.reasoning) | _end(running, answer))


def _head(call: Call) -> dict[str, Any]:
    return {"model": call.model, "created_at": _now()}


def _content(key: str, text: str, thinking: str = "") -> dict[str, Any]:
    thought = {"thinking": thinking} if thinking else {}
    if key == "message":
        return {"message": {"role": "assistant", "content": text} | thought}
    return {"response": text} | thought


def _end(running: Running, answer: Answer) -> dict[str, Any]:
    timings = running.timings
    return {
        "done": True,
        "done_reason": answer.finish,
        "total_duration": round(timings.total * NANOSECONDS),
        "load_duration": round(timings.queue * NANOSECONDS),
        "prompt_eval_count": answer.prompt_tokens,
        "prompt_eval_duration": round((timings.encode + timings.prefill) * NANOSECONDS),
        "eval_count": len(answer.tokens),
        "eval_duration": round(timings.decode * NANOSECONDS),
    }


def _loaded(request: Request, body: OllamaBody, content: dict[str, Any]) -> Response:
    """Return the reply to a request without a prompt, with which Ollama's clients load or unload a model."""
    call = begin_call(request, body.model, "load")
    return JSONResponse(_head(call) | content | {"done": True, "done_reason": "load"})


def _model(found: ModelDescription) -> dict[str, Any]:
    return {
        "name": found.name,
        "model": found.name,
        "modified_at": NEVER,
        "size": found.bytes or 0,
        "digest": found.revision,
        "details": _details(found),
    }


def _details(found: ModelDescription) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "mdtool",
        "family": found.family,
        "families": [found.family],
        "parameter_size": "",
        "quantization_level": "",
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
