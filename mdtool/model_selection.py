"""Which model answers, and what it is asked to be."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import engine
from engine.contract import (
    Abilities,
    CaptionRequest,
    Compilable,
    DetectRequest,
    EngineError,
    Landmarks,
    LoadOptions,
    ModelUnavailable,
    PointRequest,
    QueryRequest,
    Request,
)
from engine.generation.verbs import VisionModel
from mdtool.errors import ExitCode, MdtoolError, UsageError

MessageCallback = Callable[[str], object]  # is told a line for the person

PREFERRED = "moondream2"
FACE_MODEL, SYNTHETIC_MODEL = (
    "centerface",
    "pocket",
)  # embedded: the one goes before what was pulled, the other is never "auto"


class ModelNotFound(MdtoolError):
    """There is no model for what was asked, or its weights are broken."""

    code = ExitCode.MODEL


def _ignore(line: str) -> None:
    pass


@dataclass(frozen=True)
class LoadCallbacks:
    """Who is told what while a model is chosen and loaded. say: which model "auto" is; note: what takes long; explain:
    what the model computes with."""

    say: MessageCallback = _ignore
    note: MessageCallback = _ignore
    explain: MessageCallback = _ignore


@dataclass(frozen=True)
class ComputeConfig:
    """How a model computes: options of `engine.load`, as they are on the command line."""

    device: str = "auto"
    dtype: str | None = None
    quantize: str = "none"
    compile: bool = False
    detail: str = "auto"
    resize: Literal["vips", "pillow"] | None = None
    adapter: str | None = None

    def load(self, name: str, callbacks: LoadCallbacks = LoadCallbacks()) -> VisionModel:
        """Raises as `engine.load` does."""
        quantize = None if self.quantize == "none" else self.quantize
        detail = int(self.detail) if self.detail.isdecimal() else self.detail
        options = LoadOptions(self.device, self.dtype, quantize, self.compile, detail, self.resize, self.adapter)
        model = engine.load(name, options)
        for line in model.setup:
            callbacks.explain(f"{model.name}: {line}")
        if self.compile and isinstance(model, Compilable):
            _warm_up(model, callbacks)
        return model


def _warm_up(model: Compilable, callbacks: LoadCallbacks) -> None:
    if not model.compiled:
        callbacks.note("--compile changes nothing here, -v says why")
        return
    callbacks.note("compiling for this machine, which takes a minute the first time")
    begin = time.monotonic()
    model.warm_up()
    callbacks.explain(f"compiled in {time.monotonic() - begin:.1f} s")


def load_model(
    name: str,
    skill: str,
    prompts: Sequence[str],
    computing: ComputeConfig = ComputeConfig(),
    *,
    threshold: float | None = None,
    questions: Sequence[str] = (),
    callbacks: LoadCallbacks = LoadCallbacks(),
) -> VisionModel:
    """The model of that name or at that path, or for "auto" one that serves all the prompts: for faces the
    embedded one, else the best that was pulled.

    prompts: for "caption" the lengths. questions: that it is to answer besides. ModelNotFound if there is none;
    UsageError if it can't do what the options say.
    """
    with model_errors():
        chosen = _first_that_serves(skill, prompts, questions) if name == "auto" else name
        model = _load(chosen, name, computing, callbacks)
        for prompt in prompts:  # says what is wrong with a prompt before any work is done
            _check(model, skill, prompt, threshold)
        for question in questions:
            _check(model, "query", question, None)
    if name == "auto":
        callbacks.say(f"the model is {model.name}")
    return model


def load_gaze_model(
    name: str,
    prompts: Sequence[str],
    computing: ComputeConfig = ComputeConfig(),
    *,
    accurate: bool = False,
    threshold: float | None = None,
    callbacks: LoadCallbacks = LoadCallbacks(),
) -> VisionModel:
    """A model that finds all the prompts, of which a face is one, and knows where faces look.

    "auto" is one that was pulled, else the embedded one for faces, which has `Landmarks` and so the head's direction
    only; that is told, whoever chose it. accurate: it is not enough. Else, and in what it raises, as `load_model`.
    """
    with model_errors():
        chosen = _first_gazer(prompts, accurate) if name == "auto" else name
        model = _load(chosen, name, computing, callbacks)
        for prompt in prompts:
            _check(model, "detect", prompt, threshold)
    if "gaze" in model.abilities.prompts:
        if name == "auto":
            callbacks.say(f"the model is {model.name}")
        return model
    if accurate or not isinstance(model, Landmarks):
        _needs(model, "gaze")
    callbacks.say(
        f"{model.name} tells the direction of the head, not that of the eyes; {_how_to_get_one('tells that')}"
    )
    return model


def _load(chosen: str, name: str, computing: ComputeConfig, callbacks: LoadCallbacks) -> VisionModel:
    """chosen: what the name stands for."""
    try:
        return computing.load(chosen, callbacks)
    except ModelUnavailable:
        raise
    except EngineError as error:
        if name == "auto" and chosen == FACE_MODEL:
            raise UsageError(f"{error}; auto takes {FACE_MODEL} for faces, --model names another") from error
        raise


@contextmanager
def model_errors() -> Iterator[None]:
    """What the engine raises while a model is chosen and loaded, as the program's errors."""
    try:
        yield
    except ModelUnavailable as error:
        raise ModelNotFound(str(error)) from error
    except (EngineError, ValueError) as error:
        raise UsageError(str(error)) from error


