"""Models with a variant after their name: GGUF files of one type from a repository of many, and int8 and int4."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_runner import ROOT, Outcome, run, spawn
from fake_hub import MIB, Hub, commit_of, serve_hub

from engine.catalog.published import GgufSource, Source, find_published

GOLDEN = ROOT / "tests" / "golden"
GGUF = GOLDEN / "gguf"
IMAGE = GOLDEN / "qwen3-vl" / "image_a.png"
QWEN = ("Qwen/Qwen3-VL-8B-Instruct-GGUF", "f982a07559d4a2f6c8744d840bf6fccab30eea96")
LFM = ("LiquidAI/LFM2.5-VL-450M-GGUF", "main")
MOONDREAM = ("moondream/moondream2-gguf", "main")
F16, Q8_0 = ((GGUF / f"qwen3-vl-tiny-{kind}.gguf").read_bytes() for kind in ("F16", "Q8_0"))
VISION = (GGUF / "mmproj-qwen3-vl-tiny-F16.gguf").read_bytes()
QWEN_FILES = {
    "Qwen3VL-8B-Instruct-F16.gguf": F16,
    "Qwen3VL-8B-Instruct-Q4_K_M.gguf": Q8_0 + b"\0",  # padding, so that it is another file
    "Qwen3VL-8B-Instruct-Q8_0.gguf": Q8_0,
    "mmproj-Qwen3VL-8B-Instruct-F16.gguf": VISION,
    "mmproj-Qwen3VL-8B-Instruct-Q8_0.gguf": VISION + b"\0",
    "README.md": b"# Qwen3-VL",
    "params": b"{}",
}
LFM_FILES = {
    "LFM2.5-VL-450M-Q4_0.gguf": (GGUF / "lfm2-vl-tiny-Q8_0.gguf").read_bytes(),
    "mmproj-LFM2.5-VL-450m-F16.gguf": (GGUF / "mmproj-lfm2-vl-tiny-F16.gguf").read_bytes(),  # the m is small there
    "mmproj-LFM2.5-VL-450m-BF16.gguf": b"another",
}
MOONDREAM_FILES = {
    "moondream2-text-model-f16.gguf": (GOLDEN / "moondream2-gguf" / "moondream2-tiny-F16.gguf").read_bytes(),
    "moondream2-mmproj-f16.gguf": (GOLDEN / "moondream2-gguf" / "mmproj-moondream2-tiny-F16.gguf").read_bytes(),
    "moondream2.preset.json": b"{}",
}
REPOS = {QWEN: QWEN_FILES, LFM: LFM_FILES, MOONDREAM: MOONDREAM_FILES}
FEW = ("--max-tokens", "4", "--temperature", "0", "--device", "cpu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no hub."""
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    return tmp_path / "home" / "hub"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub(REPOS) as served:
        yield served


@pytest.fixture
def pull(hub: Hub) -> Callable[..., Outcome]:
    return lambda *names: spawn("models", "pull", *names, env={"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"})


def files_in(home: Path, repo: tuple[str, str]) -> set[str]:
    commit = repo[1] if len(repo[1]) == 40 else commit_of(*repo)
    folder = home / f"models--{repo[0].replace('/', '--')}" / "snapshots" / commit
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def blobs(home: Path, repo: tuple[str, str]) -> int:
    return len(list((home / f"models--{repo[0].replace('/', '--')}" / "blobs").glob("*")))


def test_of_a_repository_one_text_file_and_its_vision_are_pulled(
    home: Path, hub: Hub, pull: Callable[..., Outcome]
) -> None:
    licence, done = pull("qwen3-vl-8b:q4_k_m").lines
    assert licence == "mdtool: qwen3-vl-8b:q4_k_m: 6.2 GB, licence Apache-2.0"
    assert done.startswith("mdtool: qwen3-vl-8b:q4_k_m: on this machine, ")
    assert done.endswith(f"commit {QWEN[1]}")
    assert files_in(home, QWEN) == {"Qwen3VL-8B-Instruct-Q4_K_M.gguf", "mmproj-Qwen3VL-8B-Instruct-F16.gguf"}
    before = len(hub.asked)
    assert pull("qwen3-vl-8b:Q4_K_M").code == 0
    assert len(hub.asked) == before
    assert all(QWEN[1] in asked.path for asked in hub.asked if "/resolve/" in asked.path)


