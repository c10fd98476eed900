"""The architecture of Moondream 2, as `engine.moondream` runs it, in a form that can be trained.

Parameters bear the names that they have in a checkpoint. Shapes as in `examples.Batch`, E: width of the text model.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.layers.rotary import rotary_table
from engine.moondream.config import Config, RegionConfig, TextConfig, VisionConfig
from engine.moondream.preprocess import normalize_pixels, pool, stitch
from engine.pocket.training.examples import COORDINATE, SIZE, Batch

COORDINATE_SCALE, SIZE_SCALE = 3.0, 2.0  # standard deviations of the frequencies of the Fourier features


class Mlp(nn.Module):
    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, inner)
        self.fc2 = nn.Linear(inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None) -> Tensor:
        """x: (n, rows, dim). mask: (n, 1, rows, rows), 0 where a row sees another, else -inf."""
        n, rows, dim = x.shape
        q, k, v = self.qkv(x).view(n, rows, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if rotary:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        mixed = attend(q * q.shape[-1] ** -0.5, k, v, mask)
        return self.proj(mixed.transpose(1, 2).reshape(n, rows, dim))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q: (n, heads, rows, head dim), scaled. Plain products: backwards torch's fused attention is far slower."""
    shape = q.shape
    q, k, v = (x.reshape(-1, *shape[2:]) for x in (q, k, v))
    if mask is None:
        scores = torch.bmm(q, k.mT)
    else:
        scores = torch.baddbmm(mask.expand(-1, shape[1], -1, -1).reshape(-1, *mask.shape[2:]), q, k.mT)
    return torch.bmm(torch.softmax(scores, -1), v).view(shape)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: (n, heads, rows, head dim); cos, sin: (n, 1, rows, pairs). As `engine.moondream.rotary.rotate`."""
    pairs = cos.shape[-1]
    a, b, rest = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    return torch.cat([turned, rest], dim=-1)


class VisionBlock(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.enc_dim)
        self.attn = Attention(config.enc_dim, config.enc_n_heads)
        self.ln2 = nn.LayerNorm(config.enc_dim)
        self.mlp = Mlp(config.enc_dim, config.enc_ff_dim, config.enc_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Vision(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_emb = nn.Linear(config.in_channels * config.enc_patch_size**2, config.enc_dim)
        self.pos_emb = nn.Parameter(torch.randn(1, config.grid**2, config.enc_dim) * 0.1)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.enc_n_layers))
        self.post_ln = nn.LayerNorm(config.enc_dim)
        self.proj_mlp = Mlp(2 * config.enc_dim, config.proj_inner_dim, config.proj_out_dim)

    def forward(self, pixels: Tensor, tilings: list[tuple[int, int]]) -> Tensor:
        """(B, P, E)."""
        grid, patch, n = self.config.grid, self.config.enc_patch_size, len(pixels)
        squares = normalize_pixels(pixels, self.pos_emb.dtype).view(n, -1, grid, patch, grid, patch)
        x = self.patch_emb(squares.permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, -1)) + self.pos_emb
        for block in self.blocks:
            x = block(x)
        x = self.post_ln(x)
        both, first = [], 0
        for rows, columns in tilings:
            whole, tiles = x[first], x[first + 1 : first + 1 + rows * columns]
            tiled = whole
            if (rows, columns) != (1, 1):
                windows = tiles.view(-1, grid, grid, x.shape[-1])
                tiled = pool(stitch(windows, (rows, columns), self.config.overlap_margin), grid).flatten(0, 1)
            first += 1 + (rows * columns if (rows, columns) != (1, 1) else 0)
            both.append(torch.cat([whole, tiled], dim=-1))
        return self.proj_mlp(torch.stack(both))


class TextBlock(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(config.dim)
        self.attn = Attention(config.dim, config.n_heads)
        self.mlp = Mlp(config.dim, config.ff_dim, config.dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        h = self.ln(x)
        return x + self.attn(h, rotary, mask) + self.mlp(h)


class Text(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.wte = nn.Parameter(torch.randn(config.vocab_size, config.dim) * 0.3)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.n_layers))
        self.post_ln = nn.LayerNorm(config.dim)
        self.lm_head = nn.Linear(config.dim, config.vocab_size)


class Region(nn.Module):
    coord_features: Tensor
    size_features: Tensor

    def __init__(self, config: RegionConfig) -> None:
        super().__init__()
        inner = config.inner_dim or config.dim
        self.register_buffer("coord_features", torch.randn(1, config.coord_feat_dim // 2) * COORDINATE_SCALE)
        self.register_buffer("size_features", torch.randn(2, config.size_feat_dim // 2) * SIZE_SCALE)
        self.coord_encoder = nn.Linear(config.coord_feat_dim, config.dim)
        self.size_encoder = nn.Linear(config.size_feat_dim, config.dim)
        self.coord_decoder = Mlp(config.dim, inner, config.coord_out_dim)
        self.size_decoder = Mlp(config.dim, inner, config.size_out_dim)

    def embed(self, values: Tensor, sizes: bool) -> Tensor:
        """values: (n, 2), of which a coordinate is the first -> (n, E)."""
        features = self.size_features if sizes else self.coord_features
        angles = 2 * math.pi * values[:, : len(features)] @ features
        encoder = self.size_encoder if sizes else self.coord_encoder
        return encoder(torch.cat([angles.cos(), angles.sin()], dim=-1))


class Student(nn.Module):
    """The whole model; its state under "vision.", "text." and "region." is a checkpoint."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vision = Vision(config.vision)
        self.text = Text(config.text)
        self.region = Region(config.region)
        text = config.text
        cos, sin = rotary_table(text.rotary_dim, text.rope_theta, text.max_context, "cpu")
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, parameter in self.named_parameters():
            if name.endswith(".weight") and parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)
        for block in (*self.vision.blocks, *self.text.blocks):  # deep stacks start as if they were shallow
            for last in (block.attn.proj, block.mlp.fc2):
                nn.init.normal_(last.weight, std=0.02)

    def forward(self, pictures: Tensor, batch: Batch) -> Tensor:
        """The hidden states behind the pictures' embeddings (B, P, E), as `vision` gives them: (B, R, E)."""
        n, patches, _ = pictures.shape
        start = self.text.wte[self.config.tokenizer.bos_id].expand(n, 1, -1)
        x = torch.cat([start, pictures, self._embedded(batch).to(pictures.dtype)], dim=1)
        before = torch.arange(1 + patches, device=x.device).expand(n, -1)
        positions = torch.cat([before, 1 + patches + batch.position], dim=1)
        rotary = (self.cos[positions][:, None].to(x.dtype), self.sin[positions][:, None].to(x.dtype))
        mask = visible(batch.lesson, 1 + patches).to(x.dtype)
        for block in self.text.blocks:
            x = block(x, rotary, mask)
        return x[:, 1 + patches :]

    def _embedded(self, batch: Batch) -> Tensor:
        x = self.text.wte[batch.tokens]
        for kind in (COORDINATE, SIZE):
            there = batch.kinds == kind
            x[there] = self.region.embed(batch.values[there], kind == SIZE).to(x.dtype)
        return x


def visible(lesson: Tensor, prefix: int) -> Tensor:
    """(B, 1, prefix + R, prefix + R): 0 where a position may look, else -inf.

    All see the whole prefix, and those of a lesson what comes before them in it.
    """
    n, rows = lesson.shape
    number = torch.cat([lesson.new_zeros(n, prefix), torch.where(lesson > 0, lesson, -1)], dim=1)
    earlier = torch.ones(prefix + rows, prefix + rows, dtype=torch.bool, device=lesson.device).tril()
    seen = (number[:, None] == 0) | ((number[:, :, None] == number[:, None]) & earlier)
    return torch.zeros(seen.shape, device=lesson.device).masked_fill_(~seen, float("-inf"))[:, None]
