"""The catalogue of published models: one file `configs/NAME.json` for each, with its variants.

A variant is named after a colon: the types of GGUF files in the model's entry (`qwen3-vl-8b:q4_k_m`), or a quantisation
of weights in safetensors as they are loaded (`moondream2:int8`).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from engine.contract import Abilities, ModelUnavailable
from engine.families import abilities_of

CONFIGS = Path(__file__).parents[2] / "configs"
QUANTIZED_VARIANTS = ("int8", "int4")  # of every model in safetensors


@dataclass(frozen=True)
class TokenizerSource:
    """A tokenizer file on the hub."""

    repo: str
    revision: str
    file: str


@dataclass(frozen=True)
class Source:
    """A model's repository on the hub, with weights in safetensors.

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
class GgufSource:
    """A model's GGUF files in a repository on the hub, which has those of other types too.

    Attributes:
        revision: A commit, tag or branch.
        text: Pattern of the text file's name, such as "*-Q4_K_M.gguf"; upper and lower case are the same.
        mmproj: Pattern of the name of its vision part.
        bytes: About the size of both.
        licence: As in `Source`.
        terms: As in `Source`.
    """

    repo: str
    revision: str
    text: str
    mmproj: str
    bytes: int
    licence: str
    terms: str = ""


@dataclass(frozen=True)
class PublishedModel:
    """A model of the catalogue, or a variant of it.

    Attributes:
        name: Of the model; of a variant with a colon and its own name.
        family: Key of `engine.families.FAMILIES`.
        summary: One line about it.
        source: Its repository; None: its weights are not published in a supported format.
        config: The entire file, as the family's config reader expects it.
        variants: The GGUF files of its variants, by their names.
        quantize: How this variant is quantised as it is loaded; None: as stored.
    """

    name: str
    family: str
    summary: str
    source: Source | GgufSource | None
    config: dict[str, Any]
    variants: Mapping[str, GgufSource] = field(default_factory=dict)
    quantize: str | None = None

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

    @property
    def variant_names(self) -> list[str]:
        """What may follow its name and a colon."""
        return [*self.variants, *(QUANTIZED_VARIANTS if isinstance(self.source, Source) else ())]

    def variant(self, name: str) -> "PublishedModel":
        """Return one of its variants.

        Raises:
            ModelUnavailable: It has no such variant.
        """
        full_name = f"{self.name}:{name}"
        if name in self.variants:
            return replace(self, name=full_name, source=self.variants[name], variants={})
        if name in self.variant_names:
            return replace(self, name=full_name, variants={}, quantize=name)
        others = f"it has {', '.join(self.variant_names)}" if self.variant_names else "it has none"
        raise ModelUnavailable(f"{self.name} has no variant {name!r}; {others}")


@cache
def published() -> dict[str, PublishedModel]:
    """Return all models of the catalogue by name, sorted."""
    return {path.stem: _read(path) for path in sorted(CONFIGS.glob("*.json"), key=lambda path: path.stem)}


def find_published(name: str) -> PublishedModel | None:
    """Return the published model of this name, or the variant of one; None if there is none.

    Raises:
        ModelUnavailable: The model has no such variant.
    """
    base, colon, variant = name.partition(":")
    model = published().get(base)
    return model.variant(variant.lower()) if model and colon else model


def downloads() -> Iterator[PublishedModel]:
    """Yield all models that are downloaded separately: those of the catalogue, each before its variants in GGUF."""
    for model in published().values():
        yield model
        yield from map(model.variant, model.variants)


def unknown_model_error(name: str, known: Collection[str]) -> ModelUnavailable:
    """Return the error for an unknown name, with the closest known one."""
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ModelUnavailable(f"no model {name!r}; {hint}known models: {', '.join(sorted(known))}")


def _read(path: Path) -> PublishedModel:
    config = json.loads(path.read_text("utf-8"))
    source = config["source"]
    licence = {name: source[name] for name in ("licence", "terms") if name in source} if source else {}
    return PublishedModel(
        name=path.stem,
        family=config["family"],
        summary=config["summary"],
        source=source and _source(source),
        config=config,
        variants={name: GgufSource(**licence | files) for name, files in config.get("variants", {}).items()},
    )


def _source(data: dict[str, Any]) -> Source | GgufSource:
    if "mmproj" in data:
        return GgufSource(**data)
    return Source(**data | {"tokenizer": TokenizerSource(**data["tokenizer"])})
