"""What is seen of pictures is kept on disk: exactly, within its bound, and whatever else happens there."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import caches
import numpy as np
import pytest
import torch
from cli_runner import SECONDS
from PIL import Image

import engine
from engine.centerface.decode import Faces
from engine.contract import DetectRequest, Generation, ImageEmbedder, LoadOptions
from engine.moondream.model import EncodedPrefix, Moondream
from mdtool.jobs.inference.embedding_cache import EmbeddingCache, encode
from mdtool.pipeline.prediction_log import digest_of

if sys.platform != "win32":
    import resource

Opened = Callable[..., EmbeddingCache]
GOLDEN = Path(__file__).parents[3] / "golden"
SIZE = 20_000  # bytes of an entry, about
WRITER = """
import random, sys
from pathlib import Path
import torch
from mdtool.jobs.inference.embedding_cache import EmbeddingCache

folder, seed, turns, limit = Path(sys.argv[1]), *map(int, sys.argv[2:])
draw, said = random.Random(seed), []
cache = EmbeddingCache(folder, limit, "model", said.append)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(turns):
    number = draw.randrange(40)
    made = torch.full((100, 100), number, dtype=torch.bfloat16)
    known = cache.get(str(number))
    assert known is None or torch.equal(known, made)
    if known is None or turn % 7 == 0:
        cache.put(str(number), made)
