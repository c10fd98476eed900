"""Locating the files of a model, config, weights and tokenizer, by its name or the path of its weights."""

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.catalog import hub
from engine.catalog.published import (
    GgufSource,
    PublishedModel,
    Source,
    find_published,
    published,
    unknown_model_error,
)
from engine.catalog.revision import revision_of
from engine.checkpoints.shards import is_gguf, weight_files, weights_in
from engine.contract import ModelUnavailable
from engine.families import EMBEDDED, FAMILIES, checkpoint_matcher_of, family_of_gguf

_OTHER_FORMATS = (".pt", ".pth", ".bin", ".ckpt", ".ggml", ".onnx", ".mf", ".pkl")


@dataclass(frozen=True)
class ModelFiles:
    """The files that a model is loaded from.

    Attributes:
        name: Of the model.
        family: Key of `engine.families.FAMILIES`.
        config: As the family's config reader expects it.
        config_source: Names the config in errors.
        weights: A safetensors file, the index of shards, or a GGUF file.
        tokenizer: The tokenizer file; the GGUF file itself.
        commit: Of the hub's repository, if the model was pulled.
        mmproj: The vision part of a GGUF file; None: the file answers text only.
        quantize: How the model's name wants it quantised; None: as stored, or as the options say.
    """

    name: str
    family: str
    config: dict[str, Any]
    config_source: str
    weights: Path
    tokenizer: Path
    commit: str | None = None
    mmproj: Path | None = None
    quantize: str | None = None

    @property
    def revision(self) -> str:
        """The commit, or else a digest of the files; raises ModelUnavailable if one can't be read."""
        return self.commit or revision_of(self.weights, self.tokenizer, self.config, self.mmproj)


def locate(name_or_path: str, mmproj: str | None = None) -> ModelFiles:
    """Locate a published model that was pulled, or a variant of it, or the weights in a file or folder.

    config.json and tokenizer.json are looked up in the folder of the weights. If no family
    recognises the config (as with the hub's own), the published model is recognised by the shapes of the tensors. A
    GGUF file has all that in its metadata.

    Args:
        name_or_path: Of the model.
        mmproj: The vision part of a GGUF file; None: the one beside it, if there is one.

    Raises:
        ModelUnavailable: The model is unknown, not downloaded or incomplete, or its files do not belong together.
    """
    vision = Path(os.path.expanduser(mmproj)) if mmproj is not None else None
    if model := find_published(name_or_path):
        return _located_published(model, vision)
    path = Path(os.path.expanduser(name_or_path))
    if not name_or_path or not os.path.exists(path):  # unlike Path.exists, accepts impossible names
        if path.name != name_or_path or path.suffix in (".safetensors", ".json", ".gguf", *_OTHER_FORMATS):
            raise ModelUnavailable(f"{name_or_path}: no such file or folder")
        raise unknown_model_error(name_or_path, [*EMBEDDED, *published()])
    weights = _gguf_in(path) if path.is_dir() else path
    if weights and (weights.suffix == ".gguf" or is_gguf(weights)):
        return _located_gguf(weights, vision)
    if mmproj is not None:
        raise _no_mmproj(name_or_path)
    return _located_path(path)


def _no_mmproj(name: str) -> ModelUnavailable:
    return ModelUnavailable(f"{name}: only a GGUF file has an mmproj file; leave that out")


def _gguf_in(folder: Path) -> Path | None:
    """Return the GGUF text file in a folder without safetensors; None if there is no GGUF file."""
    if any(folder.glob("*.safetensors*")):
        return None
    files = sorted(path for path in folder.glob("*.gguf") if "mmproj" not in path.name.lower())
    files = [path for path in files if not re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name) or "-00001-of-" in path.name]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ModelUnavailable(f"{folder}: there are several models; give the path of one of them: {names}")
    return files[0] if files else None


def _located_gguf(path: Path, mmproj: Path | None) -> ModelFiles:
    from engine.checkpoints.gguf_config import hub_config
    from engine.checkpoints.gguf_files import find_mmproj, open_gguf
    from engine.checkpoints.gguf_names import architecture_of

    text = open_gguf(path)
    architecture_of(text)
    mmproj = mmproj or find_mmproj(text)
    architecture = text.text("general.architecture")
    family = family_of_gguf(architecture)
    if family is None:
        raise ModelUnavailable(f"{path}: models of the architecture {architecture!r} are not supported")
    config = hub_config(text, open_gguf(mmproj) if mmproj else None)
    name = path.name.removesuffix(".gguf")
    return ModelFiles(name, family, config, f"the metadata of {path}", path, path, mmproj=mmproj)


