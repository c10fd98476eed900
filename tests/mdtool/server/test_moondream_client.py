"""Moondream's own client against a real server."""

import importlib
import json
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from http_server import CHAT, MOONDREAM, POCKET, SCENES, Served, data_url, image_message, served
from PIL import Image

import engine
from engine.contract import Box, Generation, LoadOptions, Point
from engine.generation.verbs import VisionModel
from mdtool.media.image.image_input import to_rgb

moondream: Any = importlib.import_module("moondream")  # which has its names only at run time
MANY = SCENES / "many.png"
QUESTION = "how many yellow stars are there?"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(POCKET | CHAT | MOONDREAM) as running:
        yield running


@pytest.fixture(scope="module")
def pocket() -> VisionModel:
    return engine.load("pocket", LoadOptions("cpu"))


@pytest.fixture
def client(server: Served) -> Any:
    return moondream.vl(endpoint=f"{server.url}/v1")


def encoded() -> Any:
    return moondream.types.Base64EncodedImage(image_url=data_url(MANY))


def reason(error: pytest.ExceptionInfo[urllib.error.HTTPError]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(error.value.read())["error"]
    return content


def test_a_caption_is_the_engines(client: Any, pocket: VisionModel) -> None:
    image = pocket.encode([to_rgb(MANY)])
    for length in ("short", "normal", "long"):
        assert client.caption(encoded(), length=length) == {"caption": pocket.caption(image, length)[0]}


def test_a_streamed_caption_is_the_same(client: Any) -> None:
    whole = client.caption(encoded())["caption"]
    pieces = list(client.caption(encoded(), stream=True)["caption"])
    assert "".join(pieces) == whole
    assert len(pieces) > 5


def test_a_pillow_image_is_read(client: Any) -> None:
    assert "on a" in client.caption(Image.open(MANY))["caption"]


def test_an_answer_is_the_engines(client: Any, pocket: VisionModel) -> None:
    [answer] = pocket.query(pocket.encode([to_rgb(MANY)]), QUESTION, reasoning=False)
    assert client.query(encoded(), QUESTION) == {"answer": answer.text}
    assert "".join(client.query(encoded(), QUESTION, stream=True)["answer"]) == answer.text


def test_reasoning_comes_with_the_answer(server: Served) -> None:
    model = engine.load(MOONDREAM["moondream2"].name_or_path, LoadOptions("cpu"))
    [expected] = model.query(model.encode([to_rgb(MANY)]), "why?", True, generation=Generation(0, max_tokens=8))
    client = moondream.vl(endpoint=f"{server.url}/v1", model="moondream2")
    found = client.query(encoded(), "why?", reasoning=True, settings={"temperature": 0, "max_tokens": 8})
    assert (found["answer"], found["reasoning"]["text"]) == (expected.text, expected.reasoning)
    assert expected.reasoning


def test_boxes_are_the_engines(client: Any, pocket: VisionModel) -> None:
    [boxes] = pocket.detect(pocket.encode([to_rgb(MANY)]), "star")
    found = client.detect(encoded(), "star")["objects"]
    assert [Box(**one, label="star") for one in found] == boxes
    assert len(boxes) > 1


def test_points_are_the_engines(client: Any, pocket: VisionModel) -> None:
    [points] = pocket.point(pocket.encode([to_rgb(MANY)]), "star")
    assert [Point(**one, label="star") for one in client.point(encoded(), "star")["points"]] == points


def test_settings_are_heeded(client: Any) -> None:
    settings = {"temperature": 0, "top_p": 0.5, "max_tokens": 3, "max_objects": 1, "variant": "x/y"}
    assert len(client.detect(encoded(), "star", settings=settings)["objects"]) == 1
    assert len(client.caption(encoded(), settings=settings)["caption"].split()) <= 3


def test_references_of_a_question(client: Any, pocket: VisionModel) -> None:
    image = pocket.encode([to_rgb(MANY)])
    [answer] = pocket.query(image, "what is this?", reasoning=False, references=[(0.1, 0.25)])
    assert client.query(encoded(), "what is this?", spatial_refs=[[0.1, 0.25]]) == {"answer": answer.text}
    for wrong in ([[0.1, 0.2, 0.3]], [[0.1, 2.0]]):
        with pytest.raises(urllib.error.HTTPError) as error:
            client.query(encoded(), "what is this?", spatial_refs=wrong)
        assert error.value.code == 400
        assert reason(error)["param"].startswith("spatial_refs")
    with pytest.raises(urllib.error.HTTPError) as error:
        client.query(question="what is this?", spatial_refs=[[0.1, 0.2]])
    assert "send one as image_url" in reason(error)["message"]


def test_a_chat_without_the_name_of_a_model_asks_the_first(client: Any) -> None:
    message = image_message(data_url(MANY), QUESTION)
    found = client.chat([message])
    assert found["finish_reason"] == "stop"
    assert found["message"]["content"] == client.query(encoded(), QUESTION)["answer"]
    assert "".join(client.chat([message], stream=True)["message"]) == found["message"]["content"]


def test_a_chat_of_several_turns(server: Served) -> None:
    client = moondream.vl(endpoint=f"{server.url}/v1", model="qwen3-vl")
    first = image_message(data_url(MANY), "hello")
    messages = [first, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "and now?"}]
    found = client.chat(messages, settings={"max_tokens": 12, "temperature": 0})
    assert found["finish_reason"] == "length"
    assert "".join(client.chat(messages, stream=True, settings={"max_tokens": 12, "temperature": 0})["message"])


