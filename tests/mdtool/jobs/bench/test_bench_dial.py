"""`mdtool bench dial`: what each setting spends; nothing is timed here."""

import pytest
from cli_runner import ROOT, run

pytestmark = pytest.mark.posix("the resource usage that bench reads")

LFM = ROOT / "tests" / "golden" / "lfm2-vl"
SCENE = ROOT / "sample_media" / "scenes" / "one.png"
FAST = ("--runs", "1", "--answer-tokens", "2", "--device", "cpu")


def test_a_model_with_images_of_any_size_is_measured_at_each_limit() -> None:
    done = run("bench", "dial", LFM / "image_c.png", "--model", LFM, "--tokens", "4,24", *FAST, "--json")
    assert done.code == 0, done.err
    [report] = done.json
    spent = {point["setting"]: point["image_tokens"] for point in report["points"]}
    assert spent == {"--max-image-tokens 4": 2, "--max-image-tokens 24": 16, "default": 16}
    assert all(point["answer_seconds"] > 0 for point in report["points"])
    assert all(point["quality"] is None for point in report["points"])


def test_another_is_measured_at_each_detail_with_its_quality_on_drawn_scenes() -> None:
    done = run("bench", "dial", SCENE, "--model", "pocket", "--scenes", "1", *FAST)
    assert done.code == 0, done.err
    rows = done.out.decode().splitlines()
    assert rows[0] == "| setting | image tokens | first token | 2 tokens | quality |"
    table, chart = rows[2:5], rows[6:]
    for level, row, bar in zip(("low", "auto", "high"), table, chart, strict=True):
        assert row.startswith(f"| --detail {level} |")
        assert bar.startswith(f"--detail {level}")
        assert "█" in bar
        assert float(row.split("|")[5]) > 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --model NAME|PATH, or --config NAME"),
        (("--model", "pocket", "--config", "moondream2"), "give --model NAME|PATH, or --config NAME"),
        (("--model", "pocket", "--tokens", "64;128"), "'64;128' is not a list of numbers"),
        (("--model", "centerface"), "centerface can't answer questions"),
    ],
)
def test_what_can_not_be_measured(options: tuple[str, ...], said: str) -> None:
    done = run("bench", "dial", SCENE, *options)
    assert done.code == 2
    assert said in done.err
