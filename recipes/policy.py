"""Policies: what is not wanted in pictures and videos, how much of it counts, and what is done about it.

A policy is a TOML file (toml.io, version 1.0) with a table [[rule]] for each thing. All keys there are:

    [[rule]]
    name = "weapons"               # what the verdict and --fail-on call it
    prompt = ["gun", "knife"]      # what to find, in plain words: one text or a list
    action = "pixelate"            # see below
    strength = 0.5                 # how it is hidden: size of a cell, as a part of the object's shorter side
    shape = "ellipse"              # or "box"
    margin = 0.2                   # added on each side, as a part of the object's width and height
    feather = 0.1                  # soft edge, as a part of the object's shorter side
    min_score = 0.4                # a finding of which the model is less sure is none; 0 to 1
    min_share = 0.001              # of a frame's area: where all findings together cover less, the frame has none
    min_seconds = 0.5              # a shorter span is none
    min_times = 3                  # the model must have seen it on so many frames
    only = ["0,0,1,0.5"]           # what touches none of these parts of the picture is none: x0,y0,x1,y1
    keep = ["0,0.9,0.2,1"]         # nor is what has its centre in one of these; fractions, or pixels if above 1

    [[rule]]
    name = "not for children"
    question = "Is this picture suitable for small children?"   # instead of a prompt
    answer = "no"                  # makes it a hit: one text or a list
    action = "cover"

`name`, `action`, and either `prompt` or `question` with `answer` must be there. The actions:

    flag                                changes nothing: it is in the verdict
    blur, pixelate, solid, obfuscate    hide what was found, as `recipes.redact.Style` has it
    cover                               hides the whole frame
    mute                                silences the sound of the span
    cut                                 leaves the span out

A question finds no place in the picture, so its action is none of those that hide what was found, and it has
no regions, min_share or min_score. One answer fits a reply that has its words in a row, anywhere; but "yes" and
"no" only a reply that begins with them. Case and punctuation don't matter.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, cast, get_args

from engine.contract import normalize_prompt
from recipes.redact import Name, Style
from recipes.regions import PictureArea, Region, select_regions

Action = Literal["flag", "blur", "pixelate", "solid", "obfuscate", "cover", "mute", "cut"]
ACTIONS = get_args(Action)
HIDING = get_args(Name)  # the actions that hide what was found
SILENT = ("mute", "cut")  # those after which nothing is heard
ANY = "any"  # stands for all rules, so that none can be called so
_STYLE = Style()
_FIRST_WORDS = (["yes"], ["no"])  # "Yes, there is no doubt" is a yes


@dataclass(frozen=True)
class Thresholds:
    """How much must be found for it to count; `recipes.verdict` says how. Raises ValueError where a value can't be."""

    min_score: float = 0.0
    min_share: float = 0.0
    min_seconds: float = 0.0
    min_times: int = 0

    def __post_init__(self) -> None:
        for key, part in (("min_score", self.min_score), ("min_share", self.min_share)):
            if not 0 <= part <= 1:
                raise ValueError(f"{key} goes from 0 to 1, not {part}")
        if not 0 <= self.min_seconds < math.inf:
            raise ValueError(f"min_seconds is 0 or more, not {self.min_seconds}")
        if self.min_times < 0:
            raise ValueError(f"min_times is 0 or more, not {self.min_times}")


