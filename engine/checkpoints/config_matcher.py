"""Recognition of a family's checkpoints by config.json alone: see `engine.families.CheckpointMatcher`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints.tokenizer_json import read_tokenizer

if TYPE_CHECKING:
    from engine.catalog.published import PublishedModel


@dataclass(frozen=True)
class ConfigMatcher:
    """Matches checkpoints in the form of transformers, all of which have a config.json.

    Attributes:
        model_types: Values of "model_type" in the config.
        image_token: Name of the tokenizer's token whose id the config has.
        SIDE_FILES: JSON files beside config.json that are read with it.
    """

    model_types: tuple[str, ...]
    image_token: str
    SIDE_FILES: tuple[str, ...] = ()

    def find_config(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return a parsed config.json if it is of this family, else None."""
        return data if data.get("model_type") in self.model_types else None

    def match_release(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], known: Sequence["PublishedModel"]
    ) -> "PublishedModel | None":
        """Return None: without a config.json none is recognised."""
        return None

    def describe_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Return nothing: shapes tell this family nothing."""
        return ""

    def tokenizer_matches(self, path: Path, config: dict[str, Any]) -> bool:
        """Return whether the tokenizer's image token has the id in the config, if that has one.

        Raises:
            ModelUnavailable: The file is not a tokenizer.
        """
        tokenizer = read_tokenizer(path)
        expected = config.get("image_token_id", config.get("image_token_index"))
        return expected is None or tokenizer.token_to_id(self.image_token) == expected
