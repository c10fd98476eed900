"""Choose and load the model that a command runs."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import engine
from engine.contract import (
    Abilities,
    CaptionRequest,
    ChatRequest,
    Chatting,
    Compilable,
    DetectRequest,
    EngineError,
    ImageBudget,
    Landmarks,
    LoadOptions,
    Message,
    ModelUnavailable,
    NotDownloaded,
    PointRequest,
    QueryRequest,
    Request,
)
from engine.generation.verbs import VisionModel
from mdtool.combined_model import CombinedModel
from mdtool.errors import ExitCode, MdtoolError, UsageError

MessageCallback = Callable[[str], object]  # takes a line to print
T = TypeVar("T")

PREFERRED = "moondream2"
PREFERRED_FOR_CHAT = "qwen3-vl-4b:q4_k_m"
FACE_MODEL = "centerface"  # embedded; "auto" prefers it to downloaded models
KEPT_IMAGE_BYTES = 1 << 29  # of encoded images, for who asks about the same image again
SYNTHETIC_MODEL = "pocket"  # embedded; "auto" never selects it


class ModelNotFound(MdtoolError):
    """No model supports the request, or its weights are missing or damaged."""

    code = ExitCode.MODEL


def _ignore(line: str) -> None:
    pass


def _never(name: str) -> bool:
    return False


@dataclass(frozen=True)
class LoadCallbacks:
    """Receivers of messages about the selection and loading of a model, and who decides on a download.

    Attributes:
        selected: The model that "auto" selected.
        note: What takes long, or has no effect.
        explain: Details such as device and dtype.
        may_pull: Takes the name of a published model that would do, but is not on this machine; returns whether to
            download it now.
    """

    selected: MessageCallback = _ignore
    note: MessageCallback = _ignore
    explain: MessageCallback = _ignore
    may_pull: Callable[[str], bool] = _never


@dataclass(frozen=True)
class ComputeConfig:
    """How a model computes: the options of `engine.load`, as they are on the command line."""

    device: str = "auto"
    dtype: str | None = None
    quantize: str = "none"
    compile: bool = False
    detail: str = "auto"
    resize: Literal["vips", "pillow"] | None = None
    adapter: str | None = None
    image_budget: ImageBudget = ImageBudget()
    mmproj: str | None = None
    chat_template: str | None = None
    kv: str | None = None
    kept_image_bytes: int = 0

    def load(self, name: str, callbacks: LoadCallbacks = LoadCallbacks()) -> VisionModel:
        """Load a model by name or path, and warm it up if it is compiled. Raises as `engine.load` does."""
        if _kept is None:
            return self._load(name, callbacks)
        if (name, self) not in _kept:
            _kept[name, self] = self._load(name, callbacks)
        return _kept[name, self]

    def _load(self, name: str, callbacks: LoadCallbacks) -> VisionModel:
        quantize = None if self.quantize == "none" else self.quantize
        detail = int(self.detail) if self.detail.isdecimal() else self.detail
        computing = self.device, self.dtype, quantize, self.compile
        chat = self.mmproj, read_template(self.chat_template)
        images = self.resize, self.adapter, self.image_budget
        kept = self.kept_image_bytes
        options = LoadOptions(*computing, detail, *images, *chat, reduce_images=True, kv=self.kv, kept_image_bytes=kept)
        model = engine.load(name, options)
        for line in model.setup:
            callbacks.explain(f"{model.name}: {line}")
        if self.compile and isinstance(model, Compilable):
            _warm_up(model, callbacks)
        return model


_kept: dict[tuple[str, ComputeConfig], VisionModel] | None = None


def keep_models() -> None:
    """From now on keep loaded models, for a process that runs a command many times."""
    global _kept
    _kept = {} if _kept is None else _kept


def read_template(name_or_file: str | None) -> str | None:
    """Return the text of a file with a chat template; a name, or Jinja, unchanged.

    Raises:
        EngineError: The file can't be read.
    """
    if name_or_file is None or not os.path.isfile(name_or_file):
        return name_or_file
    try:
        return Path(name_or_file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{name_or_file}: the chat template can't be read: {error}") from error


def _warm_up(model: Compilable, callbacks: LoadCallbacks) -> None:
    if not model.compiled:
        callbacks.note("--compile has no effect on this machine; -v shows why")
        return
    callbacks.note("compiling, which takes a minute the first time")
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
    """Load a model that has a skill, and check that it takes the prompts.

    Args:
        name: A model's name, a path to weights, or "auto": the embedded model for faces, else the best one downloaded
            that serves all prompts and questions.
        skill: "caption", "query", "detect" or "point".
        prompts: What the model must serve; for "caption" the lengths.
        computing: How the model computes.
        threshold: Confidence threshold of detections, 0 to 1; None is the model's own.
        questions: Questions that it must answer besides.
        callbacks: Receive messages and progress of loading.

    Raises:
        ModelNotFound: There is none, or its weights are missing or damaged.
        UsageError: It does not support the options.
    """
    with model_errors():
        model = or_pulled(
            lambda: _load(
                _first_that_serves(skill, prompts, questions) if name == "auto" else name, name, computing, callbacks
            ),
            callbacks,
        )
        for prompt in prompts:  # so that a bad prompt fails before any work is done
            _check(model, skill, prompt, threshold)
        for question in questions:
            _check(model, "query", question, None)
    if (skill in ("caption", "query", "chat") or questions) and isinstance(model, Chatting) and model.longest_side:
        callbacks.note(
            f"on a CPU, images are reduced to {model.longest_side} pixels for answers; --detail high or "
            "--max-image-tokens shows more"
        )
    if name == "auto":
        callbacks.selected(f"model: {model.name}")
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
    """Load a model that estimates gaze, and detects all prompts, one of which is a face.

    Args:
        name: As for `load_model`; "auto" is the best one downloaded, else the embedded model for faces, which estimates
            the direction of the head only (`Landmarks`). A notice says so whenever that model is used. It also serves
            the faces where the model detects other prompts but estimates no gaze.
        prompts: What the model must detect.
        computing: How the model computes.
        accurate: Whether the direction of the head does not do.
        threshold: Confidence threshold of detections, 0 to 1; None is the model's own.
        callbacks: Receive messages and progress of loading.

    Raises:
        ModelNotFound, UsageError: As `load_model`.
    """
    with model_errors():
        model = or_pulled(
            lambda: _load(_first_gazer(prompts, accurate) if name == "auto" else name, name, computing, callbacks),
            callbacks,
        )
        can_see = "gaze" in model.abilities.prompts or isinstance(model, Landmarks)
        if not can_see and not accurate and "detect" in model.abilities.prompts:
            model = CombinedModel(engine.load(FACE_MODEL), model)
        for prompt in prompts:
            _check(model, "detect", prompt, threshold)
    if "gaze" in model.abilities.prompts:
        if name == "auto":
            callbacks.selected(f"model: {model.name}")
        return model
    if accurate or not isinstance(model, Landmarks):
        _needs(model, "gaze")
    callbacks.selected(
        f"{FACE_MODEL} estimates the direction of the head, not of the eyes; {_how_to_get_one('estimates the latter')}"
    )
    return model


def first_that_describes() -> str:
    """Return the name of the best model on this machine that captions images and answers any question.

    Raises:
        NotDownloaded: There is none.
    """
    return _first_that_serves("caption", ["normal"], ["what is this?"])


def or_pulled(load: Callable[[], T], callbacks: LoadCallbacks) -> T:
    """Return `load()`; download the model that it lacks if that is wanted, and load again."""
    try:
        return load()
    except NotDownloaded as error:
        if not callbacks.may_pull(error.name):
            raise
        from engine.catalog import hub
        from engine.catalog.published import find_published

        model = find_published(error.name)
        assert model is not None  # as it was published when it was looked for
        here = hub.pull(model)
        callbacks.note(f"{error.name}: on this machine, {here.bytes / 1e9:.1f} GB, commit {here.commit}")
    return load()


def _load(chosen: str, name: str, computing: ComputeConfig, callbacks: LoadCallbacks) -> VisionModel:
    """Load the model that a name stands for."""
    try:
        return computing.load(chosen, callbacks)
    except ModelUnavailable:
        raise
    except EngineError as error:
        if name == "auto" and chosen == FACE_MODEL:
            raise UsageError(
                f"{_as_options(error)}; auto uses {FACE_MODEL} for faces, --model names another"
            ) from error
        raise


def ending_error(error: EngineError) -> MdtoolError:
    """Return the error with which a command ends whose model can't go on: ModelNotFound if its weights are damaged."""
    return ModelNotFound(str(error)) if isinstance(error, ModelUnavailable) else MdtoolError(str(error))


