"""Which photos are asked about, what is found on them, and where copies go that show it."""

from typing import Annotated

import typer

Images = Annotated[
    list[str], typer.Argument(help="Photos, folders of them, globs, or - for one on stdin.", metavar="IMAGE...")
]
ImagesAndPrompt = Annotated[
    list[str],
    typer.Argument(
        help="Photos, folders of them, globs, or - for one on stdin; and last what to find, in plain words.",
        metavar="IMAGE... PROMPT",
    ),
]
Prompts = Annotated[
    list[str],
    typer.Option("--prompt", "-p", help="What to find, in place of the last argument. Repeatable."),
]
MaxObjects = Annotated[
    int | None, typer.Option(min=1, help="The most that is found of one thing in a photo. Default: the model's.")
]
Save = Annotated[
    str | None,
    typer.Option(
        help="Draw what was found on a copy: a file (the format by its name), or a folder for several photos.",
        metavar="OUT",
    ),
]
