"""docs/python.md: its examples print what it says, and our calls in its tables are calls that there are."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import mdtool

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
TEXT = PAGE.read_text("utf-8")
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
BLOCKS, WIDTH = 5, 192  # of pocket's text model
LINEARS = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}  # outputs, inputs: x WIDTH


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the examples run in: the scenes, and an adapter that adds nothing."""
    for scene in (ROOT / "sample_media" / "scenes").glob("*.png"):
        shutil.copy(scene, tmp_path)
    adapter = {}
    for block in range(BLOCKS):
        for name, (outputs, inputs) in LINEARS.items():
            adapter[f"text.blocks.{block}.{name}.A"] = torch.ones(1, inputs * WIDTH)
            adapter[f"text.blocks.{block}.{name}.B"] = torch.zeros(outputs * WIDTH, 1)
    save_file(adapter, tmp_path / "my-lora.safetensors")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nothing was pulled"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_print_what_the_page_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    examples = list(EXAMPLE.finditer(TEXT))
    assert len(examples) == TEXT.count("```python\n") > 8
    for example in examples:
        code, expected = example.groups()
        line = TEXT.count("\n", 0, example.start(1))
        exec(compile("\n" * line + code, str(PAGE), "exec"), names)
        assert capsys.readouterr().out == (expected or ""), f"{PAGE.name}, line {line + 1}"
    assert all((here / name).exists() for name in ("star.png", "redacted.png"))


def our_calls() -> list[str]:
    """What stands in the last column of the tables of those who come from elsewhere, where it is an expression."""
    tables = TEXT.partition("## Coming from the `moondream` package")[2]
    rows = re.findall(r"^\|.*\| (.*?) \|$", tables, re.MULTILINE)
    calls = [call for row in rows for call in re.findall(r"`([^`]+)`", row)]
    return sorted(call for call in calls if call.startswith(("mdtool.load(", "model.", "mdtool.Generation(")))


@pytest.fixture(scope="module")
def pocket() -> mdtool.LoadedModel:
    return mdtool.load("pocket")


@pytest.mark.parametrize("call", our_calls())
def test_our_calls_in_the_tables(call: str, here: Path, pocket: mdtool.LoadedModel) -> None:
    if call.startswith("mdtool.load("):
        with pytest.raises(mdtool.ModelUnavailable, match="mdtool models pull"):
            eval(call)
        return
    with Image.open("many.png") as image:
        names = {"mdtool": mdtool, "model": pocket, "image": image, "question": "How many stars are there?"}
        assert eval(call, names) is not None or "detect_gaze" in call


def test_every_public_name_is_there() -> None:
    assert set(mdtool.__all__) <= set(dir(mdtool))
    assert all(hasattr(mdtool, name) for name in mdtool.__all__)
    assert not hasattr(mdtool, "no_such_name")