@contextmanager
def model_errors() -> Iterator[None]:
    """Raise errors of the engine, while a model is chosen and loaded, as ModelNotFound or UsageError."""
    try:
        yield
    except ModelUnavailable as error:
        raise ModelNotFound(str(error)) from error
    except (EngineError, ValueError) as error:
        raise UsageError(_as_options(error)) from error


_NAMES = "|".join(["threshold", *(field.name for field in fields(LoadOptions))])
_OPTION = re.compile(rf"(?<!-)\b({_NAMES})(?= (?:out|off|must|can't)\b)")


def _as_options(error: Exception) -> str:
    """Return an error's message with the options of the engine that it names as the command line spells them."""
    return _OPTION.sub(r"--\1", str(error))


def load_language_model(name: str, computing: ComputeConfig, callbacks: LoadCallbacks) -> VisionModel:
    """Load a model that has every skill. Raises ModelNotFound or UsageError, as `load_model`."""
    with model_errors():
        model = computing.load(name, callbacks)
    for skill in ("caption", "query", "detect", "point", "gaze"):
        _needs(model, skill)
    return model


def _needs(model: VisionModel, skill: str) -> None:
    if skill not in model.abilities.prompts:
        reason = model.abilities.missing.get(skill)
        raise UsageError(f"{model.name} can't {skill}{f': {reason}' if reason else ''}; {_how_to_get_one()}")


