"""The effect of `mdtool render`: an overlay of boxes and labels."""

from dataclasses import dataclass

from mdtool.media.canvas import Canvas, Colour
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.overlay import Name, draw_overlay, draw_unjudged_notice
from recipes.regions import PictureArea, Size, select_regions


@dataclass(frozen=True)
class OverlayEffect:
    """Draws detected regions, or a notice on frames that could not be judged.

    Attributes:
        name: The overlay's style.
        colour: RGB colour; None: the default of `recipes.overlay`.
        keep: See `recipes.regions.select_regions`.
        only: See `recipes.regions.select_regions`.
        min_size: See `recipes.regions.select_regions`.
    """

    name: Name
    colour: Colour | None = None
    keep: tuple[PictureArea, ...] = ()
    only: tuple[PictureArea, ...] = ()
    min_size: Size | None = None

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Draw on a frame."""
        if findings.hidden:
            canvas.draw(draw_unjudged_notice)
        elif objects := select_regions(
            findings.regions, *canvas.display_size, keep=self.keep, only=self.only, min_size=self.min_size
        ):
            canvas.draw(lambda image: draw_overlay(image, objects, self.name, self.colour))
