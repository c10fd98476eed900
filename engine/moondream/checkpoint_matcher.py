"""Recognises Moondream checkpoints and their release: see `engine.families.CheckpointMatcher`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints.tokenizer_json import read_tokenizer

if TYPE_CHECKING:
    from engine.catalog.published import PublishedModel

SIDE_FILES: tuple[str, ...] = ()
_END_OF_TEXT = "<|endoftext|>"


def find_config(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return the config from a parsed config.json, at its top level or under "config"; None: not a Moondream."""
    for config in (data, data.get("config")):
        if isinstance(config, dict) and {"text", "vision"} <= config.keys():
            return config
    return None


def match_release(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], known: Sequence["PublishedModel"]
) -> "PublishedModel | None":
    """Return the newest release that a checkpoint can be.

    Args:
        folder: Of the checkpoint.
        shapes: Of its tensors, by name.
        known: The published releases.

    Returns:
        The release; None if none has these shapes.
    """
    sizes = _sizes_of_tensors(shapes)
    matches = [model for model in known if _sizes_of_config(model.config) == sizes]
    if not matches:
        return None
    # Releases have the reference's code next to the weights: it is searched for text, never run.
    code, config_code = _text(folder / "moondream.py"), _text(folder / "config.py")
    is_old = any(name.startswith("text_model.") for name in shapes) or bool(code and "starmie" not in code)
    matches = [model for model in matches if is_old == (model.config["tokenizer"]["answer_id"] is None)] or matches
    if config_code and '"long"' not in config_code:
        matches = [m for m in matches if "long" not in m.config["tokenizer"]["templates"]["caption"]] or matches
    return max(matches, key=lambda model: model.name)  # the names of releases end in their dates


def describe_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Summarise the sizes of a checkpoint's tensors for an error message."""
    return ", ".join(f"{name} {size}" for name, size in _sizes_of_tensors(shapes).items())


def tokenizer_matches(path: Path, config: dict[str, Any]) -> bool:
    """Return whether a tokenizer.json fits a config.

    It fits if its end-of-text token has the id in the config, or if its vocabulary has the size in the config. The old
    tokenizer in the hub's current repository fails both.

    Raises:
        ModelUnavailable: The file is not a tokenizer.
    """
    tokenizer = read_tokenizer(path)
    ids, text = config.get("tokenizer"), config.get("text")
    expected = ids.get("bos_id", 0) if isinstance(ids, dict) else 0
    entries = text.get("vocab_size") if isinstance(text, dict) else None
    return tokenizer.token_to_id(_END_OF_TEXT) in (None, expected) or tokenizer.get_vocab_size() == entries


def _sizes_of_config(config: dict[str, Any]) -> dict[str, Any]:
    text, vision = config["text"], config["vision"]
    return {
        "text width": text["dim"],
        "vocabulary": text["vocab_size"],
        "text layers": text["n_layers"],
        "experts": text["moe"]["num_experts"] if text["moe"] else 0,
        "vision width": vision["enc_dim"],
        "vision layers": vision["enc_n_layers"],
        "int4": text["group_size"] is not None,
    }


def _sizes_of_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the sizes of tensors, named as in current or older releases; 0: not found."""

    def shape(pattern: str) -> tuple[int, ...]:
        return next((shape for name, shape in shapes.items() if re.search(pattern, name)), ())

    def count(pattern: str) -> int:
        return len({match[1] for match in map(re.compile(pattern).search, shapes) if match})

    vocabulary, width, *_ = (*shape(r"^text.*\bwte(\.weight)?$"), 0, 0)
    return {
        "text width": width,
        "vocabulary": vocabulary,
        "text layers": count(r"^text.*\.(?:blocks|h)\.(\d+)\."),
        "experts": (*shape(r"^text.*\.(?:router|gate)\.weight$"), 0)[0],
        "vision width": (0, *shape(r"^vision.*\bpos_emb(ed)?$"))[-1],
        "vision layers": count(r"^vision.*\bblocks\.(\d+)\."),
        "int4": any(name.endswith(".weight.packed") for name in shapes),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