def _check(model: VisionModel, skill: str, prompt: str, threshold: float | None) -> None:
    """Raise EngineError or ValueError if the model can't do this."""
    _needs(model, skill)
    requests: dict[str, Request] = {
        "caption": CaptionRequest(None, prompt),
        "query": QueryRequest(None, prompt),
        "detect": DetectRequest(None, prompt, threshold=threshold),
        "point": PointRequest(None, prompt),
        "chat": ChatRequest((Message("user", (prompt,)),)),
    }
    model.check(requests[skill])


def _first_that_serves(skill: str, prompts: Sequence[str], questions: Sequence[str]) -> str:
    def supports(abilities: Abilities) -> bool:
        answers = all(abilities.supports("query", question) for question in questions)
        return answers and all(abilities.supports(skill, prompt) for prompt in prompts)

    if supports(engine.abilities(FACE_MODEL)):
        return FACE_MODEL
    if downloaded := _best_downloaded(supports):
        return downloaded
    if skill == "chat":
        advice = _how_to_get_one(name=PREFERRED_FOR_CHAT)
        raise NotDownloaded(f"no model on this machine can chat; {advice}", PREFERRED_FOR_CHAT)
    lacking = []
    if unserved := _unserved(skill, prompts):
        lacking += [f"{skill} {', '.join(map(repr, unserved))}" if skill in ("detect", "point") else skill]
    lacking += ["answer questions"] if questions else []
    raise NotDownloaded(
        f"no model on this machine can {' and '.join(lacking)} (embedded: {FACE_MODEL}, for faces; "
        f"{SYNTHETIC_MODEL}, for synthetic scenes and only with --model {SYNTHETIC_MODEL}); {_how_to_get_one()}",
        PREFERRED,
    )


def _first_gazer(prompts: Sequence[str], accurate: bool) -> str:
    def finds(abilities: Abilities) -> bool:
        return all(abilities.supports("detect", prompt) for prompt in prompts)

    if downloaded := _best_downloaded(lambda abilities: "gaze" in abilities.prompts and finds(abilities)):
        return downloaded
    if not accurate and finds(engine.abilities(FACE_MODEL)):
        return FACE_MODEL
    lacking = [f"estimate gaze{' accurately' * accurate}"]
    if unserved := _unserved("detect", prompts):
        lacking += [f"detect {', '.join(map(repr, unserved))}"]
    raise NotDownloaded(
        f"no model on this machine can {' and '.join(lacking)} (embedded: {FACE_MODEL}, for faces and the direction of "
        f"heads); {_how_to_get_one()}",
        PREFERRED,
    )


def _unserved(skill: str, prompts: Sequence[str]) -> list[str]:
    """Return the prompts that the embedded model for faces does not serve."""
    return [prompt for prompt in prompts if not engine.abilities(FACE_MODEL).supports(skill, prompt)]


def _best_downloaded(supports: Callable[[Abilities], bool]) -> str | None:
    """Return the best published model on this machine that serves."""
    from engine.catalog import hub
    from engine.catalog.published import PublishedModel, downloads
    from engine.families import FAMILIES

    families = list(FAMILIES)

    def preference(model: PublishedModel) -> tuple[bool, int, str]:
        return model.name == PREFERRED, -families.index(model.family), model.name  # names of later ones come later

    models = sorted(downloads(), key=preference, reverse=True)
    return next((model.name for model in models if supports(model.abilities) and hub.local(model)), None)


def _how_to_get_one(that: str = "can", name: str = PREFERRED) -> str:
    from engine.catalog.published import find_published

    model = find_published(name)
    terms = model.size_and_licence if model else ""
    return f"`mdtool models pull {name}` downloads one that {that} ({terms}), `mdtool models list` lists all"
