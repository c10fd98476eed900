"""GGUF files of a model, text and mmproj, as a checkpoint with the names of its safetensors release."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.checkpoints.gguf import GgufFile, GgufTensor
from engine.checkpoints.gguf_names import StoredTensor, model_tensors
from engine.checkpoints.reader import Shape
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name
from engine.quantization.formats import Matrix
from engine.quantization.gguf_blocks import GgufBlocks

# Types of matrices that stay as they lie in the file; those of other types are widened as they are read.
KEPT_TYPES = ("F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class GgufCheckpoint:
    """The tensors of a model by the names of its safetensors release; see `StoredTensors`."""

    path: Path
    tensors: Mapping[str, StoredTensor]
    mmproj: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(self.tensors)

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor."""
        stored = self._stored(name)
        if stored.join is None:
            return stored.parts[0].shape
        return tuple(stored.join([torch.empty(part.shape, device="meta") for part in stored.parts]).shape)

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype that a tensor is stored in; float32 if it is quantised in blocks."""
        return _FLOATS.get(self._stored(name).parts[0].type.name, torch.float32)

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Return a copy of a tensor, dequantised; dtype None: as stored.

        Raises:
            ModelUnavailable: There is no such tensor, or the file can't be read any more.
        """
        stored, dtype = self._stored(name), dtype or self.dtype(name)
        parts = [_blocks(part, device).dequantize(dtype).view(part.shape) for part in stored.parts]
        return parts[0] if stored.join is None else stored.join(parts).contiguous()

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """Return a matrix in the blocks that it is stored in, mapped from the file; else a copy as `read` does.

        Raises as `read` does.
        """
        stored = self._stored(name)
        if stored.join is not None or len(stored.parts[0].shape) != 2 or stored.parts[0].type.name not in KEPT_TYPES:
            return self.read(name, dtype, device)
        return _blocks(stored.parts[0], device)

    def row_table(self, name: str) -> None:
        """Return None: matrices are mapped from the file anyway."""

    def summary(self, dtype: torch.dtype) -> tuple[str, ...]:
        """Describe the files in lines for people, for a model that computes in this dtype."""
        types = [part.type for stored in self.tensors.values() for part in stored.parts]
        counts = Counter(kind.name for kind in types)
        widened = Counter(kind.name for kind in types if kind.is_quantized and kind.name not in KEPT_TYPES)
        vision = f"vision from {self.mmproj.name}" if self.mmproj else "text only: there is no mmproj file (--mmproj)"
        lines = [f"GGUF: {_listed(counts)}; {vision}"]
        if widened:
            lines.append(f"widened to {str(dtype).removeprefix('torch.')}: {_listed(widened)}")
        return tuple(lines)

    def _stored(self, name: str) -> StoredTensor:
        if name not in self.tensors:
            raise ModelUnavailable(f"{self.path}: has no tensor {quoted_name(name)}")
        return self.tensors[name]


def open_gguf_checkpoint(text: GgufFile, vision: GgufFile | None) -> GgufCheckpoint:
    """Open the tensors of a model.

    Args:
        text: Header of the text file.
        vision: Header of its mmproj file; None: the model has no vision.

    Raises:
        ModelUnavailable: The architecture is not supported, or the files don't belong together.
    """
    return GgufCheckpoint(text.path, model_tensors(text, vision), vision.path if vision else None)


def _listed(counts: Counter[str]) -> str:
    """Return tensors by type, such as "217 Q4_K, 37 Q6_K"."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _blocks(tensor: GgufTensor, device: torch.device | str) -> GgufBlocks:
    columns = tensor.shape[-1]
    raw = tensor.raw().view(-1, tensor.type.row_bytes(columns)).to(device)
    return GgufBlocks(raw, tensor.type, (len(raw), columns))