def _located_published(model: PublishedModel, mmproj: Path | None) -> ModelFiles:
    files = hub.local(model) if model.source else hub.pull(model)  # pull raises: there is no source
    if files is None:
        raise hub.not_downloaded_error(model)
    if isinstance(model.source, GgufSource):
        located = _located_gguf(files.weights, mmproj or files.mmproj)
        config = model.config | located.config  # what the files don't say, such as limits of image tokens
        commit = None if mmproj else files.commit
        return replace(located, name=model.name, config=config, commit=commit)
    if mmproj is not None:
        raise _no_mmproj(model.name)
    source, config = f"{model.name}.json", model.config
    path = files.weights.parent / "config.json"
    if checkpoint_matcher_of(model.family).SIDE_FILES and (downloaded := _read_config(path)):
        source, config = str(path), config | downloaded[1]  # what came with the weights counts
    files_and_commit = files.weights, files.tokenizer, files.commit
    return ModelFiles(model.name, model.family, config, source, *files_and_commit, quantize=model.quantize)


def _located_path(path: Path) -> ModelFiles:
    if path.is_dir():
        name, folder, weights = path.resolve().name, path, _weights_in(path)
    else:
        name, folder, weights = path.name.partition(".safetensors")[0], path.parent, _weights_file(path)
    family_config = _read_config(folder / "config.json")
    if family_config is not None:
        family, config = family_config
        source, model = str(folder / "config.json"), None
    else:
        model = _recognise(weights, folder)
        family, config = model.family, model.config
        source = f"{model.name}.json, recognised by the tensor shapes of {weights}"
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
        raise ModelUnavailable(f"{path}: must be weights (*.safetensors), their index, or a folder of them")
    missing = [file.name for file in weight_files(path) if not file.is_file()]
    if missing:
        raise ModelUnavailable(f"{path}: names files that do not exist: {', '.join(missing)}")
    return path


def _other_format(path: Path) -> ModelUnavailable:
    return ModelUnavailable(f"{path}: this format is not supported; convert the weights to safetensors")


def _read_config(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Return the family of a config.json and its config; None if there is no file, or no family recognises it.

    The family's side files are added to the config under their stems.
    """
    if not path.is_file():
        return None
    data = _read_json(path)
    for family in FAMILIES if isinstance(data, dict) else ():
        matcher = checkpoint_matcher_of(family)
        if (config := matcher.find_config(data)) is not None:
            found = [file for name in matcher.SIDE_FILES if (file := path.with_name(name)).is_file()]
            return family, config | {file.stem: _read_json(file) for file in found}
    return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{path}: not valid JSON ({error})") from error


def _recognise(weights: Path, folder: Path) -> PublishedModel:
    """Return the published model of any family whose tensors have these shapes."""
    shapes = _shapes(weights)
    for family in FAMILIES:
        known = [model for model in published().values() if model.family == family]
        if model := checkpoint_matcher_of(family).match_release(folder, shapes, known):
            return model
    descriptions = "; ".join(filter(None, (checkpoint_matcher_of(name).describe_shapes(shapes) for name in FAMILIES)))
    raise ModelUnavailable(
        f"{weights}: these are not the weights of a known model ({descriptions}); if they are, add a config.json with "
        'its "text", "vision", "region" and "tokenizer" in the same folder'
    )


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, from the headers alone. Names lose the prefixes `model.` and those of torch.compile."""
    from engine.checkpoints.reader import open_checkpoint

    entries = open_checkpoint(weights).entries
    return {name.replace("._orig_mod", "").removeprefix("model."): entry.shape for name, entry in entries.items()}


def _tokenizer(folder: Path, family: str, config: dict[str, Any], model: PublishedModel | None) -> Path:
    """Return the tokenizer next to the weights if it matches, else that of the published model with these tensors.

    The hub's repository of the current Moondream 2 still contains the tokenizer of older releases.
    """
    path = folder / "tokenizer.json"
    exists = path.is_file()
    if exists and checkpoint_matcher_of(family).tokenizer_matches(path, config):
        return path
    source = model.source.tokenizer if model and isinstance(model.source, Source) else None
    cached = hub.cached_tokenizer(source) if source else None
    if cached:
        return cached
    problem = f"{path}: is the tokenizer of another model" if exists else f"{folder}: there is no tokenizer.json"
    if source is None:
        raise ModelUnavailable(f"{problem}; put the tokenizer of the weights there")
    raise ModelUnavailable(
        f"{problem}; get the right one with `hf download {source.repo} {source.file} --revision {source.revision}`"
    )
