"""What the plug-in for lmms-eval makes of a task's messages."""

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from make_media import SAMPLES
from PIL import Image

import engine
from engine.contract import ChatRequest, DetectRequest, Generation, LoadOptions, QueryRequest
from engine.generation.verbs import VisionModel
from mdtool.errors import InputError
from mdtool.lmms_eval_plugin.messages import contents, to_generation, to_request

BOX_TASK = (
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y). "
    "All values are floating point numbers bounded between 0 and 1. Please provide the bounding box coordinate of the "
    "region "
)


@pytest.fixture(scope="module")
def model() -> VisionModel:
    loaded: VisionModel = engine.load("pocket", LoadOptions("cpu"))
    return loaded


def user(*parts: Any) -> dict[str, Any]:
    def part(content: Any) -> dict[str, Any]:
        return {"type": "text", "text": content} if isinstance(content, str) else {"type": "image", "url": content}

    return {"role": "user", "content": [part(content) for content in parts]}


@pytest.fixture(scope="module")
def star() -> Image.Image:
    return Image.open(SAMPLES / "scenes" / "one.png").convert("RGB")


def test_one_image_and_a_question_are_a_query(model: VisionModel, star: Image.Image) -> None:
    request = to_request(model, contents([user(star, "How many stars are there?")]), Generation(temperature=0))
    assert isinstance(request, QueryRequest)
    assert (request.question, request.reasoning) == ("How many stars are there?", False)
    [answer] = model.results([request])
    assert answer.text == "1"


def test_a_question_without_an_image(model: VisionModel) -> None:
    request = to_request(model, contents([user("What is red?")]), Generation())
    assert isinstance(request, QueryRequest)
    assert request.image is None


@pytest.mark.parametrize(
    "end", ["this sentence describes: star", "that corresponds to the command: star", "this sentence describes: Star."]
)
def test_a_question_for_a_box_is_a_detection(model: VisionModel, star: Image.Image, end: str) -> None:
    request = to_request(model, contents([user(star, BOX_TASK + end)]), Generation())
    assert isinstance(request, DetectRequest)
    assert request.prompt.lower() == "star"


def test_several_images_or_turns_are_a_chat(model: VisionModel, star: Image.Image) -> None:
    two = to_request(model, contents([user(star, "and", star, "Which is larger?")]), Generation())
    assert isinstance(two, ChatRequest)
    assert [isinstance(part, str) for part in two.messages[0].parts] == [False, True, False, True]
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    told = to_request(model, contents([system, user(star, "What is it?")]), Generation())
    assert isinstance(told, ChatRequest)
    assert [turn.role for turn in told.messages] == ["system", "user"]


def test_videos_are_refused() -> None:
    with pytest.raises(InputError, match="asks about video; mdtool answers questions about images"):
        contents([{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}])


@pytest.mark.parametrize(
    ("settings", "generation"),
    [
        ({}, Generation(temperature=0, max_tokens=1024)),
        (
            {"max_new_tokens": 16, "temperature": 0, "top_p": None, "num_beams": 1},
            Generation(temperature=0, max_tokens=16),
        ),
        ({"temperature": 0, "top_p": 1.0}, Generation(temperature=0, max_tokens=1024)),
        ({"temperature": 0.7, "do_sample": False}, Generation(temperature=0, max_tokens=1024)),
        ({"temperature": 0.7, "top_p": 0.9}, Generation(temperature=0.7, top_p=0.9, max_tokens=1024)),
        ({"until": ["ASSISTANT:", ""]}, Generation(temperature=0, max_tokens=1024, stop=("ASSISTANT:",))),
        ({"until": "\n\n"}, Generation(temperature=0, max_tokens=1024, stop=("\n\n",))),
    ],
)
def test_sampling_parameters(settings: dict[str, Any], generation: Generation) -> None:
    assert to_generation(settings) == generation


def test_the_entry_point_is_there() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["lmms_eval.models"]["mdtool"].split(":")
    assert callable(getattr(import_module(module), name))
