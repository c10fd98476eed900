"""From a submission to what a scheduler runs, in pieces between which other requests run."""

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from engine.contract import (
    Budgeted,
    ChatCache,
    ChatRequest,
    EncodedImage,
    EngineError,
    ImageBudget,
    Request,
    StepwiseEncoder,
    StepwiseStarter,
)
from engine.generation.kept_images import KeptImages, pixel_digest
from engine.generation.verbs import VisionModel
from mdtool.server.counters import Counters

MakeRequest = Callable[[Sequence[EncodedImage]], Request]


@dataclass(frozen=True, eq=False)
class Submission:
    """A request for the engine loop.

    Attributes:
        model: The name that it is served under.
        images: Upright, (height, width, 3) uint8 RGB each.
        make_request: Returns the request over the encoded images. It is called twice: first with images that have no
            content, so that a request that can't be served fails before they are encoded.
        deadline: When it fails at the latest, on the clock of `time.monotonic`; None: never.
        budget: How many tokens each image may become; None: as the model was loaded.
        adapter: LoRA adapter of the request, which the encoding of the images may depend on; None: the default.
        digests: `pixel_digest` of each image; None: the engine loop computes them when it prepares the request.
    """

    model: str
    images: tuple[np.ndarray, ...]
    make_request: MakeRequest
    deadline: float | None = None
    budget: ImageBudget | None = None
    adapter: str | None = None
    digests: tuple[bytes, ...] | None = None

    @cached_property
    def image_keys(self) -> tuple[Hashable, ...]:
        """What each encoded image depends on, for the cache of them; it takes milliseconds without `digests`."""
        digests = map(pixel_digest, self.images) if self.digests is None else self.digests
        return tuple((self.model, digest, self.budget, self.adapter) for digest in digests)

    @property
    def has_keys(self) -> bool:
        """Whether `image_keys` takes no time any more."""
        return self.digests is not None or "image_keys" in vars(self)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What the preparation of requests on one model needs.

    Attributes:
        kept: The encoded images of all models.
        counters: Of all models.
        conversations: Those of this model, for requests that bring no cache.
    """

    model: VisionModel
    kept: KeptImages[EncodedImage]
    counters: Counters
    conversations: ChatCache = field(default_factory=ChatCache)

    def prepare(self, submission: Submission, encoded: Callable[[], object]) -> Generator[None, None, object]:
        """Encode the images of a submission, and prepare its request.

        Args:
            submission: The submission.
            encoded: Called when its images are encoded.

        Yields:
            Between pieces of the work.

        Returns:
            What the scheduler of the model takes.

        Raises:
            Exception: The request can't be served.
        """
        self.model.check(submission.make_request([EncodedImage() for _ in submission.images]))
        images = []
        for image, key in zip(submission.images, submission.image_keys, strict=True):
            images.append((yield from self._found_or_encoded(submission, image, key)))
        encoded()
        request = submission.make_request(images)
        if isinstance(request, ChatRequest) and request.cache is None:
            request = replace(request, cache=self.conversations)
        prepared: object = request
        if isinstance(self.model, StepwiseStarter):
            prepared = yield from self.model.prepare_in_steps(request)
        for key, encoded_image in zip(submission.image_keys, images, strict=True):
            self.kept.put(key, encoded_image)
        return prepared

    def _found_or_encoded(
        self, submission: Submission, image: np.ndarray, key: Hashable
    ) -> Generator[None, None, EncodedImage]:
        known = self.kept.get(key)
        if known:
            self.counters.image_hits += 1
            return known
        self.counters.image_misses += 1
        encoded: EncodedImage
        if isinstance(self.model, Budgeted):
            budget = submission.budget
            [encoded] = self.model.encode([image]) if budget is None else self.model.encode([image], budget)
        elif submission.budget:
            raise EngineError(f"{self.model.name} takes no limits of image tokens: leave them out")
        elif isinstance(self.model, StepwiseEncoder):
            encoded = yield from self.model.encode_in_steps(image, submission.adapter)
        else:
            [encoded] = self.model.encode([image])
        return encoded
