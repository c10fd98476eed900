"""What a model computes with: the options that say so, what is told of it, and which work they leave as done."""

import re
import shutil
from pathlib import Path

import pytest
from cli_runner import redact, run, spawn
from make_media import SAMPLES

from engine.layers.int8_linear import has_int8_gemm
from mdtool.model_selection import ComputeConfig
from mdtool.records.fingerprint import BATCH, fingerprint

SCENE = SAMPLES / "scenes" / "one.png"
POCKET = ("--model", "pocket", "--device", "cpu")
COMMANDS = [
    ["redact", SCENE, "-p", "star"],
    ["moderate", SCENE, "-p", "star", "--report-only"],
    ["gaze", SCENE, "--report-only"],
    ["caption", SCENE, "--length", "short"],
    ["query", SCENE, "How many stars are there?"],
    ["detect", SCENE, "star"],
    ["point", SCENE, "star"],
    ["detect", SCENE, "star", "--jsonl", "-"],
    pytest.param(
        ["bench", "model", "--runs", "1", "--embedding-cache"],
        marks=pytest.mark.posix("the resource usage that bench reads"),
    ),
    ["eval", "pocket", "--scenes", "1"],
]


def said_by_pocket(lines: list[str]) -> str:
    """What it computes with."""
    line, kernels, on_cpu, compiled = (line for line in lines if line.startswith("mdtool: pocket: "))
    assert re.fullmatch(r"mdtool: pocket: vision by .+, text by .+", kernels)
    assert re.fullmatch(r"mdtool: pocket: quantised weights on this CPU: (mdtool|torch)'s kernels[:,] .+", on_cpu)
    assert compiled.startswith("mdtool: pocket: not compiled: on a CPU ")
    return line.removeprefix("mdtool: pocket: ")


def test_a_caption_by_rounded_weights() -> None:
    outcome = run("caption", SCENE, "--length", "short", *POCKET, "--dtype", "float32", "--quantize", "int4", "-v")
    assert outcome.code == 0, outcome.err
    assert said_by_pocket(outcome.lines) == "cpu, float32, weights quantised to int4"
    assert b"star" in outcome.out


@pytest.mark.parametrize("way", ["environment", "file"])
def test_weights_are_rounded_by_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.chdir(tmp_path)
    if way == "file":
        (tmp_path / "mdtool.toml").write_text('[defaults]\nquantize = "int4"\n')
    else:
        monkeypatch.setenv("MDTOOL_QUANTIZE", "int4")
    outcome = run("caption", SCENE, "--length", "short", *POCKET, "-v")
    assert outcome.code == 0, outcome.err
    assert said_by_pocket(outcome.lines).endswith("weights quantised to int4")
    assert b"star" in outcome.out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(Path(part).name for part in command))