def test_a_variant_is_listed_verified_and_answers(home: Path, pull: Callable[..., Outcome]) -> None:
    assert pull("qwen3-vl-8b:f16").code == 0
    rows = {row["name"]: row for row in run("models", "list", "--json").json}
    assert rows["qwen3-vl-8b"]["where"] == "not here"
    assert rows["qwen3-vl-8b"]["variants"] == ["q4_k_m", "q5_k_s", "q8_0", "f16", "int8", "int4"]
    here = rows["qwen3-vl-8b:f16"]
    assert (here["where"], here["bytes"], here["commit"]) == ("here", len(F16) + len(VISION), QWEN[1])
    assert "qwen3-vl-8b:q8_0" not in rows
    assert run("models", "verify").out == b"qwen3-vl-8b:f16\tok\n"
    assert run("models", "path", "qwen3-vl-8b:f16").out.decode().strip() == str(Path(here["weights"]).parent)
    [row] = run("query", IMAGE, "what?", "--model", "qwen3-vl-8b:f16", "--json", *FEW).json
    assert row["model"] == "qwen3-vl-8b:f16"
    by_path = run("query", IMAGE, "what?", "--model", GGUF / "qwen3-vl-tiny-F16.gguf", "--json", *FEW).json
    assert row["answer"] == by_path[0]["answer"]
    [chosen] = run("query", IMAGE, "what?", "--json", *FEW).json  # auto
    assert chosen["model"] == "qwen3-vl-8b:f16"


def test_variants_in_one_repository_are_removed_one_by_one(home: Path, pull: Callable[..., Outcome]) -> None:
    assert pull("qwen3-vl-8b:q4_k_m", "qwen3-vl-8b:f16", "qwen3-vl-8b:q8_0").code == 0
    assert len(files_in(home, QWEN)) == blobs(home, QWEN) == 5
    outcome = run("models", "rm", "qwen3-vl-8b:q4_k_m")
    assert outcome.code == 0
    assert "removed" in outcome.err
    assert files_in(home, QWEN) == set(QWEN_FILES) - {"Qwen3VL-8B-Instruct-Q4_K_M.gguf", "README.md", "params"}
    assert blobs(home, QWEN) == 4
    assert run("models", "rm", "qwen3-vl-8b:f16").code == 0
    assert files_in(home, QWEN) == {"Qwen3VL-8B-Instruct-Q8_0.gguf", "mmproj-Qwen3VL-8B-Instruct-Q8_0.gguf"}
    again = run("models", "rm", "qwen3-vl-8b:f16")
    assert (again.code, "not on this machine" in again.err) == (4, True)
    assert run("models", "verify").out == b"qwen3-vl-8b:q8_0\tok\n"
    assert run("models", "rm", "qwen3-vl-8b:q8_0").code == 0
    assert not list(home.glob("models--*"))


def test_a_variant_whose_vision_is_lost_is_not_here(home: Path, pull: Callable[..., Outcome]) -> None:
    assert pull("qwen3-vl-8b:f16").code == 0
    [vision] = home.rglob("snapshots/*/mmproj-*")
    vision.unlink()
    outcome = run("models", "verify")
    assert (outcome.code, "mmproj-*-F16.gguf of Qwen/Qwen3-VL-8B-Instruct-GGUF is missing" in outcome.err) == (4, True)
    assert "get it with `mdtool models pull qwen3-vl-8b:f16`" in run("models", "path", "qwen3-vl-8b:f16").err
    assert pull("qwen3-vl-8b:f16").code == 0
    assert run("models", "verify").code == 0


def test_damage_is_seen(home: Path, pull: Callable[..., Outcome]) -> None:
    assert pull("qwen3-vl-8b:q8_0").code == 0
    [text] = home.rglob("snapshots/*/Qwen3VL-8B-Instruct-Q8_0.gguf")
    text.resolve().write_bytes(Q8_0[:-1] + b"x")
    outcome = run("models", "verify", "qwen3-vl-8b:q8_0")
    assert (outcome.code, "Qwen3VL-8B-Instruct-Q8_0.gguf: damaged" in outcome.err) == (4, True)


def test_names_are_matched_whatever_their_case_and_the_catalogue_knows_what_the_files_do_not(
    home: Path, pull: Callable[..., Outcome]
) -> None:
    licence, _ = pull("lfm2.5-vl-450m:q4_0").lines
    assert "LFM Open License v1.0: commercial use is free below 10 million USD of annual revenue" in licence
    assert files_in(home, LFM) == {"LFM2.5-VL-450M-Q4_0.gguf", "mmproj-LFM2.5-VL-450m-F16.gguf"}
    outcome = run("detect", IMAGE, "dog", "--model", "lfm2.5-vl-450m:q4_0", "--device", "cpu")
    assert "can't detect" not in outcome.err  # as the file by its path: nothing in it says that it can
    by_path = run("detect", IMAGE, "dog", "--model", GGUF / "lfm2-vl-tiny-Q8_0.gguf", "--device", "cpu")
    assert "can't detect" in by_path.err


