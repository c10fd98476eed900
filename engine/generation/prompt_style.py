"""How a family is asked: its template, its instructions, and its defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.contract import Abilities, Box, Generation, Point
from engine.generation.chat_template import ChatTemplate

CAPTIONS = {
    "short": "Describe this image in one short sentence.",
    "normal": "Describe this image.",
    "long": "Describe this image in detail: every object, its place, the background, and any text.",
}


@dataclass(frozen=True)
class ObjectQuestion:
    """How a model is asked for objects, and how it writes them.

    Attributes:
        kind: Of the objects.
        instruction: With {prompt} in the place of what to find.
        key: Of the coordinates in the JSON of its answer: see `engine.generation.boxes_from_text`.
        scale: That a coordinate of 1 is written as.
        answer_start: Text that the answer is made to begin with.
        min_image_tokens: That an image is enlarged to.
    """

    kind: type[Box] | type[Point]
    instruction: str
    key: str
    scale: float = 1000
    answer_start: str = ""
    min_image_tokens: int = 0


@dataclass(frozen=True)
class PromptStyle:
    """How a model is asked.

    Attributes:
        template: Renders a conversation.
        image_token: Name of the control token that it writes for an image.
        stop: Names of the tokens that end an answer; the first also ends a constrained one.
        defaults: Sampling parameters that a request may override.
        captions: Length -> instruction.
        detect: None: the model was not trained to give boxes.
        point: None: the model was not trained to give points.
        max_objects: Default limit of a list of objects.
        max_object_tokens: Most tokens of a list of objects.
        cpu_longest_side: Pixels that larger images should be reduced to on a CPU; None: as they are.
        missing: See `Abilities.missing`.
        strip: Whether answers begin with a space, which is left out.
    """

    template: ChatTemplate
    image_token: str
    stop: tuple[str, ...]
    defaults: Generation
    captions: Mapping[str, str] = field(default_factory=lambda: CAPTIONS)
    detect: ObjectQuestion | None = None
    point: ObjectQuestion | None = None
    max_objects: int = 50
    max_object_tokens: int = 2048
    cpu_longest_side: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    strip: bool = False


def abilities_of(style: PromptStyle, vision: bool = True) -> Abilities:
    """Return the skills that a style has prompts for; those without an image if the model has no vision."""
    objects = [skill for skill, question in (("detect", style.detect), ("point", style.point)) if question]
    if not vision:
        reason = "its vision is in an mmproj file, which was not found (--mmproj)"
        return Abilities(
            {"query": None, "chat": None}, {**style.missing, **dict.fromkeys(("caption", *objects), reason)}
        )
    prompts = {"caption": frozenset(style.captions), **dict.fromkeys(("query", "chat", *objects))}
    return Abilities(prompts, dict(style.missing))
