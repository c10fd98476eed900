"""The tensors of GGUF files by the names of safetensors releases, their configs, split files, mmproj files."""

import json
import shutil
from pathlib import Path
from typing import Any

import gguf_files as gguf
import pytest
import torch
from safetensors.torch import load_file

from engine.checkpoints.gguf import GgufFile
from engine.checkpoints.gguf_checkpoint import GgufCheckpoint, open_gguf_checkpoint
from engine.checkpoints.gguf_config import hub_config
from engine.checkpoints.gguf_files import find_mmproj, open_gguf
from engine.checkpoints.tensor_map import TensorLocation, locate_tensors, map_tensors
from engine.contract import EngineError, ModelUnavailable
from engine.layers.linear_dispatch import make_linear
from engine.quantization.formats import Int8
from engine.quantization.gguf_blocks import GgufBlocks
from engine.quantization.plan import QuantizationPlan, QuantizedSource

GOLDEN = Path(__file__).parents[2] / "golden"
FAMILIES = ("qwen3-vl", "lfm2-vl")
families = pytest.mark.parametrize("family", FAMILIES)


def text_of(family: str) -> GgufFile:
    return open_gguf(GOLDEN / "gguf" / f"{family}-tiny-F16.gguf")


def vision_of(family: str) -> GgufFile:
    return open_gguf(GOLDEN / "gguf" / f"mmproj-{family}-tiny-F16.gguf")


def checkpoint_of(family: str) -> GgufCheckpoint:
    return open_gguf_checkpoint(text_of(family), vision_of(family))


@families
def test_all_tensors_have_the_names_shapes_and_weights_of_the_release(family: str) -> None:
    checkpoint, release = checkpoint_of(family), load_file(GOLDEN / family / "model.safetensors")
    assert set(checkpoint.names) == set(release)
    for name, tensor in release.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        read = checkpoint.read(name)
        assert read.dtype == checkpoint.dtype(name)
        assert torch.equal(read, tensor.to(read.dtype)), name


@families
def test_the_text_file_alone(family: str) -> None:
    release = load_file(GOLDEN / family / "model.safetensors")
    names = open_gguf_checkpoint(text_of(family), None).names
    assert set(names) == {name for name in release if name.startswith(("model.language_model.", "lm_head."))}


@families
def test_the_config_of_the_release(family: str) -> None:
    config = hub_config(text_of(family), vision_of(family))
    release = json.loads((GOLDEN / family / "config.json").read_text())
    only_here = {"pad_token_id": 320, "block_auto_adjust_ff_dim": False, "block_ff_dim": 160}
    for part in (config, config["text_config"], config["vision_config"]):
        expected = release if part is config else release[next(name for name in config if config[name] is part)]
        for name, value in part.items():
            if not isinstance(value, dict) or name == "rope_scaling":
                assert value == expected.get(name) or value == only_here[name], name
    assert "vision_config" not in hub_config(text_of(family), None)


@families
def test_a_file_as_tensor_source(family: str) -> None:
    checkpoint = checkpoint_of(family)
    shapes = {name: checkpoint.shape(name) for name in checkpoint.names}
    locations = locate_tensors(checkpoint, lambda name: [(name, TensorLocation(name))])
    source = map_tensors(checkpoint, locations, shapes)
    release = load_file(GOLDEN / family / "model.safetensors")
    name = "model.language_model.embed_tokens.weight"
    matrix = source.matrix(name, torch.float32)
    assert isinstance(matrix, GgufBlocks)
    assert matrix.type.name == "F16"
    assert torch.equal(matrix.dequantize(torch.float32), release[name].half().float())
    assert torch.equal(source.tensor(name, torch.bfloat16), release[name].half().bfloat16())
    with pytest.raises(ModelUnavailable, match="missing: another"):
        map_tensors(checkpoint, locations, shapes | {"another": (1,)})


