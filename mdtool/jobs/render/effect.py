"""Shows what was found instead of hiding it, and leaves out what was not asked for: treatments of `mdtool render`."""

from dataclasses import dataclass, replace

from engine.contract import normalise
from mdtool.media.canvas import Canvas, Colour
from mdtool.pipeline.run import Effect
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.overlay import Name, mark, mark_unjudged
from recipes.regions import PictureArea, Size, chosen


@dataclass(frozen=True)
class Marking:
    """colour None: as `recipes.overlay` has it. keep, only, min_size: as `recipes.regions.chosen` has them."""

    name: Name
    colour: Colour | None = None
    keep: tuple[PictureArea, ...] = ()
    only: tuple[PictureArea, ...] = ()
    min_size: Size | None = None

    def paint(self, canvas: Canvas, moment: FrameInfo, verdict: FrameFindings) -> None:
        if verdict.hidden:
            canvas.draw(mark_unjudged)
        elif objects := chosen(
            verdict.regions, *canvas.shown_size, keep=self.keep, only=self.only, min_size=self.min_size
        ):
            canvas.draw(lambda image: mark(image, objects, self.name, self.colour))


@dataclass(frozen=True)
class OnlyLabelled:
    """A treatment that is given to what has one of these labels, and to nothing else."""

    treatment: Effect
    labels: frozenset[str]  # normalised

    def paint(self, canvas: Canvas, moment: FrameInfo, verdict: FrameFindings) -> None:
        regions = [region for region in verdict.regions if normalise(region.label) in self.labels]
        self.treatment.paint(canvas, moment, replace(verdict, regions=regions))
