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


def test_the_text_alone_where_a_list_names_the_inputs() -> None:
    assert split_arguments(["who?"], [], QUESTION, listed=True) == ([], ["who?"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.jpg", "a.jpg"], 'a.jpg: is a file, not a question; put the question last, as in: a.jpg "what is this?"'),
        (["a.jpg", "notes.txt"], "notes.txt: is a file, not a question"),
        (["a.jpg", "./photos"], "./photos: is a folder, not a question"),
        (["dog"], "dog: is a folder, not a question"),
        (["a.jpg", "b.jpg"], "b.jpg: is a file that does not exist, not a question"),
        (["a.jpg", "-"], "-: is standard input, not a question"),
        (["a.jpg", "https://example.org/b"], "https://example.org/b: is a URL, not a question"),
        (["a.jpg", "*.jpg"], "*.jpg: is a pattern of files, not a question"),
        (["what?"], "'what?': no image is named before this question"),
        (["a.jpg", " "], "the question: empty"),
        ([], "the question is missing"),
    ],
)
def test_what_is_no_question(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_arguments(arguments, [], QUESTION, listed=False)
    assert str(caught.value).startswith(said)
