"""How text goes on, token by token, in any family: free, or bound to choices or a number.

Flows for `engine.generation.scheduler`: the pieces of a prompt in, the answer out.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract import Answer, Cancelled, Finish, Generation
from engine.generation.constraints import Constraint
from engine.generation.detokenizer import StoppedStream, WordStream
from engine.generation.sampling import Sampler
from engine.generation.scheduler import ContextFull, Feed, Say
from engine.generation.steps import Fed, History, ReadToken

TextFlow = Generator[Any, Any, Answer]


@dataclass(frozen=True)
class Decoding:
    """How one text is decoded.

    sampler: of this text alone, for it keeps the state of its draws. stop_ids: each ends the text. suppressed: ids that
    never come after the first token.
    """

    sampler: Sampler
    max_tokens: int
    stop_ids: tuple[int, ...]
    suppressed: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()


def decoding(
    generation: Generation,
    *,
    temperature: float,
    top_p: float,
    max_tokens: int,
    stop_ids: tuple[int, ...],
    suppressed: tuple[int, ...] = (),
) -> Decoding:
    """temperature, top_p, max_tokens: the model's own defaults. ValueError for what is out of range."""
    most = max_tokens if generation.max_tokens is None else generation.max_tokens
    if most < 0:
        raise ValueError(f"max_tokens must be 0 or more, not {most}")
    if isinstance(generation.stop, str) or not all(isinstance(one, str) and one for one in generation.stop):
        raise ValueError(f"stop must be a tuple of strings that are not empty, not {generation.stop!r}")
    sampler = Sampler(
        temperature if generation.temperature is None else generation.temperature,
        top_p if generation.top_p is None else generation.top_p,
        generation.seed,
        top_k=generation.top_k,
        min_p=generation.min_p,
        repetition_penalty=generation.repetition_penalty,
        presence_penalty=generation.presence_penalty,
    )
    return Decoding(sampler, most, stop_ids, suppressed, generation.stop)


def free_text(
    prompt: Sequence[Fed], decoding: Decoding, decode: Callable[[Sequence[int]], str], history: History
) -> TextFlow:
    """Until a stop id or a stop string, and at most max_tokens. It is said as it grows, in pieces of whole words.

    decode: ids to text, as for `WordStream`. history: of what the sequence has read before; it goes on here.
    """
    stream, text, count = StoppedStream(WordStream(decode), decoding.stop), "", 0
    finish: Finish = "length"
    history.add_prompt(prompt)
    try:
        yield Feed(prompt)
        token = yield ReadToken(decoding.sampler, history=history)
        while token not in decoding.stop_ids and count < decoding.max_tokens:
            count += 1
            history.generated.append(token)
            if piece := stream.push(token):
                text += piece
                yield Say(piece)
            if stream.stopped or count == decoding.max_tokens:
                break
            try:
                yield Feed([token])
            except ContextFull:
                break
            token = yield ReadToken(decoding.sampler, decoding.suppressed, history=history)
        else:
            finish = "stop" if token in decoding.stop_ids else "length"
        if piece := stream.flush():
            text += piece
            yield Say(piece)
        if stream.stopped:
            finish = "stop"
    except Cancelled:
        finish = "cancelled"
        text += stream.flush()
    return answered(text, finish, history)


def constrained_text(prompt: Sequence[Fed], decoding: Decoding, constraint: Constraint, history: History) -> TextFlow:
    """Until the answer is settled; it is said as a whole. Stop strings have no say in it."""
    tokens: list[int] = []
    history.add_prompt(prompt)
    try:
        while among := constraint.following(tokens, decoding.max_tokens - len(tokens)):
            yield Feed(tokens[-1:] or prompt)
            token = yield ReadToken(decoding.sampler, among=among, history=history)
            tokens.append(token)
            if token not in decoding.stop_ids:
                history.generated.append(token)
        text = constraint.answer(tokens)
        yield Say(text)
    except Cancelled:
        return answered("", "cancelled", history)
    could_go_on = constraint.following(tokens, 2)
    return answered(text, "length" if could_go_on else "stop", history)


def answered(text: str, finish: Finish, history: History) -> Answer:
    return Answer(text, tokens=tuple(history.generated), prompt_tokens=history.prompt_tokens, finish=finish)
