"""The words that `pocket` looks for, as people put them."""

import json
from pathlib import Path

from engine.contract import normalize_prompt
from engine.moondream.abilities import abilities
from engine.pocket.naming import OBJECT_NAMES, ObjectName

SUMMARY = "drawn scenes only, no photographs: shapes, signs with digits, drawn heads"


def _wordings(noun: ObjectName) -> dict[str, str]:
    """What may be said for a noun, and how it is put to the model."""
    ones = [noun.one, f"{noun.article} {noun.one}", f"the {noun.one}", noun.chinese]
    many = [f"{which}{noun.many}" for which in ("", "the ", "all ", "all the ")]
    return dict.fromkeys(ones, noun.one) | dict.fromkeys(many, noun.many)


VOCABULARY = {normalize_prompt(said): put for noun in OBJECT_NAMES for said, put in _wordings(noun).items()}

CONFIG = Path(__file__).with_name("config.json")
DATA = json.loads(CONFIG.read_text("utf-8")) | {"vocabulary": VOCABULARY}
ABILITIES = abilities(str(CONFIG), DATA)
