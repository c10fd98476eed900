"""Opens a Qwen3-VL checkpoint for conversion to quantised weights."""

from engine.catalog.locate import ModelFiles
from engine.checkpoints.conversion import QuantizableModel
from engine.qwen3vl.config import read_config
from engine.qwen3vl.weights import QUANTIZATION_PLAN, open_weights


def quantizable_model(model_files: ModelFiles) -> QuantizableModel:
    """Open a model for quantisation.

    Raises:
        ModelUnavailable: Its weights or its config are missing or broken.
    """
    config = read_config(model_files.config_source, model_files.config)
    weights = open_weights(model_files.weights, config, model_files.mmproj)
    return QuantizableModel(weights, QUANTIZATION_PLAN, model_files.config, model_files.tokenizer)
