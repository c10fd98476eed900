"""Pictures and words in; boxes, points and words out. Knows no video and no command line.

model = engine.load("moondream2")
encoded = model.encode(images)          # HxWx3 uint8 RGB arrays
boxes = model.detect(encoded, "face")   # one list of boxes a picture
texts = model.caption(encoded)
"""

from importlib import import_module
from typing import Literal

from engine.contract import (
    UNLIMITED,
    Abilities,
    Answer,
    Box,
    CaptionRequest,
    Choices,
    DetectRequest,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    Found,
    GazeRequest,
    Generation,
    Grounding,
    Landmarks,
    LanguageModel,
    ManyPrompts,
    Model,
    ModelUnavailable,
    Number,
    ObjectLimitWarning,
    Piece,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    Seeing,
    UnsupportedPrompt,
    normalise,
)

__all__ = [
    "EMBEDDED",
    "UNLIMITED",
    "Abilities",
    "Answer",
    "Box",
    "CaptionRequest",
    "Choices",
    "DetectRequest",
    "Done",
    "EncodedImage",
    "EngineError",
    "Failed",
    "Found",
    "GazeRequest",
    "Generation",
    "Grounding",
    "Landmarks",
    "LanguageModel",
    "ManyPrompts",
    "Model",
    "ModelUnavailable",
    "Number",
    "ObjectLimitWarning",
    "Piece",
    "Point",
    "PointRequest",
    "QueryRequest",
    "Request",
    "Seeing",
    "UnsupportedPrompt",
    "abilities",
    "load",
    "normalise",
    "summary",
]

# embedded model -> its folder
EMBEDDED = {"centerface": "engine.centerface", "pocket": "engine.pocket"}


def abilities(name: str) -> Abilities:
    """What a model can do, embedded or published, without loading it; ModelUnavailable for a name of neither."""
    if name in EMBEDDED:
        known: Abilities = import_module(f"{EMBEDDED[name]}.abilities").ABILITIES
        return known
    from engine.catalog.published import no_such_model, published

    if name not in published():
        raise no_such_model(name, [*EMBEDDED, *published()])
    return published()[name].abilities


def summary(name: str) -> str:
    """What an embedded model is, in a few words."""
    told: str = import_module(f"{EMBEDDED[name]}.abilities").SUMMARY
    return told


def load(
    name_or_path: str,
    device: str = "auto",
    dtype: str | None = None,
    quantize: str | None = None,
    compile: bool = False,
    detail: str | int = "auto",
    resize: Literal["vips", "pillow"] | None = None,
) -> Model:
    """A model, ready to see: an embedded one, a published one that was pulled, or the weights in a file or folder.

    device: "auto", "cpu", "cuda", "cuda:N" or "mps". dtype: "float32", "bfloat16", "float16", or None for what the
    device computes fast in. quantize: "int4" (matrices of the text model in 4 bits, of the vision encoder in 8), "int8"
    (both in 8 bits), or None. detail: "low", "auto", "high", or a number in the model's own unit (centerface: pixels of
    the longer side of what it sees; Moondream: crops of a large picture); more finds smaller things and takes longer.
    resize: the library that scales pictures; None: libvips, as the reference does, where it is installed.

    Raises ModelUnavailable (unknown name; weights missing or broken), EngineError (an option the model can't honour),
    ValueError (a detail that does not exist).
    """
    options = {"device": device, "dtype": dtype, "quantize": quantize, "compile": compile, "detail": detail}
    options["resize"] = resize
    if name_or_path in EMBEDDED:
        embedded: Model = import_module(f"{EMBEDDED[name_or_path]}.model").load(**options)
        return embedded
    from engine.catalog.locate import locate

    located = locate(name_or_path)
    model: Model = import_module(f"engine.{located.family}.model").load(located, **options)
    return model
