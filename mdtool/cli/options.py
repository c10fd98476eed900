"""Options that several commands have, declared once."""

from enum import StrEnum
from typing import Annotated, Literal

import typer


class ShapeName(StrEnum):
    box = "box"
    ellipse = "ellipse"


class FewBits(StrEnum):
    int8 = "int8"
    int4 = "int4"
    int4_64 = "int4-64"
    int4_32 = "int4-32"


class OnError(StrEnum):
    stop = "stop"
    blank = "blank"


def model_names() -> list[str]:
    """For the completion of shells. Paths are left to the shell."""
    from engine import EMBEDDED
    from engine.catalog.published import published

    return ["auto", *EMBEDDED, *published()]


def device_names() -> list[str]:
    """For the completion of shells: whether a device is there is not asked, which would take long."""
    return ["auto", "cpu", "cuda", "mps"]


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

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A name from `mdtool models list`, a file or folder of weights, or auto: centerface (for faces) or "
        "a Moondream that was pulled.",
        metavar="NAME|PATH",
        autocompletion=model_names,
    ),
]
Device = Annotated[
    str,
    typer.Option(help="Where the model runs: auto, cpu, cuda, cuda:1, mps.", autocompletion=device_names),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="What the model computes in. Default: what suits the model and the device."),
]
Quantize = Annotated[
    Literal["none", "int8", "int4", "int4-64", "int4-32"],
    typer.Option(
        help="Round a Moondream's weights to so many bits; int4-64 and int4-32 do it in smaller groups, more finely."
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Have torch compile what gains by it. It takes long to start, the first time longest."
    ),
]
Detail = Annotated[
    str,
    typer.Option(
        help="How much of a picture the model sees: low, auto, high, or a number "
        "(centerface: the longer side in pixels; Moondream: the most crops)."
    ),
]
Resize = Annotated[
    Literal["vips", "pillow"] | None, typer.Option(help="What makes pictures smaller. Default: vips if it is there.")
]

Temperature = Annotated[
    float | None, typer.Option(min=0, help="0 takes the likeliest word each time. Default: the model's.")
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", min=0, max=1, help="How much of the likely words is drawn from. Default: the model's."),
]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="The text ends here at the latest. Default: the model's.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same text.")]

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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each photo (and prompt).")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what the model computes with, and why, on stderr.")]

# Of the commands that make changed copies of photos, videos and animations.

Media = Annotated[
    list[str],
    typer.Argument(
        help="Videos, photos, animations, folders, globs, addresses, camera:0, or - for stdin.", metavar="INPUT..."
    ),
]
OverwriteOutputs = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]

Strength = Annotated[
    float | None,
    typer.Option(
        help="Size of one averaged cell, as a part of the object's shorter side: 0.15 to 1. Default: 0.33.",
        show_default=False,
    ),
]
Shape = Annotated[
    ShapeName | None,
    typer.Option(help="An ellipse goes round the box, not into it. Default: box.", show_default=False),
]
Margin = Annotated[
    float | None,
    typer.Option(help="Added on each side, as a part of the object's width and height. Default: 0.3."),
]
Feather = Annotated[
    float | None,
    typer.Option(
        help="Soft edge round the covered part, as a part of the object's shorter side. Default: 0.", show_default=False
    ),
]

Keep = Annotated[
    list[str],
    typer.Option(help="Leave alone what has its centre in X0,Y0,X1,Y1 (fractions or pixels). Repeatable."),
]
MinSize = Annotated[
    str | None,
    typer.Option(help="Leave alone what is smaller: pixels, or a fraction of the picture's shorter side."),
]
Threshold = Annotated[
    float | None, typer.Option(help="How sure the model must be, 0 to 1, if it says so. Default: the model's.")
]
Sample = Annotated[str, typer.Option(help="Frames the model looks at: auto, every, N (one in N), fps=F.")]
Start = Annotated[
    str | None,
    typer.Option("--from", help="Work from this time on (90, 1:30 or 0:01:30.5); frames before stay as they are."),
]
End = Annotated[str | None, typer.Option("--to", help="Work up to this time; frames after stay as they are.")]
IfModelFails = Annotated[OnError, typer.Option(help="If the model fails on a frame: stop, or blank that frame.")]
Findings = Annotated[str | None, typer.Option(help="Write what was found to this file, as JSON Lines (- for stdout).")]

Tiles = Annotated[
    str | None,
    typer.Option(
        help="Let the model see so many overlapping tiles too, COLUMNSxROWS such as 2x2, for small objects.",
        metavar="CxR",
    ),
]
Delay = Annotated[
    str, typer.Option(help="For cameras and streams: how long a frame waits until it is known what it shows.")
]
Duration = Annotated[str | None, typer.Option(help="For cameras and streams: end after this time.")]
Segment = Annotated[
    str | None, typer.Option(help="For cameras and streams: begin another file each time this has passed (10m).")
]
Codec = Annotated[
    str | None,
    typer.Option(
        help="Video encoder, such as libx264, libx265, h264_nvenc. Default: libx264 where the format takes it."
    ),
]
Crf = Annotated[
    int | None, typer.Option(help="Constant quality of the encoder; lower is better. Default: 18 for libx264.")
]
Preset = Annotated[str | None, typer.Option(help="Speed preset of the encoder. Default: medium for libx264.")]
PixelFormat = Annotated[str | None, typer.Option(help="Pixel format to encode in. Default: the source's.")]
Format = Annotated[
    str | None, typer.Option(help="Container format. Default: by the output's name; matroska for stdout.")
]
KeepMetadata = Annotated[
    bool, typer.Option("--keep-metadata", help="Keep tags such as place, time, device and author.")
]
QuietToo = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Summaries = Annotated[bool, typer.Option("--json", help="Print a summary of each input on stdout, as JSON Lines.")]
