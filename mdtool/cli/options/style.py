"""Options for masks: which objects are masked, and how."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recipes.redact import Style
    from recipes.regions import PictureArea, Size


class ShapeName(StrEnum):
    """The shape of a mask."""

    box = "box"
    ellipse = "ellipse"


@dataclass(frozen=True)
class StyleOptions:
    """How objects are masked; None is the default of `recipes.redact.Style`."""

    strength: Annotated[
        float | None,
        typer.Option(
            help="Size of an averaged cell, as a fraction of the object's shorter side: 0.15 to 1. Default: 0.33.",
            show_default=False,
            metavar="FRACTION",
        ),
    ] = None
    shape: Annotated[
        ShapeName | None,
        typer.Option(help="Shape of the mask; an ellipse encloses the box. Default: box.", show_default=False),
    ] = None
    margin: Annotated[
        float | None,
        typer.Option(
            help="Margin on each side, as a fraction of the object's width and height. Default: 0.3.",
            metavar="FRACTION",
        ),
    ] = None
    feather: Annotated[
        float | None,
        typer.Option(
            help="Soft edge of the mask, as a fraction of the object's shorter side. Default: 0.",
            show_default=False,
            metavar="FRACTION",
        ),
    ] = None

    @property
    def given(self) -> dict[str, object]:
        """The options that have a value, by name."""
        from mdtool.cli.values import given

        return given(**vars(self))

    def style(self, name: str) -> "Style":
        """Return the style of this name with these values. Raises UsageError for values out of range."""
        from mdtool.cli.values import checked
        from recipes.redact import Style

        return checked(Style, name=name, **self.given)


DEFAULT_STYLE = StyleOptions(strength=0.33, shape=ShapeName.box, feather=0.0)


@dataclass(frozen=True)
class RegionFilterOptions:
    """Which detections are drawn or masked."""

    keep: Annotated[
        list[str],
        typer.Option(
            help="Skip objects whose centre is in this region (fractions or pixels). Repeatable.",
            metavar="X0,Y0,X1,Y1",
        ),
    ] = field(default_factory=list)
    only: Annotated[list[str], typer.Option()] = field(default_factory=list)
    min_size: Annotated[
        str | None,
        typer.Option(help="Skip smaller objects: pixels, or a fraction of the frame's shorter side.", metavar="SIZE"),
    ] = None

    @property
    def parsed(self) -> "tuple[tuple[PictureArea, ...], tuple[PictureArea, ...], Size | None]":
        """(keep, only, min_size), as `recipes.regions.chosen` takes them. Raises UsageError for bad values."""
        from mdtool.cli.values import parsed, parsed_regions
        from recipes.regions import parse_size

        regions = parsed_regions("--keep", self.keep), parsed_regions("--only", self.only)
        return *regions, parsed("--min-size", parse_size, self.min_size)
