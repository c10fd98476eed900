"""LoRA adapters in PEFT's form: the numbers of merged weights, in batches with others, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_lfm2vl import GOLDEN, config, image
from safetensors.torch import load_file, save_file

from engine.checkpoints.reader import open_checkpoint
from engine.contract import CaptionRequest, Done, EngineError, Generation, LoadOptions, ModelUnavailable, QueryRequest
from engine.generation.tokenizer import load_tokenizer
from engine.generation.vision_language_model import VisionLanguageModel
from engine.layers.lora import LoraAdapter
from engine.lfm2vl.model import FAMILY
from engine.lfm2vl.weights import open_weights, shapes

LAYERS = "language_model.layers"
ADAPTED = [
    f"{LAYERS}.0.conv.in_proj", f"{LAYERS}.1.conv.out_proj", f"{LAYERS}.1.feed_forward.w1",
    f"{LAYERS}.2.self_attn.q_proj", f"{LAYERS}.2.self_attn.v_proj", f"{LAYERS}.2.self_attn.out_proj",
    f"{LAYERS}.5.feed_forward.w2", f"{LAYERS}.5.feed_forward.w3", f"{LAYERS}.5.self_attn.k_proj",
]  # fmt: skip
RANK, ALPHA = 3, 6
GREEDY = Generation(temperature=0, min_p=0, repetition_penalty=1, max_tokens=8)


def pairs(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    draw, known = torch.Generator().manual_seed(seed), shapes(config())
    sizes = {name: known[f"{name}.weight"] for name in ADAPTED}
    return {
        name: (torch.randn(RANK, columns, generator=draw) / 8, torch.randn(rows, RANK, generator=draw) / 8)
        for name, (rows, columns) in sizes.items()
    }


def written(folder: Path, seed: int = 0, **changed: Any) -> str:
    folder.mkdir(exist_ok=True)
    tensors = {
        f"base_model.model.model.{name}.lora_{part}.weight": tensor
        for name, pair in pairs(seed).items()
        for part, tensor in zip("AB", pair, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings | changed))
    return str(folder)


def model(path: Path = GOLDEN / "model.safetensors", adapter: str | None = None) -> VisionLanguageModel:
    tokenizer = load_tokenizer(GOLDEN / "tokenizer.json", 447)
    options = LoadOptions("cpu", "float32", adapter=adapter)
    return FAMILY.build("tiny", config(), open_weights(path, config()), tokenizer, options=options)


def merged(folder: Path, seed: int, scale: float) -> VisionLanguageModel:
    """With the adapter's product added to the weights."""
    stored = load_file(GOLDEN / "model.safetensors")
    for name, (a, b) in pairs(seed).items():
        stored[f"model.{name}.weight"] = stored[f"model.{name}.weight"] + scale * b @ a
    save_file(stored, folder / "merged.safetensors")
    return model(folder / "merged.safetensors")


def last_state(loaded: VisionLanguageModel, adapter: LoraAdapter | None) -> torch.Tensor:
    cache = loaded.decoder.start(None)
    return loaded.decoder.step([(cache, adapter, [1, 6, 40, 90, 200, 300])])[0]


@pytest.mark.parametrize(("rank_stabilised", "scale"), [(False, ALPHA / RANK), (True, ALPHA / RANK**0.5)])
def test_an_adapter_is_the_merged_weights(tmp_path: Path, rank_stabilised: bool, scale: float) -> None:
    plain, path = model(), written(tmp_path / "own", use_rslora=rank_stabilised)
    adapted = last_state(plain, plain.adapters.get(path))
    torch.testing.assert_close(adapted, last_state(merged(tmp_path, 0, scale), None), atol=1e-3, rtol=1e-3)
    assert (adapted - last_state(plain, None)).abs().max() > 0.1


def test_requests_with_different_adapters_share_a_batch_and_an_image(tmp_path: Path) -> None:
    loaded, names = model(), [None, *(written(tmp_path / str(seed), seed) for seed in (1, 2))]
    [encoded] = loaded.encode([image("c")])
    requests: list[Any] = [QueryRequest(encoded, "what?", generation=GREEDY, adapter=name) for name in [*names, *names]]
    requests += [CaptionRequest(encoded, "short", GREEDY, name) for name in names]
    together, alone = (
        {event.index: event.result for event in loaded.run(requests, batch) if isinstance(event, Done)}
        for batch in (9, 1)
    )
    assert together == alone
    assert len(together) == len(requests)
    assert len({together[n].tokens for n in range(3)}) == 3  # type: ignore[union-attr]


def test_the_default_adapter_is_that_of_requests_without_one_and_changes_the_revision(tmp_path: Path) -> None:
    path = written(tmp_path / "own", 1)
    plain, adapted = model(), model(adapter=f"{path}/adapter_model.safetensors")
    first, second = (one.query(one.encode([image("a")]), "what?", generation=GREEDY)[0] for one in (plain, adapted))
    named = QueryRequest(plain.encode([image("a")])[0], "what?", generation=GREEDY, adapter=path)
    assert plain.results([named]) == [second] != [first]
    assert plain.revision != adapted.revision


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    loaded = model()

    def refused(path: str) -> str:
        with pytest.raises(ModelUnavailable) as caught:
            loaded.check(QueryRequest(None, "what?", adapter=path))
        return str(caught.value)

    assert "does not exist" in refused(str(tmp_path / "nothing"))
    assert "only plain LoRA" in refused(written(tmp_path / "dora", use_dora=True))
    assert "only plain LoRA" in refused(written(tmp_path / "saved", modules_to_save=["lm_head"]))
    assert "lora_alpha" in refused(written(tmp_path / "alpha", lora_alpha="much"))
    vision = Path(written(tmp_path / "vision"))
    name = "base_model.model.model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.lora_A.weight"
    save_file({name: torch.ones(1, 48)}, vision / "adapter_model.safetensors")
    assert "adapts no linear layer of the text model" in refused(str(vision))
    lone = Path(written(tmp_path / "lone"))
    tensors = open_checkpoint(lone / "adapter_model.safetensors")
    save_file({name: tensors.read(name) for name in tensors.names[1:]}, lone / "adapter_model.safetensors")
    assert "missing" in refused(str(lone))
    (vision / "adapter_config.json").unlink()
    assert "the scale of the adapter" in refused(str(vision))


def test_a_model_without_adaptable_layers_says_so() -> None:
    loaded = model()
    loaded.adapters = replace_linears(loaded)
    with pytest.raises(EngineError, match="tiny takes no LoRA adapters"):
        loaded.check(QueryRequest(None, "what?", adapter="x"))


def replace_linears(loaded: VisionLanguageModel) -> Any:
    return type(loaded.adapters)("tiny", {}, None, dtype=loaded.dtype, device="cpu")
