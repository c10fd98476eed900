"""A made-up family, as small as one can be: a tile of 16x16 pixels is a token, and a plain decoder reads them.

It shows what a family has to bring (docs/families.md); tests/engine/test_made_up_family.py runs it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.checkpoints.config_matcher import ConfigMatcher
from engine.checkpoints.json_config import read_dataclass
from engine.checkpoints.reader import Shape, open_checkpoint
from engine.checkpoints.tensor_map import TensorLocation, TensorMap, locate_tensors, map_tensors
from engine.contract import Abilities, Box, Generation, ImageBudget
from engine.generation.chat_prompt import ImagePart
from engine.generation.chat_template import ChatTemplate
from engine.generation.decoder_block import Attention, GroupedQueryBlock
from engine.generation.image_features import ImageFeatures
from engine.generation.model_setup import ModelSetup
from engine.generation.prompt_style import ObjectQuestion, PromptStyle, abilities_of
from engine.generation.text_model import TextModel
from engine.generation.transformer import Transformer
from engine.generation.vlm_family import VlmFamily, VlmParts
from engine.layers.parameters import ParameterReader
from engine.layers.rotary import rotary_table
from engine.layers.swiglu import SwiGlu
from engine.quantization.plan import QuantizationPlan
from engine.resize import resize_with_torch
from engine.stepwise import Stepwise

SIDE = 16
MATCHER = ConfigMatcher(("made_up",), "<image>")
PLAN = QuantizationPlan(re.compile(r"(text|vision)\..*(proj|patches)\.weight"), re.compile(r"text\..*"))
STYLE = PromptStyle(
    ChatTemplate("chatml", "made-up", {"image_token": "<image>"}),
    "<image>",
    ("<|im_end|>",),
    Generation(temperature=0.0, top_p=1.0, max_tokens=16),
    detect=ObjectQuestion(Box, "Where is {prompt}?", "box"),
)


@dataclass(frozen=True)
class Config:
    hidden_size: int
    layers: int
    heads: int
    vocab_size: int


def read_config(source: str, data: Any) -> Config:
    return read_dataclass(Config, data, source, ignore_unknown=True)


def shapes(config: Config) -> dict[str, Shape]:
    size = config.hidden_size
    found: dict[str, Shape] = {"vision.patches.weight": (size, 3 * SIDE * SIDE), "vision.patches.bias": (size,)}
    found |= {"text.embed_tokens.weight": (config.vocab_size, size), "text.norm.weight": (size,)}
    for layer in range(config.layers):
        for name in (*"qkvo", "gate", "up", "down"):
            found[f"text.{layer}.{name}_proj.weight"] = (size, size)
        found |= {f"text.{layer}.{name}.weight": (size,) for name in ("norm1", "norm2")}
        found |= {f"text.{layer}.{name}.weight": (size // config.heads,) for name in ("q_norm", "k_norm")}
    return found


def open_weights(path: Path, config: Config, mmproj: Path | None) -> TensorMap:
    checkpoint = open_checkpoint(path)
    return map_tensors(
        checkpoint, locate_tensors(checkpoint, lambda name: [(name, TensorLocation(name))]), shapes(config)
    )


class Images:
    """An image is resized to whole tiles, within the budget; a tile's pixels are projected to its token."""

    budget = ImageBudget(1, 16)

    def __init__(self, reader: ParameterReader) -> None:
        self.typical_linear = reader.linear("patches")
        self.dtype, self.device = reader.dtype, reader.device

    def encode(self, image: np.ndarray, budget: ImageBudget) -> Stepwise[list[ImagePart]]:
        side = min(max(1, max(image.shape[:2]) // SIDE), int((budget.max_tokens or 1) ** 0.5))
        tiles = torch.from_numpy(resize_with_torch(image, side * SIDE, side * SIDE, "bilinear"))
        yield  # others may run in between
        rows = tiles.view(side, SIDE, side, -1).transpose(1, 2).reshape(side * side, -1)
        return [ImageFeatures(self.typical_linear(rows.to(self.device, self.dtype) / 255), (side, side))]

    def compile(self) -> None:
        """Nothing lies between its GEMMs."""


def text_model(config: Config, reader: ParameterReader) -> TextModel:
    def block(layer: int) -> GroupedQueryBlock:
        q, k, v, o, gate, up, down = (reader.linear(f"{layer}.{n}_proj") for n in (*"qkvo", "gate", "up", "down"))
        norm1, norm2, q_norm, k_norm = (reader(f"{layer}.{n}.weight") for n in ("norm1", "norm2", "q_norm", "k_norm"))
        attention, mlp = Attention(q, k, v, o, q_norm, k_norm), SwiGlu(gate, up, down)
        head = config.hidden_size // config.heads
        return GroupedQueryBlock(f"text.{layer}", norm1, attention, norm2, mlp, config.heads, head, 1e-6)

    cos, sin = rotary_table(config.hidden_size // config.heads, 10_000.0, 512, reader.device)
    blocks = [block(layer) for layer in range(config.layers)]
    transformer = Transformer(blocks, lambda at: (cos[at], sin[at]), reader.dtype, reader.device)
    return TextModel.read(reader, transformer, "norm", eps=1e-6, max_context=512)


def build_parts(config: Config, setup: ModelSetup) -> VlmParts:
    images = Images(setup.reader("vision"))
    return VlmParts(text_model(config, setup.reader("text")), images, images.typical_linear)


def abilities(source: str, config: Any) -> Abilities:
    read_config(source, config)
    return abilities_of(STYLE)


FAMILY = VlmFamily(read_config, open_weights, PLAN, lambda config: STYLE, lambda config: config.vocab_size, build_parts)
