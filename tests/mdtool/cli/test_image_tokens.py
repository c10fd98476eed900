"""How many tokens an image may become: the options, what they change, and where they have no meaning."""

from pathlib import Path

import pytest
from cli_runner import ROOT, run

LFM, QWEN = (ROOT / "tests" / "golden" / name for name in ("lfm2-vl", "qwen3-vl"))
WIDE = LFM / "image_c.png"  # split into two tiles


def spent(*options: str, model: Path = LFM) -> int:
    outcome = run("caption", WIDE, "--model", model, "--device", "cpu", "--max-tokens", "2", "--json", *options)
    assert outcome.code == 0, outcome.err
    tokens: int = outcome.json[0]["image_tokens"]
    return tokens


def test_each_option_changes_what_is_spent() -> None:
    assert spent() == 2 * 4 + 8
    assert spent("--max-image-tokens", "6") == 3
    assert spent("--no-tiles") == 8
    assert spent("--no-thumbnail") == 2 * 4
    assert spent("--max-tiles", "1") == 8
    assert spent("--detail", "6") == 3


def test_models_without_tiles_take_the_numbers() -> None:
    assert spent("--max-image-tokens", "4", model=QWEN) <= 4 < spent(model=QWEN)


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        (("--no-tiles", "--max-tiles", "3"), LFM, "--no-tiles: leave out --max-tiles"),
        (("--min-image-tokens", "9", "--max-image-tokens", "8"), LFM, "must not exceed --max-image-tokens, 8"),
        (("--max-image-tokens", "0"), LFM, "--max-image-tokens"),
        (("--max-tiles", "2"), QWEN, "qwen3-vl doesn't split images into tiles"),
        (("--max-image-tokens", "64"), "pocket", "pocket encodes every image to the same number of tokens"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], model: str | Path, said: str) -> None:
    outcome = run("caption", WIDE, "--model", model, "--max-tokens", "2", *options)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_question_is_answered_and_a_box_is_refused_by_a_model_without_boxes() -> None:
    outcome = run("query", WIDE, "what?", "--model", LFM, "--max-tokens", "4", "--json")
    assert outcome.json[0]["answer"]
    refused = run("detect", WIDE, "face", "--model", LFM)
    assert (refused.code, "lfm2-vl can't detect" in refused.err) == (2, True)
