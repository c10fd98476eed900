"""Runs the app with uvicorn, from the first line to the end of a drain."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from mdtool.errors import ExitCode, UsageError
from mdtool.server.media_jobs import MediaJobs
from mdtool.server.service import Service

KEEP_ALIVE = 75  # seconds; longer than the clients keep a connection, so that none is closed under a request
JOB_SECONDS = 0.05  # between two looks at jobs in a drain
LAST_BYTES = 2  # seconds after a drain, in which clients take what was sent

ENDING = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    ENDING.append(signal.SIGHUP)


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and how it ends.

    Attributes:
        host: A name or address.
        port: 0: any that is free.
        certfile: TLS certificates; None: no TLS.
        keyfile: Their key; None: it is in the same file.
        drain: Seconds that running requests and jobs are given when the server ends.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    certfile: str | None = None
    keyfile: str | None = None
    drain: float = 30.0

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


class _Server(uvicorn.Server):
    """uvicorn's server, without its own idea of signals: it would refuse connections at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_server(app: FastAPI, listening: Listening, note: Callable[[str], object]) -> ExitCode:
    """Serve until a signal ends it.

    The first signal starts the drain: new requests are refused, those accepted are finished, jobs too. A second one
    ends the process at once.

    Args:
        app: From `create_app`; its engine is drained, and ended by the caller.
        listening: Where.
        note: Prints a line for people.

    Returns:
        OK after a clean drain, SOME_FAILED if requests or jobs were cut off.

    Raises:
        UsageError: It can't listen there, or the certificate can't be used.
    """
    with listener_at(listening) as listener:
        return asyncio.run(_serve(app, listening, listener, note))


def listener_at(listening: Listening) -> socket.socket:
    """Return a listening socket. Raises UsageError if that is not possible."""
    where = f"{listening.host}:{listening.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(listening.host, listening.port, type=socket.SOCK_STREAM)[0]
        # With this protocol asyncio sets TCP_NODELAY: else the body of a response waits 40 ms for the client's ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise UsageError(f"--host {listening.host}: {error.strerror or error}") from error
    try:
        if sys.platform != "win32":  # where it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"can't listen on {where}: {why.lower()}; give another --port or --host") from error
    return listener


async def _serve(
    app: FastAPI, listening: Listening, listener: socket.socket, note: Callable[[str], object]
) -> ExitCode:
    service: Service = app.state.service
    server = _Server(uvicorn_config(app, listening))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    signalled = _on_signals(service.jobs)
    while not (server.started or serving.done()):
        await asyncio.sleep(0.005)
    if not serving.done():
        note(f"serving {', '.join(service.models.names)} on {_url(listening, listener)}")
    ended = asyncio.ensure_future(signalled.wait())
    await asyncio.wait({ended, serving}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    active = service.lifecycle.active + service.jobs.active
    if active:
        note(f"ending; {active} running requests have {listening.drain:g} s; a second signal ends now")
    clean = await _drained(service, listening.drain)
    if not clean:
        left = service.lifecycle.active + service.jobs.cut_off()
        note(f"{left} requests were cut off after {listening.drain:g} s; --drain gives them longer")
        await asyncio.to_thread(service.engine.close)  # so that they end with an error, and their clients can tell
        await service.lifecycle.drained(LAST_BYTES)
    server.should_exit = True
    await serving
    await asyncio.to_thread(service.jobs.close)  # while there is an event loop, which their requests to models need
    return ExitCode.OK if clean else ExitCode.SOME_FAILED


async def _drained(service: Service, seconds: float) -> bool:
    """Wait for the accepted requests and for jobs; return whether all have ended within these seconds."""
    end = time.monotonic() + seconds
    requests_ended = await service.lifecycle.drained(seconds)
    while service.jobs.active and time.monotonic() < end:
        await asyncio.sleep(JOB_SECONDS)
    return requests_ended and not service.jobs.active


def uvicorn_config(app: FastAPI, listening: Listening) -> uvicorn.Config:
    """Return how uvicorn serves an app. Raises UsageError if the certificate can't be used."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # the access log has what matters
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST_BYTES,
        ssl_certfile=listening.certfile,
        ssl_keyfile=listening.keyfile,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--ssl-certfile, --ssl-keyfile: can't be used: {error.strerror or error}") from error
    return config


def _on_signals(jobs: MediaJobs) -> asyncio.Event:
    """Return an event that the first signal sets; the second one ends the process."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()

    def receive() -> None:
        if signalled.is_set():
            jobs.delete_files()
            os._exit(ExitCode.INTERRUPTED)
        signalled.set()

    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_IGN:  # as nohup and a shell's & set it
            continue
        try:
            loop.add_signal_handler(number, receive)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(receive))
    return signalled


def _url(listening: Listening, listener: socket.socket) -> str:
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    return f"{'https' if listening.certfile else 'http'}://{host}:{listener.getsockname()[1]}"
