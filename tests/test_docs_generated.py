"""The generated pages are what docs/generate.py makes now; `make docs` writes them again."""

import re
import runpy
from pathlib import Path

import pytest

from recipes.policy import ACTIONS
from recipes.policy_parser import KEYS

DOCS = Path(__file__).parents[1] / "docs"


PAGES: dict[str, str] = runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == PAGES[name], "run `make docs`"


def test_no_schema_is_left_over() -> None:
    assert {f"schemas/{file.name}" for file in (DOCS / "schemas").iterdir()} < PAGES.keys()


def test_the_page_of_policies_lists_all_keys_and_actions() -> None:
    page = (DOCS / "policies.md").read_text("utf-8")
    assert first_cells(page, "## Keys") == list(KEYS)
    assert first_cells(page, "## Actions") == list(ACTIONS)


def first_cells(page: str, heading: str) -> list[str]:
    """What the first column of a chapter's table names."""
    chapter = page.partition(f"{heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in chapter.splitlines() if line.startswith("| `")]
    return [name.strip(" `") for cell in cells for name in cell.split(",")]


def test_the_glossary_has_each_term_once_in_alphabetical_order() -> None:
    page = (DOCS / "glossary.md").read_text("utf-8")
    terms = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")][1:]
    assert terms == sorted(set(terms), key=lambda term: re.sub("[^a-z0-9 ]", "", term.casefold()))
