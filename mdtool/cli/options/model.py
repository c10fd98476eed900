"""Options that choose the model, and how it computes."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mdtool.errors import UsageError

if TYPE_CHECKING:
    from engine.contract import ImageBudget
    from mdtool.console import Console
    from mdtool.model_selection import ComputeConfig


class QuantizationFormat(StrEnum):
    """A quantisation scheme; the number after the dash is the group size."""

    int8 = "int8"
    int4 = "int4"
    int4_64 = "int4-64"
    int4_32 = "int4-32"


def model_names() -> list[str]:
    """Return the values of --model for shell completion. Paths are left to the shell."""
    from engine import EMBEDDED
    from engine.catalog.published import published

    return ["auto", *EMBEDDED, *published()]


def device_names() -> list[str]:
    """Return the values of --device for shell completion, without a slow test of which are available."""
    return ["auto", "cpu", "cuda", "mps"]


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A name from `mdtool models list`, a path to weights, or auto: centerface for faces, else a Moondream "
        "on this machine.",
        metavar="NAME|PATH",
        autocompletion=model_names,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Device to run on: auto, cpu, cuda, cuda:1 or mps.", metavar="DEVICE", autocompletion=device_names
    ),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="Floating-point type to compute in. Default: depends on model and device."),
]


@dataclass(frozen=True)
class ComputingOptions:
    """How a model computes, whatever its input."""

    device: Device = "auto"
    dtype: Dtype = None
    quantize: Annotated[
        Literal["none", "int8", "int4", "int4-64", "int4-32"],
        typer.Option(
            help="Quantise the weights of a language model to 8 or 4 bits; int4-64 and int4-32 have smaller groups, "
            "for higher accuracy."
        ),
    ] = "none"
    kv: Annotated[
        Literal["int8"] | None,
        typer.Option(help="Keep the KV cache of a language model in 8 bits: half the memory. Default: as it computes."),
    ] = None
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Use torch.compile: faster once started, but slow to start, most of all the first time."
        ),
    ] = False

    @property
    def computing(self) -> "ComputeConfig":
        """The options as the model selection takes them."""
        from mdtool.model_selection import ComputeConfig

        given = vars(self)
        return ComputeConfig(**{name: given[name] for name in vars(ComputeConfig()) if name in given})


@dataclass(frozen=True)
class ImageTokenOptions:
    """How many tokens an image may become, for models that take images of any size."""

    min_image_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Minimum number of tokens of an image: a smaller one is enlarged.", metavar="N"),
    ] = None
    max_image_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of tokens of an image, with all of its tiles: fewer are faster, and show less detail.",
            metavar="N",
        ),
    ] = None
    max_tiles: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tiles of a large image (LFM2-VL).", metavar="N")
    ] = None
    no_tiles: Annotated[bool, typer.Option("--no-tiles", help="Don't split a large image into tiles (LFM2-VL).")] = (
        False
    )
    thumbnail: Annotated[
        bool | None,
        typer.Option(
            "--thumbnail/--no-thumbnail",
            help="Encode the whole image too if it is split into tiles (LFM2-VL). Default: the model's.",
            show_default=False,
        ),
    ] = None

    @property
    def image_budget(self) -> "ImageBudget":
        """The options as the engine takes them. Raises UsageError if they contradict each other."""
        from engine.contract import ImageBudget

        if self.no_tiles and (self.max_tiles or self.thumbnail):
            raise UsageError("--no-tiles: leave out --max-tiles and --thumbnail, which are for tiles")
        if self.min_image_tokens and self.max_image_tokens and self.min_image_tokens > self.max_image_tokens:
            raise UsageError(f"--min-image-tokens: must not exceed --max-image-tokens, {self.max_image_tokens}")
        tiles = False if self.no_tiles else None
        return ImageBudget(self.min_image_tokens, self.max_image_tokens, tiles, self.max_tiles, self.thumbnail)


@dataclass(frozen=True)
class LoadingOptions(ImageTokenOptions, ComputingOptions):  # the fields of the last base come first
    """How a model is loaded, whichever it is."""

    detail: Annotated[
        str,
        typer.Option(
            help="Resolution at which the model sees an image: low, auto, high, or a number "
            "(centerface: longer side in pixels; Moondream: maximum number of crops; others: --max-image-tokens).",
            metavar="LEVEL|N",
        ),
    ] = "auto"
    resize: Annotated[
        Literal["vips", "pillow"] | None,
        typer.Option(help="Library that resizes images. Default: vips if installed."),
    ] = None
    adapter: Annotated[
        str | None,
        typer.Option(
            help="LoRA adapter: a safetensors file; for a Moondream also the name of a variant in the hub's cache, "
            "for LFM2-VL and Qwen3-VL the folder of an adapter that PEFT wrote.",
            metavar="FILE|FOLDER|NAME",
        ),
    ] = None
    mmproj: Annotated[
        str | None,
        typer.Option(help="Vision part of a model in a GGUF file. Default: the mmproj file beside it.", metavar="FILE"),
    ] = None
    chat_template: Annotated[
        str | None,
        typer.Option(
            help="Chat template: builtin (the model family's own), chatml, vicuna, or a file with Jinja. Default: the "
            "model's.",
            metavar="NAME|FILE",
        ),
    ] = None
    pull: Annotated[
        bool,
        typer.Option(
            "--pull", help="Download the model that is needed if it is not on this machine; a terminal asks otherwise."
        ),
    ] = False

    @property
    def computing(self) -> "ComputeConfig":
        """The options as the model selection takes them."""
        return replace(super().computing, image_budget=self.image_budget)

    def may_pull(self, console: "Console", inputs: Collection[str]) -> "Callable[[str], bool]":
        """Return the function that decides on a download, by --pull or by a question.

        Args:
            console: Asks the question.
            inputs: As typed; if one is "-", stdin is for data, and nothing is asked.
        """

        def decide(name: str) -> bool:
            from engine.catalog.published import published

            if self.pull:
                return True
            terms = published()[name].size_and_licence
            question = f"{name} is needed and not on this machine ({terms}); download it now?"
            return "-" not in inputs and console.ask(question)

        return decide


@dataclass(frozen=True)
class _Named:
    model: ModelName = "auto"


@dataclass(frozen=True)
class ModelOptions(LoadingOptions, _Named):
    """The model that analyses images, and how."""