@dataclass(frozen=True)
class Rule:
    """One thing that is not wanted: found by one of the prompts, or told by a reply to the question.

    style: how what was found is hidden, under the action's name; None for an action that hides no objects.
    Raises ValueError for a rule that can't be.
    """

    name: str
    action: Action
    prompts: tuple[str, ...] = ()
    question: str = ""
    answers: tuple[str, ...] = ()
    style: Style | None = None
    thresholds: Thresholds = Thresholds()
    only: tuple[PictureArea, ...] = ()
    keep: tuple[PictureArea, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError(f"a rule's name is one line of text, not {shown(self.name)}")
        if normalize_prompt(self.name) == ANY:
            raise ValueError(f"no rule can be called {self.name!r}, which stands for all of them; give another name")
        if self.action not in ACTIONS:
            raise ValueError(f"no action is called {shown(self.action)}; {suggestion(self.action, ACTIONS)}")
        if bool(self.prompts) == bool(self.question):
            raise ValueError("a rule has either a prompt or a question with an answer")
        if not all(text.strip() for text in self.prompts or (self.question,)):
            raise ValueError("a prompt or question is empty; say something in plain words")
        if bool(self.question) != bool(self.answers):
            raise ValueError("a question and an answer go together")
        if not all(_words(answer) for answer in self.answers):
            raise ValueError("an answer is empty; say which one makes it a hit")
        if self.question:
            self._check_placeless()
        if (self.style.name if self.style else None) != (self.action if self.action in HIDING else None):
            raise ValueError(f"the action {self.action!r} does not go with this style")

    def _check_placeless(self) -> None:
        if self.action in HIDING:
            others = ", ".join(action for action in ACTIONS if action not in HIDING)
            raise ValueError(f"a question finds nothing to {self.action}; its action is one of {others}")
        if self.only or self.keep or self.thresholds.min_share or self.thresholds.min_score:
            raise ValueError("a question finds no place in the picture: only, keep, min_share and min_score can't be")

    def matches_reply(self, reply: str) -> bool:
        """Whether a reply to the question gives one of the answers; the module's text says when it does."""
        said = _words(reply)
        return any(_says(said, _words(answer)) for answer in self.answers)


@dataclass(frozen=True)
class Policy:
    """Raises ValueError if it has no rules, or two of one name."""

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("there is no rule; write at least one, under [[rule]]")
        names: set[str] = set()
        for rule in self.rules:
            name = normalize_prompt(rule.name)
            if name in names:
                raise ValueError(f"two rules are called {rule.name!r}; give each its own name")
            names.add(name)

    @property
    def prompts(self) -> list[str]:
        """What to look for on each frame: the prompts of all rules, each once."""
        prompts: dict[str, str] = {}
        for rule in self.rules:
            for prompt in rule.prompts:
                prompts.setdefault(normalize_prompt(prompt), prompt)
        return list(prompts.values())

    @property
    def hides(self) -> bool:
        """Whether it wants anything hidden, covered or cut."""
        return any(rule.action in (*HIDING, "cover", "cut") for rule in self.rules)

    @property
    def silences(self) -> bool:
        """Whether it wants any sound away."""
        return any(rule.action in SILENT for rule in self.rules)

    @property
    def questions(self) -> list[str]:
        """The questions of all rules, each once."""
        return list(dict.fromkeys(rule.question for rule in self.rules if rule.question))


def policy_from_prompts(
    prompts: Sequence[str],
    action: Action = "flag",
    style: Style = _STYLE,
    thresholds: Thresholds = Thresholds(),
    *,
    only: Sequence[PictureArea] = (),
    keep: Sequence[PictureArea] = (),
) -> Policy:
    """A rule for each prompt, called like it, all with the same action. style: its name gives way to the action's.

    Raises ValueError as Policy and Rule do.
    """
    hidden = replace(style, name=cast(Name, action)) if action in HIDING else None
    return Policy(
        tuple(
            Rule(prompt, action, (prompt,), style=hidden, thresholds=thresholds, only=tuple(only), keep=tuple(keep))
            for prompt in prompts
        )
    )


def objects_of(rule: Rule, objects: Iterable[Region], width: int, height: int) -> list[Region]:
    """Those of the objects on a frame that the rule is about, by their label, score and place.

    width, height: of the displayed picture, in pixels. An object without a score counts.
    Raises ValueError for a region that the picture has nothing of.
    """
    labels = {normalize_prompt(prompt) for prompt in rule.prompts}
    least = rule.thresholds.min_score
    sure = [each for each in objects if normalize_prompt(each.label) in labels and _is_sure(each.score, least)]
    return select_regions(sure, width, height, keep=rule.keep, only=rule.only)


def suggestion(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def shown(value: object) -> str:
    told = repr(value)
    return told if len(told) <= 60 else told[:57] + "..."


def _is_sure(score: float | None, least: float) -> bool:
    return score is None or not score < least


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalize_prompt(text))


def _says(said: list[str], answer: list[str]) -> bool:
    if answer in _FIRST_WORDS:
        return said[:1] == answer
    return any(said[start : start + len(answer)] == answer for start in range(len(said)))
