"""Small models with random weights."""

from dataclasses import replace

import torch
from golden import GOLDEN, config

from engine.checkpoints.random_weights import RandomWeights
from engine.contract import LoadOptions
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import Config, MoeConfig, RegionConfig, TextConfig, VisionConfig
from engine.moondream.model import Moondream
from engine.moondream.weights import shapes


def small(third: bool) -> Config:
    """Return a model wide enough for the kernels that split their sums, with another grid than the published models."""
    text = TextConfig(dim=256, ff_dim=2048, n_layers=2, n_heads=4, n_kv_heads=4, vocab_size=512, max_context=256)
    if third:
        text = replace(text, tau=True, moe=MoeConfig(6, 1, 2, 128))
    vision = VisionConfig(
        enc_dim=64, enc_n_layers=2, enc_ff_dim=128, enc_n_heads=2, proj_inner_dim=128, proj_out_dim=256,
        crop_size=64, enc_patch_size=8, max_crops=4, overlap_margin=1,
    )  # fmt: skip
    region = RegionConfig(dim=256, coord_feat_dim=32, size_feat_dim=32, inner_dim=None if third else 2048)
    return replace(config("moondream3" if third else "moondream2"), text=text, vision=vision, region=region)


def small_model(third: bool, dtype: torch.dtype, kind: str | None = None) -> Moondream:
    own = small(third)
    tokenizer = load_tokenizer(GOLDEN / "moondream2" / "tokenizer.json", 512)
    options = LoadOptions("cpu", str(dtype).removeprefix("torch."), kind, resize="pillow")
    return Moondream("small", own, RandomWeights(shapes(own), 3), tokenizer, options=options)
