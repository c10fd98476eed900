"""Arguments and options of commands that analyse images: the inputs, the prompts, and the annotated copies."""

from typing import Annotated

import typer

Images = Annotated[
    list[str],
    typer.Argument(help="Images, folders, globs, URLs, or - for an image on stdin.", metavar="IMAGE..."),
]
ImagesAndPrompt = Annotated[
    list[str],
    typer.Argument(
        help="Images, folders, globs, URLs, or - for an image on stdin; last the object to find, in plain words.",
        metavar="IMAGE... PROMPT",
    ),
]
ImagesAndQuestion = Annotated[
    list[str],
    typer.Argument(
        help="Images, folders, globs, URLs, or - for an image on stdin; last the question.",
        metavar="IMAGE... QUESTION",
    ),
]
Prompts = Annotated[
    list[str],
    typer.Option("--prompt", "-p", help="Object to find, instead of the last argument. Repeatable.", metavar="TEXT"),
]
MaxObjects = Annotated[
    int | None,
    typer.Option(min=1, help="Maximum number of objects per prompt and image. Default: the model's.", metavar="N"),
]
Region = Annotated[
    str | None,
    typer.Option(
        help="Show the model this region of each image alone, enlarged if it is small: fractions of the image from 0 "
        "to 1, or pixels. Results are in coordinates of the whole image.",
        metavar="X0,Y0,X1,Y1",
    ),
]
Draw = Annotated[
    str | None,
    typer.Option(
        help="Draw the results on copies: a file (its extension sets the format), or a folder for several images.",
        metavar="FILE|DIR",
    ),
]
