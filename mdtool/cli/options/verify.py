"""Options of the verification of outputs."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.cli.options.model import ModelOptions, model_names

if TYPE_CHECKING:
    from engine.generation.verbs import VisionModel
    from mdtool.jobs.redact.verify import Verifier
    from mdtool.tracking.sampling import Sampling


@dataclass(frozen=True)
class VerifyOptions:
    """Whether and how outputs are verified."""

    verify: Annotated[
        str | None,
        typer.Option(
            help="Detect again in the output, on every frame or some per second, also in turned and enlarged views. "
            "What is still found is listed, the exit code is 1, and the output is named NAME.unverified.EXT.",
            metavar="every|fps=N",
        ),
    ] = None
    verify_model: Annotated[
        str | None,
        typer.Option(
            help="Verify with this model. Default: the one that detects.",
            metavar="NAME|PATH",
            autocompletion=model_names,
        ),
    ] = None

    @property
    def sampling(self) -> "Sampling | None":
        """The frames to verify; None for no verification. Raises UsageError for what is none."""
        from mdtool.cli.values import parsed
        from mdtool.errors import UsageError
        from mdtool.jobs.redact.verify import parse_verify_sampling

        if self.verify_model and not self.verify:
            raise UsageError("--verify-model: needs --verify, every or fps=N")
        return parsed("--verify", parse_verify_sampling, self.verify)

    def verifier(
        self,
        first: "VisionModel | None",
        model: ModelOptions,
        prompts: Sequence[str],
        threshold: float | None,
        *,
        detected_by: Set[str],
    ) -> "Verifier | None":
        """Return how outputs are verified; None for not at all.

        Args:
            first: The model that detects; None where findings are recorded ones.
            model: Its options.
            prompts: What to detect.
            threshold: Confidence threshold, 0..1; None for the model's own.
            detected_by: Names of the models that made the findings; "" where one is not known.

        Raises:
            ModelNotFound, UsageError: As `load_model`.
        """
        from mdtool.jobs.redact.verify import make_verifier
        from mdtool.model_selection import ComputeConfig, load_model

        sampling, verifying = self.sampling, first
        if sampling is None:
            return None
        if self.verify_model:
            verifying = load_model(self.verify_model, "detect", prompts, ComputeConfig(), threshold=threshold)
        elif verifying is None:
            verifying = load_model(model.model, "detect", prompts, model.computing, threshold=threshold)
        may_have_detected = not detected_by or bool(detected_by & {verifying.name, ""})
        is_other = bool(self.verify_model) and not may_have_detected
        return make_verifier(sampling, verifying, prompts, threshold, is_other=is_other)