def test_a_branch_stays_at_its_commit_while_variants_are_added(home: Path) -> None:
    with serve_hub(
        {LFM: {**LFM_FILES, "LFM2.5-VL-450M-Q8_0.gguf": b"q8", "mmproj-LFM2.5-VL-450m-Q8_0.gguf": b"v"}}
    ) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        assert spawn("models", "pull", "lfm2.5-vl-450m:q4_0", env=env).code == 0
        hub.asked.clear()
        assert spawn("models", "pull", "lfm2.5-vl-450m:q8_0", env=env).code == 0
        asked = [request.path for request in hub.asked if LFM[0] in request.path]
        assert asked
        assert all(commit_of(*LFM) in path for path in asked)
    assert len(files_in(home, LFM)) == 4


def test_moondream_in_gguf_says_that_another_is_better(pull: Callable[..., Outcome]) -> None:
    rows = {row["name"]: row for row in run("models", "list", "--json").json}
    assert rows["moondream2-gguf"]["summary"] == "Moondream 2 of 2024; `moondream2` is newer and better"
    assert rows["moondream2-gguf"]["variants"] == []
    assert pull("moondream2-gguf").code == 0
    [row] = run("query", IMAGE, "what?", "--model", "moondream2-gguf", "--json", *FEW).json
    assert row["model"] == "moondream2-gguf"
    refused = run("detect", IMAGE, "dog", "--model", "moondream2-gguf")
    assert (refused.code, "`moondream2` in safetensors has them" in refused.err) == (2, True)


def test_a_text_file_goes_on_where_the_connection_was_cut(home: Path) -> None:
    text = F16 + bytes(12 * MIB)
    with serve_hub({QWEN: {**QWEN_FILES, "Qwen3VL-8B-Instruct-F16.gguf": text}}, cut=11 * MIB) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        assert spawn("models", "pull", "qwen3-vl-8b:f16", env=env).code == 0
        first, second = hub.fetched("Qwen3VL-8B-Instruct-F16.gguf")
    assert (first.range, second.range) == (None, f"bytes={10 * MIB}-")  # what is read is written ten MiB at a time
    [path] = home.rglob("snapshots/*/Qwen3VL-8B-Instruct-F16.gguf")
    assert path.read_bytes() == text


def test_a_variant_is_pulled_where_it_is_needed(hub: Hub) -> None:
    ask = ("query", IMAGE, "what?", "--model", "qwen3-vl-8b:f16", *FEW)
    told = run(*ask)
    assert (told.code, len(told.lines)) == (4, 1)
    assert "get it with `mdtool models pull qwen3-vl-8b:f16` (17.5 GB, licence Apache-2.0)" in told.err
    outcome = spawn(*ask, "--pull", env={"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"})
    assert outcome.code == 0, outcome.err
    assert outcome.lines[0] == "mdtool: qwen3-vl-8b:f16: 17.5 GB, licence Apache-2.0"
    assert outcome.lines[1].startswith("mdtool: qwen3-vl-8b:f16: on this machine, ")
    assert outcome.out


def test_a_chat_without_a_model_names_one_that_can() -> None:
    outcome = run("chat", stdin=b"hello\n")
    assert (outcome.code, len(outcome.lines)) == (4, 1)
    assert "`mdtool models pull qwen3-vl-4b:q4_k_m` downloads one that can (3.3 GB, licence Apache-2.0)" in outcome.err


