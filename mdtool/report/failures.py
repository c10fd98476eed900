"""Renders the HTML page of an evaluation's failures, with their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdtool.report.contents import EmbeddedImage
from mdtool.report.markup import escape_text, image_tag, number, table
from mdtool.report.page import document


@dataclass(frozen=True)
class Failure:
    """A sample that the model has wrong; all texts as plain text.

    Attributes:
        id: Of the sample.
        request: The question, or the prompt.
        truth: What is true.
        answer: What the model said.
        score: As text.
        picture: With what is true and what the model said drawn on it; None if it can't be shown.
    """

    id: str
    request: str
    truth: str
    answer: str
    score: str
    picture: EmbeddedImage | None


def failures_page(
    title: str, facts: Sequence[str], figures: Sequence[tuple[str, str]], failures: Sequence[Failure], *, total: int
) -> str:
    """Render a self-contained HTML document that can be encoded as UTF-8.

    Args:
        title: Of the page.
        facts: Lines about the run: model, data, prompts.
        figures: The figures by name, as texts.
        failures: That are shown.
        total: Number of all failures.
    """
    shown = f"{number(len(failures))} of " if total > len(failures) else ""
    title_of_list = f"{shown}{number(total)} {'failure' if total == 1 else 'failures'}"
    rows = "".join(f"<tr><th>{escape_text(name)}</th><td>{escape_text(value)}</td></tr>\n" for name, value in figures)
    return document(
        title,
        "".join(f"<p>{escape_text(fact)}</p>" for fact in facts) + "\n",
        f"""{table("figures", f"<tbody>{rows}</tbody>")}
<section>
<h2>{title_of_list}</h2>
<div class="sheet">
{"".join(map(_card, failures))}</div>
</section>
""",
    )


def _card(failure: Failure) -> str:
    picture = image_tag(failure.picture, f"picture of {failure.id}") if failure.picture else ""
    lines = (("request", failure.request), ("true", failure.truth), ("said", failure.answer), ("score", failure.score))
    text = "".join(f"<div><b>{name}</b> {escape_text(value)}</div>" for name, value in lines)
    return f"<figure>{picture}<figcaption>{escape_text(failure.id)}{text}</figcaption></figure>\n"
