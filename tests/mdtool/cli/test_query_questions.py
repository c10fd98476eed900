"""What `mdtool query` is asked, and what it may answer: files of questions, templates, choices and numbers."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from cli_runner import Outcome, run
from make_media import SAMPLES

from engine.contract import Generation
from mdtool.cli.options.questions import QuestionOptions
from mdtool.cli.questions import query_requests

SCENES = SAMPLES / "scenes"
ONE = SCENES / "one.png"
POCKET = ("--model", "pocket", "--device", "cpu", "--temperature", "0")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def query(*arguments: str | Path, stdin: bytes | None = None) -> Outcome:
    return run("query", *arguments, *POCKET, stdin=stdin)


def rows(outcome: Outcome) -> list[list[str]]:
    assert (outcome.code, outcome.err) == (0, "")
    return [line.split("\t") for line in outcome.out.decode().splitlines()]


def test_the_answers_are_choices_as_they_were_written() -> None:
    questions = ("--question", "Is there a red circle?", "--question", "What colour is the square?")
    outcome = query(SCENES, *questions, "--choices", "An Elephant, nothing,no", "--choices", "象", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.json) == 16
    assert {record["answer"] for record in outcome.json} <= {"An Elephant", "nothing", "no", "象"}
    assert list(outcome.json[0]) == ["schema", "input", "width", "height", "model", "question", "answer"]


def test_a_number_even_of_what_is_no_number_and_the_seed_repeats_it() -> None:
    how = (SCENES, "--question", "What colour is the square?", "--number", "--model", "pocket", "--device", "cpu")
    drawn = ("--temperature", "5", "--top-p", "1", "--max-tokens", "5", "--seed", "3")
    first = rows(run("query", *how, *drawn))
    assert len(first) == 8
    assert all(NUMBER.fullmatch(answer) for _, answer in first)
    assert rows(run("query", *how, *drawn)) == first


def test_questions_of_a_file_come_after_those_asked_outright_and_all_go_into_the_template(tmp_path: Path) -> None:
    file = tmp_path / "things.txt"
    file.write_bytes("\ufeffcircle\r\n\n  \n\t红色的圆形 \r\n{square}".encode())
    template = ("--template", "Is there a {}? A {}!", "--choices", "yes,no")
    made = rows(query(ONE, "--question", "star", "--questions", file, *template))
    things = ("star", "circle", "红色的圆形", "{square}")
    assert [question for question, _ in made] == [f"Is there a {thing}? A {thing}!" for thing in things]
    assert {answer for _, answer in made} <= {"yes", "no"}


def test_questions_from_stdin() -> None:
    made = rows(query(ONE, "--questions", "-", stdin=b"How many circles are there?\nIs there a star?\n"))
    assert [question for question, _ in made] == ["How many circles are there?", "Is there a star?"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["x", "--choices", "yes"], 2, "--choices: two choices are needed"),
        (["x", "--choices", ""], 2, "--choices: two choices are needed"),
        (["x", "--choices", "yes,,no"], 2, "--choices: a choice is empty"),
        (
            ["x", "--choices", "yes, no", "--choices", " yes "],
            2,
            "--choices: the choice 'yes' is given twice",
        ),
        (["x", "--choices", "yes,no", "--number"], 2, "--choices: can't be used with --number"),
        (["x", "--template", "is there one?"], 2, "--template: has no {}"),
        (["x", "--template", ""], 2, "--template: has no {}"),
        (["--template", "is there a {}?"], 2, "is a file; put the question last, as in: "),
        (["--questions", "nowhere.txt"], 3, "--questions nowhere.txt: there is no such file"),
        (["--questions", ""], 2, "--questions: empty"),
        (["--questions", "folder"], 2, "--questions folder: can't be read: is a directory"),
        (["--questions", "blank.txt", "--question", "x"], 3, "--questions blank.txt: has no question"),
        (["--questions", "binary"], 2, "--questions binary: not text"),
        (["--questions", "wide.txt"], 2, "--questions wide.txt: not text"),
        (["--questions", "-"], 3, "--questions -: has no question"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_can_not_be_asked(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "blank.txt").write_bytes(b"\n \r\n")
    (tmp_path / "binary").write_bytes(ONE.read_bytes())
    (tmp_path / "wide.txt").write_bytes("what?\n".encode("utf-16-le"))
    outcome = run("query", ONE, *arguments, cwd=tmp_path)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (code, b"", 1), outcome.err
    assert said in outcome.err


def test_a_photo_and_questions_do_not_both_come_from_stdin() -> None:
    outcome = query("-", "--questions", "-", stdin=b"what?")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert "can't both come from stdin" in outcome.err


STRUCTURED = """
[[question]]
text = "Is there a star?"
choices = ["yes", "no"]