def test_segmentation_is_refused_clearly(client: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        client.segment(encoded(), "star")
    assert error.value.code == 501
    assert "no model of this server segments" in reason(error)["message"]
    with pytest.raises(urllib.error.HTTPError):
        list(client.segment(encoded(), "star", stream=True))


def test_a_base_url_with_a_slash_at_its_end(server: Served) -> None:
    client = moondream.vl(endpoint=f"{server.url}/v1/")
    assert client.point(encoded(), "star")["points"]


def test_errors_reach_the_user(client: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        client.detect(encoded(), "zebra")
    assert error.value.code == 400
    assert "can't detect 'zebra'" in reason(error)["message"]
    broken = moondream.types.Base64EncodedImage(image_url="data:image/png;base64,AAAA")
    with pytest.raises(urllib.error.HTTPError) as error:  # streams too have the status of what fails at once
        list(client.caption(broken, stream=True)["caption"])
    assert error.value.code == 400
    with pytest.raises(urllib.error.HTTPError) as error:
        moondream.vl(endpoint=client.endpoint, model="nosuch").caption(encoded())
    assert error.value.code == 404
    assert reason(error) == {
        "message": "no model 'nosuch' is served here: there is pocket, qwen3-vl, moondream2",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_replies_have_what_the_cloud_documents(server: Served) -> None:
    reply = server.post("/v1/caption", {"image_url": data_url(MANY)}, headers={"X-Request-ID": "my-1"}).json()
    assert reply["finish_reason"] == "stop"
    assert reply["request_id"] == "my-1"
    assert set(reply["metrics"]) == {"input_tokens", "output_tokens", "prefill_time_ms", "decode_time_ms", "ttft_ms"}
    assert reply["metrics"]["output_tokens"] > 10


def test_lines_of_a_stream(server: Served) -> None:
    lines = server.lines("/v1/caption", {"image_url": data_url(MANY), "stream": True})
    assert all(line.startswith("data: {") for line in lines)
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [one["completed"] for one in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["chunk"] == ""
    assert events[-1]["finish_reason"] == "stop"


def test_a_gaze(server: Served, pocket: VisionModel) -> None:
    look = SCENES / "look.png"
    image = pocket.encode([to_rgb(look)])
    [[face]] = pocket.detect(image, "face")
    eye = ((face.x_min + face.x_max) / 2, (face.y_min + face.y_max) / 2)
    [target] = pocket.detect_gaze(image, [eye])
    assert target is not None
    for given in (list(eye), {"x": eye[0], "y": eye[1]}):
        found = server.post("/v1/gaze", {"image_url": data_url(look), "eye": given}).json()
        assert found["gaze"] == {"x": target.x, "y": target.y}
    assert server.post("/v1/gaze", {"image_url": data_url(look), "eye": [2, 0]}).status_code == 400


def test_the_models_are_listed_as_moondream_lists_them(server: Served) -> None:
    models = server.get("/v1/models").json()["models"]
    assert [one["id"] for one in models] == ["pocket", "qwen3-vl", "moondream2"]
    assert all(set(one) == {"id", "name", "description", "version"} for one in models)


def test_sixteen_clients_at_once_get_what_the_engine_gives(client: Any, pocket: VisionModel) -> None:
    scenes = sorted(SCENES.glob("*.png"))
    images = pocket.encode([to_rgb(scene) for scene in scenes])
    captions = pocket.caption(images)
    boxes = pocket.detect(images, "star")
    answers = pocket.query(images, QUESTION, reasoning=False)

    def ask(number: int) -> bool:
        scene = number % len(scenes)
        image = moondream.types.Base64EncodedImage(image_url=data_url(scenes[scene]))
        if number % 4 == 0:
            return bool(client.caption(image)["caption"] == captions[scene])
        if number % 4 == 1:
            return "".join(client.caption(image, stream=True)["caption"]) == captions[scene]
        if number % 4 == 2:
            found = [Box(**one, label="star") for one in client.detect(image, "star")["objects"]]
            return found == boxes[scene]
        return bool(client.query(image, QUESTION)["answer"] == answers[scene].text)

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(32)))
