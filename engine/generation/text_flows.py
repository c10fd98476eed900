"""Text generation, token by token, for any model family: free, or constrained to choices or a number.

Flows for `engine.generation.scheduler`: a prompt in, an Answer out.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract import Answer, Cancelled, Finish, Generation
from engine.generation.constraints import Constraint
from engine.generation.detokenizer import IncrementalDetokenizer, StopStringDetokenizer
from engine.generation.sampling import Sampler
from engine.generation.scheduler import ContextFull, EmitText, Forward
from engine.generation.steps import History, ReadToken

TextFlow = Generator[Any, Any, Answer]


@dataclass(frozen=True)
class DecodingParams:
    """How one text is decoded.

    Attributes:
        sampler: For this text only: it holds the state of its random generator.
        max_tokens: Most tokens generated.
        stop_ids: Token ids that end the text.
        suppressed: Token ids that are never selected after the first token.
        stop: Strings that end the text.
    """

    sampler: Sampler
    max_tokens: int
    stop_ids: tuple[int, ...]
    suppressed: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()


def decoding_params(
    generation: Generation, defaults: Generation, *, stop_ids: tuple[int, ...], suppressed: tuple[int, ...] = ()
) -> DecodingParams:
    """Combine the options of a request with a model's defaults.

    Args:
        generation: The request's.
        defaults: The model's; they have temperature, top_p and max_tokens at least.
        stop_ids: See `DecodingParams`.
        suppressed: See `DecodingParams`.

    Raises:
        ValueError: An option is out of range.
    """

    def chosen(name: str) -> Any:
        own = getattr(generation, name)
        return getattr(defaults, name) if own is None else own

    limit = chosen("max_tokens")
    if limit < 0:
        raise ValueError(f"max_tokens must be 0 or more, not {limit}")
    if isinstance(generation.stop, str) or not all(isinstance(string, str) and string for string in generation.stop):
        raise ValueError(f"stop must be a tuple of strings that are not empty, not {generation.stop!r}")
    sampler = Sampler(
        chosen("temperature"),
        chosen("top_p"),
        generation.seed,
        top_k=chosen("top_k"),
        min_p=chosen("min_p"),
        repetition_penalty=chosen("repetition_penalty"),
        presence_penalty=chosen("presence_penalty"),
    )
    return DecodingParams(sampler, limit, stop_ids, suppressed, generation.stop)


def free_text(
    prompt: Sequence[object],
    decoding_params: DecodingParams,
    decode: Callable[[Sequence[int]], str],
    history: History,
    *,
    strip: bool = False,
) -> TextFlow:
    """Generate text up to a stop token, a stop string or max_tokens, emitting it in pieces of whole words.

    Args:
        prompt: Tokens, and other inputs of the model, to feed first.
        decoding_params: How the text is decoded.
        decode: Ids to text, as for `IncrementalDetokenizer`.
        history: The sequence's tokens so far; extended in place.
        strip: Whether white space at the start is left out.

    Returns:
        The answer.
    """

    def stripped(piece: str) -> str:
        return piece.lstrip() if strip and not text else piece

    stream, text, count = StopStringDetokenizer(IncrementalDetokenizer(decode), decoding_params.stop), "", 0
    finish: Finish = "length"
    history.add_prompt(prompt)
    try:
        yield Forward(prompt)
        token = yield ReadToken(decoding_params.sampler, history=history)
        while token not in decoding_params.stop_ids and count < decoding_params.max_tokens:
            count += 1
            history.generated.append(token)
            if piece := stripped(stream.push(token)):
                text += piece
                yield EmitText(piece)
            if stream.stopped or count == decoding_params.max_tokens:
                break
            try:
                yield Forward([token])
            except ContextFull:
                break
            token = yield ReadToken(decoding_params.sampler, decoding_params.suppressed, history=history)
        else:
            finish = "stop" if token in decoding_params.stop_ids else "length"
        if piece := stripped(stream.flush()):
            text += piece
            yield EmitText(piece)
        if stream.stopped:
            finish = "stop"
    except Cancelled:
        finish = "cancelled"
        text += stripped(stream.flush())
    return make_answer(text, finish, history)


def constrained_text(
    prompt: Sequence[object], decoding_params: DecodingParams, constraint: Constraint, history: History
) -> TextFlow:
    """Generate text under a constraint until the answer is complete, and emit it as a whole.

    Args:
        prompt: Tokens, and other inputs of the model, to feed first.
        decoding_params: How the text is decoded; stop strings are ignored.
        constraint: The tokens allowed.
        history: The sequence's tokens so far; extended in place.

    Returns:
        The answer.
    """
    tokens: list[int] = []
    history.add_prompt(prompt)
    try:
        while allowed_token_ids := constraint.allowed_tokens(tokens, decoding_params.max_tokens - len(tokens)):
            yield Forward(tokens[-1:] or prompt)
            token = yield ReadToken(decoding_params.sampler, allowed_token_ids=allowed_token_ids, history=history)
            tokens.append(token)
            if token not in decoding_params.stop_ids:
                history.generated.append(token)
        text = constraint.answer(tokens)
        yield EmitText(text)
    except Cancelled:
        return make_answer("", "cancelled", history)
    can_continue = constraint.allowed_tokens(tokens, 2)
    return make_answer(text, "length" if can_continue else "stop", history)


def make_answer(text: str, finish: Finish, history: History) -> Answer:
    """Return an answer with the token ids and counts of a sequence."""
    return Answer(
        text,
        tokens=tuple(history.generated),
        prompt_tokens=history.prompt_tokens,
        finish=finish,
        image_tokens=history.image_tokens,
    )
