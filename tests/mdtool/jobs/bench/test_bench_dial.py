"""`mdtool bench dial`: what each setting spends; nothing is timed here."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from cli_runner import ROOT, run
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageColor

from mdtool.jobs.bench.dial import DialPoint
from mdtool.jobs.bench.dial_plot import FIRST, LAST, QUALITY, plot
from mdtool.report.chart import BOTTOM, HEIGHT, TOP, WIDTH

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
        (("--model", "pocket", "--plot", "dial.svg"), "--plot dial.svg: the plot is a PNG file"),
        (("--config", "moondream2-gguf"), "moondream2-gguf is published in GGUF only"),
    ],
)
def test_what_can_not_be_measured(options: tuple[str, ...], said: str) -> None:
    done = run("bench", "dial", SCENE, *options)
    assert done.code == 2
    assert said in done.err


def test_the_plot_is_a_file_that_is_not_replaced_unasked(tmp_path: Path) -> None:
    plot = tmp_path / "dial.png"
    command = ("bench", "dial", LFM / "image_c.png", "--model", LFM, "--tokens", "4,24", *FAST, "--plot", plot)
    done = run(*command)
    assert done.code == 0, done.err
    with Image.open(plot) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    before = plot.read_bytes()
    refused = run(*command)
    assert (refused.code, refused.out) == (74, b"")
    assert "exists already; --overwrite replaces it" in refused.err
    assert plot.read_bytes() == before
    assert run(*command, "--overwrite").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["dial.png"]


def dots(image: Image.Image, colour: str) -> set[tuple[int, int]]:
    """Return the centres of the dots of a curve: where all pixels around have its colour."""
    same = np.all(abs(np.array(image, int) - ImageColor.getrgb(colour)) < 24, axis=2)
    full = sliding_window_view(same, (5, 5)).all(axis=(2, 3))
    return {(int(x) + 2, int(y) + 2) for y, x in np.argwhere(full)}


@pytest.mark.parametrize("quality", [None, 0.8])
def test_the_plot_has_a_dot_for_each_measurement_where_it_belongs(quality: float | None) -> None:
    tokens = [256, 64, 1024]  # in no order, as the default is
    points = [DialPoint(f"--max-image-tokens {n}", n, n / 1000, 2.0, quality) for n in tokens]
    image = plot(points, 60, "tiny")
    assert bool(dots(image, QUALITY)) == (quality is not None)
    first = dots(image, FIRST)
    legend = TOP - 24
    columns = sorted({x for x, y in first if y > legend + 9})
    gaps = [b - a for a, b in itertools.pairwise(columns) if b - a > 9]
    assert len(gaps) == 2
    assert abs(gaps[0] - gaps[1]) <= 9  # four times the tokens are as far to the right each time
    heights = [min(y for x, y in first if y > legend + 9 and abs(x - at) < 9) for at in (columns[0], columns[-1])]
    scale = HEIGHT - TOP - BOTTOM
    assert abs((heights[0] - heights[1]) - (1.024 - 0.064) / 2.0 * scale) < 4
    assert all(abs(y - TOP) < 9 for _, y in dots(image, LAST) if y > legend + 9)


def test_a_plot_of_one_setting_without_tokens() -> None:
    image = plot([DialPoint("--detail low", None, 0.01, 0.3, None)], 60, "pocket")
    assert dots(image, FIRST)
