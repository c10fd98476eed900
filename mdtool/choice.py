"""Which model answers, and what it is asked to be."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import engine
from engine.contract import Abilities, EngineError, LanguageModel, Model, ModelUnavailable, normalise
from mdtool.errors import Exit, MdtoolError, UsageError

PREFERRED = "moondream2"
FACES, DRAWN = "centerface", "pocket"  # embedded: the one goes before what was pulled, the other stands in for it


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
    questions: Sequence[str] = (),
    device: str = "auto",
    dtype: str | None = None,
    resize: Literal["vips", "pillow"] | None = None,
    say: Callable[[str], object] = lambda line: None,
    warn: Callable[[str], object] | None = None,
) -> Model:
    """The model of that name or at that path, or for "auto" the first on this machine that serves all the prompts.

    prompts: for "caption" the lengths. questions: that it is to answer besides. The other options are those
    of `engine.load`. say: told which model "auto" is; warn: told if that is one that can only stand in for a better one
    (None: `say` is).
    NoModel if there is none; UsageError if it can't do what the options say.
    """
    with model_errors():
        chosen = _first_that_serves(skill, prompts, questions) if name == "auto" else name
        size = int(detail) if detail.isdecimal() else detail
        model = engine.load(chosen, device, dtype, detail=size, resize=resize)
        for prompt in prompts:  # says what is wrong with a prompt before any work is done
            _check(model, skill, prompt, threshold)
        for question in questions:
            _check(model, "query", question, None)
    if chosen == DRAWN and name == "auto":
        (warn or say)(f"the model is {DRAWN}, which knows {engine.summary(DRAWN)}; {_how_to_get_one('knows more')}")
    elif name == "auto":
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


def load_language_model(name: str, **options: Any) -> LanguageModel:
    """A model that has every skill. options: of `engine.load`. NoModel or UsageError, as for `load_model`."""
    with model_errors():
        model = engine.load(name, **options)
    for skill in ("caption", "query", "detect", "point", "gaze"):
        _needs(model, skill)
    return cast(LanguageModel, model)


def _needs(model: Model, skill: str) -> None:
    if skill not in model.abilities.prompts:
        raise UsageError(f"{model.name} can't {skill}; {_how_to_get_one()}")


def _check(model: Model, skill: str, prompt: str, threshold: float | None) -> None:
    """Raises EngineError or ValueError if the model can't do this."""
    if skill == "detect":
        model.detect([], prompt, threshold)
    elif skill == "point":
        model.point([], prompt)
    else:
        _needs(model, skill)
    if not model.abilities.serves(skill, prompt):
        raise UsageError(
            f"{model.name} can't {skill} {prompt!r}; it knows {_some(model.abilities.prompts[skill] or ())}"
        )


def _some(prompts: Iterable[str]) -> str:
    """All of a few, or the shortest of many."""
    known = sorted(prompts)
    if len(known) <= 8:
        return ", ".join(known)
    return ", ".join(sorted(known, key=lambda prompt: (not prompt.isascii(), len(prompt), prompt))[:8]) + ", ..."


def _first_that_serves(skill: str, prompts: Sequence[str], questions: Sequence[str]) -> str:
    places = skill in ("detect", "point")

    def serves(abilities: Abilities) -> bool:
        answers = all(abilities.serves("query", question) for question in questions)
        return answers and all(abilities.serves(skill, prompt) for prompt in prompts)

    if serves(engine.abilities(FACES)):
        return FACES
    from engine import hub
    from engine.published import published

    # Newest first: the names of later ones come later.
    names = sorted(published(), key=lambda name: (name == PREFERRED, name), reverse=True)
    for model in (published()[name] for name in names):
        if serves(model.abilities) and hub.local(model):
            return model.name
    if serves(engine.abilities(DRAWN)) and (not places or _drawn_only(prompts)):
        return DRAWN
    asked = [f"{skill} {', '.join(map(repr, prompts))}" if places else skill] if prompts else []
    asked += ["answer questions"] if questions else []
    raise ModelUnavailable(
        f"no model on this machine can {' and '.join(asked)}: the embedded ones know only faces ({FACES}) "
        f"and {engine.summary(DRAWN).partition(':')[0]} ({DRAWN}); {_how_to_get_one()}"
    )


def _drawn_only(prompts: Sequence[str]) -> bool:
    """Whether only drawn scenes can be meant: no prompt at all does not say so."""
    from engine.pocket.prompts import DRAWN_ONLY

    return bool(prompts) and all(normalise(prompt) in DRAWN_ONLY for prompt in prompts)


def _how_to_get_one(that: str = "can") -> str:
    return f"`mdtool models pull {PREFERRED}` gets one that {that}, `mdtool models list` shows what there is"
