"""A model of faces and a model of everything else, as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.contract import (
    Abilities,
    ChatRequest,
    DetectRequest,
    EncodedImage,
    Event,
    GazeRequest,
    Landmarks,
    PointRequest,
    Request,
    Scheduler,
)
from engine.generation.verbs import VisionModel


@dataclass(frozen=True, eq=False)
class _EncodedByBoth(EncodedImage):
    faces: EncodedImage
    others: EncodedImage


class CombinedModel(VisionModel):
    """Detects the prompts of a face detector with that, with landmarks, and all else with another model."""

    def __init__(self, faces: VisionModel, others: VisionModel) -> None:
        """Combine two models.

        Args:
            faces: A detector with `Landmarks`.
            others: The other model, whose name this one has.
        """
        assert isinstance(faces, Landmarks)
        self._faces, self._others, self._landmarks = faces, others, faces
        self.name, self.revision = others.name, f"{others.revision}+{faces.revision[:8]}"
        self.image_batch_size = min(faces.image_batch_size, others.image_batch_size)
        self.setup = (*faces.setup, *others.setup)

    @property
    def abilities(self) -> Abilities:
        """The skills of the other model."""
        return self._others.abilities

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode images by both models; see `VisionModel.encode`."""
        both = zip(self._faces.encode(images), self._others.encode(images), strict=True)
        return [_EncodedByBoth(*encoded) for encoded in both]

    def landmarks(self, encoded: Sequence[EncodedImage], threshold: float | None = None) -> list[np.ndarray]:
        """Return the landmarks of faces; see `Landmarks`."""
        faces = [image.faces for image in encoded if isinstance(image, _EncodedByBoth)]
        return self._landmarks.landmarks(faces, threshold)

    def is_of_faces(self, request: Request) -> bool:
        """Return whether the face detector serves a request."""
        if not isinstance(request, DetectRequest | PointRequest):
            return False
        skill = "detect" if isinstance(request, DetectRequest) else "point"
        return self._faces.abilities.supports(skill, request.prompt)

    def check(self, request: Request) -> None:
        """Raise the error that `run` would give as a Failed event; see `VisionModel.check`."""
        (self._faces if self.is_of_faces(request) else self._others).check(request)

    def scheduler(self, batch: int | None = None) -> Scheduler:
        """Create a scheduler; see `VisionModel.scheduler`."""
        return _CombinedScheduler(self, self._faces.scheduler(batch), self._others.scheduler(batch))


class _CombinedScheduler:
    """See `engine.contract.Scheduler`."""

    def __init__(self, model: CombinedModel, faces: Scheduler, others: Scheduler) -> None:
        self._model = model
        self._schedulers = {True: faces, False: others}  # by whether a request is of faces
        self._places: list[tuple[bool, int]] = []  # by ticket: the scheduler, and its own ticket
        self._tickets: dict[tuple[bool, int], int] = {}

    @property
    def idle(self) -> bool:
        return all(scheduler.idle for scheduler in self._schedulers.values())

    @property
    def free_slots(self) -> int:
        return min(scheduler.free_slots for scheduler in self._schedulers.values())

    def add(self, request: Request) -> int:
        is_of_faces = self._model.is_of_faces(request)
        if not isinstance(request, ChatRequest | GazeRequest) and isinstance(request.image, _EncodedByBoth):
            image = request.image.faces if is_of_faces else request.image.others
            request = replace(request, image=image)
        place = is_of_faces, self._schedulers[is_of_faces].add(request)
        self._tickets[place] = ticket = len(self._places)
        self._places.append(place)
        return ticket

    def step(self) -> list[Event]:
        return [
            replace(event, index=self._tickets[is_of_faces, event.index])
            for is_of_faces, scheduler in self._schedulers.items()
            for event in scheduler.step()
        ]

    def cancel(self, ticket: int) -> None:
        is_of_faces, own = self._places[ticket]
        self._schedulers[is_of_faces].cancel(own)
