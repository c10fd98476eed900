"""Which model answers, and what it is asked to be."""

from collections.abc import Sequence

import engine
from engine.contract import EngineError, Model, ModelUnavailable
from mdtool.errors import Exit, MdtoolError, UsageError


class NoModel(MdtoolError):
    """There is no model for what was asked, or its weights are broken."""

    code = Exit.MODEL


def load_model(name: str, skill: str, prompts: Sequence[str], detail: str, threshold: float | None) -> Model:
    """The model of that name, or for "auto" the first one on this machine that serves all the prompts.

    NoModel if there is none; UsageError if it can't do what the options say.
    """
    try:
        chosen = _first_that_serves(skill, prompts) if name == "auto" else name
        model = engine.load(chosen, detail=int(detail) if detail.isdecimal() else detail)
        for prompt in prompts:
            model.detect([], prompt, threshold)  # says what is wrong with a prompt before any work is done
    except ModelUnavailable as error:
        raise NoModel(str(error)) from error
    except (EngineError, ValueError) as error:
        raise UsageError(str(error)) from error
    return model


def _first_that_serves(skill: str, prompts: Sequence[str]) -> str:
    for candidate in engine.FAMILIES:
        if all(engine.abilities(candidate).serves(skill, prompt) for prompt in prompts):
            return candidate
    raise ModelUnavailable(
        f"no model on this machine can {skill} {', '.join(map(repr, prompts))}: "
        "centerface, the embedded one, knows only faces; `mdtool models list` shows what there is"
    )
