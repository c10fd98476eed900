"""What is in huggingface_hub's cache: found where that keeps it, without asking it or the network; checked; removed."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.catalog import hub
from engine.catalog.published import PublishedModel, Source, TokenizerSource, published
from engine.contract import ModelUnavailable

SHARDED = published()["moondream3-preview"]
assert isinstance(SHARDED.source, Source)
SOURCE = SHARDED.source
COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, repo: str, revision: str, files: dict[str, bytes], commit: str = COMMIT) -> Path:
    """A snapshot as huggingface_hub writes it: links into blobs, which are named by their checksums."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot, blobs = root / "snapshots" / commit, root / "blobs"
    for folder in (snapshot, blobs, root / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        large = name.endswith(".safetensors")
        digest = hashlib.sha256(content) if large else hashlib.sha1(b"blob %d\0" % len(content) + content)
        (blobs / digest.hexdigest()).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{digest.hexdigest()}")
    if revision != commit:
        (root / "refs" / revision).write_text(commit)
    return snapshot


def put_sharded(cache: Path, *without: str) -> Path:
    tokenizer = SOURCE.tokenizer
    put(cache, tokenizer.repo, tokenizer.revision, {"tokenizer.json": b"{}"}, tokenizer.revision)
    files = {
        "model.safetensors.index.json": json.dumps(INDEX).encode(),
        "model-1.safetensors": b"one",
        "model-2.safetensors": b"two",
        "modeling.py": b"raise SystemExit",
    }
    kept = {name: content for name, content in files.items() if name not in without}
    return put(cache, SOURCE.repo, SOURCE.revision, kept)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"XDG_CACHE_HOME": "/x/cache"},
        {"HF_HOME": "~/hf"},
        {"HF_HOME": "$HOME/hf"},
        {"HF_HOME": "/x/hf", "HUGGINGFACE_HUB_CACHE": "/x/older"},
        {"HF_HOME": "/x/hf", "HUGGINGFACE_HUB_CACHE": "/x/older", "HF_HUB_CACHE": "~/newer"},
    ],
    ids=lambda env: " ".join(env) or "nothing set",
)
def test_looks_where_huggingface_hub_looks(env: dict[str, str]) -> None:
    code = (
        "import sys; from engine.catalog import hub; here = str(hub.cache_folder())\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "from huggingface_hub import constants; assert here == constants.HF_HUB_CACHE, (here, constants.HF_HUB_CACHE)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE", "XDG"))}
    root = str(Path(hub.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={**kept, **env, "HOME": "/x/me"}, cwd=root)


@pytest.mark.posix("symbolic links")
def test_a_model_that_is_here(cache: Path) -> None:
    folder = put_sharded(cache)
    here = hub.local(SHARDED)
    assert here
    assert here.commit == COMMIT
    assert here.weights == folder / "model.safetensors.index.json"
    assert here.tokenizer.read_bytes() == b"{}"
    assert here.bytes == len(b"onetwo{}")
    assert hub.verify(SHARDED) == []
    assert hub.pull(SHARDED) == here


@pytest.mark.posix("symbolic links")
@pytest.mark.parametrize("lost", ["model.safetensors.index.json", "model-1.safetensors"])
def test_a_model_that_is_not_whole_is_not_here(cache: Path, lost: str) -> None:
    put_sharded(cache, lost)
    assert hub.local(SHARDED) is None
    assert hub.is_partially_downloaded(SHARDED)
    assert len([problem for problem in hub.verify(SHARDED) if lost in problem or "several weight" in problem]) == 1


@pytest.mark.posix("symbolic links")
def test_a_model_without_its_tokenizer_is_not_here(cache: Path) -> None:
    put(cache, SOURCE.repo, "main", {"model.safetensors": b"weights"})
    assert hub.local(SHARDED) is None
    assert hub.verify(SHARDED) == ["tokenizer.json of moondream/starmie-v1 is missing"]


@pytest.mark.posix("symbolic links")
def test_every_bad_file_is_named(cache: Path) -> None:
    folder = put_sharded(cache)
    (folder / "model-1.safetensors").resolve().write_bytes(b"oNe")
    (folder / "model-2.safetensors").resolve().unlink()
    copy = folder / "copied.safetensors"
    copy.write_bytes(b"no link")
    problems = "\n".join(hub.verify(SHARDED))
    assert "model-1.safetensors: damaged" in problems
    assert "model-2.safetensors: its blob is missing" in problems
    assert "copied.safetensors: the cache has no checksum" in problems
    assert "modeling.py" not in problems
    hub.remove(SHARDED)
    assert not folder.exists()


@pytest.mark.posix("symbolic links")
def test_removing_takes_what_was_half_fetched(cache: Path) -> None:
    folder = put_sharded(cache)
    part = folder.parents[1] / "blobs" / "abc.incomplete"
    part.write_bytes(b"half")
    assert hub.remove(SHARDED) >= len(b"halfonetwo")
    assert not part.exists()
    assert not any(cache.glob("models--*"))
    with pytest.raises(ModelUnavailable, match="mdtool models pull moondream3-preview"):
        hub.remove(SHARDED)


@pytest.mark.posix("symbolic links")
def test_removing_leaves_what_is_being_fetched(cache: Path) -> None:
    from huggingface_hub.utils import WeakFileLock

    folder = put_sharded(cache)
    part = folder.parents[1] / "blobs" / "abc.incomplete"
    part.write_bytes(b"half")
    other = put(cache, SOURCE.repo, "other", {"model.safetensors": b"of another revision"}, "f" * 40)
    lock = cache / ".locks" / folder.parents[1].name / "abc.lock"
    lock.parent.mkdir(parents=True)
    with WeakFileLock(lock):
        hub.remove(SHARDED)
    assert part.exists()
    assert (other / "model.safetensors").read_bytes() == b"of another revision"
    assert not folder.exists()


def test_a_model_that_is_not_published(cache: Path) -> None:
    model = PublishedModel("mine", "moondream", "", None, {})
    assert hub.local(model) is None
    for action in (hub.pull, hub.verify, hub.remove):
        with pytest.raises(ModelUnavailable, match=r"mine: .*--model PATH"):
            action(model)


@pytest.mark.posix("symbolic links")
def test_a_revision_that_is_a_commit_needs_no_name(cache: Path) -> None:
    source = Source("a/b", COMMIT, 1, "MIT", TokenizerSource("a/b", COMMIT, "tokenizer.json"))
    folder = put(cache, "a/b", COMMIT, {"model.safetensors": b"weights", "tokenizer.json": b"{}"})
    here = hub.local(PublishedModel("b", "moondream", "", source, {}))
    assert here == hub.LocalModel(COMMIT, folder / "model.safetensors", folder / "tokenizer.json")
