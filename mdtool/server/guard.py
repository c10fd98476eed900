"""What every request passes through first: its id, the API key, the drain, the log, and the end of its work.

A plain ASGI layer: it sees a disconnect at once, while a route waits for the engine or streams, and cancels the route.
"""

import asyncio
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mdtool.server.access_log import AccessLog
from mdtool.server.api_error import ApiError
from mdtool.server.auth import has_key, is_public
from mdtool.server.error_response import error_response
from mdtool.server.request_record import RequestRecord
from mdtool.server.service import Service

CLIENT_GONE = 499  # the status that nginx logs for a client that went away
LATEST_END = 30  # seconds after its deadline, at which a response ends that a client does not read
RETRY_DRAINING = 5.0  # seconds


class Guard:
    """The outermost layer of the app but CORS."""

    def __init__(self, app: ASGIApp, service: Service, log: AccessLog) -> None:
        """Wrap an app."""
        self._app = app
        self._settings, self._lifecycle, self._metrics = service.settings, service.lifecycle, service.metrics
        self._log, self._memory = log, service.memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = re.sub("/{2,}", "/", scope["path"])  # clients join their base URL and a path with one slash too many
        scope["path"], scope["root_path"] = path, self._settings.root_path
        if self._settings.root_path and path == self._settings.root_path:  # the page's addresses are relative to it
            await RedirectResponse(f"{path}/")(scope, receive, send)
            return
        headers = Headers(scope=scope)
        record = RequestRecord(
            _request_id(headers),
            self._below_root(path),
            time.monotonic() + self._settings.request_timeout,
            memory=self._memory,
        )
        record.attach(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = record.request_id
            elif not message.get("more_body", False):
                record.responded = True
            await send(message)

        try:
            if error := self._refusal(scope, headers, record):
                record.fail(error)
                self._metrics.rejected(error)
                await error_response(error, record.path)(scope, receive, send_with_id)
            else:
                await self._serve(scope, receive, send_with_id, record)
        finally:
            if record.gone.is_set():
                record.status = CLIENT_GONE
            record.route = getattr(scope.get("route"), "path", record.route)
            self._metrics.ended(record, time.monotonic() - record.begin)
            self._log.write(scope, record, time.monotonic() - record.begin)

    def _below_root(self, path: str) -> str:
        root = self._settings.root_path
        return path.removeprefix(root) if root and path.startswith(f"{root}/") else path

    def _refusal(self, scope: Scope, headers: Headers, record: RequestRecord) -> ApiError | None:
        keys = self._settings.api_keys
        if keys and not is_public(record.path, scope["method"]) and not has_key(headers, keys):
            return ApiError(
                401,
                "a valid API key is needed; send it as Authorization: Bearer KEY, or as X-Moondream-Auth",
                code="invalid_api_key",
                reason="auth",
            )
        if scope["method"] not in ("POST", "DELETE"):
            return None
        if headers.get("sec-fetch-site") == "cross-site" and not self._settings.cors:
            return ApiError(403, "another web page may not use this server; --cors ORIGIN allows it", reason="origin")
        if self._lifecycle.draining:
            return ApiError(
                503, "the server is ending and takes no new requests", retry_after=RETRY_DRAINING, reason="draining"
            )
        if self._lifecycle.active >= self._settings.max_requests:
            return ApiError(
                429, "the server has too many requests; try again", retry_after=1.0, code="queue_full", reason="queue"
            )
        record.accepted = True
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        if record.accepted:
            self._lifecycle.begin(record)
        try:
            await self._until_gone(scope, receive, send, record)
        except Exception as error:
            record.fail(error)
            if record.status is not None:  # the response is under way: only its end can tell
                raise
            unexpected = ApiError(500, f"internal error; the server's log has it under request {record.request_id}")
            await error_response(unexpected, record.path)(scope, receive, send)
        finally:
            for running in record.running:
                running.cancel()
            record.running.clear()  # which has the pixels, and the record is part of a reference cycle
            record.release()
            if record.accepted:
                self._lifecycle.end(record)

    async def _until_gone(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        """Run the app; cancel it when the client goes away, or stops to read until long after the deadline."""
        complete = asyncio.Event()  # whether the body was read, after which `receive` tells only of a disconnect

        async def receive_body() -> Message:
            if complete.is_set():
                await record.gone.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.disconnect":
                record.gone.set()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                complete.set()
            return message

        async def watch() -> None:
            await complete.wait()
            while not record.responded:
                if (await receive())["type"] == "http.disconnect" and not record.responded:
                    record.gone.set()
                    app.cancel()
                    return

        app = asyncio.ensure_future(self._app(scope, receive_body, send))
        watcher = asyncio.ensure_future(watch())
        try:
            await asyncio.wait({app}, timeout=record.deadline + LATEST_END - time.monotonic())
        finally:
            watcher.cancel()
            app.cancel()  # no effect on one that is done
        try:
            await app
        except asyncio.CancelledError:
            if not app.cancelled():  # it is this task that is cancelled
                raise
        except ClientDisconnect:
            record.gone.set()


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if re.fullmatch(r"[\w.:-]{1,128}", given, re.ASCII) else uuid.uuid4().hex
