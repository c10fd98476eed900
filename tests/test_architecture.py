"""docs/architecture.md names the folders that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_folder_is_named_and_every_named_one_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("## The folders")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(named) == len(set(named))
    assert [folder for folder in named if not (ROOT / folder).is_dir()] == []
    packages = ("mdtool", "recipes", "engine")
    folders = {file.parent for package in packages for file in (ROOT / package).rglob("*.py")}
    assert {str(folder.relative_to(ROOT)) for folder in folders} - {"mdtool"} <= set(named)
