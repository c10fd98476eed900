"""The registry of model families and embedded models: loaders, skills, and recognition of checkpoints.

A family is imported when it is first used: face detection starts without importing torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from engine.contract import Abilities, LoadOptions

if TYPE_CHECKING:
    from engine.catalog.locate import ModelFiles
    from engine.catalog.published import PublishedModel
    from engine.checkpoints.conversion import QuantizableModel
    from engine.generation.verbs import VisionModel


class CheckpointMatcher(Protocol):
    """The interface of a family's module that recognises its checkpoints.

    Attributes:
        SIDE_FILES: JSON files beside config.json that are read with it.
    """

    SIDE_FILES: tuple[str, ...]

    def find_config(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return the family's config from a parsed config.json, or None if it is of another family."""

    def match_release(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], known: Sequence["PublishedModel"]
    ) -> "PublishedModel | None":
        """Return the published model that has tensors of these names and shapes, or None.

        Args:
            folder: Of the weights and the files that came with them.
            shapes: Tensor name -> shape.
            known: The family's published models.
        """

    def describe_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Describe the tensors in a phrase for an error message."""

    def tokenizer_matches(self, path: Path, config: dict[str, Any]) -> bool:
        """Return whether a tokenizer.json is the one that the config's model was trained with."""


@dataclass(frozen=True)
class Family:
    """An architecture whose weights are in files.

    Attributes:
        load: "module:function" with parameters (model_files, options).
        abilities: "module:function" with parameters (source, config); source names the config in errors.
        checkpoint_matcher: "module" or "module:object" that implements `CheckpointMatcher`.
        quantizable: "module:function" with the parameter (model_files), for conversion to quantised weights.
        gguf: `general.architecture` of its GGUF text files, if it can be loaded from them.
    """

    load: str
    abilities: str
    checkpoint_matcher: str
    quantizable: str
    gguf: str | None = None


@dataclass(frozen=True)
class EmbeddedModel:
    """A model whose weights are part of the package.

    Attributes:
        load: "module:function" with the parameter (options).
        metadata_module: A module with ABILITIES and SUMMARY.
    """

    load: str
    metadata_module: str


FAMILIES = {  # of several that serve, the first is preferred
    "moondream": Family(
        load="engine.moondream.model:load",
        abilities="engine.moondream.abilities:abilities",
        checkpoint_matcher="engine.moondream.checkpoint_matcher",
        quantizable="engine.moondream.conversion:quantizable_model",
    ),
    "qwen3vl": Family(
        load="engine.qwen3vl.model:FAMILY.load",
        abilities="engine.qwen3vl.abilities:abilities",
        checkpoint_matcher="engine.qwen3vl.checkpoint_matcher",
        quantizable="engine.qwen3vl.model:FAMILY.quantizable_model",
        gguf="qwen3vl",
    ),
    "lfm2vl": Family(
        load="engine.lfm2vl.model:FAMILY.load",
        abilities="engine.lfm2vl.prompts:abilities",
        checkpoint_matcher="engine.lfm2vl.config:MATCHER",
        quantizable="engine.lfm2vl.model:FAMILY.quantizable_model",
        gguf="lfm2",
    ),
    "moondream_gguf": Family(
        load="engine.moondream_gguf.model:load",
        abilities="engine.moondream_gguf.prompts:abilities",
        checkpoint_matcher="engine.moondream_gguf.config:MATCHER",
        quantizable="engine.moondream_gguf.model:FAMILY.quantizable_model",
        gguf="phi2",
    ),
}

EMBEDDED = {
    "centerface": EmbeddedModel("engine.centerface.model:load", "engine.centerface.abilities"),
    "pocket": EmbeddedModel("engine.pocket.model:load", "engine.pocket.abilities"),
}


def load_embedded(name: str, options: LoadOptions) -> "VisionModel":
    """Load an embedded model."""
    return cast("VisionModel", _function(EMBEDDED[name].load)(options))


def load_model_files(model_files: "ModelFiles", options: LoadOptions) -> "VisionModel":
    """Load a model from its located files."""
    return cast("VisionModel", _function(FAMILIES[model_files.family].load)(model_files, options))


def family_of_gguf(architecture: str) -> str | None:
    """Return the family whose GGUF files have this `general.architecture`; None if there is none."""
    return next((name for name, family in FAMILIES.items() if family.gguf == architecture), None)


def abilities_of(family: str, source: str, config: dict[str, Any]) -> Abilities:
    """Return the skills of a model with this config, without loading it; source names the config in errors."""
    return cast(Abilities, _function(FAMILIES[family].abilities)(source, config))


def checkpoint_matcher_of(family: str) -> CheckpointMatcher:
    """Import a family's `CheckpointMatcher`."""
    module, _, attribute = FAMILIES[family].checkpoint_matcher.partition(":")
    imported = import_module(module)
    return cast(CheckpointMatcher, getattr(imported, attribute) if attribute else imported)


def quantizable_model(model_files: "ModelFiles") -> "QuantizableModel":
    """Open a model for conversion to quantised weights."""
    return cast("QuantizableModel", _function(FAMILIES[model_files.family].quantizable)(model_files))


def embedded_abilities(name: str) -> Abilities:
    """Return the skills of an embedded model, without loading it."""
    return cast(Abilities, import_module(EMBEDDED[name].metadata_module).ABILITIES)


def embedded_summary(name: str) -> str:
    """Return the one-line description of an embedded model, without loading it."""
    return cast(str, import_module(EMBEDDED[name].metadata_module).SUMMARY)


def _function(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    return cast(Callable[..., object], attrgetter(attribute)(import_module(module)))
