"""A conversation that is longer than its context."""

from itertools import pairwise
from typing import Any

import pytest
from golden_qwen import image, model

import engine
from engine.contract import Answer, ChatCache, EncodedImage, EngineError, Generation, Message
from mdtool.jobs.chat.conversation import Conversation

GENERATION = Generation(temperature=0.0, max_tokens=8)
SYSTEM = "You measure."


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Message, ...]]:
    """The messages of each request."""
    prompts: list[tuple[Message, ...]] = []
    job = type(model())._job

    def recorded(self: Any, request: Any) -> Any:
        prompts.append(request.messages)
        assert isinstance(request.cache, ChatCache)
        return job(self, request)

    monkeypatch.setattr(type(model()), "_job", recorded)
    return prompts


def encoded(name: str) -> EncodedImage:
    return model().encode([image(name)])[0]


def conversation(context: int = 4096, system: str | None = SYSTEM) -> Conversation:
    return Conversation(model(), system, context, GENERATION)


def ask(talk: Conversation, *parts: str | EncodedImage) -> Answer:
    pieces: list[str] = []
    answer = talk.ask(parts, pieces.append)
    assert "".join(pieces) == answer.text
    return answer


def images(messages: tuple[Message, ...]) -> list[EncodedImage]:
    return [part for message in messages for part in message.parts if isinstance(part, EncodedImage)]


def test_each_turn_sees_those_before(asked: list[tuple[Message, ...]]) -> None:
    talk, picture = conversation(), encoded("a")
    first = ask(talk, picture, "what?")
    ask(talk, "why?")
    assert asked[1] == (
        Message("system", (SYSTEM,)),
        Message("user", (picture, "what?")),
        Message("assistant", (first.text,)),
        Message("user", ("why?",)),
    )
    assert len(talk.transcript) == 2


def test_old_turns_are_dropped_and_the_system_message_and_the_newest_image_stay(
    asked: list[tuple[Message, ...]],
) -> None:
    talk, old, new = conversation(context=250), encoded("a"), encoded("b")
    ask(talk, old, "first")
    ask(talk, new, "second")
    for number in range(20):
        ask(talk, f"the dog {number}")
    for messages in asked:
        assert messages[0] == Message("system", (SYSTEM,))
        assert model().prompt_tokens(messages) <= 250 - 8
    assert 0 < talk.dropped < 22
    assert len(talk.transcript) == 22
    assert all(images(messages)[-1] is new for messages in asked[1:])
    assert len(images(asked[-1])) == 1
    assert talk.transcript[0].question.parts == (old, "first")
    lengths = [len(messages) for messages in asked]
    assert any(after < before for before, after in pairwise(lengths))
    assert lengths.count(max(lengths)) > 1  # turns are dropped seldom, several at once


def test_an_image_that_is_shown_anew_takes_the_place_of_the_old_one(asked: list[tuple[Message, ...]]) -> None:
    talk, first, second = conversation(context=110), encoded("a"), encoded("a")
    ask(talk, first, "one")
    for _ in range(5):
        ask(talk, "more of the dog")
    ask(talk, second, "two")
    for _ in range(5):
        ask(talk, "more of the dog")
    assert images(asked[-1]) == [second]


def test_a_message_that_is_too_long_by_itself_changes_nothing(asked: list[tuple[Message, ...]]) -> None:
    talk = conversation(context=140)
    ask(talk, "what?")
    with pytest.raises(EngineError, match=r"the message has \d+ tokens, and --context leaves room for 132"):
        ask(talk, "dog " * 200)
    ask(talk, "why?")
    assert [len(messages) for messages in asked] == [2, 4]


def test_an_answer_ends_with_the_context() -> None:
    talk = Conversation(model(), None, 60, Generation(temperature=0.0, max_tokens=1000))
    answer = ask(talk, "the quick brown fox in the image")
    assert answer.prompt_tokens + len(answer.tokens) <= 60


def test_a_cancelled_answer_is_a_turn() -> None:
    talk = conversation()
    pieces: list[str] = []
    answer = talk.ask(["what?"], pieces.append, lambda: True)
    assert answer.finish == "cancelled"
    assert len(answer.tokens) < 8
    assert ask(talk, "why?").finish != "cancelled"


def test_a_model_that_can_not_chat() -> None:
    with pytest.raises(EngineError, match="centerface can't chat"):
        Conversation(engine.load("centerface"), None, 100, GENERATION)
