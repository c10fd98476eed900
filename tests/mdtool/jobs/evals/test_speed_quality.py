"""`mdtool eval speed-quality`: what a faster setting costs in quality, as a table and a plot."""

from pathlib import Path

import numpy as np
from cli_runner import run
from make_evaluation_sets import qa
from PIL import Image

from mdtool.jobs.evals.speed_quality import Quality, SpeedQualityPoint, settings_of, table
from mdtool.jobs.evals.speed_quality_plot import plot
from mdtool.model_selection import ComputeConfig


def point(quantize: str, value: float, seconds: float) -> SpeedQualityPoint:
    return SpeedQualityPoint(quantize, "--detail low", Quality("accuracy", value, None, None, seconds))


def test_every_quantisation_is_measured_at_every_resolution() -> None:
    settings = settings_of(ComputeConfig(), ["none", "int4"], ["low"], [64])
    assert [(one.quantize, one.resolution) for one in settings] == [
        ("none", "--detail low"),
        ("none", "--max-image-tokens 64"),
        ("int4", "--detail low"),
        ("int4", "--max-image-tokens 64"),
    ]
    assert settings[2].computing == ComputeConfig(quantize="int4", detail="low")
    assert settings[3].computing.image_budget.max_tokens == 64


def test_speed_is_relative_to_the_first_setting() -> None:
    lines = list(table([point("none", 0.9, 0.2), point("int4", 0.8, 0.1)]))
    assert lines[2] == "| none | `--detail low` | 90.0% |  | 0.200 | 1.00x |"
    assert lines[3] == "| int4 | `--detail low` | 80.0% |  | 0.100 | 2.00x |"


def test_each_quantisation_has_its_colour_in_the_plot() -> None:
    image = np.asarray(plot([point("none", 0.9, 0.2), point("int4", 0.8, 0.1)], "pocket"))
    colours = {tuple(colour) for colour in image.reshape(-1, 3)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours


def test_a_model_is_measured_on_a_data_set(tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    done = run(
        "eval", "speed-quality", "qa", "--data", qa(tmp_path), "--quantize", "none,int8", "--detail", "low",
        "--plot", target,
    )  # fmt: skip
    rows = done.out.decode().splitlines()
    assert done.code == 0, done.err
    assert rows[0].startswith("| quantised to | resolution | accuracy |")
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| none", "| int8"]
    assert Image.open(target).size == (960, 560)


def test_a_model_is_measured_on_drawn_scenes() -> None:
    done = run("eval", "speed-quality", "--scenes", "2", "--quantize", "none", "--detail", "auto", "--json")
    [found] = done.json
    assert found["on"] == "2 drawn scenes"
    assert found["quality"]["value"] > 0.5
    assert found["quality"]["seconds"] > 0


def test_bad_options_are_told(tmp_path: Path) -> None:
    for options, message in (
        (["qa"], "give a TASK together with its --data"),
        (["popee", "--data", "x"], "popee: there is no such task"),
        (["--max-image-tokens", "0"], "should be whole numbers above 0"),
        (["--plot", "a.jpg"], "let its name end in .png"),
        (["--quantize", "int3"], "int3"),
    ):
        done = run("eval", "speed-quality", *options, cwd=tmp_path)
        assert (done.code, message in done.err) == (2, True), done.err
