"""What is trained is what the engine runs: a student's answers, before any training, are the engine's to the token."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch

from engine.contract import Generation, LoadOptions, ObjectLimitWarning
from engine.generation.tokenizer import Tokenizer
from engine.generation.transformer import SequenceRun
from engine.moondream.config import read_config
from engine.moondream.model import Moondream
from engine.moondream.weights import open_weights
from engine.pocket.abilities import CONFIG
from engine.pocket.draw import draw
from engine.pocket.scene import random_scene
from engine.pocket.tasks import CaptionTask, DetectTask, GazeTask, PointTask, QueryTask, Task
from engine.pocket.training.examples import Batch, BatchBuilder
from engine.pocket.training.losses import PatchHead
from engine.pocket.training.trainable_model import TrainableModel
from engine.pocket.training.trainer import Plan, Trainer, stream

TOKENIZER = CONFIG.parent / "tokenizer.json"
SCENE = 7


@pytest.fixture(scope="module")
def teacher() -> BatchBuilder:
    config = read_config("config.json", json.loads(CONFIG.read_text()))
    return BatchBuilder(config, Tokenizer(tokenizers.Tokenizer.from_file(str(TOKENIZER))))


@pytest.fixture(scope="module")
def student(teacher: BatchBuilder) -> TrainableModel:
    torch.manual_seed(5)
    student = TrainableModel(teacher.config)
    with torch.no_grad():  # as written and read again
        for tensor in student.state_dict().values():
            tensor.copy_(tensor.bfloat16())
    return student


@pytest.fixture(scope="module")
def model(teacher: BatchBuilder, student: TrainableModel, tmp_path_factory: pytest.TempPathFactory) -> Moondream:
    folder = tmp_path_factory.mktemp("student")
    head = PatchHead(teacher.config.text.dim)
    Trainer(student, head, Plan(1, 0), folder, "cpu").write_weights(folder / "model.safetensors")
    weights = open_weights(folder / "model.safetensors", teacher.config)
    return Moondream("student", teacher.config, weights, teacher.tokenizer, options=LoadOptions("cpu", "float32"))


def told_after(teacher: BatchBuilder, student: TrainableModel, seed: int, lesson: Task) -> tuple[Batch, torch.Tensor]:
    """The lesson alone behind its picture, and the student's hidden states there."""
    batch = teacher.batch([seed])
    for name, column in teacher.row([lesson]).items():
        setattr(batch, name, torch.from_numpy(column[None]))
    with torch.no_grad():
        return batch, student(student.vision(batch.pixels, batch.tilings), batch)


@pytest.mark.parametrize("seed", [SCENE, 3, 5])  # of one crop and of several
def test_the_hidden_states_of_words_are_the_same(
    teacher: BatchBuilder, student: TrainableModel, model: Moondream, seed: int
) -> None:
    (encoded,) = model.encode([draw(random_scene(seed)).pixels])
    for lesson in (CaptionTask("long", "A red circle."), QueryTask("有几个红色的圆形？", "3", "count")):
        batch, hidden = told_after(teacher, student, seed, lesson)
        taught = batch.segment[0] > 0
        tokens = batch.tokens[0, taught].tolist()
        with torch.inference_mode():
            run = SequenceRun(model.text.transformer.new_cache(encoded.prefix), slice(0, len(tokens)))
            engine_hidden = model.text.transformer.extend(model.text.embed(tokens), [run])
        torch.testing.assert_close(hidden[0, taught], engine_hidden, atol=2e-5, rtol=1e-5)


def test_a_question_is_put_as_the_engine_puts_it(teacher: BatchBuilder, model: Moondream) -> None:
    """The prompt that the engine feeds, and then the answer."""
    batch = teacher.row([QueryTask("How many?", "12", "count")])
    ids = batch["tokens"][batch["segment"] > 0].tolist()
    flow = model._flows.query("How many?", None, (), Generation(), has_image=True)
    prompt = next(flow).pieces
    assert ids == [*prompt, *teacher.tokenizer.encode("12")]
    assert batch["next_token"][len(prompt) - 1 : len(ids)].tolist() == [*teacher.tokenizer.encode("12"), 0]


