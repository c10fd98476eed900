"""Which model answers, and how it computes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from mdtool.model_selection import ComputeConfig


class QuantizationFormat(StrEnum):
    int8 = "int8"
    int4 = "int4"
    int4_64 = "int4-64"
    int4_32 = "int4-32"


def model_names() -> list[str]:
    """For the completion of shells. Paths are left to the shell."""
    from engine import EMBEDDED
    from engine.catalog.published import published

    return ["auto", *EMBEDDED, *published()]


def device_names() -> list[str]:
    """For the completion of shells: whether a device is there is not asked, which would take long."""
    return ["auto", "cpu", "cuda", "mps"]


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


@dataclass(frozen=True)
class ComputingOptions:
    """How a model computes, whatever pictures it is given."""

    device: Device = "auto"
    dtype: Dtype = None
    quantize: Annotated[
        Literal["none", "int8", "int4", "int4-64", "int4-32"],
        typer.Option(
            help="Round a Moondream's weights to so many bits; int4-64 and int4-32 do it in smaller groups, more "
            "finely."
        ),
    ] = "none"
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Have torch compile what gains by it. It takes long to start, the first time longest."
        ),
    ] = False

    @property
    def computing(self) -> "ComputeConfig":
        from mdtool.model_selection import ComputeConfig

        given = vars(self)
        return ComputeConfig(**{name: given[name] for name in vars(ComputeConfig()) if name in given})


@dataclass(frozen=True)
class _Named:
    model: ModelName = "auto"


@dataclass(frozen=True)
class ModelOptions(ComputingOptions, _Named):  # the fields of the last base come first
    """The model that is asked about pictures."""

    detail: Annotated[
        str,
        typer.Option(
            help="How much of a picture the model sees: low, auto, high, or a number "
            "(centerface: the longer side in pixels; Moondream: the most crops)."
        ),
    ] = "auto"
    resize: Annotated[
        Literal["vips", "pillow"] | None,
        typer.Option(help="What makes pictures smaller. Default: vips if it is there."),
    ] = None
    adapter: Annotated[
        str | None,
        typer.Option(
            help="Answer with this LoRA adapter of a Moondream: a file, or the name of a variant in the hub's cache.",
            metavar="FILE|NAME",
        ),
    ] = None
