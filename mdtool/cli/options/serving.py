"""Options of the server: where it listens, who may use it, and its limits."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mdtool.cli.values import parse_positive_seconds, parsed, size_in_bytes
from mdtool.errors import UsageError, output_errors_for

if TYPE_CHECKING:
    from mdtool.server.run_server import Listening
    from mdtool.server.server_settings import ServerSettings

KEY_VARIABLE = "MDTOOL_API_KEY"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
READING = 64  # requests that are read or run at a time, besides those in the queue


@dataclass(frozen=True)
class ListenOptions:
    """Where a server listens, and how it ends."""

    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every IPv4 address of this machine.", metavar="HOST")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.", metavar="N")] = (
        7860
    )
    root_path: Annotated[
        str | None, typer.Option(help="Prefix of all paths behind a reverse proxy, such as /vision.", metavar="PATH")
    ] = None
    ssl_certfile: Annotated[
        Path | None, typer.Option(help="TLS certificate, with its chain: a PEM file.", metavar="FILE")
    ] = None
    ssl_keyfile: Annotated[
        Path | None, typer.Option(help="Private key of the certificate. Default: in the same file.", metavar="FILE")
    ] = None
    drain: Annotated[
        str, typer.Option(help="How long running requests and jobs may go on after a signal to end.", metavar="TIME")
    ] = "30s"

    @property
    def prefix(self) -> str:
        """The root path without a slash at its end. Raises UsageError."""
        path = (self.root_path or "").rstrip("/")
        if path and not path.startswith("/"):
            raise UsageError(f"--root-path {self.root_path}: must begin with /, such as /vision")
        return path

    @property
    def listening(self) -> "Listening":
        """The options as the server takes them. Raises UsageError."""
        from mdtool.server.run_server import Listening

        if self.ssl_keyfile and not self.ssl_certfile:
            raise UsageError("--ssl-keyfile: only with --ssl-certfile; give the certificate too")
        drain = parse_positive_seconds("--drain", self.drain)
        certificate, key = (None if file is None else str(file) for file in (self.ssl_certfile, self.ssl_keyfile))
        return Listening(self.host, self.port, certificate, key, drain=drain)


@dataclass(frozen=True)
class AccessOptions:
    """Who may use a server, and what is logged."""

    api_key: Annotated[
        list[str],
        typer.Option(
            help="Key that clients must send. Repeatable. Other users of this machine can see it: better a file, or "
            f"the environment variable {KEY_VARIABLE}.",
            metavar="KEY",
            envvar=KEY_VARIABLE,
            show_envvar=False,
            hide_input=True,  # a secret: not for settings, nor shown among them
        ),
    ] = field(default_factory=list)
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with a key a line; # begins a comment.", metavar="FILE")
    ] = None
    cors: Annotated[
        list[str],
        typer.Option(
            help="Origin of web pages that may call this server, such as https://example.com; * is any. Repeatable.",
            metavar="ORIGIN",
        ),
    ] = field(default_factory=list)
    allow_image_hosts: Annotated[
        list[str],
        typer.Option(
            help="Host that images may be fetched from by URL: a name, *.name, or * for any public one. Repeatable. "
            "Default: none.",
            metavar="HOST",
        ),
    ] = field(default_factory=list)
    access_log: Annotated[
        Path | None,
        typer.Option(help="Append the access log, JSON Lines, to this file. Default: stderr.", metavar="FILE"),
    ] = None
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Log prompts and answers too; images never.")] = (
        False
    )

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys. Raises UsageError if the file can't be read or has none, or a key is blank or not ASCII."""
        keys = [key.strip() for key in self.api_key]
        if self.api_key_file:
            try:
                lines = self.api_key_file.read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"--api-key-file {self.api_key_file}: can't be read: {error}") from error
            found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
            if not found:
                raise UsageError(f"--api-key-file {self.api_key_file}: has no key; put one in a line")
            keys += found
        if not all(keys):
            raise UsageError("--api-key: empty; give some text")
        if not all(key.isascii() and key.isprintable() for key in keys):
            raise UsageError("--api-key, --api-key-file: a key has other characters than ASCII; no header carries them")
        return tuple(keys)

    @property
    def origins(self) -> tuple[str, ...]:
        """All origins as browsers send them. Raises UsageError."""
        for origin in self.cors:
            if origin != "*" and not _ORIGIN.fullmatch(origin.lower()):
                raise UsageError(f"--cors {origin}: is no origin; give * or scheme://host[:port]")
        return tuple(origin.lower() for origin in self.cors)

    @contextmanager
    def log_file(self, *, quiet: bool) -> Iterator[TextIO | None]:
        """Open the file of the access log; None: there is none. Raises OutputError."""
        if self.access_log is None:
            yield None if quiet else sys.stderr
            return
        with output_errors_for(self.access_log):
            file = self.access_log.open("a", encoding="utf-8", buffering=1)
        with file:
            yield file


@dataclass(frozen=True)
class JobOptions:
    """Videos that are redacted or moderated."""

    jobs: Annotated[
        int, typer.Option(min=1, help="Maximum number of videos that are redacted or moderated at a time.", metavar="N")
    ] = 1
    job_ttl: Annotated[
        str, typer.Option(help="How long the result of such a job is kept after its end.", metavar="TIME")
    ] = "1h"
    max_upload: Annotated[str, typer.Option(help="Maximum size of a video that is uploaded.", metavar="SIZE")] = "4GB"


@dataclass(frozen=True)
class LimitOptions:
    """How much a server takes."""

    queue: Annotated[
        int, typer.Option(min=1, help="Maximum number of requests that wait for their turn.", metavar="N")
    ] = 64
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of requests that a model runs at a time. Default: as memory allows.",
            metavar="N",
        ),
    ] = None
    request_timeout: Annotated[str, typer.Option(help="How long a request may take.", metavar="TIME")] = "10m"
    max_body: Annotated[
        str, typer.Option(help="Maximum size of a request, images as base64 included.", metavar="SIZE")
    ] = "64MB"
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Maximum size of an image, in million pixels.", metavar="N")
    ] = 100
    max_images: Annotated[int, typer.Option(min=1, help="Maximum number of images in a request.", metavar="N")] = 16
    idle_unload: Annotated[
        str | None,
        typer.Option(help="Unload a model that was not asked for this long. Default: never.", metavar="TIME"),
    ] = None

    @property
    def idle_unload_seconds(self) -> float | None:
        """When a model is unloaded. Raises UsageError."""
        return parse_positive_seconds("--idle-unload", self.idle_unload)

    def settings(self, access: AccessOptions, jobs: JobOptions, root_path: str) -> "ServerSettings":
        """Return the settings of a server. Raises UsageError."""
        from mdtool.server.server_settings import ServerSettings

        return ServerSettings(
            api_keys=access.keys,
            cors=access.origins,
            root_path=root_path,
            image_hosts=tuple(host.lower() for host in access.allow_image_hosts),
            max_body_bytes=parsed("--max-body", size_in_bytes, self.max_body),
            max_pixels=self.max_pixels * 1_000_000,
            max_images=self.max_images,
            max_requests=self.queue + max(self.batch or 0, READING),
            request_timeout=parse_positive_seconds("--request-timeout", self.request_timeout),
            log_prompts=access.log_prompts,
            max_upload_bytes=parsed("--max-upload", size_in_bytes, jobs.max_upload),
            jobs=jobs.jobs,
            job_ttl=parse_positive_seconds("--job-ttl", jobs.job_ttl),
        )
