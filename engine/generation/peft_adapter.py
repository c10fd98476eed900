"""LoRA adapters in the form of PEFT (https://huggingface.co/docs/peft): adapter_model.safetensors, adapter_config.json.

An adapter may adapt any of the linear layers of the text model; A and B have low rank, and B is scaled as it is read.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.checkpoints.json_config import read_dataclass, require
from engine.contract import EngineError, ModelUnavailable
from engine.error_text import quoted_name, reason
from engine.layers.lora import LoraAdapter, make_adapter, read_tensors

MAX_CACHED = 5
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"(?:base_model\.model\.)?(?:model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")


@dataclass(frozen=True)
class AdapterConfig:
    """The fields of adapter_config.json that matter here."""

    lora_alpha: float
    peft_type: str = "LORA"
    bias: str = "none"
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] | None = None


class AdapterCache:
    """The adapters of a model, read when they are first used; the latest few are kept."""

    def __init__(
        self,
        model: str,
        linears: Mapping[str, tuple[int, ...]],
        default: str | None,
        *,
        dtype: torch.dtype,
        device: str,
    ) -> None:
        """Keep what adapters are checked against.

        Args:
            model: Name of the model, for errors.
            linears: (outputs, inputs) of the layers that may be adapted, by name; empty: the model takes no adapters.
            default: The adapter of requests that name none.
            dtype: Of the adapters.
            device: Of the adapters.
        """
        self._model, self._linears, self._default = model, linears, default
        self._dtype, self._device = dtype, device
        self._adapters: dict[str, LoraAdapter] = {}

    def get(self, name: str | None) -> LoraAdapter | None:
        """Return the adapter of a file or folder; of None the default, if there is one.

        Raises:
            EngineError: The model takes no adapters.
            ModelUnavailable: The adapter is missing or broken, or does not fit the model.
        """
        name = self._default if name is None else name
        if name is None:
            return None
        if not self._linears:
            raise EngineError(f"{self._model} takes no LoRA adapters: leave adapter out")
        if name not in self._adapters:
            if len(self._adapters) == MAX_CACHED:
                self._adapters.pop(next(iter(self._adapters)))
            self._adapters[name] = read_adapter(adapter_file(name), self._linears, self._dtype, self._device)
        return self._adapters[name]


def adapter_file(path: str) -> Path:
    """Return the weights of an adapter, given as this file or its folder; raise ModelUnavailable if there is none."""
    file = Path(path, WEIGHTS) if os.path.isdir(path) else Path(path)
    if not os.path.isfile(file):
        raise ModelUnavailable(f"no adapter {quoted_name(path)}: {file} does not exist")
    return file


def read_adapter(
    path: Path, linears: Mapping[str, tuple[int, ...]], dtype: torch.dtype, device: str = "cpu"
) -> LoraAdapter:
    """Read an adapter.

    Args:
        path: Its weights; adapter_config.json is beside them.
        linears: (outputs, inputs) of the layers that may be adapted, by name.
        dtype: Of the adapter.
        device: Of the adapter.

    Raises:
        ModelUnavailable: It does not fit the model, or uses what is not supported.
    """
    config = _read_config(path.with_name(CONFIG))
    tensors, adapted = {}, {}
    for stored, tensor in read_tensors(path).items():
        match = _NAME.fullmatch(stored)
        if not match or match[1] not in linears:
            raise ModelUnavailable(f"{path}: {quoted_name(stored)} adapts no linear layer of the text model")
        adapted[match[1]] = linears[match[1]]
        if match[2] == "B" and tensor.ndim == 2:
            rank = tensor.shape[1]
            tensor = tensor * (config.lora_alpha / (math.sqrt(rank) if config.use_rslora else rank))
        tensors[f"{match[1]}.{match[2]}"] = tensor
    return make_adapter(path, tensors, adapted, dtype=dtype, device=device)


def _read_config(path: Path) -> AdapterConfig:
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable(
            f"{path}: can't be read, and the scale of the adapter is in it: {reason(error)}"
        ) from error
    config = read_dataclass(AdapterConfig, data, str(path), ignore_unknown=True)
    plain = config.peft_type == "LORA" and config.bias == "none" and not (config.use_dora or config.fan_in_fan_out)
    only = "only plain LoRA is supported: no DoRA, biases, scales of single layers, or layers that are saved whole"
    require(str(path), plain and not config.alpha_pattern and not config.modules_to_save, only)
    return config
