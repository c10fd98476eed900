"""Steps that are CUDA graphs, against the same without: only where there is a GPU."""

import pytest
import torch
from golden import FAMILIES, GOLDEN, STATE_TOLERANCE, config

from engine.generation.transformer import SequenceRun
from engine.layers.parameters import ParameterReader
from engine.moondream.text import TextModel
from engine.moondream.weights import open_weights

pytestmark = pytest.mark.gpu


def text(family: str) -> TextModel:
    own = config(family)
    with torch.inference_mode():
        return TextModel(
            own.text,
            ParameterReader(open_weights(GOLDEN / family / "model.safetensors", own), "text", torch.float32, "cuda"),
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_compute_what_the_blocks_do(family: str) -> None:
    """Sequences of one token each, then prompts, each number of rows more than once."""
    plain, graphed = text(family), text(family)
    graphed.transformer.compile()
    draw = torch.Generator().manual_seed(0)
    for count, each in ((1, 1), (3, 1), (1, 5), (2, 3), (3, 1), (1, 1), (1, 1)):
        tokens = torch.randint(100, (count * each,), generator=draw).tolist()
        made = []
        for one in (plain, graphed):
            with torch.inference_mode():
                tails = [one.transformer.new_cache() for _ in range(count)]
                runs = [SequenceRun(cache, slice(i * each, (i + 1) * each)) for i, cache in enumerate(tails)]
                steps = [one.transformer.extend(one.embed(tokens), runs) for _ in range(4)]
            made.append(torch.stack(steps))
        torch.testing.assert_close(made[1], made[0], atol=STATE_TOLERANCE[family], rtol=0)
