"""What the routes of one server share."""

from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.requests import Request

from mdtool.memory import Account
from mdtool.server.engine_loop import EngineLoop
from mdtool.server.lifecycle import Lifecycle
from mdtool.server.media_jobs import MediaJobs
from mdtool.server.metrics import Metrics
from mdtool.server.pulls import Pulls
from mdtool.server.served_models import ServedModels
from mdtool.server.server_settings import ServerSettings


@dataclass(frozen=True)
class Service:
    """A server's parts.

    Attributes:
        engine: Computes.
        models: What it serves; the first is for requests that name none.
        settings: What its owner decided.
        lifecycle: Its accepted requests.
        metrics: Its counters.
        jobs: Redactions and moderations of videos.
        pulls: Downloads of models.
        decoders: Threads that parse and decode.
        memory: What the bodies and images of all requests take.
    """

    engine: EngineLoop
    models: ServedModels
    settings: ServerSettings
    lifecycle: Lifecycle
    metrics: Metrics
    jobs: MediaJobs
    pulls: Pulls
    decoders: Executor
    memory: Account


def service_of(request: Request) -> Service:
    """Return the server that a request came to."""
    service: Service = request.app.state.service
    return service
