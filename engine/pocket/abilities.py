"""The prompts that `pocket` supports, in several wordings."""

import json
from pathlib import Path

from engine.contract import normalize_prompt
from engine.moondream.abilities import abilities
from engine.pocket.naming import OBJECT_NAMES, ObjectName

SUMMARY = "synthetic scenes only, no photographs: shapes, signs with digits, drawn heads"


def _wordings(noun: ObjectName) -> dict[str, str]:
    """Map the wordings of a noun to the one that the model was trained on."""
    singular = [noun.singular, f"{noun.article} {noun.singular}", f"the {noun.singular}", noun.chinese]
    plural = [f"{determiner}{noun.plural}" for determiner in ("", "the ", "all ", "all the ")]
    return dict.fromkeys(singular, noun.singular) | dict.fromkeys(plural, noun.plural)


VOCABULARY = {normalize_prompt(text): prompt for noun in OBJECT_NAMES for text, prompt in _wordings(noun).items()}

CONFIG = Path(__file__).with_name("config.json")
DATA = json.loads(CONFIG.read_text("utf-8")) | {"vocabulary": VOCABULARY}
ABILITIES = abilities(str(CONFIG), DATA)
