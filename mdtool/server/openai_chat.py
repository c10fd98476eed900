"""OpenAI's Chat Completions: /v1/chat/completions.

Recorded from the official client: an error in a stream is `data: {"error": ...}`; the usage of a stream is sent only to
who asks for it, since its event has no choices.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.contract import Answer, Done
from mdtool.server.answer_schema import AnswerSchema, parse_response_format
from mdtool.server.api_error import bad_request
from mdtool.server.call import Call, begin_call, read_body
from mdtool.server.conversation import ROLES, Answering, Conversation, Picture, Role, Turn, request_maker
from mdtool.server.openapi import body_of
from mdtool.server.running import Running
from mdtool.server.schemas import ChatBody, ChatMessage, ImageUrl, Part
from mdtool.server.streaming import StreamFormat, sse, sse_comment, streamed, waiting_text

router = APIRouter(tags=["OpenAI"])

STREAM = StreamFormat("text/event-stream", lambda error: sse(error.content), sse_comment)
END = b"data: [DONE]\n\n"
_CLOSEST = ("original", "high", "auto", "low", None)  # levels of detail, of which several images share the first


@router.post("/v1/chat/completions", openapi_extra=body_of(ChatBody))
async def chat_completions(request: Request) -> Response:
    """Go on with a conversation about images."""
    body = await read_body(request, ChatBody)
    _check_supported(body)
    schema = parse_response_format(body.response_format)
    conversation = parse_messages(body.messages)
    call = begin_call(request, body.model, "chat", conversation.last_text)
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit]
    generation = body.generation(min(limits, default=None), body.stop)
    answering = Answering(generation, call.adapter, schema.allowed if schema else None, bool(body.reasoning))
    make = request_maker(conversation, call.abilities, answering)
    images = await call.images(conversation.references, "messages")
    running = call.submit(make, images, conversation.budget)
    head = {"id": f"chatcmpl-{call.record.request_id}", "created": int(time.time()), "model": call.model}
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = _chunks(call, running, head, schema, usage=usage)
        return await streamed(request, chunks, STREAM, waiting_text(running))
    answer = await call.answer(running)
    message = {"role": "assistant", "content": answer_text(answer, schema)}
    if answer.reasoning:
        message["reasoning"] = answer.reasoning
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return JSONResponse(head | {"object": "chat.completion", "choices": [choice], "usage": _usage(answer)})


async def _chunks(
    call: Call, running: Running, head: dict[str, Any], schema: AnswerSchema | None, *, usage: bool
) -> AsyncGenerator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse(head | {"object": "chat.completion.chunk", "choices": [choice]})

    role: dict[str, Any] = {"role": "assistant"}  # goes with the first text
    async for event in call.events(running):
        if not isinstance(event, Done):
            if schema is None:
                yield chunk(role | {"content": event.text})
                role = {}
            continue
        answer = event.result
        assert isinstance(answer, Answer)
        if schema is not None:
            yield chunk(role | {"content": answer_text(answer, schema)})
        elif role:
            yield chunk(role | {"content": ""})
        if answer.reasoning:
            yield chunk({"reasoning": answer.reasoning})
        yield chunk({}, answer.finish)
        if usage:
            yield sse(head | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(answer)})
        yield END


def answer_text(answer: Answer, schema: AnswerSchema | None) -> str:
    """Return the text of an answer, as JSON if a schema was given."""
    return answer.text if schema is None else schema.json_text(answer.text)


def _usage(answer: Answer) -> dict[str, int]:
    generated = len(answer.tokens)
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": generated,
        "total_tokens": answer.prompt_tokens + generated,
    }


def _check_supported(body: ChatBody) -> None:
    if body.n is not None and body.n != 1:
        raise bad_request("n: one answer a request; send several requests, they run side by side", "n")
    for name in ("tools", "functions"):
        if getattr(body, name):
            raise bad_request(f"{name}: the models of this server call none", name)
    if body.audio is not None or "audio" in (body.modalities or ()):
        raise bad_request("modalities: this server answers with text", "modalities")
    if body.logprobs:
        raise bad_request("logprobs: this server returns none", "logprobs")


def parse_messages(messages: Sequence[ChatMessage]) -> Conversation:
    """Return the conversation that messages are.

    Raises:
        ApiError: A role or a part is of an unknown kind.
    """
    turns: list[Turn] = []
    details: list[str | None] = [None]
    for number, message in enumerate(messages):
        if message.role not in ROLES:
            raise bad_request(
                f"messages.{number}.role: must be system, developer, user or assistant", f"messages.{number}.role"
            )
        parts: list[str | Picture] = [message.content] if isinstance(message.content, str) else []
        if isinstance(message.content, list):
            where = f"messages.{number}.content"
            parts = [_part(part, f"{where}.{index}") for index, part in enumerate(message.content)]
            details += [part.image_url.detail for part in message.content if isinstance(part.image_url, ImageUrl)]
        role: Role = ROLES[message.role]
        turns.append(Turn(role, tuple(parts)))
    return Conversation(tuple(turns), next(level for level in _CLOSEST if level in details))


def _part(part: Part, where: str) -> str | Picture:
    if part.type in ("text", "input_text", "output_text"):
        if part.text is None:
            raise bad_request(f"{where}.text: is missing", f"{where}.text")
        return part.text
    if part.type in ("image_url", "input_image"):
        url = part.image_url if isinstance(part.image_url, str) else part.image_url and part.image_url.url
        if not url:
            raise bad_request(f"{where}.image_url: is missing", f"{where}.image_url")
        return Picture(url)
    raise bad_request(f"{where}.type: this server reads text and images (text, image_url)", f"{where}.type")
