"""The model families in one table: how each is loaded, what it can do, and how its weights are recognised.

All of a family is imported when it is first needed: a program that finds faces does not wait for torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from engine.contract import Abilities, LoadOptions

if TYPE_CHECKING:
    from engine.catalog.locate import ModelFiles
    from engine.catalog.published import PublishedModel
    from engine.generation.verbs import VisionModel


class CheckpointMatcher(Protocol):
    """A family's module that tells whether files are the family's."""

    def find_config(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return the family's config out of the parsed config.json, or None if it says nothing of the family."""

    def match_release(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], known: Sequence["PublishedModel"]
    ) -> "PublishedModel | None":
        """Return which of the family's published models has tensors of these names and shapes; None: none of them.

        folder: where the weights lie, with what else came with them.
        """

    def describe_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Say for an error what these tensors look like."""

    def tokenizer_matches(self, path: Path, config: dict[str, Any]) -> bool:
        """Tell whether the tokenizer.json is the one that the config's model was trained with."""


@dataclass(frozen=True)
class Family:
    """An architecture whose weights lie in files.

    load: "module:function" of (located, options). abilities: of (source, config), with source to name it in errors.
    recognition: a module that is a `CheckpointMatcher`.
    """

    load: str
    abilities: str
    checkpoint_matcher: str


@dataclass(frozen=True)
class EmbeddedModel:
    """A model that comes with the program. load: "module:function" of (options). about: ABILITIES and SUMMARY."""

    load: str
    metadata_module: str


FAMILIES = {
    "moondream": Family(
        load="engine.moondream.model:load",
        abilities="engine.moondream.abilities:abilities",
        checkpoint_matcher="engine.moondream.checkpoint_matcher",
    ),
}

EMBEDDED = {
    "centerface": EmbeddedModel("engine.centerface.model:load", "engine.centerface.abilities"),
    "pocket": EmbeddedModel("engine.pocket.model:load", "engine.pocket.abilities"),
}


def load_embedded(name: str, options: LoadOptions) -> "VisionModel":
    return cast("VisionModel", _function(EMBEDDED[name].load)(options))


def load_model_files(model_files: "ModelFiles", options: LoadOptions) -> "VisionModel":
    return cast("VisionModel", _function(FAMILIES[model_files.family].load)(model_files, options))


def abilities_of(family: str, source: str, config: dict[str, Any]) -> Abilities:
    """Tell what a model of this config can do, without loading it. source: names the config in errors."""
    return cast(Abilities, _function(FAMILIES[family].abilities)(source, config))


def checkpoint_matcher_of(family: str) -> CheckpointMatcher:
    return cast(CheckpointMatcher, import_module(FAMILIES[family].checkpoint_matcher))


def embedded_abilities(name: str) -> Abilities:
    return cast(Abilities, import_module(EMBEDDED[name].metadata_module).ABILITIES)


def embedded_summary(name: str) -> str:
    return cast(str, import_module(EMBEDDED[name].metadata_module).SUMMARY)


def _function(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    return cast(Callable[..., object], getattr(import_module(module), attribute))
