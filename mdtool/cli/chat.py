"""`mdtool chat`: a conversation about images."""

from dataclasses import replace
from typing import Annotated

import typer

from mdtool.cli.options.generation import GenerationOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.printing import AllowPrivate, Quiet, Verbose


@grouped
def chat(
    *,
    images: Annotated[
        list[str],
        typer.Argument(help="Images for the first message: files, folders, globs, URLs.", metavar="[IMAGE...]"),
    ] = [],
    system: Annotated[
        str | None, typer.Option(help="System message: what the model should be or do.", metavar="TEXT")
    ] = None,
    context: Annotated[
        int,
        typer.Option(
            min=16,
            help="Maximum number of tokens that the model looks back on, images and answer included; older turns are "
            "dropped.",
            metavar="N",
        ),
    ] = 4096,
    model: ModelOptions,
    generation: GenerationOptions,
    quiet: Quiet = False,
    verbose: Verbose = False,
    allow_private: AllowPrivate = False,
) -> None:
    """Converse with a model about images, on a terminal or line by line through a pipe.

    Each line is a message, and the answer is streamed to stdout. /image PATH shows another image, /save PATH writes the
    conversation to a Markdown file, /reset begins anew, /quit or Ctrl-D ends, and Ctrl-C ends an answer or a command.
    An image is encoded once, and a turn computes only what is new. The system message and the newest image are never
    dropped.

    \b
    mdtool chat photo.jpg --model qwen3-vl-4b:q4_k_m
    mdtool chat --model qwen3-vl-4b:q4_k_m --system "Answer in one sentence."
    printf 'what is it?\\nwhat colour?\\n' | mdtool chat photo.jpg --model qwen3-vl-4b:q4_k_m
    """
    from mdtool.console import Console
    from mdtool.jobs.chat.cancellation import Cancellation
    from mdtool.jobs.chat.run import run_chat
    from mdtool.jobs.chat.session import ChatSettings, Session
    from mdtool.model_selection import KEPT_IMAGE_BYTES, LoadCallbacks, load_model

    console = Console(quiet, verbose=verbose)
    may_pull = model.may_pull(console, images)  # which asks nobody where messages come through a pipe
    callbacks = LoadCallbacks(console.note, console.note, console.explain, may_pull)
    computing = replace(model.computing, kept_image_bytes=KEPT_IMAGE_BYTES)
    loaded = load_model(model.model, "chat", [""], computing, callbacks=callbacks)
    cancellation = Cancellation()
    session = Session(loaded, ChatSettings(system, context, generation.generation), console, cancellation)
    session.attach(images)
    raise typer.Exit(run_chat(session, cancellation))
