"""Selects the policy of a command: a preset, a file, or rules made from prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from mdtool.errors import UsageError
from mdtool.jobs.moderate.find_policy import load_policy
from recipes.policy import Action, Policy, Thresholds, policy_from_prompts
from recipes.redact import Style
from recipes.regions import PictureArea

OPTIONS = {"min_score": "threshold"}  # of the command, where a policy's key has another name


@dataclass(frozen=True)
class PromptRules:
    """Options for rules made from prompts, one rule per prompt.

    Attributes:
        action: One of `recipes.policy.ACTIONS`; None: flag.
        style: Fields of `recipes.redact.Style`, by name, except its name, which is the action's.
        thresholds: Values of `recipes.policy.Thresholds`, by name.
        only, keep: As `recipes.policy.Rule` has them.
    """

    prompts: Sequence[str] = ()
    action: str | None = None
    style: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    only: Sequence[PictureArea] = ()
    keep: Sequence[PictureArea] = ()

    @property
    def given(self) -> list[str]:
        """Names of the options that were given."""
        ends = {"prompt": self.prompts, "action": self.action}, {"only": self.only, "keep": self.keep}
        first, last = ([name for name, value in end.items() if value] for end in ends)
        return [*first, *self.style, *self.thresholds, *last]


def choose_policy(name_or_path: str | None, rules: PromptRules) -> Policy:
    """Return the policy of that name or file; None: the policy of the rules.

    Raises:
        UsageError: There is none, both are given, or an option is invalid; in one line.
    """
    if name_or_path is not None:
        if given := rules.given:
            named = ", ".join(f"--{OPTIONS.get(name, name).replace('_', '-')}" for name in given)
            raise UsageError(f"{named}: can't be used with --policy; set it in the policy file")
        return load_policy(name_or_path)
    if not rules.prompts:
        raise UsageError("--policy or --prompt is missing: give what is not allowed, as in --policy family")
    try:
        return policy_from_prompts(
            rules.prompts,
            cast(Action, rules.action or "flag"),
            Style(**rules.style),
            Thresholds(**rules.thresholds),
            only=rules.only,
            keep=rules.keep,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
