"""The tensors of GGUF files under the names and in the layouts of the families' safetensors releases.

A table has the names without ".weight" and ".bias"; "{}" is the number of a layer, the same on both sides.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.checkpoints.gguf import GgufFile, GgufTensor
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name

_TEXT = "model.language_model."
_LAYER = f"{_TEXT}layers.{{}}."
_QWEN_VISION = "model.visual."
_LFM_VISION = "model.vision_tower.vision_model."
_PROJECTOR = "model.multi_modal_projector."


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a model: tensors of files, and what makes the model's tensor of them; None: it is the only one."""

    parts: tuple[GgufTensor, ...]
    join: Callable[[Sequence[Tensor]], Tensor] | None = None


@dataclass(frozen=True)
class Architecture:
    """The names of an architecture's tensors.

    Attributes:
        text: Names in text files -> names in safetensors.
        vision: The same for mmproj files.
        projector: `clip.projector_type` of its mmproj files.
        joins: Name in safetensors, with ".weight" -> names of the parts, and what makes the tensor of them.
    """

    text: Mapping[str, str]
    vision: Mapping[str, str]
    projector: str
    joins: Mapping[str, tuple[tuple[str, ...], Callable[[Sequence[Tensor]], Tensor]]] = field(default_factory=dict)


def _rows(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts))


_QKV = tuple(f"v.blk.{{}}.attn_{part}" for part in "qkv")
_DECODER = {
    "token_embd": f"{_TEXT}embed_tokens",
    "output": "lm_head",
    "blk.{}.attn_q": f"{_LAYER}self_attn.q_proj",
    "blk.{}.attn_k": f"{_LAYER}self_attn.k_proj",
    "blk.{}.attn_v": f"{_LAYER}self_attn.v_proj",
}

