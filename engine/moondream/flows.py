"""The flow of each skill: the prompt, and the values decoded step by step until it ends.

Generators for `engine.generation.scheduler`. Prompts are built from the config's templates.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from engine.contract import (
    Box,
    Cancelled,
    Choices,
    EngineError,
    Generation,
    Grounding,
    Number,
    ObjectList,
    Point,
    UnsupportedPrompt,
    normalize_prompt,
)
from engine.generation.constraints import ChoiceConstraint, Constraint, NumberConstraint
from engine.generation.scheduler import ContextFull, Flow, Forward
from engine.generation.steps import Coordinate, History, ModelInput, ReadCoordinate, ReadSize, ReadToken, Size
from engine.generation.text_flows import (
    DecodingParams,
    TextFlow,
    constrained_text,
    decoding_params,
    free_text,
    make_answer,
)
from engine.generation.tokenizer import Tokenizer
from engine.moondream.config import Config
from engine.moondream.templates import AFTER_EYE, BEFORE_EYE, Template

Numbers = Sequence[float]


@dataclass(frozen=True)
class Flows:
    """The skills of one model, each as a generator whose return value is the result.

    Each raises UnsupportedPrompt or ValueError, before its first step, for a request that can't be served.

    Attributes:
        name: Of the model, for errors.
    """

    name: str
    config: Config
    tokenizer: Tokenizer

    def caption(self, length: str, generation: Generation) -> Flow:
        """Caption the image; the result is an Answer."""
        lengths = self.config.tokenizer.templates.caption or {}
        length = normalize_prompt(length)
        if length not in lengths:
            supported = f"it supports {', '.join(lengths)}" if lengths else "it can't caption"
            raise UnsupportedPrompt(f"{self.name} has no caption of length {length!r}: {supported}")
        history = History(self.config.prefix_length)
        return (yield from self._free(lengths[length], self._decoding(generation), history))

    def query(
        self,
        question: str,
        reasoning: bool | None,
        references: Sequence[Numbers],
        generation: Generation,
        *,
        has_image: bool,
        allowed: Choices | Number | None = None,
    ) -> Flow:
        """Answer a question; the result is an Answer.

        Args:
            question: The question.
            reasoning: See `QueryRequest`.
            references: Points (2 numbers) and boxes (4 numbers) that the question refers to.
            generation: Sampling options.
            has_image: Whether the sequence continues an encoded image.
            allowed: See `QueryRequest`.
        """
        ids = self.config.tokenizer
        template = self._template("query", ids.templates.query)
        if not question.strip():
            raise ValueError("the question is empty: give one")
        if references and not has_image:
            raise ValueError("references need an image: leave them out, or give one")
        if reasoning and not ids.reasons:
            raise UnsupportedPrompt(f"{self.name} was not trained to reason: leave reasoning off")
        reasons = ids.reasons and (self.config.defaults.reasoning if reasoning is None else reasoning)
        suffix: tuple[ModelInput, ...] = template.suffix
        if reasons:
            assert ids.thinking_id is not None
            tail = (ids.thinking_id,) if self.config.is_moondream3 else (*suffix, ids.thinking_id)
        else:
            tail = suffix if self.config.is_moondream3 else suffix * 2  # as the second generation was trained
        start = [] if has_image else [ids.bos_id]
        prompt = [*start, *template.prefix, *_reference_inputs(references), *self.tokenizer.encode(question), *tail]
        params = self._decoding(generation)
        constraint = self._constraint(allowed)
        history = History(self.config.prefix_length if has_image else 0)

        def answer(prompt: Sequence[ModelInput]) -> TextFlow:
            if constraint is None:
                return self._free(prompt, params, history)
            return constrained_text(prompt, params, constraint, history)

        if not reasons:
            return (yield from answer(prompt))
        reasoned = yield from self._reason(prompt, params, history)
        text, grounding = reasoned.decode(self.tokenizer)
        final = make_answer("", "cancelled", history) if reasoned.cancelled else (yield from answer(suffix))
        return replace(final, reasoning=text, grounding=grounding)

    def detect(self, prompt: str, max_objects: int | None) -> Flow:
        """Detect objects; the result is an ObjectList of Box."""
        template = self._template("detect", self.config.tokenizer.templates.detect)
        return (yield from self._objects(self._prompt(template, prompt), prompt, max_objects, sized=True))

    def point(self, prompt: str, max_objects: int | None) -> Flow:
        """Point at objects; the result is an ObjectList of Point."""
        template = self._template("point", self.config.tokenizer.templates.point)
        return (yield from self._objects(self._prompt(template, prompt), prompt, max_objects, sized=False))

    def gaze(self, eye: tuple[float, float]) -> Flow:
        """Predict the gaze target of the person with this eye; the result is a Point, or None: out of the frame.

        Args:
            eye: (x, y), fractions of the image.
        """
        before, after = self.tokenizer.encode(BEFORE_EYE), self.tokenizer.encode(AFTER_EYE)
        yield Forward([*before, *_coordinates(*eye), *after])
        if (yield ReadToken()) == self.config.tokenizer.eos_id:
            return None
        x = yield ReadCoordinate()
        yield Forward([Coordinate(x)])
        return Point(x, (yield ReadCoordinate()))

    def _template(self, skill: str, template: Template | None) -> Template:
        if template is None:
            raise UnsupportedPrompt(f"{self.name} was not trained to {skill}")
        return template

    def _prompt(self, template: Template, prompt: str) -> list[ModelInput]:
        if not prompt.strip():
            raise ValueError("the prompt is empty: name what to find")
        vocabulary = self.config.vocabulary
        if vocabulary is not None:
            if normalize_prompt(prompt) not in vocabulary:
                raise UnsupportedPrompt(f"{self.name} does not support the prompt {normalize_prompt(prompt)!r}")
            prompt = vocabulary[normalize_prompt(prompt)]
        return [*template.prefix, *self.tokenizer.encode(" " + prompt), *template.suffix]

    def _decoding(self, generation: Generation) -> DecodingParams:
        ids, defaults = self.config.tokenizer, self.config.defaults
        return decoding_params(
            generation,
            Generation(temperature=defaults.temperature, top_p=defaults.top_p, max_tokens=defaults.max_tokens),
            stop_ids=(ids.eos_id,),
            suppressed=() if ids.answer_id is None else (ids.answer_id,),
        )

    def _free(self, prompt: Sequence[ModelInput], params: DecodingParams, history: History) -> TextFlow:
        return free_text(prompt, params, self.tokenizer.decode, history)

    @cached_property
    def _number_constraint(self) -> NumberConstraint:
        return NumberConstraint(self.tokenizer.texts(), self.config.tokenizer.eos_id)

    def _constraint(self, allowed: Choices | Number | None) -> Constraint | None:
        if isinstance(allowed, Choices):
            return ChoiceConstraint(allowed, self.tokenizer, self.config.tokenizer.eos_id)
        return self._number_constraint if allowed else None

    def _reason(
        self, prompt: Sequence[ModelInput], params: DecodingParams, history: History
    ) -> Generator[Any, Any, "_Reasoning"]:
        """Generate the reasoning, up to the token that starts the answer."""
        ids = self.config.tokenizer
        suppressed = tuple(token for token in (ids.eos_id, ids.size_id) if token is not None)
        reasoning, count = _Reasoning(), 0
        history.add_prompt(prompt)
        try:
            yield Forward(prompt)
            token = yield ReadToken(params.sampler, history=history)
            while token != ids.answer_id and count < params.max_tokens:
                count += 1
                history.generated.append(token)
                if token in (ids.start_ground_points_id, ids.end_ground_id):
                    reasoning.passages.append(_Passage())
                passage = reasoning.passages[-1]
                passage.tokens.append(token)
                piece: ModelInput = token
                if token == ids.coord_id:
                    value = yield ReadCoordinate()
                    passage.coordinates.append(value)
                    piece = Coordinate(value)
                try:
                    yield Forward([piece])
                except ContextFull:
                    raise EngineError(
                        "the reasoning filled the model's context: lower max_tokens, or turn reasoning off"
                    ) from None
                token = yield ReadToken(params.sampler, suppressed, history=history)
        except Cancelled:
            reasoning.cancelled = True
        return reasoning

    def _objects(self, prompt: Sequence[ModelInput], label: str, max_objects: int | None, sized: bool) -> Flow:
        """List Box (sized) or Point objects, until the end-of-text token or max_objects."""
        ids = self.config.tokenizer
        limit = self.config.defaults.max_objects if max_objects is None else max_objects
        if limit < 0:
            raise ValueError(f"max_objects must be 0 or more, not {limit}")
        next_or_end = (ids.coord_id, ids.eos_id) if self.config.is_moondream3 and ids.coord_id is not None else ()
        boxes: list[Box] = []
        points: list[Point] = []
        items = boxes if sized else points
        yield Forward(prompt)
        token = yield ReadToken()
        while token != ids.eos_id:
            if len(items) >= limit:
                return ObjectList(items, complete=False)
            try:
                x = yield ReadCoordinate()
                yield Forward([Coordinate(x)])
                y = yield ReadCoordinate()
                yield Forward([Coordinate(y)])
                if sized:
                    width, height = yield ReadSize()
                    boxes.append(Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2, label))
                    yield Forward([Size(width, height)])
                else:
                    points.append(Point(x, y, label))
            except ContextFull:
                return ObjectList(items, complete=False)
            token = yield ReadToken(allowed_token_ids=next_or_end)
        return ObjectList(items, complete=True)


@dataclass
class _Passage:
    tokens: list[int] = field(default_factory=list)
    coordinates: list[float] = field(default_factory=list)

    def points(self) -> Iterator[Point]:
        return (Point(x, y) for x, y in zip(self.coordinates[::2], self.coordinates[1::2], strict=False))


@dataclass
class _Reasoning:
    passages: list[_Passage] = field(default_factory=lambda: [_Passage()])
    cancelled: bool = False

    def decode(self, tokenizer: Tokenizer) -> tuple[str, tuple[Grounding, ...]]:
        """Return the text, and the grounding of its passages."""
        text, grounding = "", []
        for passage in self.passages:
            start, text = len(text), text + tokenizer.decode(passage.tokens)
            if len(passage.coordinates) > 1:
                grounding.append(Grounding(start, len(text), tuple(passage.points())))
        return text, tuple(grounding)


def _reference_inputs(references: Sequence[Numbers]) -> Iterator[ModelInput]:
    for reference in references:
        if len(reference) == 2:
            yield from _coordinates(*reference)
        elif len(reference) == 4:
            x_min, y_min, x_max, y_max = reference
            yield from _coordinates((x_min + x_max) / 2, (y_min + y_max) / 2)
            yield Size(x_max - x_min, y_max - y_min)
        else:
            raise ValueError(f"a reference must be a point (2 numbers) or a box (4), not {len(reference)} numbers")


def _coordinates(x: float, y: float) -> tuple[Coordinate, Coordinate]:
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"coordinates must be finite numbers, not {x}, {y}")
    return Coordinate(x), Coordinate(y)
