"""`mdtool serve`: an HTTP server for the clients of Moondream, OpenAI and Ollama."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import LoadingOptions, model_names
from mdtool.cli.options.printing import Quiet, Verbose
from mdtool.cli.options.serving import AccessOptions, JobOptions, LimitOptions, ListenOptions

if TYPE_CHECKING:
    from mdtool.server.served_models import ServedModel


@grouped
def serve(
    *,
    model: Annotated[
        list[str],
        typer.Option(
            help="A name from `mdtool models list`, or a path to weights, which is served under its last part. "
            "Repeatable; the first is for requests that name none. Default: the best on this machine.",
            metavar="NAME|PATH",
            autocompletion=model_names,
            show_default=False,
        ),
    ] = [],
    listen: ListenOptions,
    access: AccessOptions,
    limits: LimitOptions,
    jobs: JobOptions,
    loading: LoadingOptions,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve models over HTTP: a web page at /, and the APIs of Moondream, OpenAI and Ollama.

    Requests of all clients are batched as they come. A model is loaded when it is first asked. The first Ctrl-C or
    SIGTERM ends the server once running requests are answered, the second at once. /docs lists the routes.

    \b
    mdtool serve --model moondream2
    mdtool serve --model moondream2 --model ./Qwen3-VL-2B-Instruct --idle-unload 10m
    mdtool serve --model pocket --host 0.0.0.0 --api-key-file keys.txt
    """
    from engine.contract import NotDownloaded
    from mdtool.console import Console
    from mdtool.memory import budget, choose_budget
    from mdtool.model_selection import FACE_MODEL, LoadCallbacks, model_errors, or_pulled
    from mdtool.server.access_log import AccessLog
    from mdtool.server.app import create_app
    from mdtool.server.engine_loop import EngineLoop
    from mdtool.server.run_server import run_server
    from mdtool.server.served_models import ServedModels

    console = Console(quiet, verbose=verbose)
    settings = replace(limits.settings(access, jobs, listen.prefix), memory=budget())
    listening = listen.listening
    choose_budget(budget() // jobs.jobs)  # of each video that is processed side by side
    if not (settings.api_keys or listening.local):
        console.error(
            f"warning: --host {listening.host} lets other machines use this server without a key; --api-key-file asks "
            "for one"
        )
    callbacks = LoadCallbacks(console.note, console.note, console.explain, loading.may_pull(console, []))
    idle_unload = limits.idle_unload_seconds
    with model_errors():
        try:
            models = or_pulled(lambda: ServedModels(_served(model, loading), idle_unload=idle_unload), callbacks)
        except NotDownloaded as error:
            if model:
                raise
            console.note(f"only faces can be found: {error}")
            models = ServedModels(_served([FACE_MODEL], loading), idle_unload=idle_unload)
    with access.log_file(quiet=quiet) as file:
        engine = EngineLoop(models, queue_size=limits.queue, batch=limits.batch)
        app = create_app(engine, models, settings, AccessLog(file, settings.log_prompts))
        engine.start()
        code = run_server(app, listening, console.note)
        engine.close()
    raise typer.Exit(code)


def _served(given: list[str], loading: LoadingOptions) -> "dict[str, ServedModel]":
    """Return the models by the names that they are served under."""
    from mdtool.errors import UsageError
    from mdtool.model_selection import FACE_MODEL, ComputeConfig, first_that_describes
    from mdtool.server.served_models import ServedModel

    found: dict[str, ServedModel] = {}
    for each in given or ["auto"]:
        chosen = first_that_describes() if each == "auto" else each
        name = Path(chosen).name or chosen
        if name in found:
            raise UsageError(f"--model {each}: another model is served as {name} already; rename one of them")
        found[name] = ServedModel(chosen, ComputeConfig() if chosen == FACE_MODEL else loading.computing)
    found.setdefault(FACE_MODEL, ServedModel(FACE_MODEL))  # embedded, and what finds faces best
    return found
