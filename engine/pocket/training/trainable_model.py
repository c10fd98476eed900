"""The architecture of Moondream 2, as `engine.moondream` runs it, as trainable torch modules.

Parameters have their names in a checkpoint. Shapes are those of `examples.Batch`; E is the width of the text model.
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
    """Two linears with a tanh-approximated GELU between them."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, inner)
        self.fc2 = nn.Linear(inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the MLP to x, (..., inputs) -> (..., outputs)."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return y


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None) -> Tensor:
        """Attend within each of n sequences.

        Args:
            x: (n, rows, dim).
            rotary: Cosines and sines, (n, 1, rows, pairs) each; None: no rotary embedding.
            mask: Added to the scores, (n, 1, rows, rows); None: full attention.

        Returns:
            (n, rows, dim).
        """
        n, rows, dim = x.shape
        q, k, v = self.qkv(x).view(n, rows, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if rotary:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        y = attend(q * q.shape[-1] ** -0.5, k, v, mask)
        output: Tensor = self.proj(y.transpose(1, 2).reshape(n, rows, dim))
        return output


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Compute attention by plain matrix multiplications: the backward pass of torch's fused attention is far slower.

    Args:
        q: (n, heads, rows, head_dim), already scaled.
        k: (n, heads, rows, head_dim).
        v: (n, heads, rows, head_dim).
        mask: Added to the scores, (n, 1, rows, rows); None: full attention.

    Returns:
        (n, heads, rows, head_dim).
    """
    shape = q.shape
    q, k, v = (x.reshape(-1, *shape[2:]) for x in (q, k, v))
    if mask is None:
        scores = torch.bmm(q, k.mT)
    else:
        scores = torch.baddbmm(mask.expand(-1, shape[1], -1, -1).reshape(-1, *mask.shape[2:]), q, k.mT)
    return torch.bmm(torch.softmax(scores, -1), v).view(shape)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding as `engine.layers.rotary.rotate` does, interleaved.

    Args:
        x: (n, heads, rows, head_dim).
        cos: (n, 1, rows, pairs).
        sin: (n, 1, rows, pairs).

    Returns:
        (n, heads, rows, head_dim).
    """
    pairs = cos.shape[-1]
    a, b, rest = torch.split(x, [pairs, pairs, x.shape[-1] - 2 * pairs], dim=-1)
    rotated = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    return torch.cat([rotated, rest], dim=-1)


class VisionBlock(nn.Module):
    """A block of the vision encoder, with pre-normalisation."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.enc_dim)
        self.attn = Attention(config.enc_dim, config.enc_n_heads)
        self.ln2 = nn.LayerNorm(config.enc_dim)
        self.mlp = Mlp(config.enc_dim, config.enc_ff_dim, config.enc_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to x, (n, rows, dim)."""
        x = x + self.attn(self.ln1(x))
        y: Tensor = x + self.mlp(self.ln2(x))
        return y


class Vision(nn.Module):
    """The vision encoder and the projection into the text model."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_emb = nn.Linear(config.in_channels * config.enc_patch_size**2, config.enc_dim)
        self.pos_emb = nn.Parameter(torch.randn(1, config.grid**2, config.enc_dim) * 0.1)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.enc_n_layers))
        self.post_ln = nn.LayerNorm(config.enc_dim)
        self.proj_mlp = Mlp(2 * config.enc_dim, config.proj_inner_dim, config.proj_out_dim)

    def forward(self, pixels: Tensor, tilings: list[tuple[int, int]]) -> Tensor:
        """Encode images and project them: (B, P, E). Arguments as for `features`."""
        projected: Tensor = self.proj_mlp(self.features(pixels, tilings))
        return projected

    def features(self, pixels: Tensor, tilings: list[tuple[int, int]]) -> Tensor:
        """Encode images.

        Args:
            pixels: (C, S, S, 3) uint8, the crops of all images in order.
            tilings: Rows and columns of windows of each image.

        Returns:
            (B, P, twice the width of the encoder).
        """
        grid, patch, n = self.config.grid, self.config.enc_patch_size, len(pixels)
        squares = normalize_pixels(pixels, self.pos_emb.dtype).view(n, -1, grid, patch, grid, patch)
        x = self.patch_emb(squares.permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, -1)) + self.pos_emb
        for block in self.blocks:
            x = block(x)
        x = self.post_ln(x)
        features, first = [], 0
        for rows, columns in tilings:
            whole, tiles = x[first], x[first + 1 : first + 1 + rows * columns]
            tiled = whole
            if (rows, columns) != (1, 1):
                windows = tiles.view(-1, grid, grid, x.shape[-1])
                tiled = pool(stitch(windows, (rows, columns), self.config.overlap_margin), grid).flatten(0, 1)
            first += 1 + (rows * columns if (rows, columns) != (1, 1) else 0)
            features.append(torch.cat([whole, tiled], dim=-1))
        return torch.stack(features)


class TextBlock(nn.Module):
    """A block of the text model: attention and MLP in parallel."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(config.dim)
        self.attn = Attention(config.dim, config.n_heads)
        self.mlp = Mlp(config.dim, config.ff_dim, config.dim)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Apply the block to x, (n, rows, dim); rotary and mask as for `Attention`."""
        h = self.ln(x)
        y: Tensor = x + self.attn(h, rotary, mask) + self.mlp(h)
        return y


class Text(nn.Module):
    """The parameters of the text model."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.wte = nn.Parameter(torch.randn(config.vocab_size, config.dim) * 0.3)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.n_layers))
        self.post_ln = nn.LayerNorm(config.dim)
        self.lm_head = nn.Linear(config.dim, config.vocab_size)


class Region(nn.Module):
    """Encoders and decoders of coordinates and sizes."""

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
        """Embed coordinates or sizes.

        Args:
            values: (n, 2); a coordinate is the first of the two.
            sizes: Whether they are sizes.

        Returns:
            (n, E).
        """
        features = self.size_features if sizes else self.coord_features
        angles = 2 * math.pi * values[:, : len(features)] @ features
        encoder = self.size_encoder if sizes else self.coord_encoder
        embedded: Tensor = encoder(torch.cat([angles.cos(), angles.sin()], dim=-1))
        return embedded


class TrainableModel(nn.Module):
    """The whole model; its state dict is a Moondream checkpoint."""

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
        for block in (
            *self.vision.blocks,
            *self.text.blocks,
        ):  # small residual branches stabilise the start of training
            for last in (block.attn.proj, block.mlp.fc2):
                nn.init.normal_(last.weight, std=0.02)

    def forward(self, images: Tensor, batch: Batch) -> Tensor:
        """Compute the hidden states of a batch.

        Args:
            images: Projected image tokens of `vision`, (B, P, E).
            batch: With the inputs.

        Returns:
            Hidden states of the positions after the images, (B, R, E).
        """
        n, patches, _ = images.shape
        start = self.text.wte[self.config.tokenizer.bos_id].expand(n, 1, -1)
        x = torch.cat([start, images, self._embed(batch).to(images.dtype)], dim=1)
        prefix = torch.arange(1 + patches, device=x.device).expand(n, -1)
        positions = torch.cat([prefix, 1 + patches + batch.position], dim=1)
        rotary = (self.cos[positions][:, None].to(x.dtype), self.sin[positions][:, None].to(x.dtype))
        mask = attention_mask(batch.segment, 1 + patches).to(x.dtype)
        for block in self.text.blocks:
            x = block(x, rotary, mask)
        hidden: Tensor = x[:, 1 + patches :]
        return hidden

    def _embed(self, batch: Batch) -> Tensor:
        x = self.text.wte[batch.tokens]
        for kind in (COORDINATE, SIZE):
            where = batch.kinds == kind
            x[where] = self.region.embed(batch.values[where], kind == SIZE).to(x.dtype)
        return x


def attention_mask(segment: Tensor, prefix: int) -> Tensor:
    """Build the mask of packed tasks after a common prefix.

    All positions attend to the whole prefix, and those of a task causally within it.

    Args:
        segment: Number of the task, (B, R); 0: padding.
        prefix: Length of the prefix.

    Returns:
        (B, 1, prefix + R, prefix + R): 0 where attention is allowed, else -inf.
    """
    n, rows = segment.shape
    number = torch.cat([segment.new_zeros(n, prefix), torch.where(segment > 0, segment, -1)], dim=1)
    causal = torch.ones(prefix + rows, prefix + rows, dtype=torch.bool, device=segment.device).tril()
    allowed = (number[:, None] == 0) | ((number[:, :, None] == number[:, None]) & causal)
    return torch.zeros(allowed.shape, device=segment.device).masked_fill_(~allowed, float("-inf"))[:, None]
