"""Positional arguments: inputs first, the prompt or question last."""

from pathlib import Path

import pytest

from mdtool.cli.arguments import PROMPT, QUESTION, split_arguments
from mdtool.errors import UsageError


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some files and folders in the working directory."""
    for name in ("a.jpg", "notes.txt", "face"):
        (tmp_path / name).touch()
    for name in ("photos", "dog"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("last", [PROMPT, QUESTION])
@pytest.mark.parametrize(
    ("arguments", "inputs", "text"),
    [
        (["a.jpg", "what is this?"], ["a.jpg"], "what is this?"),
        (["a.jpg", "b.jpg", "is b.jpg"], ["a.jpg", "b.jpg"], "is b.jpg"),
        (["photos", "face"], ["photos"], "face"),
        (["a.jpg", "dog"], ["a.jpg"], "dog"),
        (["-", "why?"], ["-"], "why?"),
    ],
)
def test_the_last_argument_is_the_text(last: object, arguments: list[str], inputs: list[str], text: str) -> None:
    assert split_arguments(arguments, [], last, listed=False) == (inputs, [text])  # type: ignore[arg-type]


def test_every_argument_is_an_input_where_an_option_gives_the_text() -> None:
    assert split_arguments(["a.jpg", "dog"], ["cat", "cow"], PROMPT, listed=False) == (["a.jpg", "dog"], ["cat", "cow"])
    assert split_arguments([], ["cat"], PROMPT, listed=True) == ([], ["cat"])


@pytest.mark.parametrize(
    ("arguments", "listed", "inputs", "texts"),
    [
        (["a.jpg"], False, ["a.jpg"], ["cat"]),
        (["a.jpg", "b.jpg"], False, ["a.jpg", "b.jpg"], ["cat"]),
        (["a.jpg", "cow"], False, ["a.jpg"], ["cow"]),
        (["a.jpg", "dog"], False, ["a.jpg", "dog"], ["cat"]),
        (["a.jpg", "*.jpg"], False, ["a.jpg", "*.jpg"], ["cat"]),
        (["a.jpg", "photos"], False, ["a.jpg", "photos"], ["cat"]),
        ([], True, [], ["cat"]),
        (["cow"], True, [], ["cow"]),
    ],
)
def test_an_argument_overrides_the_text_of_settings(
    arguments: list[str], listed: bool, inputs: list[str], texts: list[str]
) -> None:
    """But what is there is an input."""
    assert split_arguments(arguments, ["cat"], PROMPT, listed=listed, preset=True) == (inputs, texts)


def test_the_text_alone_where_a_list_names_the_inputs() -> None:
    assert split_arguments(["who?"], [], QUESTION, listed=True) == ([], ["who?"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["a.jpg", "a.jpg"],
            'the question is missing: a.jpg is a file; put the question last, as in: a.jpg "what is this?"',
        ),
        (["a.jpg", "notes.txt"], "the question is missing: notes.txt is a file"),
        (["a.jpg", "./photos"], "the question is missing: ./photos is a folder"),
        (["dog"], "the question is missing: dog is a folder"),
        (["a.jpg", "b.jpg"], "the question is missing: b.jpg is a file that does not exist"),
        (["a.jpg", "-"], "the question is missing: - is standard input"),
        (["a.jpg", "https://example.org/b"], "the question is missing: https://example.org/b is a URL"),
        (["a.jpg", "*.jpg"], "the question is missing: *.jpg is a pattern of files"),
        (["what?"], "'what?': no image is named before this question"),
        (["a.jpg", " "], "the question: empty"),
        ([], "the question is missing"),
    ],
)
def test_what_is_no_question(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_arguments(arguments, [], QUESTION, listed=False)
    assert str(caught.value).startswith(said)
