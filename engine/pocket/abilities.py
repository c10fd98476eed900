"""The words that `pocket` looks for, as people put them."""

import json
from pathlib import Path

from engine.contract import normalise
from engine.moondream.abilities import abilities
from engine.pocket.words import NOUNS, Noun

SUMMARY = "drawn scenes only, no photographs: shapes, signs with digits, drawn heads"


def _wordings(noun: Noun) -> dict[str, str]:
    """What may be said for a noun, and how it is put to the model."""
    ones = [noun.one, f"{noun.article} {noun.one}", f"the {noun.one}", noun.chinese]
    many = [f"{which}{noun.many}" for which in ("", "the ", "all ", "all the ")]
    return dict.fromkeys(ones, noun.one) | dict.fromkeys(many, noun.many)


VOCABULARY = {normalise(said): put for noun in NOUNS for said, put in _wordings(noun).items()}

CONFIG = Path(__file__).with_name("config.json")
DATA = json.loads(CONFIG.read_text("utf-8")) | {"vocabulary": VOCABULARY}
ABILITIES = abilities(str(CONFIG), DATA)
