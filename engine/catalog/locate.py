"""From a model's name, or the path of its weights, to all that it takes to load it: config, weights, tokenizer."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import EMBEDDED
from engine.catalog import hub
from engine.catalog.published import Published, no_such_model, published
from engine.catalog.revision import revision_of
from engine.checkpoints.shards import weight_files, weights_in
from engine.contract import ModelUnavailable

_OTHER_FORMATS = (".pt", ".pth", ".bin", ".ckpt", ".gguf", ".ggml", ".onnx", ".mf", ".pkl")
_END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Located:
    """config: as the family's config reader takes it; config_source names it in errors.

    weights: a safetensors file, or the index of shards beside it. commit: of the hub's repository they are from.
    """

    name: str
    family: str
    config: dict[str, Any]
    config_source: str
    weights: Path
    tokenizer: Path
    commit: str | None = None

    @property
    def revision(self) -> str:
        """The commit, or else a digest of the files. ModelUnavailable if one can't be read."""
        return self.commit or revision_of(self.weights, self.tokenizer, self.config)


def locate(name_or_path: str) -> Located:
    """A published model that was pulled, or the weights in a file or folder.

    Beside weights in a folder may lie config.json and tokenizer.json. Where the config says nothing (as the hub's own
    does), the shapes of the tensors tell which published model it is. Raises ModelUnavailable: not known, not here,
    not whole, or not of one another.
    """
    known = published()
    if name_or_path in known:
        return _located_published(known[name_or_path])
    path = Path(os.path.expanduser(name_or_path))
    if not name_or_path or not os.path.exists(path):  # which, unlike Path.exists, takes names that can't be
        if path.name != name_or_path or path.suffix in (".safetensors", ".json", *_OTHER_FORMATS):
            raise ModelUnavailable(f"{name_or_path}: there is no such file or folder")
        raise no_such_model(name_or_path, [*EMBEDDED, *known])
    return _located_path(path)


def _located_published(model: Published) -> Located:
    here = hub.local(model) if model.source else hub.pull(model)  # which says that there is nothing to pull
    if here is None:
        raise hub.not_here(model)
    return Located(
        model.name, model.family, model.config, f"{model.name}.json", here.weights, here.tokenizer, here.commit
    )


def _located_path(path: Path) -> Located:
    if path.is_dir():
        name, folder, weights = path.resolve().name, path, _weights_in(path)
    else:
        name, folder, weights = path.name.partition(".safetensors")[0], path.parent, _weights_file(path)
    given = _given_config(folder / "config.json")
    if given is not None:
        config, source, model = given, str(folder / "config.json"), None
    else:
        model = _recognised(weights, folder)
        config, source = model.config, f"{model.name}.json, whose tensor shapes those of {weights} are"
    return Located(name, "moondream", config, source, weights, _tokenizer(folder, config, model))


def _weights_in(folder: Path) -> Path:
    try:
        return weights_in(folder)
    except ModelUnavailable as error:
        others = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHER_FORMATS)
        if others and not any(folder.glob("*.safetensors*")):
            raise _other_format(folder / others[0]) from error
        raise


def _weights_file(path: Path) -> Path:
    if path.suffix in _OTHER_FORMATS:
        raise _other_format(path)
    if not path.name.endswith((".safetensors", ".safetensors.index.json")):
        raise ModelUnavailable(f"{path}: is neither weights (*.safetensors), nor their index, nor a folder of them")
    missing = [file.name for file in weight_files(path) if not file.is_file()]
    if missing:
        raise ModelUnavailable(f"{path}: names files that are not there: {', '.join(missing)}")
    return path


def _other_format(path: Path) -> ModelUnavailable:
    return ModelUnavailable(f"{path}: this format is not read; convert the weights to safetensors")


def _given_config(path: Path) -> dict[str, Any] | None:
    """The model's parts in a config.json: at its top, or under "config". None where it says nothing of them."""
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{path}: is not readable JSON ({error})") from error
    for config in (data, data.get("config")) if isinstance(data, dict) else ():
        if isinstance(config, dict) and {"text", "vision"} <= config.keys():
            return config
    return None


def _recognised(weights: Path, folder: Path) -> Published:
    """The published model whose tensors have these shapes: of several releases the newest that it can be."""
    shapes = _shapes(weights)
    found = _sizes_of_tensors(shapes)
    same = [model for model in published().values() if _sizes_of_config(model.config) == found]
    if not same:
        told = ", ".join(f"{name} {size}" for name, size in found.items())
        raise ModelUnavailable(
            f"{weights}: these are no weights of a known model ({told}); if they are, put a config.json beside them "
            'with its "text", "vision", "region" and "tokenizer"'
        )
    # The reference's code may lie beside the weights of a release: it is read, never run.
    code, its_config = _text(folder / "moondream.py"), _text(folder / "config.py")
    is_old = any(name.startswith("text_model.") for name in shapes) or bool(code and "starmie" not in code)
    same = [model for model in same if is_old == (model.config["tokenizer"]["answer_id"] is None)] or same
    if its_config and '"long"' not in its_config:
        same = [model for model in same if "long" not in model.config["tokenizer"]["templates"]["caption"]] or same
    return max(same, key=lambda model: model.name)  # the names of releases end in their dates


def _sizes_of_config(config: dict[str, Any]) -> dict[str, Any]:
    text, vision = config["text"], config["vision"]
    return {
        "text width": text["dim"],
        "vocabulary": text["vocab_size"],
        "text layers": text["n_layers"],
        "experts": text["moe"]["num_experts"] if text["moe"] else 0,
        "vision width": vision["enc_dim"],
        "vision layers": vision["enc_n_layers"],
        "in 4 bits": text["group_size"] is not None,
    }


def _sizes_of_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The same of tensors, under the names of the current releases or those of the older ones. 0: not found."""

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
        "in 4 bits": any(name.endswith(".weight.packed") for name in shapes),
    }


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, from the headers alone. Names without the outer `model.` and what compiling has put in."""
    from engine.checkpoints.reader import open_checkpoint

    entries = open_checkpoint(weights).entries
    return {name.replace("._orig_mod", "").removeprefix("model."): entry.shape for name, entry in entries.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _tokenizer(folder: Path, config: dict[str, Any], model: Published | None) -> Path:
    """The tokenizer beside the weights if it is theirs, else that of the published model they were recognised as.

    The hub's repository of the current Moondream 2 still carries that of the older releases.
    """
    path = folder / "tokenizer.json"
    beside = path.is_file()
    if beside and _belongs(path, config):
        return path
    source = model.source.tokenizer if model and model.source else None
    cached = hub.cached_tokenizer(source) if source else None
    if cached:
        return cached
    problem = f"{path}: is the tokenizer of another model" if beside else f"{folder}: there is no tokenizer.json"
    if source is None:
        raise ModelUnavailable(f"{problem}; put the one that belongs to the weights there")
    raise ModelUnavailable(
        f"{problem}; get the right one with `hf download {source.repo} {source.file} --revision {source.revision}`"
    )


def _belongs(path: Path, config: dict[str, Any]) -> bool:
    """Whether its end of text, if it has one, has the id that the config gives it, or it has as many entries.

    The old tokenizer in the hub's current repository fails both.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise ModelUnavailable(f"{path}: is not a readable tokenizer ({error})") from error
    ids, text = config.get("tokenizer"), config.get("text")
    expected = ids.get("bos_id", 0) if isinstance(ids, dict) else 0
    entries = text.get("vocab_size") if isinstance(text, dict) else None
    return tokenizer.token_to_id(_END_OF_TEXT) in (None, expected) or tokenizer.get_vocab_size() == entries
