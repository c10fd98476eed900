"""OpenAI's Responses API: /v1/responses, for text and images, without stored conversations or tools."""

import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.contract import Answer, Done
from mdtool.server.answer_schema import AnswerSchema, parse_response_format
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.call import Call, begin_call, read_body
from mdtool.server.conversation import Answering, Conversation, request_maker
from mdtool.server.openai_chat import answer_text, parse_messages
from mdtool.server.openapi import body_of
from mdtool.server.running import Running
from mdtool.server.schemas import ChatMessage, ResponsesBody
from mdtool.server.streaming import StreamFormat, sse, sse_comment, streamed, waiting_text

router = APIRouter(tags=["OpenAI"])


def _error(error: ApiError) -> bytes:
    return sse({"type": "error", "code": error.code, "message": error.line, "param": error.param} | error.content)


STREAM = StreamFormat("text/event-stream", _error, sse_comment)


@router.post("/v1/responses", openapi_extra=body_of(ResponsesBody))
async def responses(request: Request) -> Response:
    """Go on with a conversation about images."""
    body = await read_body(request, ResponsesBody)
    for name in ("tools", "previous_response_id", "conversation", "background"):
        if getattr(body, name):
            raise bad_request(f"{name}: this server has no tools and stores nothing", name)
    schema = parse_response_format((body.text or {}).get("format"), "text.format")
    conversation = _conversation(body)
    call = begin_call(request, body.model, "chat", conversation.last_text)
    allowed = schema.allowed if schema else None
    answering = Answering(body.generation(body.max_output_tokens), call.adapter, allowed)
    make = request_maker(conversation, call.abilities, answering, "input")
    images = await call.images(conversation.references, "input")
    running = call.submit(make, images, conversation.budget)
    head = {
        "id": f"resp_{call.record.request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": call.model,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "metadata": {},
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
        "temperature": body.temperature,
        "top_p": body.top_p,
    }
    if body.stream:
        return await streamed(request, _chunks(call, running, head, schema), STREAM, waiting_text(running))
    answer = await call.answer(running)
    return JSONResponse(_finished(head, answer, schema))


def _conversation(body: ResponsesBody) -> Conversation:
    messages = [{"role": "system", "content": body.instructions}] if body.instructions else []
    given = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    for number, item in enumerate(given):
        if item.get("type", "message") != "message":
            raise bad_request(f"input.{number}.type: this server reads messages", f"input.{number}.type")
    try:
        turns = [ChatMessage.model_validate(_nested_detail(item)) for item in [*messages, *given]]
    except (ValidationError, AttributeError, TypeError) as error:
        raise bad_request("input: is not a list of messages with text and images", "input") from error
    if not turns:
        raise bad_request("input: is empty", "input")
    return parse_messages(turns)


def _nested_detail(item: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose images have their detail beside their URL, as in a chat."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    parts = [
        part | {"image_url": {"url": part["image_url"], "detail": part.get("detail")}}
        if isinstance(part.get("image_url"), str)
        else part
        for part in content
    ]
    return item | {"content": parts}


async def _chunks(
    call: Call, running: Running, head: dict[str, Any], schema: AnswerSchema | None
) -> AsyncGenerator[bytes]:
    number = 0

    def event(kind: str, **content: Any) -> bytes:
        nonlocal number
        number += 1
        return sse({"type": kind, "sequence_number": number - 1} | content, kind)

    place: dict[str, Any] = {"item_id": _item_id(head), "output_index": 0, "content_index": 0}
    started = head | {"status": "in_progress", "output": []}
    opened = False
    async for one in call.events(running):
        if not opened:
            opened = True
            yield event("response.created", response=started)
            yield event("response.in_progress", response=started)
            yield event("response.output_item.added", output_index=0, item=_item(head, "in_progress", None))
            yield event("response.content_part.added", **place, part=_part(""))
        if not isinstance(one, Done):
            if schema is None:
                yield event("response.output_text.delta", **place, delta=one.text, logprobs=[])
            continue
        answer = one.result
        assert isinstance(answer, Answer)
        text = answer_text(answer, schema)
        if schema is not None:
            yield event("response.output_text.delta", **place, delta=text, logprobs=[])
        yield event("response.output_text.done", **place, text=text, logprobs=[])
        yield event("response.content_part.done", **place, part=_part(text))
        last = _finished(head, answer, schema)
        yield event("response.output_item.done", output_index=0, item=last["output"][0])
        kind = "response.completed" if last["status"] == "completed" else "response.incomplete"
        yield event(kind, response=last)


def _finished(head: dict[str, Any], answer: Answer, schema: AnswerSchema | None) -> dict[str, Any]:
    status = "incomplete" if answer.finish == "length" else "completed"
    generated = len(answer.tokens)
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": generated,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.prompt_tokens + generated,
    }
    output = [_item(head, status, answer_text(answer, schema))]
    details = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return head | {"status": status, "incomplete_details": details, "output": output, "usage": usage}


def _item(head: dict[str, Any], status: str, text: str | None) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {"id": _item_id(head), "type": "message", "role": "assistant", "status": status, "content": content}


def _item_id(head: dict[str, Any]) -> str:
    return str(head["id"]).replace("resp_", "msg_", 1)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
