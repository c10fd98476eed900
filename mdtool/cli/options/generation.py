"""How text is generated."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.errors import UsageError

if TYPE_CHECKING:
    from engine.contract import Generation


@dataclass(frozen=True)
class GenerationOptions:
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 takes the likeliest word each time. Default: the model's.")
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", min=0, max=1, help="How much of the likely words is drawn from. Default: the model's."),
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The text ends here at the latest. Default: the model's.")
    ] = None
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same text.")] = 0

    @property
    def generation(self) -> "Generation":
        """UsageError for what is no number; the options' own ranges see to the rest."""
        from engine.contract import Generation

        for option, value in (("--temperature", self.temperature), ("--top-p", self.top_p)):
            if value is not None and not math.isfinite(value):
                raise UsageError(f"{option}: {value} is no number that can be used")
        return Generation(self.temperature, self.top_p, self.max_tokens, self.seed)
