"""Moderation policies: unwanted content in images and videos, thresholds, and actions.

A policy is a TOML file (toml.io, version 1.0) with a table [[rule]] for each kind of content. These are all keys:

    [[rule]]
    name = "weapons"               # its name in the verdict and in --fail-on
    prompt = ["gun", "knife"]      # objects to detect: a string or a list
    action = "pixelate"            # see below
    strength = 0.5                 # size of a cell, as a fraction of the object's shorter side
    shape = "ellipse"              # or "box"
    margin = 0.2                   # added on each side, as a fraction of the object's width and height
    feather = 0.1                  # soft edge, as a fraction of the object's shorter side
    min_score = 0.4                # detections with a lower confidence don't count; 0 to 1
    min_share = 0.001              # frames of which all detections together cover less area don't count
    min_seconds = 0.5              # shorter spans don't count
    min_times = 3                  # least frames on which the model itself detects it
    only = ["0,0,1,0.5"]           # objects that touch none of these areas don't count: x0,y0,x1,y1
    keep = ["0,0.9,0.2,1"]         # nor do those whose centre lies in one; fractions, or pixels if above 1

    [[rule]]
    name = "not for children"
    question = "Is this picture suitable for small children?"   # instead of a prompt
    answer = "no"                  # the reply that makes it a hit: a string or a list
    action = "cover"

`name`, `action`, and either `prompt` or `question` with `answer` are required. The actions:

    flag                                changes nothing, only reports it in the verdict
    blur, pixelate, solid, obfuscate    hide the detected objects, see `recipes.redact.Style`
    cover                               masks the whole frame
    mute                                mutes the audio of the span
    cut                                 removes the span

A question has no position in the image, so its action is none of those that hide objects, and it has no `only`, `keep`,
min_share or min_score. An answer matches a reply that contains its words in sequence; "yes" and "no" match only a reply
that begins with them. Case and punctuation are ignored.
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
HIDING = get_args(Name)  # the actions that hide detected objects
SILENT = ("mute", "cut")  # the actions that remove audio
ANY = "any"  # stands for all rules, so it is no valid name of a rule
_STYLE = Style()
_FIRST_WORDS = (["yes"], ["no"])  # "Yes, there is no doubt" is a yes


@dataclass(frozen=True)
class Thresholds:
    """Thresholds for a rule to be hit; see `recipes.verdict`.

    Attributes:
        min_score: Least score of a detection, 0..1.
        min_share: Least area of all detections together, as a fraction of the frame.
        min_seconds: Least duration of a span.
        min_times: Least frames on which the model itself detects it.

    Raises:
        ValueError: A value is out of range.
    """

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
    """One kind of unwanted content: objects that a prompt detects, or a reply to a question.

    Attributes:
        name: Name of the rule.
        action: What to do with frames that hit the rule.
        prompts: Objects to detect; empty for a rule with a question.
        question: Question about the whole image; "" for a rule with prompts.
        answers: Replies to the question that hit the rule.
        style: How objects are hidden, named like the action; None for an action that hides no objects.
        thresholds: How much is needed for a hit.
        only: If there are any, objects that touch none of these areas don't count.
        keep: Objects whose centre lies in one of these areas don't count.

    Raises:
        ValueError: The fields contradict each other, or one is invalid.
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
            raise ValueError(f"{self.name!r} stands for all rules and can't name one; give another name")
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {shown(self.action)}; {suggestion(self.action, ACTIONS)}")
        if bool(self.prompts) == bool(self.question):
            raise ValueError("a rule needs either a prompt, or a question with an answer")
        if not all(text.strip() for text in self.prompts or (self.question,)):
            raise ValueError("a prompt or question is empty; fill it in")
        if bool(self.question) != bool(self.answers):
            raise ValueError("a question needs an answer, and an answer a question")
        if not all(_words(answer) for answer in self.answers):
            raise ValueError("an answer is empty; give the reply that makes it a hit")
        if self.question:
            self._check_question_rule()
        if (self.style.name if self.style else None) != (self.action if self.action in HIDING else None):
            raise ValueError(f"the action {self.action!r} does not match the style")

    def _check_question_rule(self) -> None:
        if self.action in HIDING:
            others = ", ".join(action for action in ACTIONS if action not in HIDING)
            raise ValueError(f"a question detects nothing to {self.action}; its action is one of {others}")
        if self.only or self.keep or self.thresholds.min_share or self.thresholds.min_score:
            raise ValueError("a question has no position in the image; leave out only, keep, min_share and min_score")

    def matches_reply(self, reply: str) -> bool:
        """Return whether a reply to the question matches one of the answers, as the module's docstring describes."""
        reply_words = _words(reply)
        return any(_contains_words(reply_words, _words(answer)) for answer in self.answers)


@dataclass(frozen=True)
class Policy:
    """The rules of a policy, in order.

    Raises:
        ValueError: There are no rules, or two with the same name.
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("there are no rules; add one under [[rule]]")
        names: set[str] = set()
        for rule in self.rules:
            name = normalize_prompt(rule.name)
            if name in names:
                raise ValueError(f"two rules are named {rule.name!r}; give each its own name")
            names.add(name)

    @property
    def prompts(self) -> list[str]:
        """The prompts of all rules, each once."""
        prompts: dict[str, str] = {}
        for rule in self.rules:
            for prompt in rule.prompts:
                prompts.setdefault(normalize_prompt(prompt), prompt)
        return list(prompts.values())

    @property
    def hides(self) -> bool:
        """Whether any rule hides objects, or masks or cuts frames."""
        return any(rule.action in (*HIDING, "cover", "cut") for rule in self.rules)

    @property
    def silences(self) -> bool:
        """Whether any rule removes audio."""
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
    """Make a policy with one rule for each prompt, named like it.

    Args:
        prompts: Objects to detect.
        action: Action of all rules.
        style: How objects are hidden; its name is replaced by the action.
        thresholds: Thresholds of all rules.
        only: See `Rule`.
        keep: See `Rule`.

    Raises:
        ValueError: See `Policy` and `Rule`.
    """
    hidden = replace(style, name=cast(Name, action)) if action in HIDING else None
    return Policy(
        tuple(
            Rule(prompt, action, (prompt,), style=hidden, thresholds=thresholds, only=tuple(only), keep=tuple(keep))
            for prompt in prompts
        )
    )


def objects_of(rule: Rule, objects: Iterable[Region], width: int, height: int) -> list[Region]:
    """Select the objects on a frame that count for a rule, by label, score and position.

    Args:
        rule: A rule with prompts.
        objects: Objects in fractions of the displayed image; those without a score count.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Raises:
        ValueError: An area of the rule lies outside of the image.
    """
    labels = {normalize_prompt(prompt) for prompt in rule.prompts}
    min_score = rule.thresholds.min_score
    confident = [
        region for region in objects if normalize_prompt(region.label) in labels and _has_score(region.score, min_score)
    ]
    return select_regions(confident, width, height, keep=rule.keep, only=rule.only)


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: the closest known one, or all of them."""
    matches = get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(known)}"


def shown(value: object) -> str:
    """Return the repr of a value for a message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _has_score(score: float | None, min_score: float) -> bool:
    return score is None or not score < min_score


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalize_prompt(text))


def _contains_words(reply_words: list[str], answer: list[str]) -> bool:
    if answer in _FIRST_WORDS:
        return reply_words[:1] == answer
    return any(reply_words[start : start + len(answer)] == answer for start in range(len(reply_words)))
