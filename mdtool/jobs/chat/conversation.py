"""A conversation whose beginning is dropped once it is longer than the context."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.contract import (
    Answer,
    ChatCache,
    ChatRequest,
    Chatting,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    Generation,
    Message,
    TextDelta,
)
from engine.generation.verbs import VisionModel

ANSWER_SHARE = 0.25  # of the context that is left for an answer of unknown length
KEPT_SHARE = 0.75  # of the room for a prompt that is used once turns are dropped, so that they are dropped seldom
DEFAULT_ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class AnsweredTurn:
    """A message of the user, and the answer."""

    question: Message
    answer: Message


class Conversation:
    """The turns that are in the model's context, and all of them.

    The system message and the newest image stay in the context. What the model has computed is reused as far as the
    beginning of the context is unchanged.

    Attributes:
        transcript: All turns.
        dropped: How many of them are no longer in the context.
    """

    def __init__(self, model: VisionModel, system: str | None, context: int, generation: Generation) -> None:
        """Begin a conversation.

        Args:
            model: It can chat.
            system: Text of the system message; None: there is none.
            context: Most tokens of a prompt and its answer.
            generation: Sampling options.

        Raises:
            EngineError: The model can't chat.
        """
        if not isinstance(model, Chatting):
            raise EngineError(f"{model.name} can't chat")
        self._model, self._counter = model, model
        self._system = () if system is None else (Message("system", (system,)),)
        self._context, self._generation = context, generation
        self.transcript: list[AnsweredTurn] = []
        self.dropped = 0
        self._window: list[AnsweredTurn] = []
        self._cache = ChatCache()

    def ask(
        self,
        parts: Sequence[str | EncodedImage],
        on_text: Callable[[str], object],
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Add a message of the user and generate the answer.

        Args:
            parts: Of the message.
            on_text: Called with each piece of the answer.
            is_cancelled: Polled at each token; True ends the answer there.

        Returns:
            The answer, which is part of the conversation even if it was cancelled.

        Raises:
            EngineError, ValueError: The message can't be answered; the conversation is as before.
        """
        question = Message("user", tuple(parts))
        window, asked, tokens = self._fitted(question)
        generation = replace(self._generation, max_tokens=min(self._most_tokens, self._context - tokens))
        messages = (*self._system, *_messages(window), asked)
        answer = self._run(ChatRequest(messages, generation, cache=self._cache), on_text, is_cancelled)
        reply = Message("assistant", (answer.text,))
        self.dropped += len(self._window) - len(window)
        self._window = [*window, AnsweredTurn(asked, reply)]
        self.transcript.append(AnsweredTurn(question, reply))
        return answer

    @property
    def _most_tokens(self) -> int:
        given = self._generation.max_tokens
        return DEFAULT_ANSWER_TOKENS if given is None else given

    def _run(self, request: ChatRequest, on_text: Callable[[str], object], is_cancelled: Callable[[], bool]) -> Answer:
        scheduler = self._model.scheduler(1)
        ticket = scheduler.add(request)
        while True:
            for event in scheduler.step():
                if isinstance(event, TextDelta):
                    on_text(event.text)
                elif isinstance(event, Failed):
                    raise event.error
                elif isinstance(event, Done):
                    assert isinstance(event.result, Answer)
                    return event.result
            if is_cancelled():
                scheduler.cancel(ticket)

    def _fitted(self, question: Message) -> tuple[list[AnsweredTurn], Message, int]:
        """Drop the oldest turns until the context has room for a question and its answer.

        Returns:
            The turns that stay, the question, one of which has the newest image now, and the tokens of the prompt.

        Raises:
            EngineError: The question alone is too long.
        """
        room = self._context - max(1, min(self._most_tokens, int(ANSWER_SHARE * self._context)))
        tokens = 0
        for count in range(len(self._window) + 1):
            window, asked = _with_newest_image(self._window[:count], self._window[count:], question)
            tokens = self._counter.prompt_tokens((*self._system, *_messages(window), asked))
            if tokens <= (KEPT_SHARE * room if 0 < count < len(self._window) else room):
                return window, asked, tokens
        raise EngineError(f"the message has {tokens} tokens, and --context leaves room for {room}: shorten it")


def _messages(turns: Sequence[AnsweredTurn]) -> list[Message]:
    return [message for turn in turns for message in (turn.question, turn.answer)]


def _with_newest_image(
    dropped: Sequence[AnsweredTurn], kept: Sequence[AnsweredTurn], question: Message
) -> tuple[list[AnsweredTurn], Message]:
    """Return the turns that stay and the question; the first of them gets the newest image if that would be dropped."""
    images = [part for turn in dropped for part in turn.question.parts if isinstance(part, EncodedImage)]
    remaining = [question, *(turn.question for turn in kept)]
    if not images or any(isinstance(part, EncodedImage) for message in remaining for part in message.parts):
        return list(kept), question
    if not kept:
        return [], _after_image(images[-1], question)
    first, *others = kept
    return [replace(first, question=_after_image(images[-1], first.question)), *others], question


def _after_image(image: EncodedImage, message: Message) -> Message:
    return replace(message, parts=(image, *message.parts))