def test_what_the_repository_does_not_have(home: Path) -> None:
    files = {name: content for name, content in QWEN_FILES.items() if "mmproj" not in name}
    several = {**QWEN_FILES, "mmproj-Other-F16.gguf": b"x"}
    for served, said in (
        (files, "has no file like mmproj-*-F16.gguf"),
        (several, "has several files like mmproj-*-F16"),
    ):
        with serve_hub({QWEN: served}) as hub:
            env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
            outcome = spawn("models", "pull", "qwen3-vl-8b:q4_k_m", env=env)
        assert (outcome.code, said in outcome.lines[-1]) == (4, True), outcome.err
        assert not list(home.rglob("*.gguf"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["path", "qwen3-vl-8b:q9"],
            4,
            "qwen3-vl-8b has no variant 'q9'; it has q4_k_m, q5_k_s, q8_0, f16, int8, int4",
        ),
        (["path", "moondream2:q4_0"], 4, "moondream2 has no variant 'q4_0'; it has int8, int4"),
        (["path", "moondream2-gguf:int8"], 4, "moondream2-gguf has no variant 'int8'; it has none"),
        (["path", "qwen4:q4_0"], 4, "no model 'qwen4:q4_0'"),
        (["rm", "moondream2:int8"], 2, "there is nothing to delete but moondream2"),
        (
            ["path", "moondream2:int8"],
            4,
            "get it with `mdtool models pull moondream2:int8` (3.9 GB, licence Apache-2.0)",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_names_that_are_none(arguments: list[str], code: int, said: str) -> None:
    outcome = run("models", *arguments)
    assert (outcome.code, len(outcome.lines)) == (code, 1)
    assert said in outcome.err


def put_moondream(home: Path) -> None:
    """Put the golden model into the cache as `moondream2`."""
    model = find_published("moondream2")
    assert model
    assert isinstance(model.source, Source)
    for repo, revision, names in (
        (model.source.repo, model.source.revision, ("model.safetensors", "config.json")),
        (model.source.tokenizer.repo, model.source.tokenizer.revision, ("tokenizer.json",)),
    ):
        snapshot = home / f"models--{repo.replace('/', '--')}" / "snapshots" / revision
        snapshot.mkdir(parents=True)
        for name in names:
            shutil.copy(GOLDEN / "moondream2" / name, snapshot)


@pytest.fixture
def tiny_moondream(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden model as `moondream2`: the config in the catalogue gets its sizes."""
    import json

    put_moondream(home)
    model = find_published("moondream2")
    assert model
    for name, value in json.loads((GOLDEN / "moondream2" / "config.json").read_text()).items():
        monkeypatch.setitem(model.config, name, value)


@pytest.mark.usefixtures("tiny_moondream")
def test_int8_after_a_name_is_the_option() -> None:
    caption = ("caption", IMAGE, "--json", *FEW)
    [named] = run(*caption, "--model", "moondream2:int8").json
    [option] = run(*caption, "--model", "moondream2", "--quantize", "int8").json
    [plain] = run(*caption, "--model", "moondream2").json
    assert named["model"] == "moondream2:int8"  # other weights have another name in a record
    assert named["caption"] == option["caption"]
    assert "quantised to int8" in run(*caption, "--model", "moondream2:int8", "-v").err
    assert "quantised" not in run(*caption, "--model", "moondream2", "-v").lines[0]
    assert plain["model"] == "moondream2"
    assert run(*caption, "--model", "moondream2:int4", "--quantize", "int4").code == 0
    refused = run(*caption, "--model", "moondream2:int4", "--quantize", "int8")
    assert (refused.code, len(refused.lines)) == (2, 1)
    assert "moondream2:int4 is quantised to int4 by its name: leave --quantize out" in refused.err


def test_show_tells_licence_source_and_sizes(pull: Callable[..., Outcome]) -> None:
    facts = dict(line.split("\t") for line in run("models", "show", "qwen3-vl-8b").out.decode().splitlines())
    assert facts["licence"] == "Apache-2.0"
    assert facts["repository"] == "Qwen/Qwen3-VL-8B-Instruct"
    assert facts["variants"] == ":q4_k_m :q5_k_s :q8_0 :f16 :int8 :int4"
    assert facts[":q4_k_m"] == "6.2 GB"
    assert "bytes" not in facts
    assert pull("qwen3-vl-8b:f16").code == 0
    [row] = run("models", "show", "qwen3-vl-8b:f16", "--json").json
    assert (row["where"], row["repository"], row["revision"]) == ("here", *QWEN)
    assert row["bytes"] == len(F16) + len(VISION)
    assert b"centerface\n" in run("models", "show", "centerface").out
    assert "annual revenue" in run("models", "show", "lfm2-vl-450m:q4_0").out.decode()


def test_a_blob_without_a_suffix_is_known_by_its_magic(tmp_path: Path) -> None:
    """As other programs keep them: by checksum, all in one folder."""
    text, vision = tmp_path / "sha256-3f8eb4da", tmp_path / "sha256-ae37097d"
    text.write_bytes(F16)
    vision.write_bytes(VISION)
    ask = ("query", IMAGE, "what?", "--json", *FEW)
    [row] = run(*ask, "--model", text, "--mmproj", vision).json
    [known] = run(*ask, "--model", GGUF / "qwen3-vl-tiny-F16.gguf").json
    assert row["answer"] == known["answer"]
    assert "its vision is in an mmproj file; give that as --mmproj" in run(*ask, "--model", text).err


def test_every_variant_names_one_file_and_no_other_s() -> None:
    """Patterns are for a file of one type, and end as the names do."""
    from engine.catalog.published import downloads

    for model in downloads():
        if isinstance(model.source, GgufSource):
            assert model.source.mmproj.lower().startswith(("mmproj-", "moondream2-mmproj-")), model.name
            assert not model.source.text.startswith("*"), model.name
            assert model.source.text.endswith(".gguf"), model.name
            kind = model.name.partition(":")[2] or "f16"
            assert kind in model.source.text.lower(), model.name
            assert model.source.revision == "main" or len(model.source.revision) == 40
