from dataclasses import replace
from pathlib import Path

import pytest

from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.shard import Shard, parse_shard


def make_folder(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    for number in range(60):
        (folder / ("sub" if number % 2 else "") / f"{number}.jpg").touch()
    return folder


def names(selection: Selection) -> set[str]:
    return {str(source.relative) for source in discover(selection)}


def test_each_input_is_in_one_shard_wherever_the_folder_is(tmp_path: Path) -> None:
    here, there = make_folder(tmp_path / "here"), make_folder(tmp_path / "there")
    whole = Selection([str(here)])
    parts = [names(replace(whole, shard=Shard(index, 4))) for index in range(1, 5)]
    assert set.union(*parts) == names(whole)
    assert sum(map(len, parts)) == 60
    assert all(5 <= len(part) <= 25 for part in parts)
    assert names(Selection([str(there)], shard=Shard(2, 4))) == parts[1]


def test_a_shard_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").touch()
    parts = [list(discover(Selection([str(tmp_path)], shard=Shard(index, 9)))) for index in range(1, 10)]
    assert sorted(map(len, parts)) == [0] * 8 + [1]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5"])
def test_bad_values(text: str) -> None:
    with pytest.raises(ValueError, match="must be I/N"):
        parse_shard(text)
