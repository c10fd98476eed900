"""Ollama's own client against a real server."""

from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from http_server import CHAT, POCKET, SCENES, SECONDS, Served, base64_of, served

MANY = SCENES / "many.png"
QUESTION = "how many yellow stars are there?"
OPTIONS = {"temperature": 0, "num_predict": 12, "seed": 3, "top_k": 40, "repeat_penalty": 1.0}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(POCKET | CHAT) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> ollama.Client:
    return ollama.Client(server.url, timeout=SECONDS)


def user(text: str = QUESTION, images: Any = (str(MANY),)) -> dict[str, Any]:
    return {"role": "user", "content": text, "images": list(images)}


def test_a_chat_about_an_image(client: ollama.Client) -> None:
    reply = client.chat("pocket", [user()])
    assert reply.message.content
    assert (reply.done, reply.done_reason, reply.model) == (True, "stop", "pocket")
    assert reply.eval_count == 1
    assert reply.prompt_eval_count
    assert reply.total_duration
    assert client.chat("pocket:latest", [user(images=[MANY.read_bytes()])]).message == reply.message


def test_a_streamed_chat_of_several_turns(client: ollama.Client) -> None:
    messages = [{"role": "system", "content": "brief"}, user("hello"), {"role": "assistant", "content": "yes"},
                user("and this?", [base64_of(SCENES / "one.png")])]  # fmt: skip
    whole = client.chat("qwen3-vl", messages, options=OPTIONS)
    assert whole.eval_count == 12
    assert whole.done_reason == "length"
    parts = list(client.chat("qwen3-vl", messages, options=OPTIONS, stream=True, keep_alive="5m"))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_generate(client: ollama.Client) -> None:
    whole = client.generate("qwen3-vl", "hello", images=[str(MANY)], system="brief", options=OPTIONS)
    assert whole.response
    parts = client.generate("qwen3-vl", "hello", images=[str(MANY)], system="brief", options=OPTIONS, stream=True)
    assert "".join(part.response or "" for part in parts) == whole.response


def test_an_answer_kept_to_a_schema(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}
    content = client.chat("pocket", [user()], format=schema).message.content
    assert content is not None
    assert content.startswith('{"stars": ')
    with pytest.raises(ollama.ResponseError, match="give a JSON Schema") as error:
        client.chat("pocket", [user()], format="json")
    assert error.value.status_code == 400


def test_errors_reach_the_user(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="no model 'llava' is served here") as error:
        client.chat("llava", [user()])
    assert error.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="the image can't be read"):
        list(client.chat("pocket", [user(images=["AAAA"])], stream=True))
    with pytest.raises(ollama.ResponseError, match="tools"):
        client.chat("pocket", [user()], tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(ollama.ResponseError, match=r"options\.temperature"):
        client.chat("pocket", [user()], options={"temperature": -1})


def test_a_request_without_a_prompt_only_names_a_model(client: ollama.Client) -> None:
    assert client.generate("pocket").done_reason == "load"
    assert client.chat("pocket", keep_alive=0).done_reason == "load"
    with pytest.raises(ollama.ResponseError):
        client.generate("nosuch")


def test_models(client: ollama.Client, server: Served) -> None:
    client.chat("pocket", [user()])
    assert [one.model for one in client.list().models] == ["pocket", "qwen3-vl"]
    assert "pocket" in [one.model for one in client.ps().models]
    shown = client.show("qwen3-vl")
    assert shown.capabilities == ["completion", "vision"]
    assert shown.modelinfo
    assert shown.modelinfo["general.architecture"] == "qwen3vl"
    assert server.get("/api/version").json()["version"]
    with pytest.raises(ollama.ResponseError):
        client.show("nosuch")
