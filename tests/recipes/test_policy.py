"""Policies as people write them: what they say, and what is told of those that say nothing sensible."""

import json
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recipes.policy
from recipes.policy import ACTIONS, HIDING, Action, Policy, Rule, Thresholds, objects_of, policy_from_prompts
from recipes.policy_parser import KEYS, parse_policy
from recipes.redact import Style
from recipes.regions import PictureArea, Region

PRESETS = sorted((Path(__file__).parents[2] / "configs" / "policies").glob("*.toml"))
GUN = 'name = "guns"\nprompt = "gun"\n'
ASKED = 'name = "safe"\nquestion = "Is it safe?"\nanswer = "no"\n'


def thing(
    label: str, score: float | None = None, sides: tuple[float, float, float, float] = (0.4, 0.4, 0.6, 0.6)
) -> Region:
    return Region(*sides, label, score=score)


def one(text: str) -> Rule:
    """The only rule of a policy."""
    (rule,) = parse_policy(f"[[rule]]\n{text}", "p.toml").rules
    return rule


def fault(text: str) -> str:
    with pytest.raises(ValueError, match=r"^p\.toml: ") as error:
        parse_policy(text, "p.toml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_example_in_the_module_says_what_it_seems_to() -> None:
    lines = (recipes.policy.__doc__ or "").splitlines()
    first = lines.index("    [[rule]]")
    last = max(number for number, line in enumerate(lines) if line.startswith("    action ="))
    example = "\n".join(lines[first : last + 1])
    weapons, children = parse_policy(example, "example").rules
    assert weapons == Rule(
        name="weapons",
        action="pixelate",
        prompts=("gun", "knife"),
        style=Style("pixelate", strength=0.5, shape="ellipse", margin=0.2, feather=0.1),
        thresholds=Thresholds(min_score=0.4, min_share=0.001, min_seconds=0.5, min_times=3),
        only=(PictureArea(0, 0, 1, 0.5),),
        keep=(PictureArea(0, 0.9, 0.2, 1),),
    )
    question = "Is this picture suitable for small children?"
    assert children == Rule("not for children", "cover", question=question, answers=("no",))
    tables = tomllib.loads(example)["rule"]
    assert {key for table in tables for key in table} == set(KEYS)  # so that it shows all there is


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_whole(path: Path) -> None:
    policy = parse_policy(path.read_text("utf-8"), path.name)
    assert len(policy.rules) >= 5
    assert len(policy.prompts) <= 15  # each costs time on each frame
    assert "nudity" in [rule.name for rule in policy.rules]


def test_there_are_presets() -> None:
    assert {path.stem for path in PRESETS} >= {"family", "workplace", "broadcast"}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_style_is_the_actions_own(action: Action) -> None:
    style = one(f'{GUN}action = "{action}"').style
    assert (style and style.name) == (action if action in HIDING else None)


def test_what_is_not_said_asks_for_nothing() -> None:
    rule = one(GUN + 'action = "flag"')
    assert rule == Rule("guns", "flag", ("gun",))
    assert rule.thresholds == Thresholds(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('name = "guns"\naction = "flag"', "rule 'guns': a rule needs either a prompt, or a question"),
        (GUN + 'question = "Why?"\nanswer = "no"\naction = "flag"', "rule 'guns': a rule needs either"),
        (GUN, "rule 'guns': action is missing"),
        ('prompt = "gun"\naction = "flag"', "rule 1: name is missing"),
        ('name = 3\nprompt = "gun"\naction = "flag"', "rule 1: name is a string in quotes, not 3"),
        ('name = " "\nprompt = "gun"\naction = "flag"', "a rule's name is one line of text"),
        ('name = "a\\nb"\nprompt = "gun"\naction = "flag"', r"rule 'a\nb': a rule's name is one line of text"),
        ('name = "Any"\nprompt = "gun"\naction = "flag"', "'Any' stands for all rules and can't name one"),
        (GUN + 'action = "blurr"', "unknown action 'blurr'; did you mean 'blur'?"),
        (GUN + 'action = "explode"', "unknown action 'explode'; known: flag, blur, pixelate, solid, obfuscate, cover"),
        (GUN + 'acton = "blur"', "unknown key 'acton'; did you mean 'action'?"),
        (GUN + 'action = "flag"\nzzz = 1', "unknown key 'zzz'; known: name, prompt"),
        (GUN + 'action = "flag"\nmin_share = 2', "min_share goes from 0 to 1, not 2"),
        (GUN + 'action = "flag"\nmin_score = -0.1', "min_score goes from 0 to 1, not -0.1"),
        (GUN + 'action = "flag"\nmin_seconds = -1', "min_seconds is 0 or more, not -1"),
        (GUN + 'action = "flag"\nmin_seconds = inf', "min_seconds is a number, not inf"),
        (GUN + 'action = "flag"\nmin_seconds = nan', "min_seconds is a number, not nan"),
        (GUN + 'action = "flag"\nmin_seconds = "1"', "min_seconds is a number, not '1'"),
        (GUN + 'action = "flag"\nmin_seconds = true', "min_seconds is a number, not True"),
        (GUN + 'action = "flag"\nmin_times = 1.5', "min_times is a whole number, not 1.5"),
        (GUN + 'action = "flag"\nmin_times = true', "min_times is a whole number, not True"),
        (GUN + 'action = "flag"\nmin_times = -1', "min_times is 0 or more, not -1"),
        (GUN + 'action = "flag"\nonly = [0, 0, 1, 1]', "only is a string in quotes, or a list of them"),
        (GUN + 'action = "flag"\nonly = []', "only is a string in quotes, or a list of them"),
        (GUN + 'action = "flag"\nkeep = "0,0,1"', "keep: a region is four numbers"),
        (GUN + 'action = "blur"\nstrength = 0.01', "strength goes from 0.15"),
        (GUN + 'action = "blur"\nshape = "star"', "unknown shape 'star'"),
        (GUN + 'action = "blur"\nmargin = -1', "margin is 0 or more"),
        (GUN + 'action = "blur"\nmargin = 1' + 400 * "0", "margin is a number, not 1000"),
        (GUN + 'action = "cover"\nstrength = 0.5', "only valid for the actions blur, pixelate, solid, obfuscate, not"),
        ('name = "a"\nprompt = ["gun", ""]\naction = "flag"', "a prompt or question is empty"),
        ('name = "a"\nprompt = []\naction = "flag"', "prompt is a string in quotes, or a list of them"),
        ('name = "a"\nprompt = [1]\naction = "flag"', "prompt is a string in quotes, or a list of them"),
        ('name = "a"\nquestion = " "\nanswer = "no"\naction = "flag"', "a prompt or question is empty"),
        ('name = "a"\nquestion = "Safe?"\naction = "flag"', "a question needs an answer, and an answer a question"),
        (GUN + 'answer = "no"\naction = "flag"', "a question needs an answer, and an answer a question"),
        ('name = "a"\nquestion = "Safe?"\nanswer = "?"\naction = "flag"', "an answer is empty"),
        (ASKED + 'action = "blur"', "a question detects nothing to blur; its action is one of flag, cover, mute, cut"),
        (ASKED + 'action = "flag"\nmin_share = 0.1', "a question has no position"),
        (ASKED + 'action = "flag"\nmin_score = 0.1', "a question has no position"),
        (ASKED + 'action = "flag"\nonly = "0,0,1,1"', "a question has no position"),
    ],
)
def test_wrong_rules_are_told_in_one_line(rule: str, told: str) -> None:
    message = fault(f"[[rule]]\n{rule}")
    assert message.startswith("p.toml: rule ")
    assert told in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there are no rules"),
        ("rule = []", "there are no rules"),
        ("[rule]\n" + GUN, "write each under [[rule]], with two brackets"),
        ("rule = 1", "write each under [[rule]]"),
        ("[[rules]]\n" + GUN, "unknown key 'rules'; did you mean 'rule'?"),
        ("[[rule]\n", "not valid TOML: Expected ']]'"),
        ("a = 1\na = 2", "not valid TOML: Cannot overwrite a value"),
        ("a = " + 5000 * "9", "not valid TOML"),
        ("a = " + 5000 * "[", "not valid TOML"),
        (2 * f'[[rule]]\n{GUN}action = "flag"\n', "two rules are named 'guns'"),
        (
            f'[[rule]]\n{GUN}action = "flag"\n[[rule]]\nname = "GUNS "\nprompt = "b"\naction = "cut"',
            "two rules are named",
        ),
        (f'[[rule]]\n{GUN}action = "flag"\n[[rule]]\nprompt = 1', "rule 2: prompt is a string"),
    ],
)
def test_wrong_files_are_told_in_one_line(text: str, told: str) -> None:
    message = fault(text)
    assert message.startswith("p.toml: ")
    assert told in message


