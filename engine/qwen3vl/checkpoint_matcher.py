"""Recognises Qwen3-VL checkpoints by their config.json: see `engine.families.CheckpointMatcher`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints.tokenizer_json import read_tokenizer

if TYPE_CHECKING:
    from engine.catalog.published import PublishedModel

SIDE_FILES = ("preprocessor_config.json", "generation_config.json")


def find_config(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return a parsed config.json if it is that of a Qwen3-VL, else None."""
    return data if data.get("model_type") == "qwen3_vl" else None


def match_release(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], known: Sequence["PublishedModel"]
) -> "PublishedModel | None":
    """Return None: every release has a config.json."""
    return None


def describe_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return nothing: Qwen3-VL is recognised by its config, not by shapes."""
    return ""


def tokenizer_matches(path: Path, config: dict[str, Any]) -> bool:
    """Return whether the tokenizer's image token has the id in the config.

    Raises:
        ModelUnavailable: The file is not a tokenizer.
    """
    tokenizer = read_tokenizer(path)
    return bool(tokenizer.token_to_id("<|image_pad|>") == config.get("image_token_id"))
