"""Hides what was found: the treatment that `mdtool redact` gives."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mdtool.media.canvas import Canvas, Colour
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.redact import Style, blank, redact
from recipes.regions import PictureArea, Region, Size, select_regions


@dataclass(frozen=True)
class Redaction:
    """keep, only, min_size: as `recipes.regions.chosen` has them."""

    style: Style = Style()
    colour: Colour = (0, 0, 0)
    keep: tuple[PictureArea, ...] = ()
    only: tuple[PictureArea, ...] = ()
    min_size: Size | None = None

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        if findings.hidden:
            blank(canvas.planes, canvas.fill(self.colour))
            return
        chosen_ones = select_regions(
            findings.regions, *canvas.display_size, keep=self.keep, only=self.only, min_size=self.min_size
        )
        hide(canvas, chosen_ones, self.style, self.colour)


def hide(canvas: Canvas, regions: Iterable[Region], style: Style, colour: Colour) -> None:
    """Paints over the regions, in fractions of the picture as displayed."""
    turned = canvas.orientation
    stored = [region.at(turned.to_stored(region.sides)) for region in regions]
    x, y = style.margins
    redact(canvas.planes, stored, replace(style, margin=(y, x)) if turned.swaps_sides else style, canvas.fill(colour))
