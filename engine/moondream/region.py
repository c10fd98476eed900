"""The region heads: encode coordinates and sizes by Fourier features (Tancik et al. 2020), decode them from bins.

Bin b of n is b / n for a coordinate, and 2 ** (b / (n - 1) * 10 - 10) for a size: log-spaced from 1/1024 to 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.finite import check_logits
from engine.layers.activations import by_row
from engine.layers.linear import LinearLayer
from engine.layers.norms import layer_norm
from engine.layers.parameters import ParameterReader
from engine.moondream.config import RegionConfig


class RegionHeads:
    """Encoders and decoders of coordinates and sizes, which are fractions of the image."""

    def __init__(self, config: RegionConfig, reader: ParameterReader) -> None:
        self.dtype, self.device = reader.dtype, reader.device
        self._size_bins = config.size_out_dim // 2
        self.coordinate_features, self.size_features = reader("coord_features"), reader("size_features")
        self.coordinate_encoder = reader.linear("coord_encoder")
        self.size_encoder = reader.linear("size_encoder")
        self.coordinate_decoder = _decoder(config, reader, "coord_decoder")
        self.size_decoder = _decoder(config, reader, "size_decoder")
        # only in later checkpoints of Moondream 3
        self.norm = reader.norm("ln") if reader.has("ln.weight") else None

    def embed_coordinates(self, values: Sequence[float]) -> Tensor:
        """Embed coordinates for the text model, (values, dim)."""
        return self.coordinate_encoder(self._fourier([[value] for value in values], self.coordinate_features))

    def embed_sizes(self, sizes: Sequence[tuple[float, float]]) -> Tensor:
        """Embed pairs (width, height) for the text model, (sizes, dim)."""
        return self.size_encoder(self._fourier(sizes, self.size_features))

    def coordinates(self, hidden: Tensor) -> list[float]:
        """Decode a coordinate from each hidden state, (rows, dim). Raises NonFiniteOutput."""
        logits = self.coordinate_logits(hidden)
        check_logits(logits)
        return [bin / logits.shape[1] for bin in logits.argmax(-1).tolist()]

    def sizes(self, hidden: Tensor) -> list[tuple[float, float]]:
        """Decode (width, height) from each hidden state, (rows, dim); rounded to float32, as in the reference.

        Raises NonFiniteOutput.
        """
        logits = self.size_logits(hidden)
        check_logits(logits)
        bins = logits.argmax(-1)
        last = self._size_bins - 1
        sizes: list[tuple[float, float]] = (2.0 ** (bins.float() / last * 10 - 10)).tolist()
        return sizes

    def coordinate_logits(self, hidden: Tensor) -> Tensor:
        """Return logits (rows, bins) of hidden states (rows, dim)."""
        return self._decode(self.coordinate_decoder, hidden)

    def size_logits(self, hidden: Tensor) -> Tensor:
        """Return logits (rows, 2, bins) of width and height from hidden states (rows, dim)."""
        return self._decode(self.size_decoder, hidden).view(hidden.shape[0], 2, -1)

    def _decode(self, layers: list[LinearLayer], hidden: Tensor) -> Tensor:
        x = layer_norm(hidden, self.norm) if self.norm else hidden
        for layer in layers[:-1]:
            x = layer(x, gelu=True)
        return layers[-1](x)

    def _fourier(self, values: Sequence[Sequence[float]], features: Tensor) -> Tensor:
        x = torch.tensor(values, dtype=self.dtype, device=self.device)
        # not a GEMM, whose rounding would depend on the number of rows
        angles = ((2 * math.pi * x).float()[:, :, None] * features.float()).sum(1).to(self.dtype)
        return torch.cat([by_row(torch.cos, angles), by_row(torch.sin, angles)], dim=-1)


def _decoder(config: RegionConfig, reader: ParameterReader, name: str) -> list[LinearLayer]:
    if config.inner_dim is None:
        return [reader.linear(name)]
    return [reader.linear(f"{name}.fc1"), reader.linear(f"{name}.fc2")]
