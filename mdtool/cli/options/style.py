"""How what was found is hidden, and which of it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recipes.redact import Style
    from recipes.regions import PictureArea, Size


class ShapeName(StrEnum):
    box = "box"
    ellipse = "ellipse"


@dataclass(frozen=True)
class StyleOptions:
    """None: `recipes.redact.Style`'s own default."""

    strength: Annotated[
        float | None,
        typer.Option(
            help="Size of one averaged cell, as a part of the object's shorter side: 0.15 to 1. Default: 0.33.",
            show_default=False,
        ),
    ] = None
    shape: Annotated[
        ShapeName | None,
        typer.Option(help="An ellipse goes round the box, not into it. Default: box.", show_default=False),
    ] = None
    margin: Annotated[
        float | None,
        typer.Option(help="Added on each side, as a part of the object's width and height. Default: 0.3."),
    ] = None
    feather: Annotated[
        float | None,
        typer.Option(
            help="Soft edge round the covered part, as a part of the object's shorter side. Default: 0.",
            show_default=False,
        ),
    ] = None

    @property
    def given(self) -> dict[str, object]:
        """Those that have a value, by name."""
        from mdtool.cli.values import given

        return given(**vars(self))

    def style(self, name: str) -> "Style":
        """UsageError for values that can't be."""
        from mdtool.cli.values import checked
        from recipes.redact import Style

        return checked(Style, name=name, **self.given)


DEFAULT_STYLE = StyleOptions(strength=0.33, shape=ShapeName.box, feather=0.0)


@dataclass(frozen=True)
class RegionFilterOptions:
    """Which of what was found is worked on."""

    keep: Annotated[
        list[str],
        typer.Option(help="Leave alone what has its centre in X0,Y0,X1,Y1 (fractions or pixels). Repeatable."),
    ] = field(default_factory=list)
    only: Annotated[list[str], typer.Option()] = field(default_factory=list)
    min_size: Annotated[
        str | None,
        typer.Option(help="Leave alone what is smaller: pixels, or a fraction of the picture's shorter side."),
    ] = None

    @property
    def parsed(self) -> "tuple[tuple[PictureArea, ...], tuple[PictureArea, ...], Size | None]":
        """(keep, only, min_size), as `recipes.regions.chosen` has them. UsageError for what can't be."""
        from mdtool.cli.values import parsed, parsed_regions
        from recipes.regions import parse_size

        regions = parsed_regions("--keep", self.keep), parsed_regions("--only", self.only)
        return *regions, parsed("--min-size", parse_size, self.min_size)