# By `general.architecture` of the text file.
ARCHITECTURES: Mapping[str, Architecture] = {
    "qwen3vl": Architecture(
        text={
            **_DECODER,
            "output_norm": f"{_TEXT}norm",
            "blk.{}.attn_norm": f"{_LAYER}input_layernorm",
            "blk.{}.ffn_norm": f"{_LAYER}post_attention_layernorm",
            "blk.{}.attn_output": f"{_LAYER}self_attn.o_proj",
            "blk.{}.attn_q_norm": f"{_LAYER}self_attn.q_norm",
            "blk.{}.attn_k_norm": f"{_LAYER}self_attn.k_norm",
            "blk.{}.ffn_gate": f"{_LAYER}mlp.gate_proj",
            "blk.{}.ffn_up": f"{_LAYER}mlp.up_proj",
            "blk.{}.ffn_down": f"{_LAYER}mlp.down_proj",
        },
        vision={
            "v.patch_embd": f"{_QWEN_VISION}patch_embed.proj",
            "v.position_embd": f"{_QWEN_VISION}pos_embed",
            "v.blk.{}.ln1": f"{_QWEN_VISION}blocks.{{}}.norm1",
            "v.blk.{}.ln2": f"{_QWEN_VISION}blocks.{{}}.norm2",
            "v.blk.{}.attn_qkv": f"{_QWEN_VISION}blocks.{{}}.attn.qkv",
            "v.blk.{}.attn_out": f"{_QWEN_VISION}blocks.{{}}.attn.proj",
            "v.blk.{}.ffn_up": f"{_QWEN_VISION}blocks.{{}}.mlp.linear_fc1",
            "v.blk.{}.ffn_down": f"{_QWEN_VISION}blocks.{{}}.mlp.linear_fc2",
            "v.post_ln": f"{_QWEN_VISION}merger.norm",
            "mm.0": f"{_QWEN_VISION}merger.linear_fc1",
            "mm.2": f"{_QWEN_VISION}merger.linear_fc2",
        },
        projector="qwen3vl_merger",
        joins={  # a kernel for each of the two frames of a patch
            f"{_QWEN_VISION}patch_embed.proj.weight": (
                ("v.patch_embd.weight", "v.patch_embd.weight.1"),
                lambda kernels: torch.stack(list(kernels), 2),
            )
        },
    ),
    "lfm2": Architecture(
        text={
            **_DECODER,
            "token_embd_norm": f"{_TEXT}embedding_norm",
            "output_norm": f"{_TEXT}embedding_norm",
            "blk.{}.attn_norm": f"{_LAYER}operator_norm",
            "blk.{}.ffn_norm": f"{_LAYER}ffn_norm",
            "blk.{}.attn_output": f"{_LAYER}self_attn.out_proj",
            "blk.{}.attn_q_norm": f"{_LAYER}self_attn.q_layernorm",
            "blk.{}.attn_k_norm": f"{_LAYER}self_attn.k_layernorm",
            "blk.{}.ffn_gate": f"{_LAYER}feed_forward.w1",
            "blk.{}.ffn_up": f"{_LAYER}feed_forward.w3",
            "blk.{}.ffn_down": f"{_LAYER}feed_forward.w2",
            "blk.{}.shortconv.in_proj": f"{_LAYER}conv.in_proj",
            "blk.{}.shortconv.out_proj": f"{_LAYER}conv.out_proj",
            "blk.{}.shortconv.conv": f"{_LAYER}conv.conv",
        },
        vision={
            "v.patch_embd": f"{_LFM_VISION}embeddings.patch_embedding",
            "v.position_embd": f"{_LFM_VISION}embeddings.position_embedding",
            "v.blk.{}.ln1": f"{_LFM_VISION}encoder.layers.{{}}.layer_norm1",
            "v.blk.{}.ln2": f"{_LFM_VISION}encoder.layers.{{}}.layer_norm2",
            "v.blk.{}.attn_q": f"{_LFM_VISION}encoder.layers.{{}}.self_attn.q_proj",
            "v.blk.{}.attn_k": f"{_LFM_VISION}encoder.layers.{{}}.self_attn.k_proj",
            "v.blk.{}.attn_v": f"{_LFM_VISION}encoder.layers.{{}}.self_attn.v_proj",
            "v.blk.{}.attn_out": f"{_LFM_VISION}encoder.layers.{{}}.self_attn.out_proj",
            "v.blk.{}.ffn_up": f"{_LFM_VISION}encoder.layers.{{}}.mlp.fc1",
            "v.blk.{}.ffn_down": f"{_LFM_VISION}encoder.layers.{{}}.mlp.fc2",
            "v.post_ln": f"{_LFM_VISION}post_layernorm",
            "mm.input_norm": f"{_PROJECTOR}layer_norm",
            "mm.1": f"{_PROJECTOR}linear_1",
            "mm.2": f"{_PROJECTOR}linear_2",
        },
        projector="lfm2",
        joins={  # a matrix over patches whose channels come last
            f"{_LFM_VISION}embeddings.patch_embedding.weight": (
                ("v.patch_embd.weight",),
                lambda kernels: kernels[0].permute(0, 2, 3, 1).flatten(1),
            )
        },
    ),
    "phi2": Architecture(  # Moondream 2 of 2024, with the names of Moondream's releases
        text={
            "token_embd": "text.wte",
            "output_norm": "text.post_ln",
            "output": "text.lm_head",
            "blk.{}.attn_norm": "text.blocks.{}.ln",
            "blk.{}.attn_qkv": "text.blocks.{}.attn.qkv",
            "blk.{}.attn_output": "text.blocks.{}.attn.proj",
            "blk.{}.ffn_up": "text.blocks.{}.mlp.fc1",
            "blk.{}.ffn_down": "text.blocks.{}.mlp.fc2",
        },
        vision={
            "v.patch_embd": "vision.patch_emb",
            "v.position_embd": "vision.pos_emb",
            "v.blk.{}.ln1": "vision.blocks.{}.ln1",
            "v.blk.{}.ln2": "vision.blocks.{}.ln2",
            "v.blk.{}.attn_out": "vision.blocks.{}.attn.proj",
            "v.blk.{}.ffn_up": "vision.blocks.{}.mlp.fc1",
            "v.blk.{}.ffn_down": "vision.blocks.{}.mlp.fc2",
            "v.post_ln": "vision.post_ln",
            "mm.0": "vision.proj_mlp.fc1",
            "mm.2": "vision.proj_mlp.fc2",
        },
        projector="mlp",
        joins={
            "vision.patch_emb.weight": (("v.patch_embd.weight",), lambda kernels: kernels[0].flatten(1)),
            "vision.blocks.{}.attn.qkv.weight": (tuple(f"{part}.weight" for part in _QKV), _rows),
            "vision.blocks.{}.attn.qkv.bias": (tuple(f"{part}.bias" for part in _QKV), _rows),
        },
    ),
}


def architecture_of(text: GgufFile) -> Architecture:
    """Return the architecture of a text file; ModelUnavailable if it is not supported."""
    name = text.text("general.architecture")
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        kind = (
            "is the vision part of a model: give its text file, and this one as --mmproj"
            if name == "clip"
            else (
                f"has the architecture {quoted_name(name)}, which is not supported in GGUF files; supported are {known}"
            )
        )
        raise ModelUnavailable(f"{text.path}: {kind}")
    return ARCHITECTURES[name]


