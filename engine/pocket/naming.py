"""What things are called: in prompts, questions and answers, English and Chinese."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from engine.pocket.scene import COLOURS, FACE, KINDS, SHAPES, SIGN, Thing

LENGTHS = ("short", "normal", "long")  # of captions
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
ANY_SHAPE = "shape"  # the word for a shape of any kind

_CHINESE = {
    **{"circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "ring": "圆环", "cross": "十字"},
    **{"heart": "心形", SIGN: "牌子", FACE: "脸", ANY_SHAPE: "形状"},
    **{"red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色"},
    **{"black": "黑色", "white": "白色"},
}


@dataclass(frozen=True)
class ObjectName:
    """What is looked for: things of a kind, or of any shape, and of a colour if that is not ""."""

    kind: str
    colour: str = ""

    def matches(self, thing: Thing) -> bool:
        kind = thing.kind == self.kind or (self.kind == ANY_SHAPE and thing.kind in SHAPES)
        return kind and self.colour in ("", thing.colour)

    @property
    def one(self) -> str:
        """ "red circle"."""
        return f"{self.colour} {self.kind}".strip()

    @property
    def many(self) -> str:
        """ "red crosses"."""
        return self.one + ("es" if self.kind == "cross" else "s")

    @property
    def article(self) -> str:
        return "an" if self.one[0] in "aeiou" else "a"

    @property
    def chinese(self) -> str:
        return (f"{_CHINESE[self.colour]}的" if self.colour else "") + _CHINESE[self.kind]


OBJECT_NAMES = tuple(
    ObjectName(kind, colour) for kind in (*KINDS, ANY_SHAPE) for colour in ("", *COLOURS) if kind != FACE or not colour
)


def object_name_of(thing: Thing) -> ObjectName:
    return ObjectName(thing.kind, thing.colour)


def describe(thing: Thing) -> str:
    """ "a red circle", "a yellow sign that says 42", "a face"."""
    noun = object_name_of(thing)
    return f"{noun.article} {noun.one}" + (f" that says {thing.digits}" if thing.kind == SIGN else "")


def inventory(things: Iterable[Thing]) -> list[str]:
    """What there is, kind by kind and colour by colour: "two red circles", "a blue star"; each sign by itself."""
    kinds, colours = list(KINDS), ["", *COLOURS]
    ordered = sorted(things, key=lambda thing: (kinds.index(thing.kind), colours.index(thing.colour), thing.digits))
    names = []
    for noun, group in groupby(ordered, object_name_of):
        alike = list(group)
        if len(alike) == 1 or noun.kind == SIGN:
            names += [describe(thing) for thing in alike]
        else:
            names.append(f"{NUMBERS[len(alike)]} {noun.many}")
    return names


def join_with_and(items: Sequence[str]) -> str:
    """ "one, two and three"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
