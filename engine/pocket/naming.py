"""The names of objects in prompts, questions and answers, in English and Chinese."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from engine.pocket.scene import COLOURS, FACE, KINDS, SHAPES, SIGN, SceneObject

LENGTHS = ("short", "normal", "long")  # of captions
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
ANY_SHAPE = "shape"  # name of any kind of shape

_CHINESE = {
    **{"circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "ring": "圆环", "cross": "十字"},
    **{"heart": "心形", SIGN: "牌子", FACE: "脸", ANY_SHAPE: "形状"},
    **{"red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色"},
    **{"black": "黑色", "white": "白色"},
}


@dataclass(frozen=True)
class ObjectName:
    """A class of objects.

    Attributes:
        kind: One of `KINDS`, or ANY_SHAPE.
        colour: One of `COLOURS`; "": any.
    """

    kind: str
    colour: str = ""

    def matches(self, obj: SceneObject) -> bool:
        """Return whether an object is of this class."""
        kind = obj.kind == self.kind or (self.kind == ANY_SHAPE and obj.kind in SHAPES)
        return kind and self.colour in ("", obj.colour)

    @property
    def singular(self) -> str:
        """The singular: "red circle"."""
        return f"{self.colour} {self.kind}".strip()

    @property
    def plural(self) -> str:
        """The plural: "red crosses"."""
        return self.singular + ("es" if self.kind == "cross" else "s")

    @property
    def article(self) -> str:
        """The indefinite article: "a" or "an"."""
        return "an" if self.singular[0] in "aeiou" else "a"

    @property
    def chinese(self) -> str:
        """The name in Chinese."""
        return (f"{_CHINESE[self.colour]}的" if self.colour else "") + _CHINESE[self.kind]


OBJECT_NAMES = tuple(
    ObjectName(kind, colour) for kind in (*KINDS, ANY_SHAPE) for colour in ("", *COLOURS) if kind != FACE or not colour
)


def object_name_of(obj: SceneObject) -> ObjectName:
    """Return the most specific class of an object."""
    return ObjectName(obj.kind, obj.colour)


def describe(obj: SceneObject) -> str:
    """Describe an object: "a red circle", "a yellow sign that says 42", "a face"."""
    noun = object_name_of(obj)
    return f"{noun.article} {noun.singular}" + (f" that says {obj.digits}" if obj.kind == SIGN else "")


def inventory(objects: Sequence[SceneObject]) -> list[tuple[str, list[int]]]:
    """List objects by kind and colour: "two red circles", "a blue star"; each sign separately.

    Returns:
        Each name with the indices of its objects.
    """
    kinds, colours = list(KINDS), ["", *COLOURS]

    def rank(i: int) -> tuple[int, int, str]:
        return kinds.index(objects[i].kind), colours.index(objects[i].colour), objects[i].digits

    names: list[tuple[str, list[int]]] = []
    for noun, group in groupby(sorted(range(len(objects)), key=rank), lambda i: object_name_of(objects[i])):
        members = list(group)
        if len(members) == 1 or noun.kind == SIGN:
            names += [(describe(objects[i]), [i]) for i in members]
        else:
            names.append((f"{NUMBERS[len(members)]} {noun.plural}", members))
    return names


def join_with_and(items: Sequence[str]) -> str:
    """Join items: "one, two and three"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