def deepstack_layers(vision: GgufFile) -> list[int]:
    """Return the vision layers whose output goes into the first layers of the decoder."""
    return [i for i, taken in enumerate(vision.list_of(bool, "clip.vision.is_deepstack_layers", [])) if taken]


def model_tensors(text: GgufFile, vision: GgufFile | None) -> dict[str, StoredTensor]:
    """Return the tensors of a model by their names in safetensors.

    Tensors that no table names keep their own names.

    Raises:
        ModelUnavailable: The architecture is not supported, or the files don't belong together.
    """
    architecture = architecture_of(text)
    stored = {_renamed(name, architecture.text): StoredTensor((tensor,)) for name, tensor in text.tensors.items()}
    if len(stored) < len(text.tensors):
        raise ModelUnavailable(f"{text.path}: has a tensor under two names")
    for name, tensor in stored.items():
        if name.endswith(".conv.conv.weight"):
            stored[name] = StoredTensor(tensor.parts, lambda kernels: kernels[0].unsqueeze(1))
    if vision is None:
        return stored
    check_belongs(text, vision)
    table, joined = _vision_table(architecture, vision), set[str]()
    for pattern, (parts, join) in architecture.joins.items():
        for layer in range(vision.integer("clip.vision.block_count")) if "{}" in pattern else (0,):
            names = [part.format(layer) for part in parts]
            if all(name in vision.tensors for name in names):
                tensors = tuple(vision.tensors[name] for name in names)
                stored[pattern.format(layer)] = StoredTensor(tensors, join)
                joined.update(names)
    return stored | {
        _renamed(name, table): StoredTensor((tensor,)) for name, tensor in vision.tensors.items() if name not in joined
    }


def _vision_table(architecture: Architecture, vision: GgufFile) -> dict[str, str]:
    """Return the names of a vision file's tensors, with those that depend on the file."""
    table = dict(architecture.vision)
    for k, layer in enumerate(deepstack_layers(vision)):
        merger = f"{_QWEN_VISION}deepstack_merger_list.{k}."
        table |= {
            f"v.deepstack.{layer}.norm": f"{merger}norm",
            f"v.deepstack.{layer}.fc1": f"{merger}linear_fc1",
            f"v.deepstack.{layer}.fc2": f"{merger}linear_fc2",
        }
    up, down = "v.blk.{}.ffn_up", "v.blk.{}.ffn_down"
    first = vision.tensors.get(f"{down.format(0)}.weight")
    if first and first.shape[-1] == vision.integer("clip.vision.embedding_length", 0) != first.shape[0]:
        table[up], table[down] = table[down], table[up]  # some converters exchanged the names
    return table


def distinct_blocks(vision: GgufFile) -> int:
    """Return the number of vision blocks, without a copy of the last one.

    For projectors of the kind "mlp" llama.cpp leaves out the last block, so that a copy of it was added to some files.
    """
    count = vision.integer("clip.vision.block_count")
    last, before = (
        {name.removeprefix(f"v.blk.{i}."): tensor for name, tensor in vision.tensors.items() if f"v.blk.{i}." in name}
        for i in (count - 1, count - 2)
    )
    copied = last.keys() == before.keys() and all(
        tensor.bytes == before[name].bytes and torch.equal(tensor.raw(), before[name].raw())
        for name, tensor in last.items()
    )
    return count - 1 if copied and last else count


def check_belongs(text: GgufFile, vision: GgufFile) -> None:
    """Check that a vision file belongs to a text file, by the kind and width of its projector.

    Raises:
        ModelUnavailable: It does not.
    """
    architecture, name = architecture_of(text), text.text("general.architecture")
    projector = vision.text("clip.projector_type", "")
    width, expected = vision.integer("clip.vision.projection_dim", 0), text.integer(f"{name}.embedding_length")
    if projector != architecture.projector or width != expected:
        raise ModelUnavailable(
            f"{vision.path}: is not the mmproj file of {text.path.name}: its projector is {quoted_name(projector)} to "
            f"{width} columns, not {quoted_name(architecture.projector)} to {expected}"
        )


def _renamed(name: str, table: Mapping[str, str]) -> str:
    stem, _, suffix = name.rpartition(".")
    if stem in table:
        return f"{table[stem]}.{suffix}"
    number = re.search(r"\.(\d+)\.", stem)
    if number is None:
        return name
    layer = number[1]
    renamed = table.get(stem.replace(f".{layer}.", ".{}.", 1))
    return name if renamed is None else f"{renamed.format(layer)}.{suffix}"
