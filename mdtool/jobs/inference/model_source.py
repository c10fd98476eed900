"""A model that any process can load: what the command line says of it, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.generation.verbs import VisionModel
from mdtool.jobs.inference.region import RegionModel
from mdtool.model_selection import ComputeConfig, LoadCallbacks, load_model
from recipes.regions import PictureArea


@dataclass(frozen=True)
class ModelSource:
    """Which model to load, and how it computes; see `load_model`.

    Attributes:
        region: The only region of images that it sees; None: whole images.
    """

    name: str
    skill: str
    prompts: Sequence[str]
    computing: ComputeConfig
    threshold: float | None = None
    region: PictureArea | None = None

    def load(self, callbacks: LoadCallbacks | None = None) -> VisionModel:
        """Load the model. Raises as `load_model` does."""
        model = load_model(
            self.name, self.skill, self.prompts, self.computing,
            threshold=self.threshold, callbacks=callbacks or LoadCallbacks(),
        )  # fmt: skip
        return model if self.region is None else RegionModel(model, self.region)
