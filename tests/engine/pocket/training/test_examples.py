"""Rows hold lessons to the token, and patches what is drawn in them."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import engine.pocket
from engine.generation.tokenizer import load_tokenizer
from engine.moondream.config import read_config
from engine.pocket.draw import Drawing, draw
from engine.pocket.scene import COLOURS, FACE, KINDS, SIGN, SKIN, Background, Scene, SceneObject, random_scene
from engine.pocket.tasks import (
    CaptionTask,
    DetectTask,
    GazeTask,
    PointTask,
    QueryTask,
    SceneLayout,
    Task,
    training_tasks,
)
from engine.pocket.training.examples import (
    CAPTION_POSITIONS,
    COORDINATE,
    COORDINATE_NOISE,
    MANY,
    MAX_POSITIONS,
    SIZE,
    SPARE_SEEDS,
    TOKEN,
    Batch,
    BatchBuilder,
    _patches,
)

HERE = Path(engine.pocket.__file__).parent
CONFIG = read_config("config.json", json.loads((HERE / "config.json").read_text()))
TEACHER = BatchBuilder(CONFIG, load_tokenizer(HERE / "tokenizer.json", CONFIG.text.vocab_size))
NO, END, COORD = -1, 0, 5  # nothing is to be told; the ids of the tokens
ASK, OF, ANSWER = 1, 2, 3
DETECT, POINT = 12, 13
ABSENT = (-1.0, -1.0)


def ids(text: str) -> list[int]:
    return TEACHER.tokenizer.encode(text)


def taught(*lessons: Task) -> dict[str, list[Any]]:
    """The columns of a row up to its last lesson; behind it there is nothing."""
    row = TEACHER.row(lessons)
    length = int((row["segment"] > 0).sum())
    empty = {"next_token": -1, "next_coordinate": -1, "next_size": -1, "weight": 1}
    for name, column in row.items():
        assert len(column) == MAX_POSITIONS
        assert (column[length:] == empty.get(name, 0)).all(), name
    return {name: column[:length].tolist() for name, column in row.items()}


def test_a_detection_of_two() -> None:
    row = taught(DetectTask("red circle", (((0.25, 0.5), (0.125, 0.375)), ((0.75, 0.625), (0.0625, 0.1875)))))
    prompt = [ASK, DETECT, OF, *ids(" red circle"), ANSWER]
    assert len(prompt) == 6
    assert row["tokens"] == prompt + [0] * 6
    assert row["kinds"] == [TOKEN] * 6 + [COORDINATE, COORDINATE, SIZE] * 2
    assert row["values"] == [[0, 0]] * 6 + [
        *([0.25, 0], [0.5, 0], [0.125, 0.375]),
        *([0.75, 0], [0.625, 0], [0.0625, 0.1875]),
    ]
    assert row["next_token"] == [NO] * 5 + [COORD, NO, NO, COORD, NO, NO, END]
    assert row["next_coordinate"] == [NO] * 5 + [0.25, 0.5, NO, 0.75, 0.625, NO, NO]
    nothing = list(ABSENT)
    sizes = [nothing, [0.125, 0.375], nothing, nothing, [0.0625, 0.1875], nothing]
    assert row["next_size"] == [nothing] * 6 + sizes
    assert row["segment"] == [1] * 12
    assert row["position"] == list(range(12))


@pytest.mark.parametrize(("lesson", "skill"), [(DetectTask("heart", ()), DETECT), (PointTask("heart", ()), POINT)])
def test_nothing_to_be_found_is_told_at_once(lesson: Task, skill: int) -> None:
    row = taught(lesson)
    assert row["tokens"] == [ASK, skill, OF, *ids(" heart"), ANSWER]
    assert row["next_token"] == [NO, NO, NO, NO, END]
    assert row["next_coordinate"] == [NO] * 5
    assert row["next_size"] == [list(ABSENT)] * 5


def test_points_are_told_without_sizes() -> None:
    row = taught(PointTask("star", ((0.25, 0.5), (0.75, 0.625))))
    assert row["tokens"] == [ASK, POINT, OF, *ids(" star"), ANSWER, 0, 0, 0, 0]
    assert row["kinds"] == [TOKEN] * 5 + [COORDINATE] * 4
    assert row["values"][5:] == [[0.25, 0], [0.5, 0], [0.75, 0], [0.625, 0]]
    assert row["next_token"] == [NO] * 4 + [COORD, NO, COORD, NO, END]
    assert row["next_coordinate"] == [NO] * 4 + [0.25, 0.5, 0.75, 0.625, NO]
    assert row["next_size"] == [list(ABSENT)] * 9


@pytest.mark.parametrize("target", [(0.75, 0.625), None])
def test_a_gaze_ends_with_its_target(target: tuple[float, float] | None) -> None:
    row = taught(GazeTask((0.25, 0.5), target))
    before, after = ids("\n\nPoint:"), ids(" gaze\n\n")
    n = len(before) + 2 + len(after)
    behind = 2 if target else 0
    assert row["tokens"] == [*before, 0, 0, *after] + [0] * behind
    assert row["kinds"] == [TOKEN] * len(before) + [COORDINATE] * 2 + [TOKEN] * len(after) + [COORDINATE] * behind
    assert row["values"][len(before) : len(before) + 2] == [[0.25, 0], [0.5, 0]]
    if target:
        assert row["values"][n:] == [[0.75, 0], [0.625, 0]]
        assert row["next_token"] == [NO] * (n - 1) + [COORD, NO, NO]
        assert row["next_coordinate"] == [NO] * (n - 1) + [0.75, 0.625, NO]
    else:
        assert row["next_token"] == [NO] * (n - 1) + [END]
        assert row["next_coordinate"] == [NO] * n
    assert row["next_size"] == [list(ABSENT)] * (n + behind)


def test_texts_are_told_token_by_token() -> None:
    said = ids("A red star.")
    row = taught(CaptionTask("long", "A red star."))
    assert row["tokens"] == [ASK, 7, OF, 10, ANSWER, *said]
    assert row["next_token"] == [NO] * 4 + [*said, END]
    asked = ids("What does the sign say?")
    row = taught(QueryTask("What does the sign say?", "42", "sign"))
    assert row["tokens"] == [ASK, 11, OF, *asked, ANSWER, ANSWER, *ids("42")]
    assert row["next_token"] == [NO] * (len(asked) + 4) + [*ids("42"), END]
    assert row["next_coordinate"] == [NO] * len(row["tokens"])
    assert row["kinds"] == [TOKEN] * len(row["tokens"])


def test_lessons_stand_one_behind_the_other() -> None:
    one, other = DetectTask("heart", ()), PointTask("star", ((0.25, 0.5),))
    row, alone = taught(one, other), (taught(one), taught(other))
    assert row["segment"] == [1] * 5 + [2] * 7
    assert row["position"] == [*range(5), *range(7)]
    for name in row.keys() - {"segment"}:
        assert row[name] == alone[0][name] + alone[1][name]


def test_what_has_no_room_is_left_out_whole() -> None:
    """What comes behind it and is shorter still finds its place."""
    long = CaptionTask("short", "a " * 80)
    short, other = DetectTask("heart", ()), PointTask("heart", ())
    assert 80 < len(TEACHER.steps(long)) < MAX_POSITIONS - 10
    row = taught(short, long, long, other)
    assert [row["segment"].count(number) for number in (1, 2, 3, 4)] == [5, len(TEACHER.steps(long)), 0, 5]
    exact = MAX_POSITIONS - len(taught(long)["tokens"])
    fits = CaptionTask("short", "a" + " a" * (exact - 6))
    assert len(TEACHER.steps(fits)) == exact
    assert len(taught(long, fits)["tokens"]) == MAX_POSITIONS
    assert len(taught(long, CaptionTask("short", "a" + " a" * (exact - 5)))["tokens"]) == MAX_POSITIONS - exact


def test_no_lesson_of_a_curriculum_is_cut() -> None:
    whole = 0
    for seed in range(40):
        scene = random_scene(seed)
        lessons = training_tasks(SceneLayout.of(scene, draw(scene).boxes), np.random.default_rng(seed))
        row = TEACHER.row(lessons)
        lengths = [len(TEACHER.steps(lesson)) for lesson in lessons]
        there = [int((row["segment"] == number).sum()) for number in range(1, len(lessons) + 1)]
        assert all(rows in (0, length) for rows, length in zip(there, lengths, strict=True))
        assert there[0] == lengths[0]
        assert max(lengths) <= MAX_POSITIONS
        whole += sum(map(bool, there))
    assert whole > 5 * 40


def test_what_is_read_of_a_place_is_a_little_off() -> None:
    """But what is to be told of it is not."""
    lessons = [DetectTask("star", (((0.5, 0.5), (0.25, 0.125)), ((0.999, 0.001), (0.9, 0.99))))]
    exact, off = TEACHER.row(lessons), TEACHER.row(lessons, np.full((MAX_POSITIONS, 2), 0.03))
    n = 5
    right = [0.53, 0.53, 0.28, 1.0, 0.031, 1.0]  # sizes by 4 x 3 %, all within the picture
    assert off["values"][n : n + 6, 0].tolist() == pytest.approx(right)
    assert off["values"][[n + 2, n + 5], 1].tolist() == pytest.approx([0.14, 1.0])
    for name in exact.keys() - {"values"}:
        assert np.array_equal(exact[name], off[name]), name


def test_a_batch_has_the_shapes_that_it_says() -> None:
    batch = TEACHER.batch([1, 2, 3])
    crops = [1 if tiling == (1, 1) else 1 + tiling[0] * tiling[1] for tiling in batch.tilings]
    assert len(batch.tilings) == 3
    whole, single, patches = torch.int64, torch.float32, CONFIG.vision.grid**2
    shapes = {
        "pixels": ((sum(crops), 140, 140, 3), torch.uint8),
        "tokens": ((3, MAX_POSITIONS), whole),
        "values": ((3, MAX_POSITIONS, 2), single),
        "kinds": ((3, MAX_POSITIONS), whole),
        "segment": ((3, MAX_POSITIONS), whole),
        "position": ((3, MAX_POSITIONS), whole),
        "weight": ((3, MAX_POSITIONS), single),
        "next_token": ((3, MAX_POSITIONS), whole),
        "next_coordinate": ((3, MAX_POSITIONS), single),
        "next_size": ((3, MAX_POSITIONS, 2), single),
        "patch_kind": ((3, patches), whole),
        "patch_colour": ((3, patches), whole),
        "patch_box": ((3, patches, 4), single),
        "patch_look": ((3, patches, 2), single),
        "patch_digits": ((3, patches, 2), whole),
    }
    assert patches == 100
    assert {field.name for field in fields(Batch)} == {*shapes, "tilings"}
    for name, (shape, dtype) in shapes.items():
        tensor = getattr(batch, name)
        assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype), name


def test_a_short_answer_weighs_as_much_as_its_length_lets_it() -> None:
    """One over the root of how many tokens are told, at each of them."""
    short, long = QueryTask("How many?", "3", "count"), CaptionTask("short", "A red circle and a blue star.")
    row = taught(short, long, PointTask("star", ()))
    for number, lesson in ((1, short), (2, long), (3, None)):
        told = 1 + (len(ids(lesson.answer)) if lesson else 0)
        weights = [weight for weight, of in zip(row["weight"], row["segment"], strict=True) if of == number]
        assert weights == pytest.approx([told**-0.5] * len(weights))


def test_batches_go_on_from_the_first_seed() -> None:
    stream = TEACHER.batches(5, 2)
    for seeds in ([5, 6], [7, 8]):
        ours, theirs = TEACHER.batch(seeds), next(stream)
        assert ours.tilings == theirs.tilings
        for field in fields(Batch):
            if field.name != "tilings":
                assert torch.equal(getattr(ours, field.name), getattr(theirs, field.name)), field.name


def test_batches_for_captions_have_many_things_and_two_captions() -> None:
    builder = BatchBuilder(CONFIG, TEACHER.tokenizer, captions=True)
    stream = builder.caption_batches(400, 4)
    for first in (400, 400 + 4 * SPARE_SEEDS):
        seeds = range(first, first + 4 * SPARE_SEEDS)
        chosen = [seed for seed in seeds if seed % SPARE_SEEDS == 0 or len(random_scene(seed).objects) >= MANY]
        ours, theirs = builder.batch(chosen[:4]), next(stream)
        assert ours.tokens.shape == (4, CAPTION_POSITIONS)
        for field in fields(Batch):
            if field.name != "tilings":
                assert torch.equal(getattr(ours, field.name), getattr(theirs, field.name)), field.name
    for tokens, segment in zip(ours.tokens, ours.segment, strict=True):
        first, second = (int(tokens[segment == number][3]) for number in (1, 2))
        assert first == 10
        assert second in (8, 9)


def test_a_batch_is_what_its_pictures_alone_are() -> None:
    """And the lessons of a picture are those of its curriculum, told exactly, read a little off."""
    both, alone = TEACHER.batch([3, 4]), TEACHER.batch([4])
    assert torch.equal(both.pixels[-len(alone.pixels) :], alone.pixels)
    for field in fields(Batch):
        if field.name not in ("pixels", "tilings"):
            assert torch.equal(getattr(both, field.name)[1], getattr(alone, field.name)[0]), field.name
    scene = random_scene(4)
    row = TEACHER.row(training_tasks(SceneLayout.of(scene, draw(scene).boxes), np.random.default_rng(4)))
    for name in row.keys() - {"values"}:
        assert np.array_equal(getattr(alone, name)[0].numpy(), row[name]), name
    of_places = row["kinds"] == COORDINATE
    off = alone.values[0].numpy()[of_places, 0] - row["values"][of_places, 0]
    assert 0 < np.abs(off).max() < 5 * COORDINATE_NOISE


# One pixel of this picture is one sample: four by four of them are a patch.

THINGS = (
    SceneObject("ring", "blue", COLOURS["blue"], 10, 10, 12),
    SceneObject(SIGN, "orange", COLOURS["orange"], 30, 10, 12, digits="42"),
    SceneObject(SIGN, "white", COLOURS["white"], 30, 30, 12, digits="7"),
    SceneObject(FACE, "", SKIN[0], 10, 26, 12, looks_at=2),
    SceneObject(FACE, "", SKIN[0], 20, 20, 12),
)
BOXES = ((4.0, 4.0, 16.0, 14.0), (24.0, 6.0, 36.0, 14.0), (24.0, 26.0, 36.0, 34.0), (5, 20, 15, 32), (15, 14, 25, 26))


def patches_of(*painted: tuple[tuple[int | slice, int | slice], int]) -> dict[str, np.ndarray]:
    owners = np.zeros((40, 40), np.uint8)
    for where, owner in painted:
        owners[where] = owner
    scene = Scene(40, 40, Background("plain", (90, 90, 90), (90, 90, 90)), THINGS)
    return _patches(scene, Drawing(np.zeros((40, 40, 3), np.uint8), owners, BOXES), 10)


def test_a_patch_tells_what_is_in_it() -> None:
    patches = patches_of(*((np.s_[4 * row : 4 * row + 4, 0:4], row + 1) for row in range(5)))
    first = np.arange(5) * 10  # of each of the first five rows
    kind = {name: number for number, name in enumerate(KINDS, 1)}
    colour = {name: number for number, name in enumerate(COLOURS, 1)}
    assert patches["patch_kind"][first].tolist() == [kind[name] for name in ("ring", SIGN, SIGN, FACE, FACE)]
    assert patches["patch_colour"][first].tolist() == [colour["blue"], colour["orange"], colour["white"], 0, 0]
    assert patches["patch_digits"][first].tolist() == [[0, 0], [5, 3], [8, 0], [0, 0], [0, 0]]
    boxes = [(0.25, 0.225, 0.3, 0.25), (0.75, 0.25, 0.3, 0.2), (0.75, 0.75, 0.3, 0.2)]
    boxes += [(0.25, 0.65, 0.25, 0.3), (0.5, 0.5, 0.25, 0.3)]
    np.testing.assert_allclose(patches["patch_box"][first], boxes, rtol=1e-6)
    aside = np.array((20, 4)) / np.hypot(20, 4)  # from (10, 26) to (30, 30)
    np.testing.assert_allclose(patches["patch_look"][first], [(0, 0)] * 3 + [tuple(aside), (0, 0)], rtol=1e-6)
    for name, column in patches.items():
        assert len(column) == 100
        assert not np.delete(column, first, axis=0).any(), name


def test_a_patch_belongs_to_what_covers_most_of_it() -> None:
    patches = patches_of(
        (np.s_[0, 0], 1),  # a sixteenth: too little
        (np.s_[0, 4:6], 1),  # two: enough
        *((np.s_[0:4, 8:10], 4), (np.s_[0:4, 10:12], 1), (np.s_[0, 10], 0)),  # eight of one, seven of another
        *((np.s_[0, 12], 1), (np.s_[1, 12], 2)),  # one each
    )
    face, ring = 1 + KINDS.index(FACE), 1 + KINDS.index("ring")
    assert patches["patch_kind"][:5].tolist() == [0, ring, face, 0, 0]
    assert not patches["patch_kind"][5:].any()


def test_patches_of_a_drawing_are_where_its_thing_is() -> None:
    square = SceneObject("square", "red", COLOURS["red"], 140, 25, 40 * np.sqrt(2) / 0.98)
    scene = Scene(200, 100, Background("plain", (90, 90, 90), (90, 90, 90)), (square,))
    kinds = _patches(scene, draw(scene), 10)["patch_kind"].reshape(10, 10)
    right = np.zeros((10, 10), int)
    right[0:5, 6:8] = 1 + KINDS.index("square")  # x from 120 to 160 of 200, y from 5 to 45 of 100
    assert (kinds[:, 6:8] == right[:, 6:8]).all()
    assert not kinds[:, :5].any()
    assert not kinds[5:].any()