assert not said, said
"""


def some(number: int) -> torch.Tensor:
    return torch.full((100, 100), number, dtype=torch.bfloat16)


def holds(cache: EmbeddingCache, key: str, wanted: torch.Tensor) -> bool:
    known = cache.get(key)
    return known is not None and torch.equal(known, wanted)


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*") if path.is_file()]


def in_all(folder: Path) -> int:
    return sum(path.stat().st_size for path in entries(folder))


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """A cache in `tmp_path`; a warning fails the test, unless it goes elsewhere."""

    def open_one(
        entries: float = 1000, model_key: str = "model", warn: Callable[[str], object] = pytest.fail
    ) -> EmbeddingCache:
        return EmbeddingCache(tmp_path, int(entries * 1.02 * SIZE), model_key, warn)

    return open_one


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["moondream2", "moondream3", "pocket"])
def test_answers_are_those_without_it(name: str, dtype: str, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    model = engine.load(name if name == "pocket" else str(GOLDEN / name), LoadOptions("cpu", dtype))
    assert isinstance(model, Moondream)
    picture = np.array(Image.open(GOLDEN / "images" / "img_a.png").convert("RGB"))
    images = [picture, np.random.default_rng(1).integers(0, 256, (400, 420, 3), dtype=np.uint8)]  # of four tiles
    keys = [digest_of(image) for image in images]
    plain = model.encode(images)
    mixed = encode(model, images[1:], keys[1:], opened(model_key=model.embedding_key))
    known = encode(model, images, keys, opened(model_key=model.embedding_key))  # the first is new
    monkeypatch.setattr(model, "embed_images", lambda images: pytest.fail("was seen again") if images else [])
    again = encode(model, images, keys, opened(model_key=model.embedding_key))
    greedy = Generation(temperature=0, max_tokens=12)
    for kept, wanted in ((mixed, plain[1:]), (known, plain), (again, plain)):
        for one, other in zip(kept, wanted, strict=True):
            assert isinstance(one, EncodedPrefix)
            assert torch.equal(caches.keys(one.prefix), caches.keys(other.prefix))
            assert torch.equal(caches.values(one.prefix), caches.values(other.prefix))
    assert model.caption(again, "short", greedy) == model.caption(plain, "short", greedy)
    found, usual = ([*model.run(DetectRequest(one, "circle", 3) for one in some)] for some in (again, plain))
    assert found == usual


def test_a_model_that_sees_in_one_step_goes_without(opened: Opened, tmp_path: Path) -> None:
    model = engine.load("centerface")
    assert not isinstance(model, ImageEmbedder)
    [faces] = encode(model, [np.zeros((64, 64, 3), np.uint8)], ["key"], opened())
    assert isinstance(faces, Faces)
    assert not len(faces.boxes)
    assert not entries(tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_was_put_comes_back(opened: Opened, dtype: torch.dtype) -> None:
    seen = torch.randn(7, 5).to(dtype)
    opened().put("key", seen.T)  # not contiguous
    known = opened().get("key")
    assert known is not None
    assert known.dtype == dtype
    assert torch.equal(known, seen.T)
    assert opened().get("other key") is None
    assert opened(model_key="other model").get("key") is None


def test_the_bound_is_kept(opened: Opened, tmp_path: Path) -> None:
    limit = 10 * 1.02 * SIZE
    caches = [opened(10), opened(10)]
    for number in range(60):
        caches[number % 2].put(str(number), some(number))
        assert in_all(tmp_path) <= limit
        assert holds(caches[1], str(number), some(number))
    assert in_all(tmp_path) > 0.8 * limit
    opened(0.5).put("larger than the bound", some(1))
    assert in_all(tmp_path) > 0.8 * limit
    opened(3).put("another, smaller bound", some(1))
    assert in_all(tmp_path) <= 3 * 1.02 * SIZE


def test_what_was_used_least_recently_goes_first(opened: Opened, tmp_path: Path) -> None:
    cache = opened(10)
    for number in range(10):
        before = set(entries(tmp_path))
        cache.put(str(number), some(number))
        [path] = set(entries(tmp_path)) - before
        os.utime(path, (number, number))
    assert cache.get("0") is not None
    cache.put("new", some(10))
    kept = [key for key in (*map(str, range(10)), "new") if cache.get(key) is not None]
    assert kept == ["0", "3", "4", "5", "6", "7", "8", "9", "new"]


def cut(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    return data[:-5000] + bytes([data[-5000] ^ 1]) + data[-4999:]


@pytest.mark.parametrize(
    "damage",
    [cut, flipped, lambda data: b"", lambda data: data[:4], lambda data: b"\0" * len(data), lambda data: b"x" * 9],
)
def test_a_damaged_entry_is_none_and_is_replaced(
    opened: Opened, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    opened().put("key", some(3))
    [path] = entries(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert opened().get("key") is None
    opened().put("key", some(3))
    assert entries(tmp_path) == [path]
    assert holds(opened(), "key", some(3))


def test_a_folder_that_can_t_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/within"):
        said: list[str] = []
        cache = EmbeddingCache(tmp_path / place, 10**6, "model", said.append)
        for _ in range(3):
            assert cache.get("key") is None
            cache.put("key", some(1))
        [line] = said
        assert line.startswith(f"{tmp_path / place}: can't be written")
        assert line.endswith("no more embeddings are cached in this run")
        assert "\n" not in line
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.posix("resource limits")
def test_when_the_disk_takes_no_more_what_is_there_serves_on(opened: Opened, tmp_path: Path) -> None:
    said: list[str] = []
    cache = opened(warn=said.append)
    cache.put("first", some(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        cache.put("second", some(2))
        cache.put("third", some(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(said) == 1
    assert len(entries(tmp_path)) == 1
    assert holds(cache, "first", some(1))
    assert cache.get("second") is None


def test_other_files_in_the_folder_are_let_alone(opened: Opened, tmp_path: Path) -> None:
    mine = [tmp_path / "photo.jpg", tmp_path / "ab" / "model.safetensors", tmp_path / "ab" / "c" / ("0" * 64)]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine" * SIZE)
        os.utime(path, (0, 0))
    for number in range(20):
        opened(5).put(str(number), some(number))
    assert all(path.read_bytes() == b"mine" * SIZE for path in mine)
    assert opened(5).get("19") is not None


@pytest.mark.parametrize("told", ["", "nonsense", "-1", "9" * 30, "1\n2"])
def test_a_total_that_can_t_be_read_is_counted_anew(opened: Opened, tmp_path: Path, told: str) -> None:
    for number in range(10):
        opened(10).put(str(number), some(number))
    (tmp_path / "mdtool.total").write_text(told)
    opened(10).put("new", some(1))
    assert in_all(tmp_path) <= 10 * 1.02 * SIZE
    assert opened(10).get("new") is not None


@contextlib.contextmanager
def writers(folder: Path, limit: int, turns: Sequence[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that begin at the same time; they end with the block."""
    with contextlib.ExitStack() as stack:
        processes = []
        for seed, count in enumerate(turns):
            command = [sys.executable, "-c", WRITER, str(folder), str(seed), str(count), str(limit)]
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write(b"go\n")
            process.stdin.flush()
        yield processes


def test_several_processes_share_it_and_one_is_killed(opened: Opened, tmp_path: Path) -> None:
    limit = int(12 * 1.02 * SIZE)
    with writers(tmp_path, limit, [100, 100, 10**9]) as (first, second, endless):
        for process in (first, second):
            process.communicate(timeout=3 * SECONDS)
            assert process.returncode == 0
        assert endless.poll() is None
        endless.kill()
    assert in_all(tmp_path) <= limit
    cache = opened(12)
    kept = [number for number in range(40) if cache.get(str(number)) is not None]
    assert all(holds(cache, str(number), some(number)) for number in kept)
    assert len(kept) >= 9
    left = set(tmp_path.glob("*/*.part"))  # by the one that was killed
    assert len(left) <= 1
    for number in range(40, 60):
        cache.put(str(number), some(number))
        assert in_all(tmp_path) <= limit
    assert not left & set(tmp_path.glob("*/*.part"))