def test_the_places_are_the_same(teacher: BatchBuilder, student: TrainableModel, model: Moondream) -> None:
    encoded = model.encode([draw(random_scene(SCENE)).pixels])
    with pytest.warns(ObjectLimitWarning):
        ((box, *_),) = model.detect(encoded, "red circle", max_objects=1)
    with pytest.warns(ObjectLimitWarning):
        ((point, *_),) = model.point(encoded, "star", max_objects=1)
    (gaze,) = model.detect_gaze(encoded, [(0.3, 0.4)])
    assert gaze is not None
    middle = ((box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2)
    size = (box.x_max - box.x_min, box.y_max - box.y_min)
    for lesson in (
        DetectTask("red circle", ((middle, size),)),
        PointTask("star", ((point.x, point.y),)),
        GazeTask((0.3, 0.4), (gaze.x, gaze.y)),
    ):
        batch, hidden = told_after(teacher, student, SCENE, lesson)
        where = batch.next_coordinate >= 0
        bins = student.region.coord_decoder(hidden[where]).argmax(-1)
        assert bins.tolist() == pytest.approx((batch.next_coordinate[where] * 512).tolist(), abs=0.01)
        of_size = batch.next_size[..., 0] >= 0
        if isinstance(lesson, DetectTask):
            sizes = student.region.size_decoder(hidden[of_size]).view(2, -1)
            assert (2 ** (sizes.argmax(-1) / 511 * 10 - 10)).tolist() == pytest.approx(size, abs=1e-6)
        else:
            assert not of_size.any()


def test_lessons_of_a_picture_do_not_see_each_other(teacher: BatchBuilder, student: TrainableModel) -> None:
    batch = teacher.batch([SCENE])
    count = int(batch.segment.max())
    assert count >= 5
    with torch.no_grad():
        pictures = student.vision(batch.pixels, batch.tilings)
        before = student(pictures, batch)
        second = batch.segment == 2
        batch.tokens[second] = 42
        after = student(pictures, batch)
    torch.testing.assert_close(before[~second], after[~second])
    assert not np.allclose(before[second], after[second])


def test_a_stopped_run_goes_on_where_it_was(teacher: BatchBuilder, tmp_path: Path) -> None:
    def course() -> Trainer:
        torch.manual_seed(1)
        return Trainer(
            TrainableModel(teacher.config), PatchHead(teacher.config.text.dim), Plan(9, 1, 2), tmp_path, "cpu"
        )

    batches = [teacher.batch([n, n + 1]) for n in (0, 2, 4)]
    whole = course()
    for batch in batches[:2]:
        whole.train_step(batch)
    whole.save()
    stopped = course()
    stopped.resume()
    assert stopped.step == 2
    assert whole.train_step(batches[2]) == stopped.train_step(batches[2])
    for mine, other in zip(whole.model.parameters(), stopped.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_the_last_phase_leaves_the_encoder_alone(
    teacher: BatchBuilder, student: TrainableModel, tmp_path: Path
) -> None:
    """It begins with the weights it is given, and trains the text model and the projection into it."""
    head, plan = PatchHead(teacher.config.text.dim), Plan(9, 1, caption_steps=4, caption_images=2)
    written = Trainer(student, head, plan, tmp_path, "cpu")
    written.write_weights(tmp_path / "given.safetensors")
    trainer = Trainer(TrainableModel(teacher.config), head, plan, tmp_path, "cpu")
    trainer.start_captions(tmp_path / "given.safetensors")
    assert trainer.step == 9
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    captions = BatchBuilder(teacher.config, teacher.tokenizer, captions=True)
    losses = trainer.train_step(captions.batch([1, 2]))
    assert losses.keys() == {"token", "coordinate", "size", "gradient"}
    after = trainer.model.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    learnt = {name for name, _ in trainer.model.named_parameters() if not name.startswith("vision.")}
    assert changed == learnt | {
        f"vision.proj_mlp.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    }


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4])
def test_batches_end_with_the_last_phase(step: int) -> None:
    plan = Plan(3, 1, images=1, caption_steps=2, caption_images=1)
    config = read_config(CONFIG.name, json.loads(CONFIG.read_text()))
    batches = list(stream(config, CONFIG.with_name("tokenizer.json"), plan, seed=0, step=step))
    assert len(batches) == plan.end - step


def test_the_learning_rate_of_each_phase_rises_and_falls() -> None:
    plan = Plan(
        100,
        20,
        warm_up=10,
        rate=1.0,
        decay=0.5,
        caption_steps=40,
        caption_rate=0.5,
        caption_warm_up=5,
        caption_decay=0.5,
    )
    assert [plan.rate_at(step) for step in (0, 9, 15, 20, 49, 50, 75)] == [0.1, 1, 1, 0.1, 1, 1, 0.5]
    assert [plan.rate_at(step) for step in (100, 104, 119, 120, 130, 139)] == pytest.approx(
        [0.1, 0.5, 0.5, 0.5, 0.25, 0.025]
    )
    assert plan.end == 140
