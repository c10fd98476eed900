"""Patterns of paths, as --include, --exclude and globs have them."""

import glob
from pathlib import Path

import pytest

from mdtool.errors import UsageError
from mdtool.media.sources.patterns import Filter, Glob

PATHS = ["a.jpg", "b.JPG", "c.png", "raw/a.jpg", "raw/deep/a.jpg", "x/raw/a.jpg", "x/y/c1.png", "x/raw.jpg", "n\nl.jpg"]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*.jpg", ["a.jpg", "raw/a.jpg", "raw/deep/a.jpg", "x/raw/a.jpg", "x/raw.jpg", "n\nl.jpg"]),
        ("/*.jpg", ["a.jpg", "n\nl.jpg"]),
        ("raw/**", ["raw/a.jpg", "raw/deep/a.jpg"]),
        ("raw/*", ["raw/a.jpg", "raw/deep/a.jpg"]),
        ("raw/*.jpg", ["raw/a.jpg"]),
        ("raw/**/*.jpg", ["raw/a.jpg", "raw/deep/a.jpg"]),
        ("/raw", ["raw/a.jpg", "raw/deep/a.jpg"]),
        ("raw", ["raw/a.jpg", "raw/deep/a.jpg", "x/raw/a.jpg"]),
        ("raw/", ["raw/a.jpg", "raw/deep/a.jpg", "x/raw/a.jpg"]),
        ("**/raw/**", ["raw/a.jpg", "raw/deep/a.jpg", "x/raw/a.jpg"]),
        ("x/*/?[0-9].png", ["x/y/c1.png"]),
        ("[!a-b].*", ["c.png"]),
        ("x?raw/*", []),
        ("x[/]raw", []),
        ("[z-a].jpg", []),
        ("[.jpg", []),
        ("**", PATHS),
    ],
)
def test_a_pattern_matches_as_in_a_gitignore(pattern: str, matched: list[str]) -> None:
    assert [path for path in PATHS if Filter([pattern]).matches(path)] == matched
    assert [path for path in PATHS if not Filter(exclude=[pattern]).matches(path)] == matched


def test_what_is_excluded_is_not_entered() -> None:
    left_out = Filter(exclude=["raw", "x/y/**", "*.jpg"])
    folders = ("raw", "x", "x/y", "x/raw", "x/ya")
    assert [folder for folder in folders if left_out.may_match_below(folder)] == ["x", "x/ya"]
    assert Filter(["*.jpg"], ["raw/*.jpg"]).may_match_below("raw")
    assert not Filter(["*.jpg"], ["a.jpg"]).matches("raw/a.jpg")
    for pattern in ("", "/", "//"):
        with pytest.raises(UsageError, match="matches nothing"):
            Filter([pattern])


@pytest.mark.parametrize(
    "pattern", ["*", "*/*.jpg", "**/*.jpg", "**/a.jpg", "r*/**", "[a-c].*", "x/**/*.png", "x/*/a*"]
)
def test_a_glob_matches_as_in_pythons_own(pattern: str, tmp_path: Path) -> None:
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    given = Glob(f"{tmp_path}/{pattern}")
    start = Path(given.folder).relative_to(tmp_path)
    wanted = {path for path in glob.glob(f"{tmp_path}/{pattern}", recursive=True) if Path(path).is_file()}
    found = {path for path in PATHS if Path(path).is_relative_to(start)}
    found = {path for path in found if given.matches(Path(path).relative_to(start).as_posix())}
    assert {str(tmp_path / path) for path in found} == wanted
    for path in found:
        for folder in Path(path).relative_to(start).parents:
            assert folder == Path(".") or given.may_match_below(folder.as_posix())


def test_where_a_glob_starts() -> None:
    starts = {"*.jpg": ".", "/*.jpg": "/", "a/b/*.jpg": "a/b", "./[a]/b": ".", "/a//**": "/a/"}
    assert {pattern: Glob(pattern).folder for pattern in starts} == starts
    assert not Glob("*/a.jpg").may_match_below("x/y")
    assert not Glob("x*/a/*.jpg").may_match_below("y")
    assert Glob("x/**").may_match_below("a/b/c/d")
