"""OpenAI's own client against a real server."""

import enum
import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from http_server import CHAT, POCKET, SCENES, SECONDS, Served, base64_of, data_url, image_message, served

import engine
from engine.contract import Choices, Generation, LoadOptions, Message
from engine.generation.verbs import VisionModel
from mdtool.media.image.image_input import to_rgb

MANY = SCENES / "many.png"
QUESTION = "how many yellow stars are there?"
GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(POCKET | CHAT) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=SECONDS, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def chatter() -> VisionModel:
    return engine.load(CHAT["qwen3-vl"].name_or_path, LoadOptions("cpu", reduce_images=True))


def ask(client: openai.OpenAI, messages: list[Any], model: str = "pocket", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages, **options)


def about(text: str = QUESTION) -> list[Any]:
    return [image_message(data_url(MANY), text)]


def conversation() -> list[Any]:
    return [
        {"role": "system", "content": "be brief"},
        *about("hello"),
        {"role": "assistant", "content": "yes"},
        image_message(data_url(SCENES / "one.png"), "and this?"),
    ]


def test_a_model_that_does_not_chat_answers_a_question_about_an_image(client: openai.OpenAI, server: Served) -> None:
    reply = ask(client, about())
    choice = reply.choices[0]
    assert (
        choice.message.content
        == server.post("/v1/query", {"image_url": data_url(MANY), "question": QUESTION}).json()["answer"]
    )
    assert (choice.finish_reason, choice.message.role, reply.model) == ("stop", "assistant", "pocket")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 100


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "hello"}],
        [{"role": "system", "content": "be brief"}, *about()],
        [{"role": "user", "content": [*about()[0]["content"], about()[0]["content"][0]]}],
    ],
    ids=["no image", "two turns", "two images"],
)
def test_it_answers_nothing_else(client: openai.OpenAI, messages: list[Any]) -> None:
    with pytest.raises(openai.BadRequestError, match="this model does not chat") as error:
        ask(client, messages)
    assert error.value.param == "messages"


def test_a_conversation_with_several_turns_and_images_is_the_engines(
    client: openai.OpenAI, chatter: VisionModel
) -> None:
    images = chatter.encode([to_rgb(MANY), to_rgb(SCENES / "one.png")])
    messages = [
        Message("system", ("be brief",)),
        Message("user", (images[0], "hello")),
        Message("assistant", ("yes",)),
        Message("user", (images[1], "and this?")),
    ]
    expected = chatter.chat(messages, Generation(temperature=0, max_tokens=12))
    reply = ask(client, conversation(), "qwen3-vl", **GREEDY)
    assert reply.choices[0].message.content == expected.text
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 12
    assert reply.usage.prompt_tokens == expected.prompt_tokens


def test_a_stream_is_the_same_and_has_its_usage_only_if_asked(client: openai.OpenAI) -> None:
    whole = ask(client, conversation(), "qwen3-vl", **GREEDY)
    plain = list(ask(client, conversation(), "qwen3-vl", **GREEDY, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == whole.choices[0].message.content
    assert plain[0].choices[0].delta.role == "assistant"
    assert plain[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in plain)
    options = {"include_usage": True}
    *_, last = ask(client, conversation(), "qwen3-vl", **GREEDY, stream=True, stream_options=options)
    assert (last.choices, last.usage) == ([], whole.usage)


def test_the_stream_helper_of_the_client(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="pocket", messages=about()) as stream:
        kinds = {event.type for event in stream}
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert stream.get_final_completion().choices[0].message.content


def test_the_smaller_limit_of_tokens_wins(client: openai.OpenAI) -> None:
    for limits in ({"max_tokens": 3, "max_completion_tokens": 9}, {"max_tokens": 9, "max_completion_tokens": 3}):
        assert ask(client, about("hi"), "qwen3-vl", **limits, temperature=0).usage.completion_tokens == 3


def test_a_seed_gives_the_same_text_and_another_one_another(client: openai.OpenAI) -> None:
    def text(seed: int) -> Any:
        options = {"temperature": 1.5, "top_p": 1.0, "max_tokens": 12, "seed": seed}
        return ask(client, about("hi"), "qwen3-vl", **options).choices[0].message.content

    assert text(1) == text(1) != text(2)


def test_a_stop_string_ends_the_text(client: openai.OpenAI) -> None:
    whole = ask(client, about("hi"), "qwen3-vl", **GREEDY).choices[0].message.content
    middle = whole[len(whole) // 2]
    for stop in (middle, [middle, "never"]):
        choice = ask(client, about("hi"), "qwen3-vl", **GREEDY, stop=stop).choices[0]
        assert choice.message.content == whole[: whole.index(middle)]
        assert choice.finish_reason == "stop"


def test_detail_changes_the_number_of_image_tokens(client: openai.OpenAI) -> None:
    def tokens(detail: str) -> int:
        image = {"type": "image_url", "image_url": {"url": data_url(MANY), "detail": detail}}
        content = [image, {"type": "text", "text": "hi"}]
        used: int = ask(client, [{"role": "user", "content": content}], "qwen3-vl", **GREEDY).usage.prompt_tokens
        return used

    assert tokens("high") > tokens("auto")


@pytest.mark.parametrize(
    "reference",
    [data_url(MANY), base64_of(MANY), base64_of(MANY).rstrip("="), "data:;base64,\n" + base64_of(MANY)[:400] + "\n "
     + base64_of(MANY)[400:]],
    ids=["data URL", "base64", "no padding", "line breaks"],
)  # fmt: skip
@pytest.mark.parametrize("as_text", [False, True], ids=["object", "string"])
def test_all_ways_to_write_an_image(server: Served, reference: str, as_text: bool) -> None:
    part = {"type": "image_url", "image_url": reference if as_text else {"url": reference}}
    body = {"model": "pocket", "messages": [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}]}
    assert server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]


class Colour(enum.Enum):
    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"


class Found(pydantic.BaseModel):
    colour: Colour


def schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def test_the_client_parses_an_answer_kept_to_a_model_of_pydantic(client: openai.OpenAI, chatter: VisionModel) -> None:
    reply = client.chat.completions.parse(model="qwen3-vl", messages=about("what colour?"), response_format=Found)
    [expected] = chatter.query(
        chatter.encode([to_rgb(MANY)]), "what colour?", allowed=Choices(tuple(one.value for one in Colour))
    )
    assert reply.choices[0].message.parsed == Found(colour=Colour(expected.text))


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"enum": ["a cat", "a dog"]}, str),
        ({"type": "string", "enum": ["a cat", "a dog"], "title": "T"}, str),
        ({"type": "number"}, (int, float)),
        ({"type": "integer"}, int),
        ({"type": "boolean"}, bool),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["value", "object"])
