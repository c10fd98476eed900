"""`mdtool caption` and `mdtool query`, and detect and point by a model that takes any words: the small golden ones."""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run, spawn
from PIL import Image

import engine
from engine.contract import Generation, LoadOptions
from engine.generation.verbs import VisionModel

GOLDEN = Path(__file__).parents[2] / "golden"
SECOND, THIRD = GOLDEN / "moondream2", GOLDEN / "moondream3"
A, B = GOLDEN / "images" / "img_a.png", GOLDEN / "images" / "img_b.png"
CPU = ("--device", "cpu", "--detail", "low")
GREEDY = ("--temperature", "0", "--max-tokens", "8", *CPU)


@cache
def loaded(path: Path) -> VisionModel:
    return engine.load(str(path), LoadOptions("cpu", detail="low"))


@cache
def alone(path: Path, photo: Path, question: str = "") -> str:
    """What the engine itself says of one photo: the caption, or the answer to a question."""
    with Image.open(photo) as picture:
        encoded = loaded(path).encode([np.asarray(picture.convert("RGB"))])
    how = Generation(temperature=0, max_tokens=8)
    if question:
        return loaded(path).query(encoded, question, reasoning=False, generation=how)[0].text
    return loaded(path).caption(encoded, generation=how)[0]


def test_a_caption_is_the_text_alone() -> None:
    outcome = run("caption", A, "--model", SECOND, *GREEDY)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.decode() == alone(SECOND, A).strip() + "\n"


def test_captions_of_several_are_lines_in_the_order_of_the_photos(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(A.read_bytes()[:3000])
    outcome = run("caption", B, tmp_path / "broken.png", A, "--model", SECOND, *GREEDY)
    assert outcome.code == 1
    assert len(outcome.lines) == 1
    assert "broken.png: damaged" in outcome.err
    wanted = "".join(f"{photo}\t{' '.join(alone(SECOND, photo).split(chr(10))).strip()}\n" for photo in (B, A))
    assert outcome.out.decode() == wanted


def test_a_folder_of_one_is_named_too(tmp_path: Path) -> None:
    shutil.copy(A, tmp_path)
    outcome = run("caption", tmp_path, "--model", SECOND, *GREEDY)
    assert outcome.out.decode().startswith(f"{tmp_path}/{A.name}\t")


def test_a_caption_as_a_record() -> None:
    (record,) = run("caption", A, "--length", "short", "--model", SECOND, *GREEDY, "--json").json
    assert list(record) == ["schema", "input", "width", "height", "model", "length", "caption"]
    assert (record["width"], record["height"], record["length"]) == (300, 200, "short")


def test_questions_and_photos() -> None:
    questions = ("what?", "who is there?")
    asked = [part for question in questions for part in ("--question", question)]
    outcome = run("query", A, B, *asked, "--no-reasoning", "--model", SECOND, *GREEDY, "--json")
    assert [(r["input"], r["question"]) for r in outcome.json] == [(str(p), q) for p in (A, B) for q in questions]
    for record in outcome.json:
        assert record["answer"] == alone(SECOND, Path(record["input"]), record["question"])
    lines = run("query", A, *asked, "--model", SECOND, *GREEDY).out.decode().split("\n")
    assert [line.split("\t")[0] for line in lines if line] == list(questions)
    one = run("query", A, "what?", "--model", SECOND, *GREEDY)
    assert one.out.decode() == alone(SECOND, A, "what?").strip() + "\n"


@pytest.mark.parametrize("reasoning", [True, False])
def test_reasoning(reasoning: bool) -> None:
    option = "--reasoning" if reasoning else "--no-reasoning"
    (record,) = run("query", A, "what?", option, "--model", THIRD, *GREEDY, "--json").json
    assert ("reasoning" in record, "grounding" in record) == (reasoning, reasoning)


@pytest.mark.slow
def test_the_seed_makes_the_text() -> None:
    drawn = ("--temperature", "2", "--top-p", "1", "--max-tokens", "8", *CPU, "--json")
    texts = [
        run("caption", A, B, "--model", SECOND, "--seed", seed, *drawn).json[0]["caption"] for seed in ("1", "1", "2")
    ]
    assert texts[0] == texts[1] != texts[2]


def test_any_words_can_be_found(tmp_path: Path) -> None:
    limit = ("--max-objects", "1", "--model", SECOND, *CPU)
    outcome = run("detect", A, "red mug", *limit, "--json", "--draw", tmp_path / "out.png")
    (record,) = outcome.json
    assert list(record["objects"][0]) == ["label", "x_min", "y_min", "x_max", "y_max"]
    assert record["objects"][0]["label"] == "red mug"
    assert "the list ended at 1 objects" in outcome.err
    assert (tmp_path / "out.png").exists()
    (row,) = run("point", A, "red mug", *limit).out.decode().splitlines()
    assert row.split("\t")[:2] == [str(A), "red mug"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["caption", A, "--model", "centerface"], 2, "centerface can't caption"),
        (["caption", A, "--model", "moondream2"], 4, "models pull moondream2"),
        (["caption", A, "--model", GOLDEN / "images"], 4, "images"),
        (["caption", A, "--length", "endless"], 2, "--length"),
        (["caption", A, "--temperature", "-1"], 2, "--temperature"),
        (["caption", A, "--temperature", "nan"], 2, "--temperature"),
        (["caption", A, "--top-p", "1.5"], 2, "--top-p"),
        (["caption", A, "--top-p", "nan"], 2, "--top-p"),
        (["caption", A, "--max-tokens", "0"], 2, "--max-tokens"),
        (["caption", A, "--seed", "-1"], 2, "--seed"),
        (["caption", A, "--model", SECOND, "--device", "nowhere"], 2, "nowhere"),
        (["caption", A, "--model", SECOND, "--detail", "huge"], 2, "detail"),
        (["detect", A, "cat", "--model", SECOND, "--threshold", "0.5"], 2, "threshold"),
        (["query", A, "--question", " "], 2, "--question: empty"),
        (["query", A], 2, "--question"),
        (["caption", "nowhere/"], 1, "no such file"),
    ],
    ids=lambda value: " ".join(Path(part).name for part in value) if isinstance(value, list) else None,
)
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str | Path], code: int, said: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    if arguments[-1] == "nowhere/":
        arguments = [*arguments, "--model", SECOND, "--device", "cpu"]
    outcome = run(*arguments)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (code, b"", 1), outcome.err
    assert said in outcome.err
    assert "unexpected" not in outcome.err


