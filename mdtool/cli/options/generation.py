"""Options for text generation."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.errors import UsageError

if TYPE_CHECKING:
    from engine.contract import Generation


@dataclass(frozen=True)
class GenerationOptions:
    """How tokens are sampled."""

    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Sampling temperature; 0 is greedy decoding. Default: the model's.", metavar="T"),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p", min=0, max=1, help="Nucleus sampling: probability mass to sample from. Default: the model's.",
            metavar="P",
        ),
    ] = None  # fmt: skip
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of tokens to generate. Default: the model's.", metavar="N")
    ] = None
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Random seed: the same seed gives the same text.", metavar="N")
    ] = 0

    @property
    def generation(self) -> "Generation":
        """The options as the engine takes them. Raises UsageError for infinity and NaN."""
        from engine.contract import Generation

        for option, value in (("--temperature", self.temperature), ("--top-p", self.top_p)):
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{option}: {value} is not a finite number")
        return Generation(self.temperature, self.top_p, self.max_tokens, self.seed)
