"""The models that are known by name: one file each, `configs/NAME.json`, complete and as data."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from engine.contract import Abilities, ModelUnavailable
from engine.families import abilities_of

CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class TokenizerSource:
    """A tokenizer's file on the hub."""

    repo: str
    revision: str
    file: str


@dataclass(frozen=True)
class Source:
    """Where the hub has a model. revision: a commit, or the name of a tag or branch."""

    repo: str
    revision: str
    tokenizer: TokenizerSource


@dataclass(frozen=True)
class PublishedModel:
    """source None: no weights that this engine reads are known to be published.

    config: the whole file, with all that the family's config reader takes.
    """

    name: str
    family: str
    summary: str
    source: Source | None
    config: dict[str, Any]

    @property
    def abilities(self) -> Abilities:
        """What it can do, without loading it."""
        return abilities_of(self.family, f"{self.name}.json", self.config)


@cache
def published() -> dict[str, PublishedModel]:
    """Every model of the catalogue, by name, in the order of their names."""
    return {path.stem: _read(path) for path in sorted(CONFIGS.glob("*.json"), key=lambda path: path.stem)}


def unknown_model_error(name: str, known: Collection[str]) -> ModelUnavailable:
    """The error for a name that is not known, with the one that may have been meant."""
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ModelUnavailable(f"no model {name!r}; {hint}known models: {', '.join(sorted(known))}")


def _read(path: Path) -> PublishedModel:
    config = json.loads(path.read_text("utf-8"))
    source = config["source"]
    return PublishedModel(
        name=path.stem,
        family=config["family"],
        summary=config["summary"],
        source=source and Source(source["repo"], source["revision"], TokenizerSource(**source["tokenizer"])),
        config=config,
    )
