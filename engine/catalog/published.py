"""The catalogue of published models: one file `configs/NAME.json` for each."""

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
    """A tokenizer file on the hub."""

    repo: str
    revision: str
    file: str


@dataclass(frozen=True)
class Source:
    """A model's repository on the hub.

    Attributes:
        revision: A commit, tag or branch.
        bytes: About the size of the download.
        licence: An SPDX identifier, or where to find the licence.
        terms: A condition of the licence to know of before a download; empty: none.
    """

    repo: str
    revision: str
    bytes: int
    licence: str
    tokenizer: TokenizerSource
    terms: str = ""


@dataclass(frozen=True)
class PublishedModel:
    """A model of the catalogue.

    Attributes:
        name: Of the model.
        family: Key of `engine.families.FAMILIES`.
        summary: One line about it.
        source: Its repository; None: its weights are not published in a supported format.
        config: The entire file, as the family's config reader expects it.
    """

    name: str
    family: str
    summary: str
    source: Source | None
    config: dict[str, Any]

    @property
    def size_and_licence(self) -> str:
        """What to know before a download, such as "3.9 GB, licence Apache-2.0"; empty if there is none."""
        source = self.source
        if source is None:
            return ""
        return f"{source.bytes / 1e9:.1f} GB, licence {source.licence}" + (f": {source.terms}" if source.terms else "")

    @property
    def abilities(self) -> Abilities:
        """Its skills, without loading it."""
        return abilities_of(self.family, f"{self.name}.json", self.config)


@cache
def published() -> dict[str, PublishedModel]:
    """Return all models of the catalogue by name, sorted."""
    return {path.stem: _read(path) for path in sorted(CONFIGS.glob("*.json"), key=lambda path: path.stem)}


def unknown_model_error(name: str, known: Collection[str]) -> ModelUnavailable:
    """Return the error for an unknown name, with the closest known one."""
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
        source=source and Source(**source | {"tokenizer": TokenizerSource(**source["tokenizer"])}),
        config=config,
    )