VALUES = st.one_of(
    st.text("ab \"'\\\n", max_size=5),
    st.sampled_from([*ACTIONS, "0,0,1,1", "box"]),
    st.lists(st.sampled_from(["", "a", "no"]) | st.integers(0, 2), max_size=3),
    st.integers(-3, 3),
    st.floats(-1, 2),
    st.booleans(),
    st.just({}),
)


@settings(deadline=None)  # a slow moment of the machine is no fault
@given(st.dictionaries(st.sampled_from(sorted([*KEYS, "promt"])), VALUES))
def test_a_rule_is_read_or_refused(table: dict[str, Any]) -> None:
    text = "[[rule]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    try:
        rule = parse_policy(text, "p.toml").rules[0]
    except ValueError as error:
        assert str(error).startswith("p.toml: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert (rule.name, rule.action) == (table["name"], table["action"])


def test_each_prompt_is_asked_once() -> None:
    rules = [
        Rule("a", "flag", ("gun", "knife")),
        Rule("b", "blur", ("Knife ", "bow"), style=Style("blur")),
        Rule("c", "cut", question="Safe?", answers=("no",)),
        Rule("d", "mute", question="Safe?", answers=("not sure",)),
    ]
    assert Policy(tuple(rules)).prompts == ["gun", "knife", "bow"]
    assert Policy(tuple(rules)).questions == ["Safe?"]


def test_prompts_alone_make_a_policy() -> None:
    limits = Thresholds(min_seconds=1)
    policy = policy_from_prompts(
        ["gun", "white cigarette"], "pixelate", Style(strength=0.5), limits, keep=[PictureArea(0, 0, 1, 1)]
    )
    style = Style("pixelate", strength=0.5)
    assert policy.rules == tuple(
        Rule(prompt, "pixelate", (prompt,), style=style, thresholds=limits, keep=(PictureArea(0, 0, 1, 1),))
        for prompt in ("gun", "white cigarette")
    )
    assert policy_from_prompts(["gun"]).rules == (Rule("gun", "flag", ("gun",)),)


@pytest.mark.parametrize("prompts", [[], [""], ["gun", "gun"], ["any"]])
def test_prompts_that_make_no_policy(prompts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"rule|name"):
        policy_from_prompts(prompts)


def test_an_action_and_a_style_that_differ_are_refused() -> None:
    for action in get_args(Action):
        style = None if action == "blur" else Style("blur")
        with pytest.raises(ValueError, match="style"):
            Rule("a", action, ("b",), style=style)


@pytest.mark.parametrize(
    ("answer", "reply", "fits"),
    [
        ("yes", "Yes.", True),
        ("yes", "Yes, a man holds a gun", True),
        ("yes", "**YES**", True),
        ("yes", "No. Some would say yes", False),
        ("no", "No", True),
        ("no", "Yes, there is no doubt", False),
        ("no", "Not at all", False),
        ("no", "", False),
        ("gun", "A man with a gun.", True),
        ("gun", "A gunman", False),
        ("a gun", "a red gun", False),
        ("red gun", "He has a Red   gun!", True),
        ("3", "There are 3", True),
        ("3", "There are 30", False),
        ("ça va", "C\u0327a va bien", True),
        ("是", "是", True),
    ],
)
def test_replies_and_answers(answer: str, reply: str, fits: bool) -> None:
    rule = Rule("a", "flag", question="What?", answers=("never said", answer))
    assert rule.matches_reply(reply) is fits


def test_objects_of_a_rule_by_label_score_and_place() -> None:
    sure, unsure, silent, other = thing("gun", 0.5), thing("Gun", 0.49), thing("gun"), thing("knife", 0.9)
    zero, corner = thing("gun", 0.0), thing("gun", 0.9, (0.9, 0.9, 1.0, 1.0))
    everything = [sure, unsure, silent, other, zero, corner]

    def found(**more: Any) -> list[Region]:
        return objects_of(Rule("guns", "flag", ("gun", "pistol"), **more), everything, 200, 100)

    assert found() == [sure, unsure, silent, zero, corner]
    assert found(thresholds=Thresholds(min_score=0.5)) == [sure, silent, corner]
    assert found(keep=(PictureArea(0.3, 0.3, 0.7, 0.7),)) == [corner]
    assert found(only=(PictureArea(0, 0, 150, 75, pixels=True),)) == [sure, unsure, silent, zero]
    with pytest.raises(ValueError, match="outside of an image of 200x100"):
        found(only=(PictureArea(300, 0, 400, 100, pixels=True),))
