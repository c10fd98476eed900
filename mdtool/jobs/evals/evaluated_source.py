"""The model of an evaluation, which any process can load: what the command line says of it, as plain data."""

from dataclasses import dataclass

from engine.generation.verbs import VisionModel
from mdtool.jobs.evals.evaluate_set import DataSet, asked_in, samples_of
from mdtool.model_selection import ComputeConfig, LoadCallbacks, load_gaze_model, load_model


@dataclass(frozen=True)
class EvaluatedSource:
    """Which model to load, and how it computes.

    Attributes:
        skill: That the task needs.
        asked: Question or prompt of the first sample, by which "auto" chooses.
    """

    name: str
    skill: str
    asked: str
    computing: ComputeConfig

    def load(self, callbacks: LoadCallbacks | None = None) -> VisionModel:
        """Load the model. Raises as `load_model` does."""
        callbacks = callbacks or LoadCallbacks()
        if self.skill == "gaze":
            return load_gaze_model(self.name, (), self.computing, accurate=True, callbacks=callbacks)
        return load_model(self.name, self.skill, [self.asked], self.computing, callbacks=callbacks)


def source_of(data_set: DataSet, name: str, computing: ComputeConfig) -> EvaluatedSource:
    """Return the model with a name, for a data set. Raises InputError or NoInputFound if that has no first sample."""
    first = next(samples_of(data_set))
    return EvaluatedSource(name, data_set.task.skill, asked_in(first.request), computing)
