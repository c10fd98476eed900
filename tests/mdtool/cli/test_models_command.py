"""`mdtool models` with a hub on this machine: fetched once, whole, from where it was cut; and what else is said."""

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cli_runner import ROOT, Outcome, running_program, spawn, wait_until
from fake_hub import MIB, Hub, commit_of, serve_hub

from engine.kernels.library import kernels

Environment = Callable[..., dict[str, str]]
STARMIE = ("moondream/starmie-v1", "35192e10a54e36eabe0a7cc57a2c1aab371cafc5")
CURRENT = ("vikhyatk/moondream2", "2025-06-21")
OLDER = ("vikhyatk/moondream2", "2025-04-14")
FOUR_BIT = ("moondream/moondream-2b-2025-04-14-4bit", "main")
LFM = ("LiquidAI/LFM2-VL-450M", "main")
PREVIEW = ("moondream/moondream3-preview", "main")


def weights(size: int, fill: int = 0) -> bytes:
    """A safetensors file with one tensor."""
    head = json.dumps({"model.text.wte": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes([fill]) * size


SINGLE = {
    "model.safetensors": weights(12 * MIB),
    "config.json": b"{}",
    "tokenizer.json": b'{"stale": true}',
    "moondream.py": b"raise SystemExit('run')",
    "pytorch_model.bin": b"pickle",
    "README.md": b"# Moondream",
}
SHARDS = {
    "model-00001-of-00002.safetensors": weights(100, 1),
    "model-00002-of-00002.safetensors": weights(50, 2),
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
    "config.json": b"{}",
}
TOKENIZER = {"tokenizer.json": b'{"starmie": true}', "README.md": b"# Starmie"}
REPOS = {
    CURRENT: SINGLE,
    OLDER: SINGLE | {"model.safetensors": weights(70, 3)},
    FOUR_BIT: {"model.safetensors": weights(60, 4), "tokenizer.json": b"{}"},
    PREVIEW: SHARDS,
    STARMIE: TOKENIZER,
}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
LICENCE = "mdtool: moondream2: 3.9 GB, licence Apache-2.0"


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The environment of a machine with an empty cache, for a hub."""
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    proxies = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    return lambda hub, **more: {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, **proxies, **more}


def models(*arguments: str, env: dict[str, str]) -> Outcome:
    return spawn("models", *arguments, env=env)


def snapshot(tmp_path: Path, repo: tuple[str, str]) -> Path:
    commit = repo[1] if len(repo[1]) == 40 else commit_of(*repo)
    return tmp_path / "home/hub" / f"models--{repo[0].replace('/', '--')}" / "snapshots" / commit


def listed(name: str, env: dict[str, str]) -> dict[str, Any]:
    return next(row for row in models("list", "--json", env=env).json if row["name"] == name)


def test_what_is_fetched_and_that_it_is_fetched_once(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS) as hub:
        outcome = models("pull", "moondream2", env=env(hub))
        assert (outcome.code, outcome.out) == (0, b""), outcome.err
        licence, line = outcome.lines
        assert licence == LICENCE
        assert commit_of(*CURRENT) in line
        before = len(hub.asked)
        assert models("pull", "moondream2", env=env(hub, **OFFLINE)).code == 0
        assert models("pull", "moondream2", env=env(hub)).code == 0
        assert len(hub.asked) == before
    folder = snapshot(tmp_path, CURRENT)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
    assert (folder / "model.safetensors").read_bytes() == SINGLE["model.safetensors"]
    assert {path.name for path in snapshot(tmp_path, STARMIE).iterdir()} == {"tokenizer.json"}
    offline = env(hub, **OFFLINE)
    assert models("path", "moondream2", env=offline).out.decode() == f"{folder}\n"
    assert models("verify", env=offline).out == b"moondream2\tok\n"
    row = listed("moondream2", offline)
    total = len(SINGLE["model.safetensors"]) + len(TOKENIZER["tokenizer.json"])
    assert (row["where"], row["bytes"], row["commit"]) == ("here", total, commit_of(*CURRENT))


def test_terms_are_told_before_a_download_and_the_config_that_comes_with_the_weights_counts(
    tmp_path: Path, env: Environment
) -> None:
    golden = ROOT / "tests" / "golden" / "lfm2-vl"
    kept = ("model.safetensors", "config.json", "preprocessor_config.json", "tokenizer.json")
    with serve_hub({LFM: {name: (golden / name).read_bytes() for name in (*kept, "cases.json")}}) as hub:
        terms, done = models("pull", "lfm2-vl-450m", env=env(hub)).lines
    assert "LFM Open License v1.0: commercial use is free below 10 million USD of annual revenue" in terms
    assert commit_of(*LFM) in done
    assert {path.name for path in snapshot(tmp_path, LFM).iterdir()} == set(kept)
    options = ("--model", "lfm2-vl-450m", "--max-tokens", "3", "--json")
    outcome = spawn("caption", golden / "image_c.png", *options, env=env(hub, **OFFLINE))
    assert outcome.json[0]["image_tokens"] == 2 * 4 + 8, outcome.err  # with the small tiles of its own files


def test_older_releases_have_their_own_tokenizer(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS) as hub:
        assert models("pull", "moondream2-2025-04-14", env=env(hub)).code == 0
    names = {path.name for path in snapshot(tmp_path, OLDER).iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json"}
    assert not snapshot(tmp_path, STARMIE).exists()


def test_shards_come_with_their_index_and_are_missed(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS) as hub:
        assert models("pull", "moondream3-preview", env=env(hub)).code == 0
        (snapshot(tmp_path, PREVIEW) / "model-00002-of-00002.safetensors").unlink()
        outcome = models("verify", env=env(hub))
        assert outcome.code == 4
        assert "model-00002-of-00002.safetensors" in outcome.lines[0]
        assert models("path", "moondream3-preview", env=env(hub)).code == 4
        assert models("pull", "moondream3-preview", env=env(hub)).code == 0
        assert models("verify", "moondream3-preview", env=env(hub)).out == b"moondream3-preview\tok\n"
        assert len(hub.fetched("model-00001-of-00002.safetensors")) == 1


def test_goes_on_where_the_connection_was_cut(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS, cut=11 * MIB) as hub:
        outcome = models("pull", "moondream2", env=env(hub))
        assert outcome.code == 0, outcome.err
        first, second = hub.fetched("model.safetensors")
    assert first.range is None
    assert second.range == f"bytes={10 * MIB}-"  # what is read is written ten MiB at a time
    assert (snapshot(tmp_path, CURRENT) / "model.safetensors").read_bytes() == SINGLE["model.safetensors"]


@pytest.mark.posix("signals to a process")
def has_begun(folder: Path) -> bool:
    """Return whether a part of a file is there; small files are whole, and renamed, between two looks."""
    with suppress(FileNotFoundError):
        return any(part.stat().st_size for part in folder.rglob("*.incomplete"))
    return False


def test_goes_on_where_the_person_interrupted(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS, stall=11 * MIB) as hub:
        with running_program("models", "pull", "moondream2", env={**os.environ, **env(hub)}) as pull:
            wait_until(lambda: has_begun(tmp_path))
            pull.send_signal(signal.SIGINT)
            assert pull.wait(20) == 130
            assert pull.stderr.read().decode() == f"{LICENCE}\nmdtool: interrupted\n"
        hub.go_on.set()
        assert models("path", "moondream2", env=env(hub)).code == 4
        assert models("pull", "moondream2", env=env(hub)).code == 0
        assert hub.fetched("model.safetensors")[-1].range == f"bytes={10 * MIB}-"
        assert models("verify", "moondream2", env=env(hub)).code == 0
    assert not list(tmp_path.rglob("*.incomplete"))


def test_damage_on_the_way_is_seen_and_thrown_away(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS, corrupted={"model.safetensors"}) as hub:
        outcome = models("pull", "moondream2", env=env(hub))
        assert outcome.code == 4
        licence, line = outcome.lines
        assert licence == LICENCE
        assert re.search(r"model.safetensors was damaged during the download .* pull it again", line)
        assert not list(tmp_path.rglob("*.incomplete"))
        hub.corrupted.clear()
        assert models("pull", "moondream2", env=env(hub)).code == 0


def test_damage_on_the_disk_is_found_and_mended(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS) as hub:
        names = ("moondream2-2025-04-14", "moondream2-2025-04-14-4bit")
        assert models("pull", *names, env=env(hub)).code == 0
        for name, content in (("model.safetensors", b"x" * 70), ("tokenizer.json", b"{]")):
            (snapshot(tmp_path, OLDER) / name).resolve().write_bytes(content)
        outcome = models("verify", env=env(hub, **OFFLINE))
        assert (outcome.code, outcome.out) == (4, b"moondream2-2025-04-14-4bit\tok\n")
        damaged = [line for line in outcome.lines if "damaged" in line]
        assert [Path(line.split(": ")[2]).name for line in damaged] == ["model.safetensors", "tokenizer.json"]
        assert models("rm", names[0], env=env(hub)).code == 0
        assert models("pull", names[0], env=env(hub)).code == 0
        assert models("verify", env=env(hub)).code == 0


def test_removing_one_leaves_the_others(tmp_path: Path, env: Environment) -> None:
    with serve_hub(REPOS) as hub:
        names = ["moondream2", "moondream2-2025-04-14", "moondream3-preview"]
        assert models("pull", *names, env=env(hub)).code == 0
        outcome = models("rm", "moondream2", env=env(hub))
        assert outcome.code == 0
        assert "freed" in outcome.lines[-1]
        where = {row["name"]: row["where"] for row in models("list", "--json", env=env(hub)).json}
        assert [where[name] for name in names] == ["not here", "here", "here"]
        assert snapshot(tmp_path, STARMIE).exists()  # the preview needs it
        assert models("rm", "moondream3-preview", env=env(hub)).code == 0
        assert not snapshot(tmp_path, STARMIE).exists()
        assert models("rm", "moondream2-2025-04-14", env=env(hub)).code == 0
        assert models("rm", "moondream2-2025-04-14", env=env(hub)).code == 4
    assert not list((tmp_path / "home/hub").glob("models--*"))


def test_terms_that_are_not_accepted(env: Environment) -> None:
    with serve_hub(REPOS, gated={PREVIEW[0]: "secret"}) as hub:
        outcome = models("pull", "moondream3-preview", "moondream2-2025-04-14", env=env(hub))
        assert outcome.code == 4
        assert re.search(rf"{hub.url}/{PREVIEW[0]} requires you to accept its terms.*HF_TOKEN", outcome.lines[1])
        assert "moondream2-2025-04-14: on this machine" in outcome.lines[3]  # the others are fetched all the same
        assert models("pull", "moondream3-preview", env=env(hub, HF_TOKEN="secret")).code == 0
        assert all(asked.token == "Bearer secret" for asked in hub.fetched("config.json")[-1:])
        assert not any(asked.token for asked in hub.asked if asked.path.startswith("/large/"))  # another host


def test_what_can_not_be_had(env: Environment, tmp_path: Path) -> None:
    here = {STARMIE: TOKENIZER, CURRENT: {"config.json": b"{}"}, FOUR_BIT: {"moondream.py": b""}}
    with serve_hub(here) as hub:
        said = {
            "moondream3-preview": "there is no .*moondream3-preview, or it is private",
            "moondream2-2025-04-14": "vikhyatk/moondream2 has no revision '2025-04-14'",
            "moondream2": "was downloaded, but .*no weights",
            "moondream2-2025-04-14-4bit": "has none of the required files .* revision main",
            "moondream-0.5b": "its weights are not published .*--model PATH",
        }
        outcome = models("pull", *said, env=env(hub))
        assert outcome.code == 4
        lines = [line for line in outcome.lines if ", licence " not in line]
        assert len(lines) == len(said)
        assert len(outcome.lines) == 2 * len(said) - 1  # of one that is not published there is no licence to show
        for line, (name, reason) in zip(lines, said.items(), strict=True):
            assert re.match(f"mdtool: {name}: .*{reason}", line), line
        [licence, line] = models("pull", "moondream3.1", env=env(hub, **OFFLINE)).lines
        assert "licence see its page" in licence
        assert "HF_HUB_OFFLINE" in line
    [_, line] = models("pull", "moondream2", env=env(hub)).lines  # nobody listens there any more
    assert re.search(f"connection to {hub.url} failed", line)


def test_no_room_and_no_permission(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serve_hub(REPOS, sizes={"model.safetensors": 10**16}) as hub:
        outcome = models("pull", "moondream2", env=env(hub))
        assert outcome.code == 4
        assert re.search(r"not enough space in .*/home/hub \(10000000.0 GB are needed, .*HF_HOME", outcome.lines[1])
        assert not hub.fetched("model.safetensors")
        outcome = models("pull", "moondream3-preview", env=env(hub, HF_HUB_CACHE=str(tmp_path / "file/cache")))
        assert outcome.code == 4
        [_, line] = outcome.lines
        assert re.search(r"cannot write .*file/cache", line)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["path", "moondream2"], 4, "get it with `mdtool models pull moondream2`"),
        (["verify", "moondream2"], 4, "not on this machine"),
        (["pull", "moondreem2"], 4, "did you mean 'moondream2'?"),
        (["pull", "centerface"], 2, "embedded"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_here(env: Environment, arguments: list[str], code: int, said: str) -> None:
    outcome = models(*arguments, env=env(Hub({})))
    assert outcome.code == code
    assert outcome.out == b""
    assert said in outcome.lines[0]


def test_the_list(env: Environment) -> None:
    outcome = models("list", env=env(Hub({})))
    rows = [line.split("\t") for line in outcome.out.decode().splitlines()]
    assert rows[0][:2] == ["centerface", "embedded"]
    where = {row[0]: row[1] for row in rows}
    assert where["moondream2"] == "not here"
    assert where["moondream-0.5b"] == "not published"
    assert "caption (long, normal, short)" in next(row[2] for row in rows if row[0] == "moondream2")
    assert outcome.err == ""  # the hint is for people
    row = listed("moondream-0.5b", env(Hub({})))
    assert row["skills"]["caption"] == ["normal", "short"]
    assert row["skills"]["detect"] is None


def test_a_list_tells_the_kernels_when_asked() -> None:
    plain, verbose = spawn("models", "list", env=OFFLINE), spawn("models", "list", "-v", env=OFFLINE)
    assert (plain.code, plain.err) == (0, "")
    assert (verbose.code, verbose.out) == (0, plain.out)
    said = "mdtool: quantised weights on this CPU: "
    assert verbose.lines == [f"{said}{kernels().summary}"]
    without = spawn("models", "list", "-v", "--json", env=OFFLINE | {"MDTOOL_KERNELS": "off"})
    assert without.lines == [f"{said}torch's kernels: MDTOOL_KERNELS is off"]


def test_a_command_tells_the_kernels_when_asked() -> None:
    scene = Path(__file__).parents[3] / "sample_media" / "scenes" / "one.png"
    command = ("caption", scene, "--model", "pocket", "--quantize", "int4", "-v")
    wanted = f"mdtool: pocket: quantised weights on this CPU: {kernels().summary}"
    assert wanted in spawn(*command).lines
    off = spawn(*command, env={"MDTOOL_KERNELS": "off"})
    assert off.code == 0, off.err
    assert "mdtool: pocket: quantised weights on this CPU: torch's kernels: MDTOOL_KERNELS is off" in off.lines
