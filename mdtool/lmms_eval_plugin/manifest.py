"""What lmms-eval learns of the plug-in: the name of its model, and where that is."""

from typing import Any


def manifest() -> Any:
    """Return the `ModelManifest` of the model "mdtool". lmms-eval calls it: entry point group `lmms_eval.models`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="mdtool", chat_class_path="mdtool.lmms_eval_plugin.model.MdtoolModel")
