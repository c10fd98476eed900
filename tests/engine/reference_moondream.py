"""A simple reference implementation of Moondream 2 and 3, to which the engine is compared.

Every step recomputes the whole sequence in float64 with one dense mask: no cache, no batch, no kernels, all experts for
all tokens. Slow, and meant for models of a few small layers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import gelu

from engine.contract import Answer, Box, Finish, Grounding, ObjectList, Point
from engine.generation.tokenizer import Tokenizer
from engine.moondream.config import Config

Pairs = Mapping[str, tuple[Tensor, Tensor]]  # a LoRA variant: linear -> A, B


def tiling(height: int, width: int, window: int, most: int) -> tuple[int, int]:
    """Return the rows and columns of windows; the sizes are the image's without its margins."""
    if height <= window or width <= window:
        return 1, 1
    rows, columns = math.ceil(height / window), math.ceil(width / window)
    if rows * columns > most:
        shrink = math.sqrt(most / (rows * columns))
        return max(1, math.floor(rows * shrink)), max(1, math.floor(columns * shrink))
    rows = max(rows, math.floor(math.sqrt(most * height / width)))
    columns = max(columns, math.floor(math.sqrt(most * width / height)))
    if rows * columns > most:
        if columns > rows:
            columns = most // rows
        else:
            rows = most // columns
    return max(1, rows), max(1, columns)


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@dataclass(frozen=True)
class ReferenceModel:
    """The model; `tensors`: float64, by canonical name."""

    config: Config
    tensors: Mapping[str, Tensor]
    tokenizer: Tokenizer

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        spread = torch.sqrt(x.var(-1, correction=0, keepdim=True) + 1e-5)
        return (x - x.mean(-1, keepdim=True)) / spread * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def crops(self, image: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
        """Return the crops, (1 + rows * columns, 3, S, S) in -1..1, the global crop first."""
        vision = self.config.vision
        size, margin = vision.crop_size, vision.enc_patch_size * vision.overlap_margin
        window = size - 2 * margin
        rows, columns = tiling(image.shape[0] - 2 * margin, image.shape[1] - 2 * margin, window, vision.max_crops)

        def resized(width: int, height: int) -> Tensor:
            made = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
            return torch.tensor(np.array(made), dtype=torch.float64).permute(2, 0, 1)

        large = resized(columns * window + 2 * margin, rows * window + 2 * margin)
        crops = [resized(size, size)]
        for y in range(0, rows * window, window):
            crops += [large[:, y : y + size, x : x + size] for x in range(0, columns * window, window)]
        return (torch.stack(crops) / 255 - 0.5) / 0.5, (rows, columns)

    def features(self, crops: Tensor) -> Tensor:
        """Return the features, (crops, grid * grid, enc_dim)."""
        vision = self.config.vision
        grid, patch, heads = vision.grid, vision.enc_patch_size, vision.enc_n_heads
        cut = crops.reshape(-1, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        x = self.linear("vision.patch_emb", cut.reshape(-1, grid * grid, 3 * patch * patch))
        x = x + self.tensors["vision.pos_emb"]
        for i in range(vision.enc_n_layers):
            block = f"vision.blocks.{i}"
            qkv = self.linear(f"{block}.attn.qkv", self.norm(f"{block}.ln1", x))
            q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
            weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1)
            x = x + self.linear(f"{block}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
            inner = tanh_gelu(self.linear(f"{block}.mlp.fc1", self.norm(f"{block}.ln2", x)))
            x = x + self.linear(f"{block}.mlp.fc2", inner)
        return self.norm("vision.post_ln", x)

    def project(self, features: Tensor, tiling: tuple[int, int]) -> Tensor:
        """Return image embeddings, (grid * grid, dim), from the features of all crops."""
        grid, margin = self.config.vision.grid, self.config.vision.overlap_margin
        inner, (rows, columns) = grid - 2 * margin, tiling
        whole = torch.empty(rows * inner + 2 * margin, columns * inner + 2 * margin, features.shape[-1]).double()
        for place in range(rows * columns):
            row, column = divmod(place, columns)
            window = features[1 + place].unflatten(0, (grid, grid))
            top, left = margin * (row > 0), margin * (column > 0)
            whole[row * inner + top : row * inner + grid, column * inner + left : column * inner + grid] = window[
                top:, left:
            ]
            # What the window's far margins hold is overwritten by the next row and column, where there is one.
        pooled = torch.stack([whole[y, x].mean((0, 1)) for y in cells(len(whole), grid)
                              for x in cells(whole.shape[1], grid)])  # fmt: skip
        both = torch.cat([features[0], pooled], dim=-1)
        return self.linear("vision.proj_mlp.fc2", tanh_gelu(self.linear("vision.proj_mlp.fc1", both)))

    def see(self, image: np.ndarray) -> Tensor:
        crops, shape = self.crops(image)
        return self.project(self.features(crops), shape)

    def hidden(self, x: Tensor, prefix: int, adapters: tuple[Pairs, Pairs] = ({}, {})) -> Tensor:
        """Return the last block's output (T, dim) for embeddings x (T, dim); the first `prefix` attend to each other.

        adapters: those of the prefix, and of the tokens after it.
        """
        text = self.config.text
        positions = torch.arange(len(x))
        mask = positions[:, None] >= positions
        mask[:prefix, :prefix] = True

        def adapted(name: str, x: Tensor, seen: Tensor) -> Tensor:
            y = self.linear(name, x)
            for rows, pairs in zip((slice(prefix), slice(prefix, None)), adapters, strict=True):
                if name in pairs:
                    a, b = pairs[name]
                    y[rows] = y[rows] + seen[rows] @ a.T @ b.T
            return y

        for i in range(text.n_layers):
            block = f"text.blocks.{i}"
            h = self.norm(f"{block}.ln", x)
            qkv = adapted(f"{block}.attn.qkv", h, h)
            sizes = [text.n_heads * text.head_dim] + 2 * [text.n_kv_heads * text.head_dim]
            q, k, v = (part.unflatten(-1, (-1, text.head_dim)).transpose(0, 1) for part in qkv.split(sizes, -1))
            if text.tau:
                q, v = self.scaled(f"{block}.attn.tau", qkv, q, v)
            q, k = self.rotated(q), self.rotated(k)
            k, v = (part.repeat_interleave(text.n_heads // text.n_kv_heads, 0) for part in (k, v))
            scores = (q @ k.mT / math.sqrt(text.head_dim)).masked_fill(~mask, -math.inf)
            attended = (torch.softmax(scores, -1) @ v).transpose(0, 1).flatten(1)
            # The adapter of the projection sees the block's input, as the reference has it.
            x = x + adapted(f"{block}.attn.proj", attended, h)
            if text.moe and i >= text.moe.start_layer:
                x = x + self.experts(f"{block}.mlp", h)
            else:
                inner = tanh_gelu(adapted(f"{block}.mlp.fc1", h, h))
                x = x + adapted(f"{block}.mlp.fc2", inner, inner)
        return x

    def scaled(self, name: str, qkv: Tensor, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Scale queries and values (heads, T, head_dim) by the tau of token and position."""
        z = gelu(qkv)
        places = torch.log(torch.arange(1, len(qkv) + 1).double())
        place = 0.5 + torch.sigmoid(self.tensors[f"{name}.alpha"] * places[:, None])
        by_q, by_v = (torch.tanh(z @ self.tensors[f"{name}.{part}"].T) + place for part in ("wq", "wv"))
        return q * by_q.T[:, :, None], v * by_v.T[:, :, None]

    def rotated(self, x: Tensor) -> Tensor:
        """Rotate x (heads, T, head_dim) by positions 0 to T, in half of the dims: pairs (i, i + a quarter)."""
        pairs = x.shape[-1] // 4
        speeds = self.config.text.rope_theta ** (-torch.arange(pairs).double() / pairs)
        angles = torch.arange(x.shape[1]).double()[:, None] * speeds
        a, b, rest = x.split([pairs, pairs, x.shape[-1] - 2 * pairs], -1)
        turned = a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()
        return torch.cat([torch.stack(turned, -1).flatten(-2), rest], -1)

    def experts(self, name: str, x: Tensor) -> Tensor:
        moe = self.config.text.moe
        assert moe is not None
        scores = self.linear(f"{name}.router", x)
        least = scores.sort(-1, descending=True).values[:, moe.experts_per_token - 1, None]
        weights = torch.softmax(scores.masked_fill(scores < least, -math.inf), -1)
        up, gate = torch.einsum("td,eod->teo", x, self.tensors[f"{name}.fc1.weight"]).chunk(2, -1)
        y = torch.einsum("tei,eoi->teo", gelu(up) * (gate + 1), self.tensors[f"{name}.fc2.weight"])
        return (weights[:, :, None] * y).sum(1)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.linear("text.lm_head", self.norm("text.post_ln", hidden))

    def encoded(self, kind: str, *values: float) -> Tensor:
        """Return the embedding, (1, dim), of a coordinate or of a size (width, height): `kind` "coord" or "size"."""
        turns = 2 * math.pi * torch.tensor([values]).double() @ self.tensors[f"region.{kind}_features"]
        return self.linear(f"region.{kind}_encoder", torch.cat([turns.cos(), turns.sin()], -1))

    def decoded(self, kind: str, hidden: Tensor) -> Tensor:
        """Return the logits of the bins of a coordinate (1, bins), or of width and height (2, bins)."""
        name = f"region.{kind}_decoder"
        if "region.ln.weight" in self.tensors:
            hidden = self.norm("region.ln", hidden)
        if self.config.region.inner_dim is None:
            scores = self.linear(name, hidden)
        else:
            scores = self.linear(f"{name}.fc2", tanh_gelu(self.linear(f"{name}.fc1", hidden)))
        return scores.reshape(1 if kind == "coord" else 2, -1)


def cells(size: int, count: int) -> Iterable[slice]:
    return (slice(math.floor(k * size / count), math.ceil((k + 1) * size / count)) for k in range(count))


@dataclass
class ReferenceSession:
    """One prompt on one image (None: without an image), with its inputs and selected tokens so far.

    margin: the smallest difference between the best and the second-best score.
    """

    model: ReferenceModel
    image: Tensor | None
    adapter: Pairs = field(default_factory=dict)
    image_adapter: Pairs = field(default_factory=dict)
    margin: float = math.inf

    def __post_init__(self) -> None:
        ids = self.model.config.tokenizer
        self.x = torch.empty(0, self.model.config.text.dim).double()
        if self.image is not None:
            self.x = torch.cat([self.tokens([ids.bos_id]), self.image])
        self.prefix = len(self.x)

    def tokens(self, ids: Sequence[int]) -> Tensor:
        return self.model.tensors["text.wte"][list(ids)]

    def feed(self, *pieces: Tensor) -> None:
        self.x = torch.cat([self.x, *pieces])
        self.hidden = self.model.hidden(self.x, self.prefix, (self.image_adapter, self.adapter))[-1]

    def choose(self, scores: Tensor) -> int:
        best = scores.topk(2)
        self.margin = min(self.margin, float(best.values[0] - best.values[1]))
        return int(best.indices[0])

    def token(self, *suppressed: int | None) -> int:
        logits = self.model.logits(self.hidden)
        logits[[token for token in suppressed if token is not None]] = -math.inf
        return self.choose(logits)

    def coordinate(self) -> float:
        [scores] = self.model.decoded("coord", self.hidden)
        return self.choose(scores) / len(scores)

    def size(self) -> tuple[float, float]:
        width, height = (
            2 ** (self.choose(scores) / (len(scores) - 1) * 10 - 10)
            for scores in self.model.decoded("size", self.hidden)
        )
        return width, height

    def text(self, most: int) -> list[int]:
        ids = self.model.config.tokenizer
        made: list[int] = []
        token = self.token()
        while token != ids.eos_id and len(made) < most:
            made.append(token)
            self.feed(self.tokens([token]))
            token = self.token(ids.answer_id)
        return made

    def answer(self, before: Sequence[int], most: int) -> Answer:
        """Generate text greedily; `before`: the tokens generated before it."""
        read, tokens = len(self.x), self.text(most)
        finish: Finish = "stop" if len(tokens) < most else "length"
        return Answer(self.model.tokenizer.decode(tokens), "", (), (*before, *tokens), read, finish)

    def caption(self, length: str, most: int) -> Answer:
        templates = self.model.config.tokenizer.templates
        assert templates.caption
        self.feed(self.tokens(templates.caption[length]))
        return self.answer([], most)

    def query(self, question: str, reasoning: bool, references: Sequence[tuple[float, ...]], most: int) -> Answer:
        config, decode = self.model.config, self.model.tokenizer.decode
        ids, template = config.tokenizer, config.tokenizer.templates.query
        assert template
        places: list[Tensor] = []
        for place in references:
            if len(place) == 4:
                x0, y0, x1, y1 = place
                places += [self.model.encoded("coord", value) for value in ((x0 + x1) / 2, (y0 + y1) / 2)]
                places.append(self.model.encoded("size", x1 - x0, y1 - y0))
            else:
                places += [self.model.encoded("coord", value) for value in place]
        tail = [
            *(() if config.is_moondream3 else template.suffix),
            *([ids.thinking_id] if reasoning else template.suffix),
        ]
        start = [*([ids.bos_id] if self.image is None else ()), *template.prefix]
        words = self.model.tokenizer.encode(question)
        self.feed(self.tokens(start), *places, self.tokens([*words, *[token for token in tail if token is not None]]))
        if not reasoning:
            return self.answer([], most)
        read = len(self.x)
        chunks = self.reasoned(most)
        before = [token for tokens, _ in chunks for token in tokens]
        self.feed(self.tokens(template.suffix))
        thoughts, groundings = "", []
        for tokens, values in chunks:
            piece = decode(tokens)
            if len(values) > 1:
                points = tuple(Point(x, y) for x, y in zip(values[::2], values[1::2], strict=False))
                groundings.append(Grounding(len(thoughts), len(thoughts + piece), points))
            thoughts += piece
        answer = self.answer(before, most)
        if before:
            answer = replace(answer, prompt_tokens=read)
        return replace(answer, reasoning=thoughts, grounding=tuple(groundings))

    def reasoned(self, most: int) -> list[tuple[list[int], list[float]]]:
        """Generate the reasoning: tokens and coordinates of each passage."""
        ids = self.model.config.tokenizer
        chunks: list[tuple[list[int], list[float]]] = [([], [])]
        token = self.token()
        for _ in range(most):
            if token == ids.answer_id:
                break
            if token in (ids.start_ground_points_id, ids.end_ground_id):
                chunks.append(([], []))
            chunks[-1][0].append(token)
            if token == ids.coord_id:
                chunks[-1][1].append(self.coordinate())
                self.feed(self.model.encoded("coord", chunks[-1][1][-1]))
            else:
                self.feed(self.tokens([token]))
            token = self.token(ids.eos_id, ids.size_id)
        return chunks

    def detect(self, prompt: str, most: int) -> ObjectList:
        return self.found("detect", prompt, most)

    def point(self, prompt: str, most: int) -> ObjectList:
        return self.found("point", prompt, most)

    def found(self, skill: str, prompt: str, most: int) -> ObjectList:
        template = getattr(self.model.config.tokenizer.templates, skill)
        words = self.model.tokenizer.encode(" " + prompt)
        self.feed(self.tokens([*template.prefix, *words, *template.suffix]))
        items, complete = self.objects(skill, prompt, most)
        if skill == "detect":
            return ObjectList([item for item in items if isinstance(item, Box)], complete)
        return ObjectList([item for item in items if isinstance(item, Point)], complete)

    def objects(self, skill: str, label: str, most: int) -> tuple[list[Box | Point], bool]:
        ids = self.model.config.tokenizer
        items: list[Box | Point] = []
        token = self.token()
        while token != ids.eos_id and len(items) < most:
            x = self.coordinate()
            self.feed(self.model.encoded("coord", x))
            y = self.coordinate()
            self.feed(self.model.encoded("coord", y))
            if skill == "detect":
                w, h = self.size()
                self.feed(self.model.encoded("size", w, h))
                items.append(Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2, label))
            else:
                items.append(Point(x, y, label))
            if self.model.config.is_moondream3:
                allowed_token_ids = [ids.coord_id, ids.eos_id]
                token = allowed_token_ids[self.choose(self.model.logits(self.hidden)[allowed_token_ids])] or 0
            else:
                token = self.token()
        return items, token == ids.eos_id

    def gaze(self, eye: tuple[float, float]) -> Point | None:
        encode = self.model.tokenizer.encode
        places = [self.model.encoded("coord", value) for value in eye]
        self.feed(self.tokens(encode("\n\nPoint:")), *places, self.tokens(encode(" gaze\n\n")))
        items, _ = self.objects("point", "", 1)
        return items[0] if items and isinstance(items[0], Point) else None
