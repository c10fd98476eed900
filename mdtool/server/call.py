"""One request on its way through a route: body, model, images, engine, record."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from engine.contract import (
    Abilities,
    Answer,
    Done,
    EncodedImage,
    Failed,
    ImageBudget,
    ModelUnavailable,
    ObjectList,
    Result,
    TextDelta,
)
from engine.contract import Request as EngineRequest
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.body import read_json
from mdtool.server.error_response import known_error
from mdtool.server.images import DecodedImage, read_images
from mdtool.server.model_name import served_name
from mdtool.server.preparation import Submission
from mdtool.server.request_record import RequestRecord, record_of
from mdtool.server.running import Running
from mdtool.server.service import Service, service_of

Body = TypeVar("Body", bound=BaseModel)
Made = TypeVar("Made")


async def read_body(request: Request, kind: type[Body]) -> Body:
    """Read and check the body of a request.

    Raises:
        ApiError: It is too large, no JSON object, or a field is missing or wrong; the message never has its content.
    """
    service, record = service_of(request), record_of(request)
    try:
        async with asyncio.timeout_at(record.deadline):
            content = await read_json(request, service.settings.max_body_bytes, service.decoders, record.hold)
    except TimeoutError as error:
        raise ApiError(408, "the request did not arrive in time", reason="deadline") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _field_error(error) from error


def _field_error(error: ValidationError) -> ApiError:
    """Return an error that names the first wrong field, without what was in it."""
    [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
    names = [str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier()]
    param = ".".join(names) or None
    text = first["msg"].removeprefix("Value error, ")
    return bad_request(f"{param}: {text}" if param else text, param)


@dataclass(frozen=True)
class Call:
    """A request to one model.

    Attributes:
        service: The server.
        record: What becomes of the request.
        model: Name of the model.
        adapter: Name of the LoRA adapter.
        abilities: Of the model.
    """

    service: Service
    record: RequestRecord
    model: str
    adapter: str | None
    abilities: Abilities

    async def images(self, references: Sequence[str], param: str = "image_url") -> tuple[DecodedImage, ...]:
        """Decode images: see `read_images`."""
        if not references:
            return ()
        try:
            async with asyncio.timeout_at(self.record.deadline):
                settings, decoders = self.service.settings, self.service.decoders
                images = await read_images(references, settings, decoders, self.record, param=param)
        except TimeoutError as error:
            raise ApiError(504, "the images were not decoded in time", code="timeout", reason="deadline") from error
        self.record.images = tuple((image.pixels.shape[1], image.pixels.shape[0]) for image in images)
        self.service.metrics.images_decoded(len(images))
        return images

    def submit(
        self,
        make_request: Callable[[Sequence[EncodedImage]], EngineRequest],
        images: Sequence[DecodedImage] = (),
        budget: ImageBudget | None = None,
    ) -> Running:
        """Hand a request to the engine loop.

        Raises:
            Refused: The queue is full, or the server is ending.
        """
        submission = Submission(
            self.model,
            tuple(image.pixels for image in images),
            make_request,
            self.record.deadline,
            budget,
            self.adapter,
            digests=tuple(image.digest for image in images),
        )
        running = self.service.engine.submit(submission)
        self.record.running.append(running)
        self.record.timings = running.timings
        return running

    async def events(self, running: Running) -> AsyncGenerator[TextDelta | Done]:
        """Yield the events of a request; the last one is Done.

        Raises:
            ApiError: The request failed.
            Exception: The engine did.
        """
        async for event in running:
            if isinstance(event, Failed):
                if self.adapter and isinstance(event.error, ModelUnavailable):
                    raise ApiError(404, str(event.error), "model", "model_not_found") from event.error
                raise known_error(event.error) from event.error
            if isinstance(event, Done):
                self._note(event.result)
            yield event

    async def result(self, running: Running) -> Result:
        """Return the result of a request; raises as `events`."""
        async for event in self.events(running):
            if isinstance(event, Done):
                return event.result
        raise AssertionError("a request ends with its result or an error")

    async def answer(self, running: Running) -> Answer:
        """Return the result of a request for text; raises as `events`."""
        result = await self.result(running)
        assert isinstance(result, Answer)
        return result

    def _note(self, result: Result) -> None:
        record = self.record
        if isinstance(result, Answer):
            record.prompt_tokens, record.completion_tokens = result.prompt_tokens, len(result.tokens)
            record.finish, record.answer = result.finish, result.text
        else:
            record.finish = "length" if isinstance(result, ObjectList) and not result.complete else "stop"
            items = result.items if isinstance(result, ObjectList) else [result]
            record.answer = [repr(item) for item in items]


async def in_thread(record: RequestRecord, work: Callable[[], Made]) -> Made:
    """Return what work makes in a thread, before the request's deadline.

    Raises:
        ApiError: The work failed, or takes longer.
        Exception: An error that nobody expected.
    """
    try:
        async with asyncio.timeout_at(record.deadline):
            return await asyncio.to_thread(work)
    except Exception as error:
        raise known_error(error) from error


def begin_call(request: Request, model: str | None, skill: str, prompt: str | None = None) -> Call:
    """Find the model of a request.

    Args:
        request: The HTTP request.
        model: As the client wrote it.
        skill: For the log.
        prompt: For the log, if prompts are logged.

    Raises:
        UnknownModel: No such model is served.
    """
    service, record = service_of(request), record_of(request)
    name, adapter = served_name(model, service.models.names)
    abilities = service.models.describe(name).abilities
    record.model, record.skill, record.prompt = name, skill, prompt
    return Call(service, record, name, adapter, abilities)
