"""Every number of the reference within its tolerance, and every token equal."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from golden_qwen import CASES, FOLDER, conversation, expected, image, model
from torch import Tensor

from engine.contract import ChatRequest, Done, EncodedImage, Generation
from engine.generation.chat_prompt import ImagePart, prompt_pieces
from engine.generation.encoded_image import LazyImage
from engine.generation.image_features import ImageFeatures, image_spans, multimodal_positions
from engine.generation.transformer import Deepstack, SequenceRun, Transformer
from engine.generation.vision_language_model import VisionLanguageModel
from engine.generation.vlm_decoder import VlmDecoder
from engine.qwen3vl.preprocess import block_order, make_patches
from engine.qwen3vl.vision import VisionEncoder
from engine.stepwise import finished

TOLERANCE = 2e-4  # of what is computed from the reference's pixels
GREEDY = Generation(temperature=0.0, max_tokens=16)
every_case = pytest.mark.parametrize("case", CASES)
with_pixels = pytest.mark.parametrize("case", ["one_image", "odd_image"])


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def close(made: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(made, wanted, atol=tolerance, rtol=0)


def vision() -> VisionEncoder:
    encoder = model().images
    assert isinstance(encoder, VisionEncoder)
    return encoder


def stored_patches(case: str) -> tuple[Tensor, int, int]:
    """The reference's pixels, of one of the two equal frames of each patch."""
    frames = expected(case, "pixel_values").unflatten(1, (3, 2, -1))
    assert torch.equal(frames[:, :, 0], frames[:, :, 1])
    _, rows, columns = expected(case, "image_grid_thw")[0].tolist()
    return frames[:, :, 0].flatten(1), rows, columns


