"""Shows what was found instead of hiding it, and leaves out what was not asked for: treatments of `mdtool render`."""

from dataclasses import dataclass, replace

from engine.contract import normalize_prompt
from mdtool.media.canvas import Canvas, Colour
from mdtool.pipeline.run import Effect
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.overlay import Name, draw_overlay, draw_unjudged_notice
from recipes.regions import PictureArea, Size, select_regions


@dataclass(frozen=True)
class OverlayEffect:
    """colour None: as `recipes.overlay` has it. keep, only, min_size: as `recipes.regions.chosen` has them."""

    name: Name
    colour: Colour | None = None
    keep: tuple[PictureArea, ...] = ()
    only: tuple[PictureArea, ...] = ()
    min_size: Size | None = None

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        if findings.hidden:
            canvas.draw(draw_unjudged_notice)
        elif objects := select_regions(
            findings.regions, *canvas.display_size, keep=self.keep, only=self.only, min_size=self.min_size
        ):
            canvas.draw(lambda image: draw_overlay(image, objects, self.name, self.colour))


@dataclass(frozen=True)
class LabelFilter:
    """A treatment that is given to what has one of these labels, and to nothing else."""

    effect: Effect
    labels: frozenset[str]  # normalised

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        regions = [region for region in findings.regions if normalize_prompt(region.label) in self.labels]
        self.effect.paint(canvas, info, replace(findings, regions=regions))
