"""From a name or a path to config, weights and tokenizer: on tiny models, and on files that have only headers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from engine.catalog.locate import locate
from engine.catalog.published import Source, TokenizerSource, published
from engine.contract import ModelUnavailable
from engine.moondream.config import read_config

GOLDEN = Path(__file__).parents[2] / "golden"
SOURCE = published()["moondream2"].source
assert isinstance(SOURCE, Source)
REVISION, STARMIE = SOURCE.revision, SOURCE.tokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my-model.v2"
    folder.mkdir()
    return folder


def write_shapes(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of full size that takes no room: all but its header is a hole."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 1
        for side in shape:
            size *= side
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)


def current_shapes(name: str, prefix: str = "model.") -> dict[str, list[int]]:
    """Some of the tensors that a published model has, under the current names."""
    config = read_config(name, published()[name].config)
    text, vision = config.text, config.vision
    shapes = {"text.wte": [text.vocab_size, text.dim], "vision.pos_emb": [1, 729, vision.enc_dim]}
    shapes |= {f"text.blocks.{i}.ln.weight": [text.dim] for i in range(text.n_layers)}
    shapes |= {f"vision.blocks.{i}.ln1.weight": [vision.enc_dim] for i in range(vision.enc_n_layers)}
    if text.moe:
        shapes["text.blocks.4.mlp.router.weight"] = [text.moe.num_experts, text.dim]
    if text.group_size:
        shapes["text.blocks.0.mlp.fc1.weight.packed"] = [8, 128]
    return {prefix + name: shape for name, shape in shapes.items()}


def older_shapes(name: str) -> dict[str, list[int]]:
    config = read_config(name, published()[name].config)
    text, vision = config.text, config.vision
    eye = "vision_encoder.encoder.model.visual"
    shapes = {
        "text_model.transformer.embd.wte.weight": [text.vocab_size, text.dim],
        f"{eye}.pos_embed": [1, 729, vision.enc_dim],
    }
    shapes |= {f"text_model.transformer.h.{i}._orig_mod.ln.weight": [text.dim] for i in range(text.n_layers)}
    return shapes | {f"{eye}.blocks.{i}.norm1.weight": [vision.enc_dim] for i in range(vision.enc_n_layers)}


def write_tokenizer(path: Path, end_of_text: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = {"<|endoftext|>": end_of_text, "a": end_of_text + 1}
    Tokenizer(BPE(vocabulary, [])).save(str(path))


def put_starmie(cache: Path, source: TokenizerSource = STARMIE) -> Path:
    path = cache / f"models--{source.repo.replace('/', '--')}" / "snapshots" / source.revision / source.file
    write_tokenizer(path, 0)
    return path


@pytest.mark.parametrize("name", ["moondream2", "moondream3"])
def test_a_folder_with_its_own_config(name: str, tmp_path: Path) -> None:
    model_files = locate(str(GOLDEN / name))
    assert (model_files.name, model_files.family) == (name, "moondream")
    assert model_files.weights == GOLDEN / name / "model.safetensors"
    assert model_files.tokenizer == GOLDEN / name / "tokenizer.json"
    config = read_config(model_files.config_source, model_files.config)
    assert config.text.dim == 128
    assert config.is_moondream3 == (name == "moondream3")
    by_file = locate(str(GOLDEN / name / "model.safetensors"))
    assert (by_file.name, by_file.config, by_file.weights) == ("model", model_files.config, model_files.weights)
    within = tmp_path / name
    shutil.copytree(GOLDEN / name, within)
    (within / "config.json").write_text(json.dumps({"model_type": "moondream1", "config": model_files.config}))
    assert locate(str(within)).config == model_files.config


@pytest.mark.parametrize("name", ["moondream3.1", "moondream2-2025-04-14-4bit", "moondream-0.5b", "moondream2"])
def test_tensor_shapes_tell_which_model_it_is(name: str, folder: Path) -> None:
    write_shapes(folder / "model.safetensors", current_shapes(name))
    (folder / "config.json").write_text('{"config": {}, "model_type": "moondream1"}')
    write_tokenizer(folder / "tokenizer.json", published()[name].config["tokenizer"]["bos_id"])
    model_files = locate(str(folder))
    assert model_files.config == published()[name].config
    assert model_files.name == "my-model.v2"
    assert f"{name}.json" in model_files.config_source
    assert model_files.tokenizer == folder / "tokenizer.json"


def test_of_shards_all_headers_count(folder: Path) -> None:
    shapes = list(current_shapes("moondream3.1", "").items())
    parts = {"a.safetensors": dict(shapes[:20]), "b.safetensors": dict(shapes[20:])}
    for file, some in parts.items():
        write_shapes(folder / file, some)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, some in parts.items() for name in some}}))
    write_tokenizer(folder / "tokenizer.json", 0)
    assert locate(str(folder)).config == published()["moondream3.1"].config
    assert locate(str(folder)).weights == locate(str(index)).weights == index
    (folder / "b.safetensors").unlink()
    for path in (folder, index):
        with pytest.raises(ModelUnavailable, match=r"b\.safetensors"):
            locate(str(path))


@pytest.mark.parametrize(
    ("shapes", "files", "name"),
    [
        (older_shapes, {}, "moondream2-2025-04-14"),
        (older_shapes, {"config.py": 'caption = {"short": [], "normal": []}'}, "moondream2-2025-03-27"),
        (current_shapes, {"moondream.py": "Tokenizer.from_pretrained('m')"}, "moondream2-2025-04-14"),
        (current_shapes, {"moondream.py": "from_pretrained('moondream/starmie-v1')"}, "moondream2"),
        (current_shapes, {"config.py": 'caption = {"long": []}'}, "moondream2"),
    ],
)
def test_old_releases_are_known_by_what_lies_there(
    shapes: Callable[[str], dict[str, list[int]]], files: dict[str, str], name: str, folder: Path
) -> None:
    write_shapes(folder / "model.safetensors", shapes("moondream2"))
    write_tokenizer(folder / "tokenizer.json", published()[name].config["tokenizer"]["bos_id"])
    for file, text in files.items():
        (folder / file).write_text(text + "\nraise SystemExit('run')")
    assert locate(str(folder)).config == published()[name].config


def test_a_tokenizer_of_the_right_size_is_believed_whatever_its_end_of_text(tmp_path: Path) -> None:
    within = tmp_path / "mine"
    shutil.copytree(GOLDEN / "moondream2", within)
    config = json.loads((within / "config.json").read_text())
    config["tokenizer"] |= {"bos_id": 511, "eos_id": 511}
    (within / "config.json").write_text(json.dumps(config))
    assert locate(str(within)).tokenizer == within / "tokenizer.json"
    config["text"]["vocab_size"] = 600
    (within / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="of another model"):
        locate(str(within))


def test_a_stale_tokenizer_is_not_used(folder: Path, cache: Path) -> None:
    write_shapes(folder / "model.safetensors", current_shapes("moondream2"))
    for stale in (True, False):
        if stale:
            write_tokenizer(folder / "tokenizer.json", 50256)
        else:
            (folder / "tokenizer.json").unlink()
        with pytest.raises(ModelUnavailable, match=f"hf download {STARMIE.repo} {STARMIE.file} --revision") as caught:
            locate(str(folder))
        assert ("of another model" in str(caught.value)) == stale
    write_tokenizer(folder / "tokenizer.json", 50256)
    starmie = put_starmie(cache)
    assert locate(str(folder)).tokenizer == starmie


def test_a_tokenizer_that_is_not_the_config_s(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "moondream2", folder)
    write_tokenizer(folder / "tokenizer.json", 7)
    with pytest.raises(ModelUnavailable, match=r"tokenizer.json: is the tokenizer of another model; put"):
        locate(str(folder))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="not a readable tokenizer"):
        locate(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"there is no tokenizer.json; put"):
        locate(str(folder))


def test_a_name(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailable, match="not on this machine; get it with `mdtool models pull moondream2`"):
        locate("moondream2")
    with pytest.raises(ModelUnavailable, match=r"moondream-0.5b: its weights .* --model PATH"):
        locate("moondream-0.5b")
    with pytest.raises(ModelUnavailable, match=r"did you mean 'moondream3\.1'\?"):
        locate("moondream3.2")
    snapshot = cache / "models--vikhyatk--moondream2/snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    (snapshot / "tokenizer.json").write_bytes(b"stale")
    reference = snapshot.parents[1] / "refs" / REVISION
    reference.parent.mkdir()
    reference.write_text("c" * 40)
    starmie = put_starmie(cache)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moondream2").mkdir()  # a name is a name, whatever lies here
    model_files = locate("moondream2")
    assert (model_files.weights, model_files.tokenizer) == (snapshot / "model.safetensors", starmie)
    assert model_files.revision == "c" * 40
    assert model_files.config == published()["moondream2"].config
    with pytest.raises(ModelUnavailable, match="no weights"):
        locate("./moondream2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "no model ''"),
        ("no\0name", "no model"),
        ("x" * 5000, "no model"),
        ("~no-such-user", "no model"),
        ("~no-such-user/weights", "no such file or folder"),
        ("moondream2/", "no such file or folder"),
    ],
)
def test_names_of_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnavailable, match=said):
        locate(name)


@pytest.mark.parametrize(
    ("files", "asked", "said"),
    [
        ({}, "", "no weights"),
        ({}, "nothing.safetensors", "no such file or folder"),
        ({"pytorch_model.bin": b"x"}, "", "pytorch_model.bin: this format is not supported"),
        ({"model.ggml": b"x"}, "model.ggml", "this format is not supported; convert the weights to safetensors"),
        ({"model.gguf": b"GGUF"}, "model.gguf", "cut off, or is damaged"),
        ({"model.gguf": b"other"}, "", "not a GGUF file"),
        ({"weights.pt": b"x"}, "weights.pt", "this format is not supported"),
        ({"notes.txt": b"x"}, "notes.txt", "must be weights"),
        ({"a.safetensors": b"x", "b.safetensors": b"x"}, "", r"several .* a.safetensors, b.safetensors"),
        ({"model-00001-of-00002.safetensors": b"x"}, "", "without their index"),
        ({"model.safetensors.index.json": b"{"}, "", "index.json: not JSON"),
        ({"model.safetensors": b"x"}, "", "not a valid safetensors file"),
        ({"model.safetensors": b"\xff" * 64}, "", "not a valid safetensors file"),
        ({"model.safetensors": b"", "config.json": b"{"}, "", "config.json: not valid JSON"),
        ({"model.safetensors": b"", "config.json": b"[" * 100_000}, "", "config.json: not valid JSON"),
        ({"model.safetensors": b"", "config.json": b"\xff"}, "", "config.json: not valid JSON"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}, "", "not the weights of a known model .*text width 0"),
    ],
)
def test_broken_input_is_one_clear_line(folder: Path, files: dict[str, bytes], asked: str, said: str) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ModelUnavailable, match=said) as caught:
        locate(str(folder / asked))
    assert "\n" not in str(caught.value)
