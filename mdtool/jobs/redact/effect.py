"""The effect of `mdtool redact`: masks what was detected."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mdtool.media.canvas import Canvas, Colour
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.redact import Style, blank, redact
from recipes.regions import PictureArea, Region, Size, select_regions


@dataclass(frozen=True)
class Redaction:
    """Masks detected regions, or the whole frame if it could not be judged.

    Attributes:
        style: How regions are masked.
        colour: RGB colour of solid masks and of whole-frame masks.
        keep: See `recipes.regions.select_regions`.
        only: See `recipes.regions.select_regions`.
        min_size: See `recipes.regions.select_regions`.
    """

    style: Style = Style()
    colour: Colour = (0, 0, 0)
    keep: tuple[PictureArea, ...] = ()
    only: tuple[PictureArea, ...] = ()
    min_size: Size | None = None

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Mask a frame in place."""
        if findings.hidden:
            blank(canvas.planes, canvas.fill(self.colour))
            return
        selected = select_regions(
            findings.regions, *canvas.display_size, keep=self.keep, only=self.only, min_size=self.min_size
        )
        hide(canvas, selected, self.style, self.colour)


def hide(canvas: Canvas, regions: Iterable[Region], style: Style, colour: Colour) -> None:
    """Mask regions, given in fractions of the displayed frame, on the frame as it is stored."""
    orientation = canvas.orientation
    stored = [region.at(orientation.to_stored(region.sides)) for region in regions]
    x, y = style.margins
    stored_style = replace(style, margin=(y, x)) if orientation.swaps_sides else style
    redact(canvas.planes, stored, stored_style, canvas.fill(colour))
