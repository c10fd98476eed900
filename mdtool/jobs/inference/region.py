"""Runs a model on a region of each image, enlarged, with its results in coordinates of the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from engine.contract import (
    Abilities,
    Box,
    ChatRequest,
    Done,
    EncodedImage,
    Event,
    ObjectList,
    Point,
    Request,
    Scheduler,
    TextDelta,
)
from engine.generation.verbs import VisionModel
from engine.resize import check_image
from recipes.regions import PictureArea

ENLARGED_SIDE = 1024  # pixels that the longer side of a smaller region is enlarged to


@dataclass(frozen=True, eq=False)
class _RegionImage(EncodedImage):
    """An encoded region, and where it lies: its area in fractions of the whole image."""

    encoded: EncodedImage
    area: PictureArea


class RegionModel(VisionModel):
    """A model that sees one region of each image alone."""

    def __init__(self, model: VisionModel, area: PictureArea) -> None:
        """Wrap a model.

        Args:
            model: That runs on the region.
            area: The region, in fractions or pixels of each image.
        """
        self._model, self._area = model, area
        self.name, self.revision, self.setup = model.name, model.revision, model.setup
        self.image_batch_size = model.image_batch_size

    @property
    def abilities(self) -> Abilities:
        """The skills of the model."""
        return self._model.abilities

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode the region of each image; see `VisionModel.encode`. ValueError: it lies outside of an image."""
        for image in images:
            check_image(image)
        areas = [_inside(self._area.in_fractions(image.shape[1], image.shape[0])) for image in images]
        encoded = self._model.encode([enlarged(image, area) for image, area in zip(images, areas, strict=True)])
        return [_RegionImage(one, area) for one, area in zip(encoded, areas, strict=True)]

    def check(self, request: Request) -> None:
        """Raise the error that `run` would give as a Failed event; see `VisionModel.check`."""
        self._model.check(request)

    def scheduler(self, batch: int | None = None) -> Scheduler:
        """Create a scheduler whose results are in coordinates of whole images; see `VisionModel.scheduler`."""
        return _RegionScheduler(self._model.scheduler(batch))


class _RegionScheduler:
    """See `engine.contract.Scheduler`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._areas: dict[int, PictureArea] = {}  # by ticket

    @property
    def idle(self) -> bool:
        return self._scheduler.idle

    @property
    def free_slots(self) -> int:
        return self._scheduler.free_slots

    def add(self, request: Request) -> int:
        if isinstance(request, ChatRequest) or not isinstance(request.image, _RegionImage):
            return self._scheduler.add(request)
        ticket = self._scheduler.add(replace(request, image=request.image.encoded))
        self._areas[ticket] = request.image.area
        return ticket

    def step(self) -> list[Event]:
        events = [self._whole(event) for event in self._scheduler.step()]
        for event in events:
            if not isinstance(event, TextDelta):
                self._areas.pop(event.index, None)
        return events

    def cancel(self, ticket: int) -> None:
        self._scheduler.cancel(ticket)

    def _whole(self, event: Event) -> Event:
        area = self._areas.get(event.index)
        if area and isinstance(event, Done) and isinstance(event.result, ObjectList):
            items = [in_whole(item, area) for item in event.result.items]
            return Done(event.index, ObjectList(items, event.result.complete))  # type: ignore[arg-type]
        return event


def in_whole(item: Box | Point, area: PictureArea) -> Box | Point:
    """Return an object of a region in coordinates of the whole image; area: in fractions of it."""

    def x(value: float) -> float:
        return area.x_min + value * (area.x_max - area.x_min)

    def y(value: float) -> float:
        return area.y_min + value * (area.y_max - area.y_min)

    if isinstance(item, Point):
        return replace(item, x=x(item.x), y=y(item.y))
    return replace(item, x_min=x(item.x_min), y_min=y(item.y_min), x_max=x(item.x_max), y_max=y(item.y_max))


def enlarged(image: np.ndarray, area: PictureArea) -> np.ndarray:
    """Return a region of an image, enlarged if it is small.

    Args:
        image: (height, width, 3) uint8.
        area: In fractions of the image.
    """
    height, width = image.shape[:2]
    box = area.x_min * width, area.y_min * height, area.x_max * width, area.y_max * height
    across, down = box[2] - box[0], box[3] - box[1]
    scale = max(1.0, ENLARGED_SIDE / max(across, down))
    size = max(1, round(scale * across)), max(1, round(scale * down))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box))


def _inside(area: PictureArea) -> PictureArea:
    return replace(area, x_max=min(1.0, area.x_max), y_max=min(1.0, area.y_max))
