"""From a model's name, or the path of its weights, to all that it takes to load it: config, weights, tokenizer."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.catalog import hub
from engine.catalog.published import PublishedModel, published, unknown_model_error
from engine.catalog.revision import revision_of
from engine.checkpoints.shards import weight_files, weights_in
from engine.contract import ModelUnavailable
from engine.families import EMBEDDED, FAMILIES, checkpoint_matcher_of

_OTHER_FORMATS = (".pt", ".pth", ".bin", ".ckpt", ".gguf", ".ggml", ".onnx", ".mf", ".pkl")


@dataclass(frozen=True)
class ModelFiles:
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


def locate(name_or_path: str) -> ModelFiles:
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
        raise unknown_model_error(name_or_path, [*EMBEDDED, *known])
    return _located_path(path)


def _located_published(model: PublishedModel) -> ModelFiles:
    here = hub.local(model) if model.source else hub.pull(model)  # which says that there is nothing to pull
    if here is None:
        raise hub.not_downloaded_error(model)
    return ModelFiles(
        model.name, model.family, model.config, f"{model.name}.json", here.weights, here.tokenizer, here.commit
    )


def _located_path(path: Path) -> ModelFiles:
    if path.is_dir():
        name, folder, weights = path.resolve().name, path, _weights_in(path)
    else:
        name, folder, weights = path.name.partition(".safetensors")[0], path.parent, _weights_file(path)
    given = _given_config(folder / "config.json")
    if given is not None:
        family, config = given
        source, model = str(folder / "config.json"), None
    else:
        model = _recognised(weights, folder)
        family, config = model.family, model.config
        source = f"{model.name}.json, whose tensor shapes those of {weights} are"
    return ModelFiles(name, family, config, source, weights, _tokenizer(folder, family, config, model))


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


def _given_config(path: Path) -> tuple[str, dict[str, Any]] | None:
    """The family that a config.json is of, and its config. None where it says nothing of any."""
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{path}: is not readable JSON ({error})") from error
    for family in FAMILIES if isinstance(data, dict) else ():
        if (config := checkpoint_matcher_of(family).find_config(data)) is not None:
            return family, config
    return None


def _recognised(weights: Path, folder: Path) -> PublishedModel:
    """The published model, of whatever family, whose tensors have these shapes."""
    shapes = _shapes(weights)
    for family in FAMILIES:
        known = [model for model in published().values() if model.family == family]
        if model := checkpoint_matcher_of(family).match_release(folder, shapes, known):
            return model
    descriptions = "; ".join(checkpoint_matcher_of(family).describe_shapes(shapes) for family in FAMILIES)
    raise ModelUnavailable(
        f"{weights}: these are no weights of a known model ({descriptions}); if they are, put a config.json beside "
        'them with its "text", "vision", "region" and "tokenizer"'
    )


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, from the headers alone. Names without the outer `model.` and what compiling has put in."""
    from engine.checkpoints.reader import open_checkpoint

    entries = open_checkpoint(weights).entries
    return {name.replace("._orig_mod", "").removeprefix("model."): entry.shape for name, entry in entries.items()}


def _tokenizer(folder: Path, family: str, config: dict[str, Any], model: PublishedModel | None) -> Path:
    """The tokenizer beside the weights if it is theirs, else that of the published model they were recognised as.

    The hub's repository of the current Moondream 2 still carries that of the older releases.
    """
    path = folder / "tokenizer.json"
    beside = path.is_file()
    if beside and checkpoint_matcher_of(family).tokenizer_matches(path, config):
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
