"""Text by a scripted model and by the golden ones: what ends it, and that a batch changes nothing in it."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import golden
import pytest

from engine.contract import (
    Answer,
    Cancelled,
    CaptionRequest,
    Choices,
    Done,
    Event,
    Failed,
    Finish,
    Generation,
    Number,
    QueryRequest,
    Request,
    TextDelta,
)
from engine.generation.constraints import ChoiceConstraint, NumberConstraint
from engine.generation.scheduler import ContextFull, EmitText, Flow, Forward, Scheduler
from engine.generation.steps import Coordinate, History, ModelInput, ReadToken
from engine.generation.text_flows import DecodingParams, constrained_text, decoding_params, free_text
from engine.generation.tokenizer import load_tokenizer

END = 0
TOKENIZER = load_tokenizer(golden.GOLDEN / "moondream2" / "tokenizer.json", 512)
PROMPT: list[ModelInput] = [20, Coordinate(0.5), 21]

each_family = pytest.mark.parametrize("family", golden.FAMILIES)


def how(most: int = 100, stop: tuple[str, ...] = (), **options: Any) -> DecodingParams:
    asked = Generation(max_tokens=most, stop=stop, **options)
    return decoding_params(asked, Generation(0.0, 1.0, 9), stop_ids=(END, 1), suppressed=(3,))


def written(flow: Flow, tokens: Sequence[int], room: int = 1000) -> tuple[Answer, list[str], list[Any]]:
    """The answer where a model would choose these tokens, what was said on the way, and the steps."""
    chosen, said, steps = iter(tokens), [], []
    step = next(flow)
    while True:
        steps.append(step)
        reply = None
        try:
            if isinstance(step, Forward) and len(step.pieces) > room:
                step = flow.throw(ContextFull())
                continue
            if isinstance(step, Forward):
                room -= len(step.pieces)
            elif isinstance(step, EmitText):
                said.append(step.text)
            else:
                reply = next(chosen)
            step = flow.send(reply)
        except StopIteration as end:
            return end.value, said, steps


def free(
    text: str, decoding_params: DecodingParams, end: Sequence[int] = (END,), room: int = 1000
) -> tuple[Answer, list[str]]:
    flow = free_text(PROMPT, decoding_params, TOKENIZER.decode, History(700))
    answer, said, _ = written(flow, [*TOKENIZER.encode(text), *end], room)
    return answer, said


TEXT = "a red circle and a blue star"
IDS = tuple(TOKENIZER.encode(TEXT))


@pytest.mark.parametrize("end", [END, 1])
def test_a_text_ends_at_a_stop_id(end: int) -> None:
    answer, said = free(TEXT, how(), [end])
    assert answer == Answer(TEXT, tokens=IDS, prompt_tokens=703, finish="stop")
    assert "".join(said) == TEXT
    assert len(said) > 3


@pytest.mark.parametrize("most", [0, 1, 5, len(IDS)])
def test_a_text_ends_at_max_tokens(most: int) -> None:
    answer, said = free(TEXT, how(most))
    assert answer == Answer(TOKENIZER.decode(IDS[:most]), tokens=IDS[:most], prompt_tokens=703, finish="length")
    assert "".join(said) == answer.text


def test_a_text_ends_at_the_end_of_the_context() -> None:
    answer, _ = free(TEXT, how(), room=len(PROMPT) + 4)
    assert answer == Answer(TOKENIZER.decode(IDS[:5]), tokens=IDS[:5], prompt_tokens=703, finish="length")


@pytest.mark.parametrize("stop", ["d c", " bl", "a blue", "circle and a blue s", "star"])
def test_a_text_ends_before_a_stop_string_and_no_more_is_read(stop: str) -> None:
    """Which lies in several tokens. No token is asked for behind that which completes it."""
    assert len(TOKENIZER.encode(stop)) > 1
    needed = next(n for n in range(len(IDS) + 1) if stop in TOKENIZER.decode(IDS[:n]))
    flow = free_text(PROMPT, how(stop=("never", stop)), TOKENIZER.decode, History())
    answer, said, _ = written(flow, IDS[:needed])
    assert answer == Answer(TEXT[: TEXT.index(stop)], tokens=IDS[:needed], prompt_tokens=3, finish="stop")
    assert "".join(said) == answer.text


def test_what_may_begin_a_stop_string_comes_once_it_does_not() -> None:
    answer, said = free(TEXT, how(stop=("red circle and no",)))
    assert answer.text == "".join(said) == TEXT
    assert said[0] == "a "
    assert said[1].startswith("red circle and ")


def test_a_stop_string_at_max_tokens_counts() -> None:
    most = len(TOKENIZER.encode("a red"))
    assert free(TEXT, how(most, stop=("red",)))[0].finish == "stop"


def test_suppressed_ids_and_the_history_go_with_each_read() -> None:
    history = History(700, prompt=[5], generated=[6])
    _, _, steps = written(free_text(PROMPT, how(2), TOKENIZER.decode, history), IDS)
    reads = [step for step in steps if isinstance(step, ReadToken)]
    assert [read.suppressed for read in reads] == [(), (3,)]
    assert all(read.history is history for read in reads)
    assert (history.prompt, history.generated, history.prompt_tokens) == ([5, 20, 21], [6, *IDS[:2]], 700)


def test_a_cancelled_text_has_what_was_written() -> None:
    flow = free_text(PROMPT, how(), TOKENIZER.decode, History())
    step, chosen = next(flow), iter(IDS)
    while not (isinstance(step, Forward) and step.pieces == [IDS[4]]):
        step = flow.send(next(chosen) if isinstance(step, ReadToken) else None)
    with pytest.raises(StopIteration) as end:
        flow.throw(Cancelled())
    assert end.value.value == Answer(TOKENIZER.decode(IDS[:5]), tokens=IDS[:5], prompt_tokens=3, finish="cancelled")


def test_what_ends_an_answer_that_is_constrained() -> None:
    number = NumberConstraint(TOKENIZER.texts(), END)
    twelve = TOKENIZER.encode("12")
    cases: list[tuple[int, list[int], Finish]] = [(9, [*twelve, END], "stop"), (len(twelve), twelve, "length")]
    for most, tokens, finish in cases:
        answer, said, _ = written(constrained_text(PROMPT, how(most, stop=("2",)), number, History(700)), tokens)
        assert answer == Answer("12", tokens=tuple(twelve), prompt_tokens=703, finish=finish)
        assert said == ["12"]
    choice = ChoiceConstraint(Choices(("yes", "no")), TOKENIZER, END)
    first = TOKENIZER.encode("yes")[:1]
    answer, _, _ = written(constrained_text(PROMPT, how(0), choice, History()), first)
    assert answer == Answer("yes", tokens=tuple(first), prompt_tokens=3, finish="stop")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": -1}, "max_tokens must be 0 or more"),
        ({"stop": ("a", "")}, "stop must be a tuple of strings that are not empty"),
        ({"stop": "END"}, "stop must be a tuple of strings"),
        ({"top_k": 0}, "top_k must be"),
        ({"min_p": 2.0}, "min_p must be"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be"),
        ({"presence_penalty": 3.0}, "presence_penalty must be"),
    ],
)
def test_a_request_that_asks_for_what_is_out_of_range_fails_alone(options: dict[str, Any], message: str) -> None:
    picture = golden.encoded("moondream2", "img_a")
    bad, good = Generation(0, **{"max_tokens": 3, **options}), Generation(0, None, 3)
    events = list(golden.model("moondream2").run([CaptionRequest(picture, generation=one) for one in (bad, good)]))
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.index == 0
    assert isinstance(failed.error, ValueError)
    assert str(failed.error).startswith(message)
    assert [event.index for event in events if isinstance(event, Done)] == [1]


SETTINGS = (
    Generation(0, None, 12),
    Generation(0, None, 12, repetition_penalty=1.8),
    Generation(0, None, 12, presence_penalty=2.0),
    Generation(2.0, 0.99, 12, 1),
    Generation(2.0, 0.99, 12, 1, top_k=3),
    Generation(2.0, 0.99, 12, 1, min_p=0.3),
    Generation(2.0, 0.99, 12, 1, repetition_penalty=1.5, presence_penalty=-1.0, top_k=50, min_p=0.01),
    Generation(2.0, 0.99, 30, 1, stop=("e", "o")),
)


def asked(family: str) -> list[Request]:
    pictures = [golden.encoded(family, "img_a"), golden.encoded(family, "img_b")]
    return [
        request
        for picture in pictures
        for one in SETTINGS
        for request in (
            CaptionRequest(picture, "short", one),
            QueryRequest(picture, "what is it?", generation=one),
            QueryRequest(None, "why?", True, generation=one),
            QueryRequest(picture, "how many?", False, generation=one, allowed=Number()),
        )
    ]


def results(events: Iterator[Event]) -> tuple[dict[int, Answer], dict[int, str]]:
    """And what was said on the way."""
    made: dict[int, Answer] = {}
    said: dict[int, str] = {}
    for event in events:
        assert not isinstance(event, Failed), event
        if isinstance(event, TextDelta):
            said[event.index] = said.get(event.index, "") + event.text
        else:
            assert isinstance(event.result, Answer)
            made[event.index] = event.result
    return made, said


@each_family
def test_a_batch_gives_each_what_it_gets_alone_with_penalties_and_stop_strings(family: str) -> None:
    own, requests = golden.model(family), asked(family)
    together, said = results(own.run(requests, 11))
    for index, request in enumerate(requests):
        alone, _ = results(own.run([request], 1))
        assert together[index] == alone[0], request
        assert said.get(index, "") == together[index].text
    captions = [together[index].tokens for index in range(0, 4 * len(SETTINGS), 4)]
    assert len(set(captions[:3])) > 1  # penalties change a greedy text
    assert len(set(captions[3:])) > 1
    assert len(captions[1]) == len(set(captions[1]))


@each_family
def test_a_stop_string_cuts_the_same_text(family: str) -> None:
    own, picture = golden.model(family), golden.encoded(family, "img_b")
    [whole] = results(own.run([CaptionRequest(picture, "short", Generation(0, None, 20))]))[0].values()
    for start, length in ((2, 3), (7, 1), (4, 6)):
        stop = whole.text[start : start + length]
        asked_for = Generation(0, None, 20, stop=(stop,))
        [answer] = results(own.run([CaptionRequest(picture, "short", asked_for)]))[0].values()
        assert (answer.text, answer.finish) == (whole.text[: whole.text.index(stop)], "stop")
        assert whole.tokens[: len(answer.tokens)] == answer.tokens


@each_family
@pytest.mark.parametrize("steps", [3, 6])
def test_requests_that_are_cancelled_in_a_batch(family: str, steps: int) -> None:
    """A text, and one with thoughts; the one that stays gets what it gets alone."""
    own, picture = golden.model(family), golden.encoded(family, "img_a")
    long = Generation(0, None, 20)
    stays = CaptionRequest(picture, "normal", long)
    requests: list[Request] = [
        QueryRequest(picture, "what?", False, generation=long),
        QueryRequest(picture, "why?", True, generation=long),
        stays,
    ]
    scheduler: Scheduler[Request] = Scheduler(own.decoder, 4, own._job)
    tickets = [scheduler.add(request) for request in requests]
    events = [event for _ in repeat(None, steps) for event in scheduler.step()]
    for ticket in tickets[:2]:
        scheduler.cancel(ticket)
    while not scheduler.idle:
        events += scheduler.step()
    made, said = results(iter(events))
    assert [made[ticket].finish for ticket in tickets] == ["cancelled", "cancelled", made[2].finish]
    whole, _ = results(own.run(requests))
    text, thoughts, stayed = (made[ticket] for ticket in tickets)
    assert stayed == whole[2]
    assert len(text.tokens) == steps < len(whole[0].tokens)
    assert whole[0].text.startswith(text.text)
    assert text.text.startswith(said.get(0, ""))
    assert thoughts.text == "" or thoughts.reasoning == whole[1].reasoning
    assert thoughts.reasoning
    assert whole[1].text.startswith(thoughts.text)
    assert whole[1].reasoning.startswith(thoughts.reasoning)
    assert thoughts.tokens == whole[1].tokens[: len(thoughts.tokens)]