def test_answers_are_json_of_the_schema(server: Served, schema: dict[str, Any], kind: Any, inside: bool) -> None:
    wanted = schema
    if inside:
        wanted = {"type": "object", "properties": {"n": schema}, "required": ["n"], "additionalProperties": False}
    body = {"messages": about(), "response_format": schema_of(wanted), "temperature": 0, "max_tokens": 5}
    for model in ("pocket", "qwen3-vl"):
        text = server.post("/v1/chat/completions", body | {"model": model}).json()["choices"][0]["message"]["content"]
        value = json.loads(text)
        assert isinstance(value["n"] if inside else value, kind)
        lines = server.lines("/v1/chat/completions", body | {"model": model, "stream": True})
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": 3}},
        schema_of({"type": "string"}),
        schema_of({"type": "array", "items": {"type": "number"}}),
        schema_of({"type": "number", "minimum": 3}),
        schema_of({"enum": [1, 2]}),
        schema_of({"enum": ["one"]}),
        schema_of({"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}),
        schema_of({"type": "object", "properties": {"a": {"$ref": "#/$defs/No"}}}),
    ],
)
def test_other_formats_are_refused_with_the_reason(client: openai.OpenAI, form: Any) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, about(), response_format=form)
    assert error.value.param == "response_format"
    assert "an enum of strings" in error.value.message or "choice" in error.value.message


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x", "format": "wav"}}, "modalities"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 3}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.image_url"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
    ],
)
def test_what_can_not_be_done_is_refused_by_field(client: openai.OpenAI, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, **{"messages": about(), **options})
    assert error.value.param == param
    assert error.value.type == "invalid_request_error"


def test_unknown_fields_are_ignored(client: openai.OpenAI) -> None:
    extra = {"repetition_penalty": 1.0, "ignore_eos": True, "chat_template_kwargs": {"x": 1}}
    assert ask(client, about(), extra_body=extra, user="me", frequency_penalty=0).choices[0].message.content


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["pocket", "qwen3-vl"]
    assert client.models.retrieve("qwen3-vl").id == "qwen3-vl"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-5' is served here"):
        client.models.retrieve("gpt-5")
    with pytest.raises(openai.NotFoundError) as error:
        ask(client, about(), "gpt-5")
    assert error.value.code == "model_not_found"


def test_an_adapter_that_is_not_there(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no adapter"):
        ask(client, about(), "pocket/ft_1@20")


def test_responses(client: openai.OpenAI) -> None:
    content: Any = [{"type": "input_image", "image_url": data_url(MANY), "detail": "auto"},
                    {"type": "input_text", "text": QUESTION}]  # fmt: skip
    reply = client.responses.create(model="pocket", input=[{"role": "user", "content": content}])
    assert reply.output_text == ask(client, about()).choices[0].message.content
    assert reply.status == "completed"
    assert reply.usage
    assert reply.usage.output_tokens == 1
    options: Any = {"instructions": "brief", "max_output_tokens": 8, "temperature": 0}
    chat = client.responses.create(model="qwen3-vl", input="hi", **options)
    assert chat.status == "incomplete"
    assert chat.incomplete_details
    assert chat.incomplete_details.reason == "max_output_tokens"
    with client.responses.stream(model="qwen3-vl", input="hi", **options) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == chat.output_text
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model="qwen3-vl", input="hi", previous_response_id="resp_1")
    assert error.value.param == "previous_response_id"
