"""How each skill goes on, token by token: what is fed, what is read, when it ends.

Generators for `engine.generation.scheduler`. All prompts are made of the config's templates.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from engine.contract import (
    Answer,
    Box,
    Choices,
    EngineError,
    Found,
    Generation,
    Grounding,
    Number,
    Point,
    UnsupportedPrompt,
    normalise,
)
from engine.generation.constraints import Constraint, Numeral, OneOf
from engine.generation.detokenizer import WordStream
from engine.generation.sampling import Sampler
from engine.generation.scheduler import ContextFull, Feed, Flow, Say
from engine.generation.steps import Coordinate, Fed, ReadCoordinate, ReadSize, ReadToken, Size
from engine.generation.tokenizer import Tokenizer
from engine.moondream.config import Config, Template

Numbers = Sequence[float]


@dataclass(frozen=True)
class Flows:
    """The skills of one model."""

    name: str
    config: Config
    tokenizer: Tokenizer

    def caption(self, length: str, generation: Generation) -> Flow:
        lengths = self.config.tokenizer.templates.caption or {}
        length = normalise(length)
        if length not in lengths:
            known = f"it knows {', '.join(lengths)}" if lengths else "it can't caption"
            raise UnsupportedPrompt(f"{self.name} has no caption of length {length!r}: {known}")
        return (yield from self._text(list(lengths[length]), *self._sampler(generation)))

    def query(
        self,
        question: str,
        reasoning: bool | None,
        references: Sequence[Numbers],
        generation: Generation,
        seen: bool,
        allowed: Choices | Number | None = None,
    ) -> Flow:
        """seen: whether there is a picture before the question. allowed: see `QueryRequest`."""
        ids = self.config.tokenizer
        template = self._template("query", ids.templates.query)
        if not question.strip():
            raise ValueError("the question is empty: say what to ask")
        if references and not seen:
            raise ValueError("places can only be referred to in a picture")
        if reasoning and not ids.reasons:
            raise UnsupportedPrompt(f"{self.name} was not trained to reason: leave reasoning off")
        reasons = ids.reasons and (self.config.defaults.reasoning if reasoning is None else reasoning)
        suffix: list[Fed] = list(template.suffix)
        if reasons:
            assert ids.thinking_id is not None
            tail = [ids.thinking_id] if self.config.third else [*suffix, ids.thinking_id]
        else:
            tail = suffix if self.config.third else suffix * 2  # as the second generation was trained
        start = [] if seen else [ids.bos_id]
        prompt = [*start, *template.prefix, *_referred(references), *self.tokenizer.encode(question), *tail]
        sampler, most = self._sampler(generation)
        constraint = self._constraint(allowed)

        def answer(prompt: Sequence[Fed]) -> Flow:
            if constraint is None:
                return self._text(prompt, sampler, most)
            return self._allowed(prompt, sampler, most, constraint)

        if not reasons:
            return Answer((yield from answer(prompt)))
        thought, grounding = yield from self._reason(prompt, sampler, most)
        return Answer((yield from answer(suffix)), thought, grounding)

    def detect(self, prompt: str, max_objects: int | None) -> Flow:
        template = self._template("detect", self.config.tokenizer.templates.detect)
        return (yield from self._objects(self._asked(template, prompt), prompt, max_objects, sized=True))

    def point(self, prompt: str, max_objects: int | None) -> Flow:
        template = self._template("point", self.config.tokenizer.templates.point)
        return (yield from self._objects(self._asked(template, prompt), prompt, max_objects, sized=False))

    def gaze(self, eye: tuple[float, float]) -> Flow:
        """Where the person whose eye that is looks, or None where the model says out of the picture."""
        before, after = self.tokenizer.encode("\n\nPoint:"), self.tokenizer.encode(" gaze\n\n")
        yield Feed([*before, *_coordinates(*eye), *after])
        if (yield ReadToken()) == self.config.tokenizer.eos_id:
            return None
        x = yield ReadCoordinate()
        yield Feed([Coordinate(x)])
        return Point(x, (yield ReadCoordinate()))

    def unseen(self) -> Flow:
        """What is asked of a picture that is not there."""
        yield from ()
        raise ValueError("only a question can be asked without a picture")

    def _template(self, skill: str, template: Template | None) -> Template:
        if template is None:
            raise UnsupportedPrompt(f"{self.name} was not trained to {skill}")
        return template

    def _asked(self, template: Template, prompt: str) -> list[Fed]:
        if not prompt.strip():
            raise ValueError("the prompt is empty: say what to look for")
        vocabulary = self.config.vocabulary
        if vocabulary is not None:
            if normalise(prompt) not in vocabulary:
                raise UnsupportedPrompt(f"{self.name} does not know {normalise(prompt)!r}")
            prompt = vocabulary[normalise(prompt)]
        return [*template.prefix, *self.tokenizer.encode(" " + prompt), *template.suffix]

    def _sampler(self, generation: Generation) -> tuple[Sampler, int]:
        """And the most tokens."""
        defaults = self.config.defaults
        most = defaults.max_tokens if generation.max_tokens is None else generation.max_tokens
        if most < 0:
            raise ValueError(f"max_tokens must be 0 or more, not {most}")
        temperature = defaults.temperature if generation.temperature is None else generation.temperature
        top_p = defaults.top_p if generation.top_p is None else generation.top_p
        return Sampler(temperature, top_p, generation.seed), most

    @cached_property
    def _numeral(self) -> Numeral:
        return Numeral(self.tokenizer.texts(), self.config.tokenizer.eos_id)

    def _constraint(self, allowed: Choices | Number | None) -> Constraint | None:
        if isinstance(allowed, Choices):
            return OneOf(allowed, self.tokenizer, self.config.tokenizer.eos_id)
        return self._numeral if allowed else None

    def _text(self, prompt: Sequence[Fed], sampler: Sampler, most: int) -> Flow:
        """Until the end-of-text token, and at most as many tokens."""
        ids = self.config.tokenizer
        suppressed = () if ids.answer_id is None else (ids.answer_id,)
        words, text, count = WordStream(self.tokenizer.decode), [], 0
        yield Feed(prompt)
        token = yield ReadToken(sampler)
        while token != ids.eos_id and count < most:
            count += 1
            if piece := words.push(token):
                text.append(piece)
                yield Say(piece)
            if count == most:
                break
            try:
                yield Feed([token])
            except ContextFull:
                break
            token = yield ReadToken(sampler, suppressed)
        if piece := words.flush():
            text.append(piece)
            yield Say(piece)
        return "".join(text)

    def _allowed(self, prompt: Sequence[Fed], sampler: Sampler, most: int, constraint: Constraint) -> Flow:
        """Until the answer is settled; it is said as a whole."""
        tokens: list[int] = []
        while among := constraint.following(tokens, most - len(tokens)):
            yield Feed(tokens[-1:] or prompt)
            tokens.append((yield ReadToken(sampler, among=among)))
        answer = constraint.answer(tokens)
        yield Say(answer)
        return answer

    def _reason(self, prompt: Sequence[Fed], sampler: Sampler, most: int) -> Flow:
        """Thoughts up to the token that starts the answer. Returns their text and what passages are grounded where."""
        ids = self.config.tokenizer
        suppressed = tuple(token for token in (ids.eos_id, ids.size_id) if token is not None)
        passages, count = [_Passage()], 0
        yield Feed(prompt)
        token = yield ReadToken(sampler)
        while token != ids.answer_id and count < most:
            count += 1
            if token in (ids.start_ground_points_id, ids.end_ground_id):
                passages.append(_Passage())
            passages[-1].tokens.append(token)
            fed: Fed = token
            if token == ids.coord_id:
                value = yield ReadCoordinate()
                passages[-1].coordinates.append(value)
                fed = Coordinate(value)
            try:
                yield Feed([fed])
            except ContextFull:
                raise EngineError("the model's thoughts filled its context: lower max_tokens, or go without") from None
            token = yield ReadToken(sampler, suppressed)
        text, grounding = "", []
        for passage in passages:
            start, text = len(text), text + self.tokenizer.decode(passage.tokens)
            if len(passage.coordinates) > 1:
                grounding.append(Grounding(start, len(text), tuple(passage.points())))
        return text, tuple(grounding)

    def _objects(self, prompt: Sequence[Fed], label: str, max_objects: int | None, sized: bool) -> Flow:
        """A list of Box (sized) or Point, until the end-of-text token or max_objects."""
        ids = self.config.tokenizer
        most = self.config.defaults.max_objects if max_objects is None else max_objects
        if most < 0:
            raise ValueError(f"max_objects must be 0 or more, not {most}")
        on_or_end = (ids.coord_id, ids.eos_id) if self.config.third and ids.coord_id is not None else ()
        items: list[Box | Point] = []
        yield Feed(prompt)
        token = yield ReadToken()
        while token != ids.eos_id:
            if len(items) >= most:
                return Found(items, complete=False)
            try:
                x = yield ReadCoordinate()
                yield Feed([Coordinate(x)])
                y = yield ReadCoordinate()
                yield Feed([Coordinate(y)])
                if sized:
                    width, height = yield ReadSize()
                    items.append(Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2, label))
                    yield Feed([Size(width, height)])
                else:
                    items.append(Point(x, y, label))
            except ContextFull:
                return Found(items, complete=False)
            token = yield ReadToken(among=on_or_end)
        return Found(items, complete=True)


@dataclass
class _Passage:
    tokens: list[int] = field(default_factory=list)
    coordinates: list[float] = field(default_factory=list)

    def points(self) -> Iterator[Point]:
        return (Point(x, y) for x, y in zip(self.coordinates[::2], self.coordinates[1::2], strict=False))


def _referred(references: Sequence[Numbers]) -> Iterator[Fed]:
    for place in references:
        if len(place) == 2:
            yield from _coordinates(*place)
        elif len(place) == 4:
            x_min, y_min, x_max, y_max = place
            yield from _coordinates((x_min + x_max) / 2, (y_min + y_max) / 2)
            yield Size(x_max - x_min, y_max - y_min)
        else:
            raise ValueError(f"a place must be a point (2 numbers) or a box (4 numbers), not {len(place)} numbers")


def _coordinates(x: float, y: float) -> tuple[Coordinate, Coordinate]:
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"a place must be of finite numbers, not {x}, {y}")
    return Coordinate(x), Coordinate(y)
