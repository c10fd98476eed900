"""The bodies of requests. Fields that are not named here are ignored."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.contract import Generation
from recipes.redact import Name


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Temperature = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Stops = list[str] | str | None


def stop_strings(stop: Stops) -> tuple[str, ...]:
    """Return the strings that end a text."""
    return tuple(one for one in ([stop] if isinstance(stop, str) else stop or []) if one)


# Moondream's API.


class Settings(BaseModel):
    """Sampling parameters, and the greatest number of objects."""

    temperature: Temperature | None = None
    top_p: Probability | None = None
    max_tokens: Count | None = None
    max_objects: Count | None = None
    seed: Seed | None = None

    @property
    def generation(self) -> Generation:
        """The parameters as the engine takes them."""
        return Generation(self.temperature, self.top_p, self.max_tokens, self.seed or 0)


class MoondreamBody(BaseModel):
    """What all requests of Moondream's API have in common."""

    model: str | None = None
    settings: Settings | None = None

    @property
    def given_settings(self) -> Settings:
        """The settings, or the defaults."""
        return self.settings or Settings()


class CaptionBody(MoondreamBody):
    """A request for a caption."""

    image_url: str
    length: Literal["short", "normal", "long"] = "normal"
    stream: bool = False


Reference = Annotated[list[Fraction], Field(min_length=2, max_length=4)]


class QueryBody(MoondreamBody):
    """A question, with or without an image."""

    question: str
    image_url: str | None = None
    stream: bool = False
    reasoning: bool | None = None
    spatial_refs: list[Reference] | None = None


class ObjectBody(MoondreamBody):
    """What to detect or point at."""

    image_url: str
    object: str
    spatial_refs: list[Reference] | None = None


class Eye(BaseModel):
    """A place in the image."""

    x: Fraction
    y: Fraction


class GazeBody(MoondreamBody):
    """The eye of a person, or the centre of the face; without one, all faces that are found."""

    image_url: str
    eye: Eye | Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None

    @property
    def place(self) -> tuple[float, float] | None:
        """The eye as (x, y); None: all faces."""
        if self.eye is None:
            return None
        return (self.eye.x, self.eye.y) if isinstance(self.eye, Eye) else (self.eye[0], self.eye[1])


# Ours.


class StrictBody(BaseModel):
    """A body in which a field of another name is an error: a misspelt one would leave something visible."""

    model_config = ConfigDict(extra="forbid")


class RedactBody(StrictBody):
    """A picture to redact, in one or more styles."""

    image_url: str
    prompts: Annotated[list[str], Field(min_length=1, max_length=16)] = ["face"]
    styles: Annotated[list[Name], Field(min_length=1, max_length=4)] = ["blur"]
    model: str | None = None
    threshold: Fraction | None = None


class ModerateBody(StrictBody):
    """A picture to judge: by a policy, or by prompts that name what is not allowed."""

    image_url: str
    policy: str | None = None
    prompts: Annotated[list[str], Field(max_length=16)] = []
    model: str | None = None


class TrackBody(StrictBody):
    """A track of a job's video."""

    track: Annotated[int, Field(ge=0)]
    stream: Annotated[int, Field(ge=0)] = 0


class AgainBody(StrictBody):
    """How a video is redacted again."""

    without_tracks: list[TrackBody] = []
    style: Name | None = None


# OpenAI's API.


class ImageUrl(BaseModel):
    """An image, and how closely to look."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class Part(BaseModel):
    """A part of a message; which fields it has depends on its type."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None


class ChatMessage(BaseModel):
    """A turn of a conversation."""

    role: str
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    """What a stream has besides the text."""

    include_usage: bool = False


class SamplingBody(BaseModel):
    """Sampling parameters, named as in OpenAI's API and vLLM."""

    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: int | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, Field(gt=0), AfterValidator(_finite)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Seed | None = None

    def generation(self, max_tokens: int | None, stop: Stops = None) -> Generation:
        """Return the parameters as the engine takes them."""
        return Generation(
            self.temperature,
            self.top_p,
            max_tokens,
            self.seed or 0,
            self.top_k if self.top_k and self.top_k > 0 else None,  # 0 and -1 turn it off
            self.min_p,
            self.repetition_penalty,
            self.presence_penalty,
            stop_strings(stop),
        )


class ChatBody(SamplingBody):
    """A conversation to go on with."""

    model: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stop: Stops = None
    response_format: dict[str, Any] | None = None
    reasoning: bool | None = None
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None
    audio: Any = None
    logprobs: bool | None = None


class ResponsesBody(SamplingBody):
    """A conversation to go on with, as OpenAI's Responses API has it."""

    model: str | None = None
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Count | None = None
    text: dict[str, Any] | None = None
    tools: list[Any] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None


# Ollama's API.


class OllamaOptions(SamplingBody):
    """Sampling parameters; Ollama's names where they differ."""

    num_predict: int | None = None
    repeat_penalty: Annotated[float, Field(gt=0), AfterValidator(_finite)] | None = None
    stop: Stops = None

    @property
    def as_generation(self) -> Generation:
        """The parameters as the engine takes them; a num_predict of -1 or -2 is no limit but the model's."""
        limit = self.num_predict if self.num_predict and self.num_predict > 0 else None
        named = self.model_copy(update={"repetition_penalty": self.repeat_penalty or self.repetition_penalty})
        return named.generation(limit, self.stop)


class OllamaMessage(BaseModel):
    """A turn of a conversation; images are base64."""

    role: str
    content: str = ""
    images: list[str] | None = None


class OllamaBody(BaseModel):
    """What both kinds of requests to Ollama's API have in common."""

    model: str
    stream: bool = True
    options: OllamaOptions | None = None
    format: str | dict[str, Any] | None = None
    think: bool | str | None = None

    @property
    def generation(self) -> Generation:
        """Sampling parameters."""
        return (self.options or OllamaOptions()).as_generation


class OllamaChatBody(OllamaBody):
    """A conversation to go on with; without messages the model is only loaded."""

    messages: list[OllamaMessage] = []
    tools: list[Any] | None = None


class OllamaGenerateBody(OllamaBody):
    """A prompt; without one the model is only loaded."""

    prompt: str = ""
    system: str | None = None
    images: list[str] | None = None


class OllamaShowBody(BaseModel):
    """The name of a model."""

    model: str | None = None
    name: str | None = None