def load_language_model(name: str, computing: ComputeConfig, callbacks: LoadCallbacks) -> VisionModel:
    """A model that has every skill. ModelNotFound or UsageError, as for `load_model`."""
    with model_errors():
        model = computing.load(name, callbacks)
    for skill in ("caption", "query", "detect", "point", "gaze"):
        _needs(model, skill)
    return model


def _needs(model: VisionModel, skill: str) -> None:
    if skill not in model.abilities.prompts:
        raise UsageError(f"{model.name} can't {skill}; {_how_to_get_one()}")


def _check(model: VisionModel, skill: str, prompt: str, threshold: float | None) -> None:
    """Raises EngineError or ValueError if the model can't do this."""
    _needs(model, skill)
    requests: dict[str, Request] = {
        "caption": CaptionRequest(None, prompt),
        "query": QueryRequest(None, prompt),
        "detect": DetectRequest(None, prompt, threshold=threshold),
        "point": PointRequest(None, prompt),
    }
    model.check(requests[skill])


def _first_that_serves(skill: str, prompts: Sequence[str], questions: Sequence[str]) -> str:
    def supports(abilities: Abilities) -> bool:
        answers = all(abilities.supports("query", question) for question in questions)
        return answers and all(abilities.supports(skill, prompt) for prompt in prompts)

    if supports(engine.abilities(FACE_MODEL)):
        return FACE_MODEL
    if pulled := _pulled(supports):
        return pulled
    asked = []
    if prompts:
        asked += [f"{skill} {', '.join(map(repr, prompts))}" if skill in ("detect", "point") else skill]
    asked += ["answer questions"] if questions else []
    raise ModelUnavailable(
        f"no model on this machine can {' and '.join(asked)}: the embedded ones know only faces ({FACE_MODEL}) "
        f"and, where it is named, drawn scenes (--model {SYNTHETIC_MODEL}); {_how_to_get_one()}"
    )


def _first_gazer(prompts: Sequence[str], accurate: bool) -> str:
    def finds(abilities: Abilities) -> bool:
        return all(abilities.supports("detect", prompt) for prompt in prompts)

    if pulled := _pulled(lambda abilities: "gaze" in abilities.prompts and finds(abilities)):
        return pulled
    if not accurate and finds(engine.abilities(FACE_MODEL)):
        return FACE_MODEL
    raise ModelUnavailable(
        f"no model on this machine can tell where people look{' accurately' * accurate} and detect "
        f"{', '.join(map(repr, prompts))}: {FACE_MODEL} knows only faces and the direction of heads; "
        f"{_how_to_get_one()}"
    )


def _pulled(supports: Callable[[Abilities], bool]) -> str | None:
    """The best published model on this machine that does."""
    from engine.catalog import hub
    from engine.catalog.published import published

    # Newest first: the names of later ones come later.
    names = sorted(published(), key=lambda name: (name == PREFERRED, name), reverse=True)
    models = (published()[name] for name in names)
    return next((model.name for model in models if supports(model.abilities) and hub.local(model)), None)


def _how_to_get_one(that: str = "can") -> str:
    return f"`mdtool models pull {PREFERRED}` gets one that {that}, `mdtool models list` shows what there is"
