"""Pictures and words in; boxes, points and words out. Knows no video and no command line.

model = engine.load("moondream2")
encoded = model.encode(images)          # HxWx3 uint8 RGB arrays
boxes = model.detect(encoded, "face")   # one list of boxes a picture
texts = model.caption(encoded)
"""

from engine.contract import (
    UNLIMITED,
    Abilities,
    Answer,
    Box,
    CaptionRequest,
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
    """Tell what a model can do, embedded or published, without loading it; ModelUnavailable for a name of neither."""
    if name in EMBEDDED:
        return embedded_abilities(name)
    from engine.catalog.published import published, unknown_model_error

    if name not in published():
        raise unknown_model_error(name, [*EMBEDDED, *published()])
    return published()[name].abilities


def load(name_or_path: str, options: LoadOptions = LoadOptions()) -> VisionModel:
    """Load a model: an embedded one, a published one that was pulled, or the weights in a file or folder.

    Raises:
        ModelUnavailable: unknown name; weights missing or broken.
        EngineError: an option that the model can't honour.
        ValueError: a detail that does not exist.
    """
    if name_or_path in EMBEDDED:
        return load_embedded(name_or_path, options)
    from engine.catalog.locate import locate

    return load_model_files(locate(name_or_path), options)
