"""The models of a server: under which names, from which files, and what is known of them before they are loaded."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import engine
from engine.contract import Abilities, EngineError
from engine.generation.verbs import VisionModel
from mdtool.model_selection import ComputeConfig
from mdtool.server.refusals import UnknownModel


@dataclass(frozen=True)
class ServedModel:
    """How a model is loaded.

    Attributes:
        name_or_path: As for `engine.load`.
        computing: How it computes; its encoded images are kept by the engine loop.
    """

    name_or_path: str
    computing: ComputeConfig = ComputeConfig()


@dataclass(frozen=True)
class ModelDescription:
    """What is known of a model without loading it.

    Attributes:
        name: That it is served under.
        abilities: Its skills.
        summary: One line about it; empty: unknown.
        family: Of its architecture.
        context: Positions of its context; None: unknown, or it has none.
        bytes: Size of its weights' files; None: unknown.
        licence: An SPDX identifier, or where to find the licence; empty: unknown.
        revision: Of its weights.
        loaded: Whether it is in memory.
    """

    name: str
    abilities: Abilities
    summary: str = ""
    family: str = ""
    context: int | None = None
    bytes: int | None = None
    licence: str = ""
    revision: str = ""
    loaded: bool = False


Loaded = Callable[[VisionModel | Exception], object]


class ServedModels:
    """Models by the names that they are served under; the first one is the default."""

    def __init__(self, models: Mapping[str, ServedModel], *, idle_unload: float | None = None) -> None:
        """Know the models; none is loaded.

        Args:
            models: Name -> how to load it.
            idle_unload: Seconds without a request after which a model is unloaded; None: never.

        Raises:
            ModelUnavailable: A model is unknown, not downloaded or incomplete.
        """
        self._models, self.idle_unload = dict(models), idle_unload
        self._descriptions = {name: _describe(name, model) for name, model in models.items()}
        self.loaded: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._models)

    def check(self, name: str) -> None:
        """Raise UnknownModel if no model has this name."""
        if name not in self._models:
            raise UnknownModel(name, self.names)

    def describe(self, name: str) -> ModelDescription:
        """Return what is known of a model without loading it; raises UnknownModel."""
        self.check(name)
        return replace(self._descriptions[name], loaded=name in self.loaded)

    def add(self, name: str, model: ServedModel) -> None:
        """Serve another model. Raises ModelUnavailable if it is unknown, not downloaded or incomplete."""
        self._descriptions[name] = _describe(name, model)
        self._models[name] = model

    def load(self, name: str) -> VisionModel:
        """Load a model. Raises as `engine.load` does."""
        model = self._models[name]
        return model.computing.load(model.name_or_path)

    def start_loading(self, name: str, done: Loaded) -> None:
        """Load a model in a thread of its own, and pass it, or the error, to `done` there."""

        def work() -> None:
            try:
                done(self.load(name))
            except BaseException as error:  # whatever it is, its requests must not wait for ever
                done(error if isinstance(error, Exception) else EngineError(f"{name} can't be loaded: {error}"))

        threading.Thread(target=work, name=f"load {name}", daemon=True).start()


def _describe(name: str, model: ServedModel) -> ModelDescription:
    from engine.families import EMBEDDED

    if model.name_or_path in EMBEDDED:
        return ModelDescription(
            name,
            engine.abilities(model.name_or_path),
            engine.embedded_summary(model.name_or_path),
            family=model.name_or_path,
        )
    from engine.catalog.locate import locate
    from engine.catalog.published import published
    from engine.checkpoints.shards import weight_files
    from engine.families import abilities_of

    files = locate(model.name_or_path, model.computing.mmproj)
    known = published().get(files.name)
    paths = [*weight_files(files.weights), *([files.mmproj] if files.mmproj else [])]
    return ModelDescription(
        name,
        abilities_of(files.family, files.config_source, files.config),
        known.summary if known else "",
        files.family,
        _context(files.config),
        sum(path.stat().st_size for path in paths),
        known.source.licence if known and known.source else "",
        files.commit or "",
    )


def _context(config: dict[str, Any]) -> int | None:
    text = config.get("text_config") or config.get("text") or {}
    length = text.get("max_position_embeddings", text.get("max_context"))
    return int(length) if length else None