def matrices(tmp_path: Path, name: str) -> tuple[GgufCheckpoint, torch.Tensor]:
    """A checkpoint of matrices of one type, and the weights of "first.weight"."""
    types = GOLDEN / "gguf" / "types"
    file = open_gguf(types / f"{name}.gguf")
    header = GgufFile(file.path, 3, {"general.architecture": "qwen3vl"}, file.tensors)
    return open_gguf_checkpoint(header, None), load_file(types / f"{name}.expected.safetensors")["first.weight"]


@pytest.mark.parametrize("name", ["F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_common_types_stay_as_they_lie(tmp_path: Path, name: str) -> None:
    checkpoint, expected = matrices(tmp_path, name)
    matrix = checkpoint.matrix("first.weight", torch.bfloat16)
    assert isinstance(matrix, GgufBlocks)
    assert not any("widened" in line for line in checkpoint.summary(torch.bfloat16))
    x = torch.linspace(-1, 1, 768)[None]
    linear = make_linear(matrix, None, torch.float32, packed=False)
    torch.testing.assert_close(linear(x), torch.nn.functional.linear(x, expected), rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("name", ["Q5_0", "Q5_1", "Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS"])
def test_rarer_types_are_widened(tmp_path: Path, name: str) -> None:
    checkpoint, expected = matrices(tmp_path, name)
    matrix = checkpoint.matrix("first.weight", torch.bfloat16)
    assert isinstance(matrix, torch.Tensor)
    assert torch.equal(matrix, expected.bfloat16())
    assert checkpoint.summary(torch.bfloat16)[1] == f"widened to bfloat16: 2 {name}"


def test_quantising_a_file(tmp_path: Path) -> None:
    import re

    plan = QuantizationPlan(re.compile(r".*\.weight"), re.compile(r"(?!)"))

    class Source:
        def __init__(self, checkpoint: GgufCheckpoint) -> None:
            self.matrix, self.tensor, self.row_table = checkpoint.matrix, checkpoint.read, checkpoint.row_table

        def has(self, name: str) -> bool:
            return True

    half = QuantizedSource(Source(matrices(tmp_path, "F16")[0]), plan, "int8")
    assert isinstance(half.matrix("first.weight", torch.float32), Int8)
    quantised = QuantizedSource(Source(matrices(tmp_path, "Q4_K")[0]), plan, "int8")
    with pytest.raises(EngineError, match=r"already quantised \(Q4_K\)"):
        quantised.matrix("first.weight", torch.float32)


def test_another_architecture(tmp_path: Path) -> None:
    file = gguf.File({"general.architecture": (gguf.STRING, "other")}).write(tmp_path / "x.gguf")
    with pytest.raises(ModelUnavailable, match="has the architecture 'other', which is not supported"):
        open_gguf_checkpoint(open_gguf(file), None)
    with pytest.raises(ModelUnavailable, match="is the vision part of a model: give its text file"):
        open_gguf_checkpoint(vision_of("lfm2-vl"), None)


def test_the_vision_file_of_another_model() -> None:
    with pytest.raises(ModelUnavailable, match=r"is not the mmproj file of qwen3-vl-tiny-F16.gguf"):
        open_gguf_checkpoint(text_of("qwen3-vl"), vision_of("lfm2-vl"))


F32 = (("a", (2,), 0, bytes(range(8))), ("b", (3,), 0, bytes(12)), ("c", (1,), 0, bytes(4)))


def split(folder: Path, total: int = 3) -> list[Path]:
    paths = []
    for i in range(3):
        metadata: dict[str, tuple[int, Any]] = {"split.no": (gguf.U16, i), "split.count": (gguf.U16, 3)}
        if i == 0:
            metadata |= {"general.architecture": (gguf.STRING, "x"), "split.tensors.count": (gguf.I32, total)}
        name = f"model-Q4_K_M-{i + 1:05}-of-00003.gguf"
        paths.append(gguf.File(metadata, [F32[i]]).write(folder / name))
    return paths


def test_a_split_file(tmp_path: Path) -> None:
    paths = split(tmp_path)
    for path in paths:
        file = open_gguf(path)
        assert list(file.tensors) == ["a", "b", "c"]
        assert [tensor.file for tensor in file.tensors.values()] == paths
        assert file.metadata["general.architecture"] == "x"
    assert bytes(file.tensors["a"].raw().numpy()) == bytes(range(8))


def test_a_split_file_in_bad_shape(tmp_path: Path) -> None:
    paths = split(tmp_path, total=4)
    with pytest.raises(ModelUnavailable, match="its parts have 3 tensors together, not 4"):
        open_gguf(paths[0])
    shutil.copyfile(paths[0], paths[1])
    with pytest.raises(ModelUnavailable, match="is not part 2"):
        open_gguf(paths[0])
    paths[1].unlink()
    with pytest.raises(ModelUnavailable, match=r"do not exist: model-Q4_K_M-00002-of-00003.gguf"):
        open_gguf(paths[0])
    renamed = paths[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(ModelUnavailable, match=r"is one of 3 parts, which must be named NAME-00001-of-00003.gguf"):
        open_gguf(renamed)


MMPROJ = [  # text file, files beside it, the one that belongs to it
    ("m-Q4_K_M.gguf", [], None),
    ("m-Q4_K_M.gguf", ["other-Q4_K_M.gguf"], None),
    ("m-Q4_K_M.gguf", ["mmproj-m-F16.gguf"], "mmproj-m-F16.gguf"),
    ("m-Q4_K_M.gguf", ["mmproj-m-F32.gguf", "mmproj-m-BF16.gguf", "mmproj-m-F16.gguf"], "mmproj-m-F16.gguf"),
    ("m-Q4_K_M.gguf", ["mmproj-m-F32.gguf", "mmproj-m-BF16.gguf"], "mmproj-m-BF16.gguf"),
    ("m-Q8_0.gguf", ["mmproj-m-F16.gguf", "mmproj-m-Q8_0.gguf"], "mmproj-m-Q8_0.gguf"),
    ("m-Q4_0.gguf", ["mmproj-m-Q8_0.gguf"], "mmproj-m-Q8_0.gguf"),
    ("M.Q4_K_M.gguf", ["M.mmproj-f16.gguf", "mmproj-other-F16.gguf"], "M.mmproj-f16.gguf"),
    ("m-UD-Q4_K_XL.gguf", ["mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
    ("m-Q4_K_M.gguf", ["mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
    ("m-Q4_K_M.gguf", ["mmproj-F16.gguf", "mmproj-m-F32.gguf"], "mmproj-m-F32.gguf"),
    ("m-Q4_K_M-00001-of-00002.gguf", ["mmproj-m-F16.gguf"], "mmproj-m-F16.gguf"),
    ("moondream2-text-model-f16.gguf", ["moondream2-mmproj-f16.gguf"], "moondream2-mmproj-f16.gguf"),
]


@pytest.mark.parametrize(("text", "beside", "chosen"), MMPROJ)
def test_the_mmproj_file_beside_a_text_file(tmp_path: Path, text: str, beside: list[str], chosen: str | None) -> None:
    for name in (text, *beside):
        gguf.File().write(tmp_path / name)
    found = find_mmproj(GgufFile(tmp_path / text, 3, {}, {}))
    assert (found.name if found else None) == chosen


def test_two_equal_mmproj_files(tmp_path: Path) -> None:
    for name in ("mmproj-m-F16.gguf", "m-mmproj-f16.gguf"):
        gguf.File().write(tmp_path / name)
    with pytest.raises(
        ModelUnavailable, match=r"several mmproj files would do; give one as --mmproj: m-mmproj-f16.gguf, "
    ):
        find_mmproj(GgufFile(tmp_path / "m-Q4_0.gguf", 3, {}, {}))


def test_an_mmproj_file_that_is_found_by_its_content(tmp_path: Path) -> None:
    for family in FAMILIES:
        shutil.copyfile(vision_of(family).path, tmp_path / f"mmproj-{family}-tuned-F16.gguf")
    shutil.copyfile(text_of("lfm2-vl").path, tmp_path / "mine.gguf")
    assert find_mmproj(open_gguf(tmp_path / "mine.gguf")) == tmp_path / "mmproj-lfm2-vl-tuned-F16.gguf"
