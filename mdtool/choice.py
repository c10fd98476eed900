"""Which model answers, and what it is asked to be."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import engine
from engine.contract import EngineError, Model, ModelUnavailable
from mdtool.errors import Exit, MdtoolError, UsageError

PREFERRED = "moondream2"


class NoModel(MdtoolError):
    """There is no model for what was asked, or its weights are broken."""

    code = Exit.MODEL


def load_model(
    name: str,
    skill: str,
    prompts: Sequence[str],
    detail: str = "auto",
    threshold: float | None = None,
    *,
    device: str = "auto",
    dtype: str | None = None,
    resize: Literal["vips", "pillow"] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Model:
    """The model of that name or at that path, or for "auto" the first on this machine that serves all the prompts.

    prompts: for "caption" the lengths. The other options are those of `engine.load`. say: told which model "auto" is.
    NoModel if there is none; UsageError if it can't do what the options say.
    """
    with model_errors():
        chosen = _first_that_serves(skill, prompts) if name == "auto" else name
        size = int(detail) if detail.isdecimal() else detail
        model = engine.load(chosen, device, dtype, detail=size, resize=resize)
        for prompt in prompts:  # says what is wrong with a prompt before any work is done
            _check(model, skill, prompt, threshold)
    if name == "auto":
        say(f"the model is {model.name}")
    return model


@contextmanager
def model_errors() -> Iterator[None]:
    """What the engine raises while a model is chosen and loaded, as the program's errors."""
    try:
        yield
    except ModelUnavailable as error:
        raise NoModel(str(error)) from error
    except (EngineError, ValueError) as error:
        raise UsageError(str(error)) from error


def _check(model: Model, skill: str, prompt: str, threshold: float | None) -> None:
    """Raises EngineError or ValueError if the model can't do this."""
    if skill == "detect":
        model.detect([], prompt, threshold)
    elif skill == "point":
        model.point([], prompt)
    elif skill not in model.abilities.prompts:
        raise UsageError(f"{model.name} can't {skill}; {_how_to_get_one()}")
    elif not model.abilities.serves(skill, prompt):
        known = ", ".join(sorted(model.abilities.prompts[skill] or ()))
        raise UsageError(f"{model.name} can't {skill} {prompt!r}; it knows {known}")


def _first_that_serves(skill: str, prompts: Sequence[str]) -> str:
    for candidate in engine.EMBEDDED:
        if all(engine.abilities(candidate).serves(skill, prompt) for prompt in prompts):
            return candidate
    from engine import hub
    from engine.published import published

    # Newest first: the names of later ones come later.
    names = sorted(published(), key=lambda name: (name == PREFERRED, name), reverse=True)
    for model in (published()[name] for name in names):
        if all(model.abilities.serves(skill, prompt) for prompt in prompts) and hub.local(model):
            return model.name
    asked = f" {', '.join(map(repr, prompts))}: centerface, the embedded one, knows only faces"
    raise ModelUnavailable(
        f"no model on this machine can {skill}{asked if skill in ('detect', 'point') else ''}; {_how_to_get_one()}"
    )


def _how_to_get_one() -> str:
    return f"`mdtool models pull {PREFERRED}` gets one that can, `mdtool models list` shows what there is"
