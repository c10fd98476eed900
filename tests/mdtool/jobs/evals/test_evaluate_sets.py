"""`mdtool eval TASK` and `eval compare`: a model on a data set, its results folder, and two runs beside each other."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import run
from jsonschema import Draft202012Validator
from make_evaluation_sets import SETS, coco, gazefollow, naturalbench, png, qa, write_images, write_lines, write_parquet

from engine.catalog.published import downloads
from mdtool.errors import InputError
from mdtool.jobs.evals.published import PUBLISHED
from mdtool.jobs.evals.results_folder import read_results
from mdtool.jobs.evals.tasks.table import TASKS
from mdtool.records.schemas import RECORDS

POCKET = ("--model", "pocket")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions on two pictures, of which `pocket` has three right."""
    return qa(tmp_path_factory.mktemp("qa"))


@pytest.fixture(scope="module")
def results(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation of them."""
    out = tmp_path_factory.mktemp("results") / "out"
    assert run("eval", "qa", "--data", questions, *POCKET, "--out", out).code == 0
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_figures_are_printed_with_their_intervals(questions: Path) -> None:
    done = run("eval", "qa", "--data", questions, *POCKET)
    out = done.out.decode()
    assert done.code == 0
    assert "| accuracy | 75.0% | 50.0% to 100.0% | 4 |" in out
    assert "| accuracy (hard) | 50.0% |  | 2 |" in out  # of one picture, which has no interval
    assert "wording of the prompts: your data" in out


def test_each_sample_is_a_line_with_its_truth_answer_and_score(results: Path) -> None:
    samples = lines(results / "samples.jsonl")
    assert [sample["id"] for sample in samples] == ["a", "b", "c", "d"]
    assert [sample["score"] for sample in samples] == [1, 1, 1, 0]
    assert samples[3] | {"schema": ""} == {
        "schema": "", "id": "d", "picture": "2.png", "request": "What colour is the star?", "truth": "green",
        "answer": "yellow", "prediction": "yellow", "score": 0, "unit": "2.png", "groups": ["hard"],
    }  # fmt: skip
    summary = json.loads((results / "summary.json").read_text())
    Draft202012Validator(RECORDS["evaluation"]).validate(summary)
    Draft202012Validator(RECORDS["evaluation_sample"]).validate(samples[0])
    Draft202012Validator(RECORDS["batch"]).validate(lines(results / "answers.jsonl")[0])
    assert summary["samples"] == 4
    assert summary["figures"][0]["value"] == 0.75


def test_failures_are_shown_with_their_pictures(results: Path) -> None:
    page = (results / "failures.html").read_text()
    assert "<h2>1 failure</h2>" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "What colour is the star?" in page
    assert "<script" not in page


def test_a_second_run_asks_the_model_nothing_and_scores_again(results: Path, questions: Path) -> None:
    before = (results / "answers.jsonl").read_bytes()
    done = run("eval", "qa", "--data", questions, *POCKET, "--out", results)
    assert "0 samples on 0 pictures" in done.err
    assert "4 were answered before" in done.err
    assert "| accuracy | 75.0% |" in done.out.decode()
    assert (results / "answers.jsonl").read_bytes() == before


def test_a_run_goes_on_where_it_was_stopped(results: Path, questions: Path, tmp_path: Path) -> None:
    whole = (results / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "answers.jsonl").write_bytes(b"".join(whole[:2]) + whole[2][:30])  # killed while it wrote the third
    done = run("eval", "qa", "--data", questions, *POCKET, "--out", tmp_path)
    assert "2 samples" in done.err
    assert sorted(line["input"] for line in lines(tmp_path / "answers.jsonl")) == ["a", "b", "c", "d"]
    assert (tmp_path / "samples.jsonl").read_bytes() == (results / "samples.jsonl").read_bytes()


def test_a_question_or_picture_that_changed_is_asked_again(tmp_path: Path) -> None:
    data = qa(tmp_path)
    run("eval", "qa", "--data", data, *POCKET, "--out", tmp_path / "out")
    rows = lines(data)
    rows[1]["question"] = "What colour is the face?"
    write_lines(data, rows)
    (tmp_path / "2.png").write_bytes(png(0))
    done = run("eval", "qa", "--data", data, *POCKET, "--out", tmp_path / "out")
    assert "3 samples on 2 pictures" in done.err
    assert len(lines(tmp_path / "out" / "answers.jsonl")) == 4


def test_a_folder_of_another_evaluation_is_left_alone(results: Path, tmp_path: Path) -> None:
    done = run("eval", "coco", "--data", coco(tmp_path), *POCKET, "--out", results)
    assert done.code == 74
    assert "holds another evaluation, of pocket on qa" in done.err


def test_a_sample_whose_picture_is_missing_fails_alone(tmp_path: Path) -> None:
    data = qa(tmp_path)
    (tmp_path / "2.png").unlink()
    done = run("eval", "qa", "--data", data, *POCKET, "--out", tmp_path / "out")
    assert done.code == 1
    assert f"c: the picture {tmp_path / '2.png'} can't be read: No such file or directory" in done.err
    assert "2 samples, 2 without an answer, which are left out" in done.out.decode()
    write_images(tmp_path)
    again = run("eval", "qa", "--data", data, *POCKET, "--out", tmp_path / "out")
    assert again.code == 0
    assert "2 samples on 1 pictures" in again.err


def test_of_many_failures_some_are_named_and_all_counted(tmp_path: Path) -> None:
    data = qa(tmp_path)
    rows = lines(data) + [{"image": "no.png", "question": f"{i}?", "answer": i} for i in range(12)]
    write_lines(data, rows)
    done = run("eval", "qa", "--data", data, *POCKET)
    assert done.code == 1
    assert sum("can't be read" in line for line in done.lines) == 5
    assert "7 more samples have no answer; if their pictures are elsewhere, name the folder with --images" in done.err
    assert "4 samples, 12 without an answer" in done.out.decode()


def test_answers_that_another_program_wrote_anew_are_still_read(tmp_path: Path) -> None:
    data, out = qa(tmp_path), tmp_path / "out"
    assert run("eval", "qa", "--data", data, *POCKET, "--out", out).code == 0
    answers = [json.dumps(record, sort_keys=True) + "\n" for record in lines(out / "answers.jsonl")]
    (out / "answers.jsonl").write_text("".join(answers))
    done = run("eval", "qa", "--data", data, *POCKET, "--out", out)
    assert done.code == 0, done.err
    assert "4 were answered before" in done.err


def test_figures_of_groups_of_questions_are_of_groups(tmp_path: Path) -> None:
    [summary] = run("eval", "naturalbench", "--data", naturalbench(tmp_path), *POCKET, "--json").json
    assert {figure["name"]: figure["count"] for figure in summary["figures"]} == {
        "group accuracy": 1, "question accuracy": 2, "image accuracy": 2, "accuracy": 4,
    }  # fmt: skip


def test_nothing_but_failures_is_an_error(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"image": "no.png", "question": "Is there a star?", "answer": "yes"}])
    done = run("eval", "qa", "--data", tmp_path / "a.jsonl", *POCKET)
    assert done.code == 1
    assert "no sample has an answer" in done.err


def test_samples_that_make_no_figure_are_an_error(tmp_path: Path) -> None:
    done = run("eval", "naturalbench", "--data", naturalbench(tmp_path), *POCKET, "--limit", "3")
    assert done.code == 1
    assert "naturalbench has no figure for these samples alone; give more" in done.err


def test_pictures_inside_parquet_are_asked_about_once_for_all_their_questions(tmp_path: Path) -> None:
    asked = [("How many red circles are there?", 2), ("How many stars are there?", 1)]
    rows = [{"image": {"bytes": png(0), "path": None}, "qa": [{"question": q, "answer": n} for q, n in asked]}]
    write_parquet(tmp_path / "a.parquet", rows)
    done = run("eval", "qa", "--data", tmp_path / "a.parquet", *POCKET, "--json")
    [summary] = done.json
    assert (summary["samples"], summary["pictures"], summary["figures"][0]["value"]) == (2, 1, 1)


def test_boxes_of_drawn_scenes_are_scored(tmp_path: Path) -> None:
    [summary] = run("eval", "coco", "--data", coco(tmp_path), *POCKET, "--limit", "5", "--json").json
    figures = {figure["name"]: figure["value"] for figure in summary["figures"]}
    assert figures["COCO mAP (IoU 0.5 to 0.95)"] > 0.9
    assert summary["samples"] == 5
    assert summary["published"][0]["percent"] == 51.2


def test_a_gaze_needs_a_model_that_estimates_it(tmp_path: Path) -> None:
    done = run("eval", "gazefollow", "--data", gazefollow(tmp_path), "--model", "centerface")
    assert done.code == 2
    assert "centerface can't gaze" in done.err


def test_actors_need_a_cluster(questions: Path) -> None:
    done = run("eval", "qa", "--data", questions, *POCKET, "--actors", "2")
    assert (done.code, done.lines) == (2, ["mdtool: --actors: needs --ray; add it, or leave --actors out"])


def test_an_unknown_task_is_told_with_those_that_there_are() -> None:
    done = run("eval", "popee", "--data", "x")
    assert done.code == 2
    assert "popee: there is no such task (pope, countbenchqa" in done.err
    assert run("eval", "task", "popee", "--data", "x").code == 2


def test_published_figures_are_of_tasks_and_models_that_there_are() -> None:
    assert {figure.task for figure in PUBLISHED} <= set(TASKS)
    assert {figure.model for figure in PUBLISHED} <= {model.name for model in downloads()}
    assert all(figure.source for figure in PUBLISHED)


def test_a_run_equals_itself(results: Path) -> None:
    done = run("eval", "compare", results, results)
    out = done.out.decode()
    assert done.code == 0
    assert "no difference can be told from chance" in out
    assert "right in A alone: 0, in B alone: 0, p = 1.0000" in out
    assert "the same answer: 4 of 4" in out


def test_a_better_run_is_told_from_chance(results: Path, tmp_path: Path) -> None:
    for folder, score in (("a", 0.0), ("b", 1.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "summary.json").write_bytes((results / "summary.json").read_bytes())
        sample = lines(results / "samples.jsonl")[0]
        write_lines(
            tmp_path / folder / "samples.jsonl",
            [sample | {"id": str(i), "unit": str(i), "score": score if i < 8 else 1.0} for i in range(20)],
        )
    [found] = run("eval", "compare", tmp_path / "a", tmp_path / "b", "--json").json
    assert found["difference"] == pytest.approx(0.4)
    assert found["low"] > 0
    assert found["mcnemar"]["only_b"] == 8
    assert "B is better than A beyond chance" in run("eval", "compare", tmp_path / "a", tmp_path / "b").out.decode()
    assert "B is worse than A beyond chance" in run("eval", "compare", tmp_path / "b", tmp_path / "a").out.decode()


def test_a_comparison_does_not_depend_on_which_run_is_first(results: Path, tmp_path: Path) -> None:
    sample = lines(results / "samples.jsonl")[0]
    units = {"a": [i // 5 for i in range(40)], "b": [0, *range(1, 38), 9, 9]}  # which join 8 pictures to 7 in b alone
    for folder, scores in (("a", [1, 0, 1]), ("b", [1, 1, 0, 0, 1])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "summary.json").write_bytes((results / "summary.json").read_bytes())
        rows = [
            sample | {"id": str(i), "unit": f"{folder}{units[folder][i]}", "score": scores[i % len(scores)]}
            for i in range(40)
        ]
        write_lines(tmp_path / folder / "samples.jsonl", rows if folder == "a" else rows[::-1])
    [found] = run("eval", "compare", tmp_path / "a", tmp_path / "b", "--json").json
    [mirrored] = run("eval", "compare", tmp_path / "b", tmp_path / "a", "--json").json
    assert found["units"] == mirrored["units"] == 7
    assert [mirrored[name] for name in ("difference", "low", "high")] == pytest.approx(
        [-found[name] for name in ("difference", "high", "low")]
    )
    assert mirrored["p"] == found["p"]


@pytest.mark.parametrize("kind", ["image_id", "name", "bytes"])
def test_an_interval_does_not_depend_on_how_the_set_keeps_its_pictures(kind: str, tmp_path: Path) -> None:
    write_images(tmp_path)
    questions = [
        ("How many red circles are there?", 2),
        ("How many stars are there?", 1),
        ("How many rings are there?", 0),
    ]
    rows = [
        {"id": f"{number}{place}", "question": question, "answer": answer if number else 7}
        for number in range(2)
        for place, (question, answer) in enumerate(questions)
    ]
    for number, row in enumerate(rows):
        image = number // len(questions)
        row |= {"image": f"{image + 1}.png"} if kind == "name" else {"image": {"bytes": png(image)}}
        row |= {"image_id": image} if kind == "image_id" else {}
    data = tmp_path / ("a.jsonl" if kind == "name" else "a.parquet")
    (write_lines if kind == "name" else write_parquet)(data, rows)
    [summary] = run("eval", "qa", "--data", data, *POCKET, "--json").json
    [figure] = summary["figures"]
    assert [round(figure[name], 3) for name in ("value", "low", "high")] == [0.333, 0.0, 0.667]
    assert summary["pictures"] == 2


def of_both(folder: Path, written: list[dict[str, Any]], summary: bytes) -> Path:
    folder.mkdir()
    (folder / "summary.json").write_bytes(summary)
    write_lines(folder / "samples.jsonl", written)
    return folder


def test_runs_of_other_samples_are_compared_over_those_that_both_have(results: Path, tmp_path: Path) -> None:
    """The first half of A is right, and B has the second half alone: figures over all would be those of others."""
    summary, sample = (results / "summary.json").read_bytes(), lines(results / "samples.jsonl")[0]
    written = [sample | {"id": str(i), "unit": str(i), "score": float(i < 10), "groups": []} for i in range(20)]
    a, b = of_both(tmp_path / "a", written, summary), of_both(tmp_path / "b", written[5:], summary)
    [found] = run("eval", "compare", a, b, "--json").json
    assert (found["samples"], found["only_in_one"]) == (15, 5)
    [accuracy] = found["figures_a"]
    assert accuracy["value"] == found["a"] == pytest.approx(1 / 3)
    assert accuracy["count"] == 15
    text = run("eval", "compare", a, b).out.decode()
    assert "over the 15 samples that both have; 5 are in one of them only, and left out" in text
    assert "| accuracy | 33.3% (" in text
    damaged = of_both(tmp_path / "c", written, summary.replace(b'"qa"', b'"other"'))
    other = of_both(tmp_path / "d", written[5:], summary.replace(b'"qa"', b'"other"'))
    assert f"{damaged}: its samples are damaged: lacks 'other'" in run("eval", "compare", damaged, other).err


def test_runs_of_different_tasks_can_t_be_compared(results: Path, tmp_path: Path) -> None:
    summary = json.loads((results / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"task": "pope"}))
    (tmp_path / "samples.jsonl").write_bytes((results / "samples.jsonl").read_bytes())
    done = run("eval", "compare", results, tmp_path)
    assert done.code == 2
    assert "differ in task (qa, pope)" in done.err
    assert "is no folder of a finished evaluation" in run("eval", "compare", results, tmp_path / "no").err
    (tmp_path / "samples.jsonl").write_text("{}\n")
    assert "samples.jsonl: line 1: lacks 'schema'" in run("eval", "compare", results, tmp_path).err


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("summary.json", {"task": None}, "summary.json: a value is of another type"),
        ("summary.json", {"figures": [{"x": 1}]}, "summary.json: a value is of another type"),
        ("summary.json", {"computing": 3}, "summary.json: a value is of another type"),
        ("summary.json", {"schema": "x"}, "summary.json: is of another version of mdtool"),
        ("samples.jsonl", {"score": "x"}, "samples.jsonl: line 1: a value is of another type"),
        ("samples.jsonl", {"score": float("nan")}, "samples.jsonl: line 1: the score is nan"),
        ("samples.jsonl", {"id": []}, "samples.jsonl: line 1: a value is of another type"),
        ("samples.jsonl", None, "samples.jsonl: line 1: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_damaged_folder_is_told(
    results: Path, name: str, change: dict[str, Any] | None, fault: str, tmp_path: Path
) -> None:
    for one in ("summary.json", "samples.jsonl"):
        (tmp_path / one).write_bytes((results / one).read_bytes())
    text = (tmp_path / name).read_text()
    record = json.loads(text if name == "summary.json" else text.splitlines()[0])
    (tmp_path / name).write_bytes(b"\xff\n" if change is None else json.dumps(record | change).encode())
    with pytest.raises(InputError, match=fault):
        read_results(tmp_path)


def test_hostile_texts_are_only_text_on_the_page_of_failures(tmp_path: Path) -> None:
    write_images(tmp_path)
    hostile = "</figure><script>alert(1)</script>\"'><img src=x onerror=alert(1)> How many stars?"
    row = {
        "id": hostile,
        "image": "1.png",
        "question": hostile,
        "answer": hostile + "\u202e\0\x1b[31m",
        "split": hostile,
    }
    write_lines(tmp_path / "a.jsonl", [row | {"answer": hostile + "\u202e\0\x1b[31m"}])
    done = run("eval", "qa", "--data", tmp_path / "a.jsonl", *POCKET, "--out", tmp_path / "out")
    assert done.code == 0
    page = (tmp_path / "out" / "failures.html").read_text()
    assert "<h2>1 failure</h2>" in page
    assert page.count("&lt;script&gt;") >= 4
    assert page.count("</figure>") == page.count("<img ") == 1
    assert not any(text in page for text in ("<script", "<img src=x", "\u202e", "\0", "\x1b"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_each_task_runs_on_its_set(name: str, tmp_path: Path) -> None:
    done = run("eval", name, "--data", SETS[name](tmp_path), *POCKET, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "failures.html").exists()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["task"] == name
    assert summary["figures"][0]["value"] is not None
    read = read_results(tmp_path / "out")  # from which eval compare computes figures too
    assert TASKS[name].figures(list(read.samples.values())) == read.figures