[[question]]
text = "How many circles are there?"
number = true
max_tokens = 3

[[question]]
text = "What colour is the star?"
"""


@pytest.mark.parametrize("form", ["toml", "json"])
def test_questions_with_constraints_of_their_own(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"ask.{form}"
    file.write_text(STRUCTURED if form == "toml" else json.dumps(tomllib.loads(STRUCTURED)))
    made = rows(query(ONE, "--questions", file))
    assert [question for question, _ in made] == [
        "Is there a star?",
        "How many circles are there?",
        "What colour is the star?",
    ]
    assert made[0][1] in ("yes", "no")
    assert NUMBER.fullmatch(made[1][1])
    assert made[2][1] == "purple"
    common = rows(query(ONE, "--questions", file, "--choices", "red,blue"))
    assert common[0] == made[0]
    assert common[2][1] in ("red", "blue")


def test_a_file_s_system_message_is_of_the_questions_without_one(tmp_path: Path) -> None:
    file = tmp_path / "ask.toml"
    file.write_text('system = "common"\n[[question]]\ntext = "a"\n[[question]]\ntext = "b"\nsystem = "own"\n')
    requests = query_requests(
        ["x.png"], QuestionOptions(questions=str(file), at=["0.5,0.5"]), Generation(max_tokens=9), listed=False
    )[1]
    assert [request.system for request in requests] == ["common", "own"]
    a = '[[question]]\ntext = "a"\nmax_tokens = 4\nreasoning = true\nat = [[0.1, 0.2, 0.3, 0.4]]\n'
    file.write_text(a + '[[question]]\ntext = "b"\n')
    own, common = query_requests(
        ["x.png"],
        QuestionOptions(questions=str(file), at=["0.5,0.5"], system="option", template="Say {}."),
        Generation(max_tokens=9),
        listed=False,
    )[1]
    assert (own.question, own.generation.max_tokens, own.reasoning) == ("Say a.", 4, True)
    assert own.references == ((0.1, 0.2, 0.3, 0.4),)
    assert (common.question, common.generation.max_tokens, common.reasoning) == ("Say b.", 9, None)
    assert common.references == ((0.5, 0.5),)
    assert own.system == common.system == "option"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "question is missing"),
        ("question = []", 3, "has no question"),
        ("[[question]]\ntext = 3", 2, "question[0].text must be a string, not 3"),
        ("[[question]]\nname = 'x'", 2, "unknown field question[0].name"),
        ("[[question]]\ntext = 'x'\nchoices = ['a']", 2, "'x': two choices are needed at least"),
        ("[[question]]\ntext = 'x'\nchoices = ['a', 'b']\nnumber = true", 2, "'x': choices can't be used with number"),
        ("[[question]]\ntext = 'x'\nat = [[0.5]]", 2, "'x': [0.5] is not a point X,Y or a box"),
        ("[[question]]\ntext = 'x'\nmax_tokens = 0", 2, "'x': max_tokens must be 1 or more"),
        ("[[question]]\ntext = 'x'\ntemperature = -1", 2, "'x': temperature must be 0 or more"),
        ("[[question]]\ntext = ' '", 2, "a question has no text"),
        ("[[question", 2, "not valid TOML"),
        ("question = 1", 2, "question must be a list"),
    ],
)
def test_a_structured_file_that_is_wrong(tmp_path: Path, text: str, code: int, said: str) -> None:
    file = tmp_path / "ask.toml"
    file.write_text(text)
    outcome = query(ONE, "--questions", file)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (code, b"", 1), outcome.err
    assert said in outcome.err
    assert f"--questions {file}" in outcome.err