def stored_pieces(case: str) -> list[int | ImageFeatures]:
    """The reference's inputs of the decoder."""
    ids: list[int | ImageFeatures] = expected(case, "input_ids").tolist()
    if not CASES[case]["images"]:
        return ids
    sizes = [rows * columns // 4 for _, rows, columns in CASES[case]["grid_thw"]]
    embeddings = iter(expected(case, "image_embeds").split(sizes))
    deepstack = [iter(expected(case, f"deepstack_{i}").split(sizes)) for i in range(3)]
    pieces: list[int | ImageFeatures] = []
    grids = iter(CASES[case]["grid_thw"])
    pad = json.loads((FOLDER / "config.json").read_text())["image_token_id"]
    index = 0
    while index < len(ids):
        if ids[index] == pad:
            _, rows, columns = next(grids)
            states = {i: next(parts) for i, parts in enumerate(deepstack)}
            features = ImageFeatures(next(embeddings), (rows // 2, columns // 2), states)
            pieces += [features] * len(features)
            index += len(features)
        else:
            pieces += ids[index : index + 1]
            index += 1
    return pieces


@pytest.mark.parametrize(("case", "name"), [("one_image", "a"), ("odd_image", "b")])
def test_pixels_and_their_order(case: str, name: str) -> None:
    encoder = vision()
    wanted, rows, columns = stored_patches(case)
    patches, grid = make_patches(image(name), encoder.config, encoder.image, model().default_budget)
    assert grid == (rows, columns)
    close(patches, wanted, 1e-6)


@with_pixels
def test_the_vision_encoder(case: str) -> None:
    encoder = vision()
    patches, rows, columns = stored_patches(case)
    row, column = block_order(rows, columns, 2)
    assert torch.equal(torch.stack([row, column], 1), expected(case, "vision_position_ids"))
    embedded, positions = encoder.patches(patches), encoder.position_embeddings(row, column, rows, columns)
    close(embedded, expected(case, "vision_patch_embed"))
    close(positions, expected(case, "vision_pos_embed"), 1e-6)
    hidden = encoder.encoder.layers(embedded + positions, 1, encoder.angles(row, column))
    for layer, states in enumerate(hidden):
        close(states, expected(case, f"vision_block_{layer}"))
    features = finished(encoder.features(patches, rows, columns))
    assert features.grid == (rows // 2, columns // 2)
    close(features.embeddings, expected(case, "image_embeds"))
    for layer, states in features.deepstack.items():
        close(states, expected(case, f"deepstack_{layer}"))


@every_case
def test_the_prompt_and_its_positions(case: str) -> None:
    def parts(encoded: EncodedImage) -> Sequence[ImagePart]:
        assert isinstance(encoded, LazyImage)
        return encoded.parts()

    loaded = model()
    style = loaded.style
    pieces = prompt_pieces(
        conversation(case, loaded), style.template, loaded.tokenizer, style.image_token, parts_of=parts
    )
    pad = loaded.tokenizer.special("<|image_pad|>")
    ids = [piece if isinstance(piece, int) else pad for piece in pieces]
    assert ids == expected(case, "input_ids").tolist()
    positions = multimodal_positions(pieces, 0)
    assert torch.equal(positions.T, expected(case, "position_ids"))
    assert int(positions.max()) + 1 - len(pieces) == CASES[case]["rope_delta"] == int(expected(case, "rope_delta"))
    for features, wanted in zip(image_spans(pieces), CASES[case]["grid_thw"], strict=True):
        assert [1, *(2 * side for side in features[1].grid)] == wanted


@every_case
def test_every_layer_of_the_decoder(case: str) -> None:
    text, pieces = model().text, stored_pieces(case)
    embedded, positions = VlmDecoder(text).embed(pieces), multimodal_positions(pieces, 0)
    images = list(image_spans(pieces))
    rows = torch.tensor([row for start, part in images for row in range(start, start + len(part))])
    whole = text.transformer
    for layer in range(len(whole.blocks)):
        part = Transformer(whole.blocks[: layer + 1], whole.rotary, whole.dtype, whole.device, position_axes=3)
        states = {i: torch.cat([f.deepstack[i] for _, f in images]) for i in range(min(3, layer)) if images}
        added = Deepstack(rows.long(), states)  # the reference's states are those before the layer's own addition
        run = SequenceRun(part.new_cache(), slice(0, len(pieces)), positions=positions, deepstack=added)
        hidden = part.extend(embedded, [run])
        close(hidden, expected(case, f"text_layer_{layer}"))
    close(text.logits(hidden), expected(case, "logits"))


@every_case
def test_every_token_from_the_files_on(case: str) -> None:
    loaded = model()
    messages = tuple(conversation(case, loaded))
    answer = unstopped(loaded, [ChatRequest(messages, GREEDY)])[0]
    assert list(answer.tokens) == CASES[case]["greedy_ids"]
    assert answer.prompt_tokens == CASES[case]["n_tokens"]
    assert loaded.tokenizer.decode(answer.tokens) == answer.text


def unstopped(loaded: VisionLanguageModel, requests: Sequence[ChatRequest]) -> dict[int, Any]:
    """The answers where no token ends one, as the reference's."""
    stop_ids, loaded.stop_ids = loaded.stop_ids, ()
    try:
        return {event.index: event.result for event in loaded.run(requests) if isinstance(event, Done)}
    finally:
        loaded.stop_ids = stop_ids


def test_all_cases_in_one_batch_are_those_alone_to_the_last_bit() -> None:
    loaded = model()
    requests = [ChatRequest(tuple(conversation(case, loaded)), GREEDY) for case in CASES]
    requests += [replace(request, generation=Generation(seed=5, max_tokens=12)) for request in requests]
    together = unstopped(loaded, requests)
    for index, request in enumerate(requests):
        assert unstopped(loaded, [request])[0] == together[index]
    for index, case in enumerate(CASES):
        assert list(together[index].tokens) == CASES[case]["greedy_ids"]


def test_states_of_a_batch_are_those_alone_to_the_last_bit() -> None:
    loaded = model()
    decoder = loaded.decoder
    pieces = [stored_pieces(case) for case in CASES]
    alone = [decoder.step([(decoder.start(None), None, part)])[0] for part in pieces]
    assert torch.equal(decoder.step([(decoder.start(None), None, part) for part in pieces]), torch.stack(alone))
