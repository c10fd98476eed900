"""Pictures and words in; boxes, points and words out. Knows no video and no command line.

model = engine.load("centerface")
encoded = model.encode(images)          # HxWx3 uint8 RGB arrays
boxes = model.detect(encoded, "face")   # one list of boxes a picture
"""

from difflib import get_close_matches
from importlib import import_module

from engine.contract import (
    UNLIMITED,
    Abilities,
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    Found,
    GazeRequest,
    Generation,
    Grounding,
    LanguageModel,
    Model,
    ModelUnavailable,
    ObjectLimitWarning,
    Piece,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    UnsupportedPrompt,
    normalise,
)

__all__ = [
    "FAMILIES",
    "UNLIMITED",
    "Abilities",
    "Answer",
    "Box",
    "CaptionRequest",
    "DetectRequest",
    "Done",
    "EncodedImage",
    "EngineError",
    "Failed",
    "Found",
    "GazeRequest",
    "Generation",
    "Grounding",
    "LanguageModel",
    "Model",
    "ModelUnavailable",
    "ObjectLimitWarning",
    "Piece",
    "Point",
    "PointRequest",
    "QueryRequest",
    "Request",
    "UnsupportedPrompt",
    "abilities",
    "load",
    "normalise",
]

# Model -> the module whose `load` makes it; imported only when asked for, so `import engine` costs nothing.
FAMILIES = {"centerface": "engine.centerface"}  # name -> its folder


def abilities(name: str) -> Abilities:
    """What a model of this name can do, without loading it."""
    known: Abilities = import_module(f"{FAMILIES[name]}.prompts").ABILITIES
    return known


def load(
    name: str,
    device: str = "auto",
    dtype: str | None = None,
    quantize: str | None = None,
    compile: bool = False,
    detail: str | int = "auto",
) -> Model:
    """A model, ready to see.

    detail: "low", "auto", "high", or the pixels of the longer side of what the model sees; more finds smaller things
    and takes longer. Raises ModelUnavailable (unknown name; weights missing or broken), EngineError (an option the
    model can't honour), ValueError (a detail that does not exist).
    """
    if name not in FAMILIES:
        close = get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ModelUnavailable(f"no model {name!r}; {hint}known models: {', '.join(sorted(FAMILIES))}")
    model: Model = import_module(f"{FAMILIES[name]}.model").load(
        device=device, dtype=dtype, quantize=quantize, compile=compile, detail=detail
    )
    return model
