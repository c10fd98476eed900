"""A Qwen3-VL that gives the same answer to everything, for what is done with an answer."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from golden_qwen import FOLDER
from safetensors.torch import load_file, save_file

END = "<|im_end|>"


def write_answering(folder: Path, answer: Sequence[str], *, endless: bool = False) -> Path:
    """Write a checkpoint whose next token depends on the last one alone.

    Args:
        folder: An empty folder.
        answer: Pieces of text, each of which becomes a token; at most twelve.
        endless: Begin anew after the last one, rather than end, in a context that has room for hours of it.

    Returns:
        The folder.
    """
    for path in FOLDER.glob("*config.json"):
        shutil.copy(path, folder)
    if endless:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["max_position_embeddings"] = 100_000_000
        (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((FOLDER / "tokenizer.json").read_text())
    plain = [token for token in tokenizer["added_tokens"] if not token["special"]]
    ids = []
    for token, text in zip(plain, answer, strict=False):
        token["content"] = text
        ids.append(token["id"])
    assert len(ids) == len(answer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    weights = load_file(FOLDER / "model.safetensors")
    for name, weight in weights.items():
        if "language_model.layers" in name and ("o_proj" in name or "down_proj" in name):
            weight.zero_()
    embeddings, head = weights["model.language_model.embed_tokens.weight"], weights["lm_head.weight"]
    embeddings.zero_()
    head.zero_()
    weights["model.language_model.norm.weight"].fill_(1)
    embeddings[:, 0] = 1  # any other token is followed by the beginning of the answer
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == END)
    last = ids[0] if endless else end
    for number, (token, following) in enumerate(zip([None, *ids], [*ids, last], strict=True)):
        if token is not None:
            embeddings[token] = torch.nn.functional.one_hot(torch.tensor(number), embeddings.shape[1])
        head[following, number] = 10
    save_file(weights, folder / "model.safetensors")
    return folder
