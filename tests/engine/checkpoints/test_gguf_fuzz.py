"""Damaged and hostile GGUF files: a result, or one clear error, within the memory of the file."""

import random
from pathlib import Path

import pytest
import torch

from engine.checkpoints.gguf import read_gguf
from engine.checkpoints.gguf_checkpoint import open_gguf_checkpoint
from engine.checkpoints.gguf_config import hub_config
from engine.checkpoints.gguf_files import open_gguf
from engine.contract import ModelUnavailable
from engine.generation.chat_template import ChatTemplate
from engine.generation.gguf_tokenizer import begin_token, chat_template, gguf_bpe, stop_ids
from engine.quantization.gguf_blocks import BLOCK_TYPES, GgufBlocks

GOLDEN = Path(__file__).parents[2] / "golden" / "gguf"
FEW, MANY = 400, 10_000
TINY = ["qwen3-vl-tiny-F16", "lfm2-vl-tiny-Q8_0", "mmproj-lfm2-vl-tiny-F16", "container", "types/Q4_K", "types/Q3_K"]
MAX_GROWTH = 512 << 20  # bytes of memory, of all files together


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A file with a few bytes, integers or pieces changed, most of them in its header."""
    data = bytearray(whole)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = min(int(draw.expovariate(1 / 3000)), len(data) - 9)
        kind = draw.randrange(6)
        if kind == 0:
            data[at] = draw.randrange(256)
        elif kind == 1:
            value = draw.choice([0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, draw.getrandbits(64)])
            data[at : at + 8] = value.to_bytes(8, "little")
        elif kind == 2:
            del data[at : at + draw.choice([1, 4, 100])]
        elif kind == 3:
            data[at:at] = draw.randbytes(draw.choice([1, 4, 100]))
        elif kind == 4:
            del data[draw.randrange(len(data)) :]
            data += bytes(max(0, 16 - len(data)))
        else:
            data[at] ^= 1 << draw.randrange(8)
    return bytes(data)


def use(path: Path) -> None:
    """Whatever loading a model does with a file."""
    header = open_gguf(path)
    for tensor in header.tensors.values():
        columns = tensor.shape[-1]
        raw = tensor.raw().view(-1, tensor.type.row_bytes(columns))
        GgufBlocks(raw, tensor.type, (len(raw), columns)).rows(slice(0, 2), torch.float32)
    header.text("general.architecture")
    checkpoint = open_gguf_checkpoint(header, None)
    for name in checkpoint.names:
        checkpoint.shape(name)
    hub_config(header, None)
    bpe = gguf_bpe(header)
    bpe.decode(bpe.encode("the quick brown fox <|im_end|> 123").ids)
    stop_ids(header)
    begin_token(header)
    ChatTemplate(chat_template(header) or "", "x").check()


def error_of(path: Path) -> str | None:
    try:
        use(path)
    except ModelUnavailable as error:
        return str(error)
    return None


def fuzz(tmp_path: Path, count: int, seed: int) -> int:
    """Use damaged files; return how many were still of use."""
    import resource

    draw, worked, path = random.Random(seed), 0, tmp_path / "x.gguf"
    wholes = [(GOLDEN / f"{name}.gguf").read_bytes() for name in TINY]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        path.write_bytes(damaged(draw.choice(wholes), draw))
        message = error_of(path)
        worked += message is None
        assert message is None or (len(message.splitlines()) == 1 and len(message) < 700)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_GROWTH
    return worked


@pytest.mark.posix("measures memory by getrusage")
def test_damaged_files(tmp_path: Path) -> None:
    assert 0 < fuzz(tmp_path, FEW, 1) < FEW


@pytest.mark.slow
@pytest.mark.posix("measures memory by getrusage")
def test_many_damaged_files(tmp_path: Path) -> None:
    assert 0 < fuzz(tmp_path, MANY, 2) < MANY


@pytest.mark.parametrize("name", [block.name for block in BLOCK_TYPES.values()])
def test_blocks_of_any_bytes(name: str) -> None:
    kind = next(block for block in BLOCK_TYPES.values() if block.name == name)
    draw = torch.Generator().manual_seed(1)
    raw = torch.randint(0, 256, (40, kind.row_bytes(512)), dtype=torch.uint8, generator=draw)
    for content in (raw, torch.zeros_like(raw), torch.full_like(raw, 255)):
        weights = GgufBlocks(content, kind, (40, 512)).dequantize(torch.float32)
        assert weights.shape == (40, 512)
    assert torch.equal(
        GgufBlocks(torch.zeros_like(raw), kind, (40, 512)).dequantize(torch.float32), torch.zeros(40, 512)
    )


def test_files_of_noise(tmp_path: Path) -> None:
    draw, path = random.Random(3), tmp_path / "x.gguf"
    for _ in range(100):
        path.write_bytes(b"GGUF\3\0\0\0" + draw.randbytes(draw.randrange(200)))
        with pytest.raises(ModelUnavailable):
            read_gguf(path)
