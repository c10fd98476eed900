"""Vision-language models and detectors on images; independent of video and of the command line.

model = engine.load("moondream2")
encoded = model.encode(images)          # (height, width, 3) uint8 RGB arrays
boxes = model.detect(encoded, "face")   # one list of boxes per image
texts = model.caption(encoded)
"""

from dataclasses import replace

from engine.contract import (
    UNLIMITED,
    Abilities,
    Answer,
    Box,
    CaptionRequest,
    ChatCache,
    ChatRequest,
    Choices,
    DetectRequest,
    Done,
    EncodedImage,
    EngineError,
    Event,
    Failed,
    GazeRequest,
    Generation,
    Grounding,
    ImageBudget,
    ImageEmbedder,
    Landmarks,
    LoadOptions,
    Message,
    Model,
    ModelUnavailable,
    Number,
    ObjectLimitWarning,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    Result,
    Scheduler,
    TextDelta,
    UnsupportedPrompt,
    normalize_prompt,
)
from engine.families import EMBEDDED, embedded_abilities, embedded_summary, load_embedded, load_model_files
from engine.generation.verbs import VisionModel

__all__ = [
    "EMBEDDED",
    "UNLIMITED",
    "Abilities",
    "Answer",
    "Box",
    "CaptionRequest",
    "ChatCache",
    "ChatRequest",
    "Choices",
    "DetectRequest",
    "Done",
    "EncodedImage",
    "EngineError",
    "Event",
    "Failed",
    "GazeRequest",
    "Generation",
    "Grounding",
    "ImageBudget",
    "ImageEmbedder",
    "Landmarks",
    "LoadOptions",
    "Message",
    "Model",
    "ModelUnavailable",
    "Number",
    "ObjectLimitWarning",
    "ObjectList",
    "Point",
    "PointRequest",
    "QueryRequest",
    "Request",
    "Result",
    "Scheduler",
    "TextDelta",
    "UnsupportedPrompt",
    "VisionModel",
    "abilities",
    "embedded_summary",
    "load",
    "normalize_prompt",
]


def abilities(name: str) -> Abilities:
    """Return the skills of an embedded or published model, or a variant of one, without loading it.

    Raises:
        ModelUnavailable: No model has this name.
    """
    if name in EMBEDDED:
        return embedded_abilities(name)
    from engine.catalog.published import find_published, published, unknown_model_error

    model = find_published(name)
    if model is None:
        raise unknown_model_error(name, [*EMBEDDED, *published()])
    return model.abilities


def load(name_or_path: str, options: LoadOptions = LoadOptions()) -> VisionModel:
    """Load a model.

    Args:
        name_or_path: An embedded model, a published model that was pulled or a variant of it ("moondream2:int8"), or a
            file or folder of weights.
        options: Device, dtype, quantisation and more.

    Raises:
        ModelUnavailable: The name is unknown, or weights are missing or damaged.
        EngineError: The model does not support an option.
        ValueError: The model has no such detail.
    """
    if name_or_path in EMBEDDED:
        if options.mmproj or options.chat_template:
            raise EngineError(f"{name_or_path} takes neither an mmproj file nor a chat template: leave that out")
        return load_embedded(name_or_path, options)
    from engine.catalog.locate import locate
    from engine.checkpoints.gguf import reading_headers_once

    with reading_headers_once():
        model_files = locate(name_or_path, options.mmproj)
        if model_files.quantize is not None:
            if options.quantize not in (None, model_files.quantize):
                raise EngineError(
                    f"{model_files.name} is quantised to {model_files.quantize} by its name: leave quantize out"
                )
            options = replace(options, quantize=model_files.quantize)
        return load_model_files(model_files, options)