def test_weights_that_are_broken(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(SECOND / name, tmp_path)
    (tmp_path / "model.safetensors").write_bytes((SECOND / "model.safetensors").read_bytes()[:5000])
    outcome = run("caption", A, "--model", tmp_path)
    assert (outcome.code, len(outcome.lines)) == (4, 1)


def test_in_a_process_of_its_own() -> None:
    outcome = spawn("caption", "-", "--model", SECOND, *GREEDY, "--json", stdin=A.read_bytes())
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["caption"] == alone(SECOND, A)


def test_an_adapter_answers() -> None:
    lora = SECOND / "lora.safetensors"
    model = engine.load(str(SECOND), LoadOptions("cpu", detail="low", adapter=str(lora)))
    with Image.open(A) as picture:
        encoded = model.encode([np.asarray(picture.convert("RGB"))])
    (wanted,) = model.caption(encoded, generation=Generation(temperature=0, max_tokens=8))
    assert wanted != alone(SECOND, A)
    outcome = run("caption", A, "--model", SECOND, "--adapter", lora, *GREEDY)
    assert (outcome.code, outcome.out.decode()) == (0, wanted.strip() + "\n")


def test_results_of_another_adapter_do_not_count(tmp_path: Path) -> None:
    plain = ("caption", A, "--model", SECOND, *GREEDY, "--jsonl", tmp_path / "out.jsonl")
    assert run(*plain).code == run(*plain, "--adapter", SECOND / "lora.safetensors").code == 0
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["revision"] != second["revision"]
    assert first["settings"] != second["settings"]


def test_an_adapter_that_is_not_there(tmp_path: Path) -> None:
    outcome = run("caption", A, "--model", SECOND, *CPU, "--adapter", tmp_path / "none.safetensors")
    assert outcome.code == 4
    assert len(outcome.lines) == 1
    assert "no adapter" in outcome.err


def test_a_question_about_places() -> None:
    asked = ("query", A, "what?", "--model", SECOND, *GREEDY, "--no-reasoning", "--json")
    (record,) = run(*asked, "--at", "0.25,0.5", "--at", "0.1,0.1,0.9,0.5").json
    assert record["at"] == [[0.25, 0.5], [0.1, 0.1, 0.9, 0.5]]
    with Image.open(A) as picture:
        encoded = loaded(SECOND).encode([np.asarray(picture.convert("RGB"))])
    places = [(0.25, 0.5), (0.1, 0.1, 0.9, 0.5)]
    how = Generation(temperature=0, max_tokens=8)
    (answer,) = loaded(SECOND).query(encoded, "what?", False, places, generation=how)
    assert record["answer"] == answer.text
    (without,) = run(*asked).json
    assert "at" not in without


@pytest.mark.parametrize("place", ["", "0.5", "5,5", "0.5,x", "0.5,0.5,0.5", "0.9,0.1,0.1,0.9", "nan,0.5"])
def test_a_place_that_is_none(place: str) -> None:
    outcome = run("query", A, "what?", "--model", SECOND, "--at", place)
    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert "--at" in outcome.err
