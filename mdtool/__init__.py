"""Redaction, moderation, gaze and captioning of images and videos with small vision-language models.

    import mdtool
    model = mdtool.load("moondream2")
    print(model.caption("photo.jpg"))

`docs/python.md` has more.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.contract import (
        UNLIMITED,
        Abilities,
        Answer,
        Box,
        Choices,
        EncodedImage,
        EngineError,
        Generation,
        Grounding,
        ImageBudget,
        ModelUnavailable,
        Number,
        ObjectLimitWarning,
        Point,
        UnsupportedPrompt,
    )
    from mdtool.errors import InputError
    from mdtool.python_api import LoadedModel, load

__version__ = "0.1.0"

__all__ = [
    "UNLIMITED",
    "Abilities",
    "Answer",
    "Box",
    "Choices",
    "EncodedImage",
    "EngineError",
    "Generation",
    "Grounding",
    "ImageBudget",
    "InputError",
    "LoadedModel",
    "ModelUnavailable",
    "Number",
    "ObjectLimitWarning",
    "Point",
    "UnsupportedPrompt",
    "__version__",
    "load",
]

if not TYPE_CHECKING:
    _MODULES = {"load": "mdtool.python_api", "LoadedModel": "mdtool.python_api", "InputError": "mdtool.errors"}

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562): the command line starts without NumPy and torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES.get(name, "engine.contract")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
