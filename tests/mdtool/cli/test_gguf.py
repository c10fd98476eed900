"""Models in GGUF files on the command line: what is printed about them, and which errors are one line."""

import shutil
from pathlib import Path

import pytest
from cli_runner import ROOT, Outcome, run

GOLDEN = ROOT / "tests" / "golden"
IMAGE = GOLDEN / "qwen3-vl" / "image_a.png"
TEXT, VISION = (GOLDEN / "gguf" / f"{name}qwen3-vl-tiny-F16.gguf" for name in ("", "mmproj-"))


def ask(model: Path, *options: str | Path) -> Outcome:
    computing = ("--device", "cpu", "--dtype", "float32", "--temperature", "0", "--max-tokens", "6")
    return run("query", IMAGE, "what?", "--model", model, *computing, *options)


def test_a_question_about_an_image() -> None:
    outcome = ask(TEXT, "-v")
    assert outcome.code == 0, outcome.err
    assert "79 F32, 67 F16; vision from mmproj-qwen3-vl-tiny-F16.gguf" in outcome.err
    assert outcome.out == ask(TEXT, "--chat-template", "builtin").out != ask(TEXT, "--chat-template", "vicuna").out


def test_a_chat_template_from_a_file(tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{{ raise_exception('no such role') }}")
    outcome = ask(TEXT, "--chat-template", template)
    assert outcome.code == 1
    assert "the chat template fails: no such role; --chat-template builtin uses" in outcome.err


def test_the_vision_part_by_path(tmp_path: Path) -> None:
    alone = shutil.copyfile(TEXT, tmp_path / "alone.gguf")
    outcome = ask(alone)
    assert outcome.code == 1
    assert "answers text only: its vision is in an mmproj file; give that as --mmproj" in outcome.err
    assert ask(alone, "--mmproj", VISION).out == ask(TEXT).out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mmproj", GOLDEN / "gguf" / "mmproj-lfm2-vl-tiny-F16.gguf"), "is not the mmproj file of qwen3-vl-tiny-F16"),
        (("--mmproj", "nothing.gguf"), "nothing.gguf: no such file"),
        (("--chat-template", "nobody"), "unknown chat template 'nobody'; known are chatml, vicuna"),
        (("--chat-template", "{% if %}"), "the chat template is broken"),
    ],
)
def test_what_does_not_fit_is_refused(options: tuple[str | Path, ...], said: str) -> None:
    outcome = ask(TEXT, *options)
    assert outcome.code == 4
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_two_vision_parts(tmp_path: Path) -> None:
    for name in ("mmproj-m-F16.gguf", "m-mmproj-F16.gguf"):
        shutil.copyfile(VISION, tmp_path / name)
    outcome = ask(Path(shutil.copyfile(TEXT, tmp_path / "m-F16.gguf")))
    assert outcome.code == 4
    assert "several mmproj files would do; give one as --mmproj: m-mmproj-F16.gguf, mmproj-m-F16.gguf" in outcome.err


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(TEXT.read_bytes()[:100_000])
    outcome = ask(cut)
    assert outcome.code == 4
    assert "lies beyond the end of the file: it was cut off, or is damaged" in outcome.err
