"""Prompt templates: the token ids around a prompt. Published configs (`configs/*.json`) override these."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Text around the eye in a gaze prompt, which has no template of ids.
BEFORE_EYE, AFTER_EYE = "\n\nPoint:", " gaze\n\n"


@dataclass(frozen=True)
class Template:
    """Token ids before and after a prompt."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


@dataclass(frozen=True)
class Templates:
    """The template of each skill; None where the model was not trained for it.

    Attributes:
        caption: Whole prompts, by length.
    """

    caption: Mapping[str, tuple[int, ...]] | None = field(
        default_factory=lambda: {
            "short": (1, 32708, 2, 12492, 3),
            "normal": (1, 32708, 2, 6382, 3),
            "long": (1, 32708, 2, 4059, 3),
        }
    )
    query: Template | None = Template((1, 15381, 2), (3,))
    detect: Template | None = Template((1, 7235, 476, 2), (3,))
    point: Template | None = Template((1, 2581, 2), (3,))
    segment: Template | None = None