def test_every_command_hands_them_to_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str | Path]
) -> None:
    place: list[str | Path] = ["-o", tmp_path / "out.png"] if command[0] == "redact" else []
    outcome = run(*command, *place, *POCKET, "--quantize", "int8", "--verbose")
    assert outcome.code == 0, outcome.err
    assert said_by_pocket(outcome.lines).endswith("weights quantised to int8")
    monkeypatch.setenv("CXX", "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = run(*command, *place, *POCKET, "--compile")
    assert outcome.code == 2
    assert "compiling for the CPU needs a C++ compiler" in outcome.err


def test_nothing_is_told_unasked() -> None:
    assert run("caption", SCENE, *POCKET, "--quantize", "none").err == ""


def test_a_redaction_says_what_it_computes_with(tmp_path: Path) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", "-v")
    assert outcome.code == 0
    assert outcome.lines[0].startswith("mdtool: centerface: cpu, float32; OpenCV ")


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_not_both_much_and_nothing(tmp_path: Path, quiet: str) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", "-v", quiet)
    assert (outcome.code, outcome.lines) == (2, ["mdtool: --quiet and --verbose exclude each other; leave one out"])


@pytest.mark.parametrize(("value", "named"), [("int5", "int5"), ("4", "4"), ("INT4", "INT4"), ("", "")])
def test_bits_that_there_are_not(value: str, named: str) -> None:
    outcome = run("caption", SCENE, *POCKET, "--quantize", value)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (2, b"", 1)
    assert (
        f"'--quantize': '{named}' is not one of 'none', 'int8', 'int4', 'int4-64', 'int4-32', 'int4-all'" in outcome.err
    )


def test_bits_that_there_are_not_in_the_environment() -> None:
    outcome = run("caption", SCENE, *POCKET, env={"MDTOOL_QUANTIZE": "int5"})
    assert (outcome.code, outcome.out, len(outcome.lines)) == (2, b"", 1)
    assert outcome.lines[0].startswith("mdtool: MDTOOL_QUANTIZE: 'int5' is not one of 'none', 'int8'")


@pytest.mark.parametrize("options", [["--quantize", "int4"], ["--compile"], ["--dtype", "float16"]], ids=" ".join)
@pytest.mark.parametrize("command", ["redact", "gaze"])
def test_what_the_model_of_faces_can_not(tmp_path: Path, command: str, options: list[str]) -> None:
    """Where it was not named, it is told that another one can be."""
    arguments: tuple[str | Path, ...] = (command, SAMPLES / "group.png", "-o", tmp_path / "out.png", *options)
    named, chosen = run(*arguments, "--model", "centerface"), run(*arguments)
    assert (named.code, chosen.code) == (2, 2)
    (line,) = named.lines
    assert "centerface" in line
    assert chosen.lines == [f"{line}; auto uses centerface for faces, --model names another"]
    assert list(tmp_path.iterdir()) == []


def test_where_bits_are_from_that_a_model_can_not(tmp_path: Path) -> None:
    (tmp_path / "mdtool.toml").write_text('[defaults]\nquantize = "int8"\n')
    outcome = redact(SAMPLES / "group.png", "-o", "out.png", cwd=tmp_path)
    named, line = outcome.lines
    assert outcome.code == 2
    assert str(tmp_path / "mdtool.toml") in named  # it changes what is masked
    assert line.endswith(f"; quantize is set in {tmp_path / 'mdtool.toml'}:2")


def test_a_batch_asks_other_weights_again(tmp_path: Path) -> None:
    command = ("detect", SCENE, "star", "--jsonl", tmp_path / "out.jsonl", *POCKET)
    for options, told in [
        (["--quantize", "none"], "1 processed"),
        ([], "0 processed, 1 already done"),
        (["--quantize", "int8"], "1 processed"),
        (["--quantize", "int8"], "0 processed, 1 already done"),
        (["--quantize", "none"], "0 processed, 1 already done"),
    ]:
        outcome = run(*command, *options)
        assert outcome.code == 0
        assert told in outcome.err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_where_and_how_it_is_computed_leaves_work_done() -> None:
    elsewhere = ComputeConfig("cuda", compile=True)
    assert fingerprint(BATCH, computing=elsewhere) == fingerprint(BATCH, computing=ComputeConfig())


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.skipif(not has_int8_gemm() or not shutil.which("g++"), reason="nothing that could be compiled")
def test_compiled_code_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("MDTOOL_KERNELS", "off")  # on a CPU only torch's kernels gain by compiling
    command: list[str | Path] = [*("caption", SCENE, "--length", "short"), *POCKET, "--quantize", "int8"]
    eager = spawn(*command)
    compiled = spawn(*command, "--compile", "-v")  # code that this process has compiled is not compiled again
    assert compiled.out == eager.out
    assert "mdtool: compiling, which takes a minute the first time" in compiled.lines
    assert any(re.fullmatch(r"mdtool: compiled in [0-9.]+ s", line) for line in compiled.lines)
    [kept] = (tmp_path / "mdtool").iterdir()
    assert any(kept.rglob("*.so"))


def test_what_would_gain_nothing_is_not_compiled() -> None:
    outcome = run("caption", SCENE, *POCKET, "--device", "cpu", "--compile")
    assert outcome.err == "mdtool: --compile has no effect on this machine; -v shows why\n"
