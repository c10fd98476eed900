"""The words that `pocket` looks for, as people put them."""

import json
from pathlib import Path

from engine.contract import normalise
from engine.moondream.abilities import abilities
from engine.pocket.scene import FACE, SIGN
from engine.pocket.words import NOUNS, Noun

SUMMARY = "drawn scenes only, no photographs: shapes, signs with digits, drawn heads"


def _wordings(noun: Noun) -> dict[str, str]:
    """What may be said for a noun, and how it is put to the model."""
    ones = [noun.one, f"{noun.article} {noun.one}", f"the {noun.one}", noun.chinese]
    many = [f"{which}{noun.many}" for which in ("", "the ", "all ", "all the ")]
    return dict.fromkeys(ones, noun.one) | dict.fromkeys(many, noun.many)


VOCABULARY = {normalise(said): put for noun in NOUNS for said, put in _wordings(noun).items()}

# Words of which nobody expects that they are found in a photograph, as they would a face or a sign.
DRAWN_ONLY = frozenset(normalise(said) for noun in NOUNS if noun.kind not in (FACE, SIGN) for said in _wordings(noun))

CONFIG = Path(__file__).with_name("config.json")
DATA = json.loads(CONFIG.read_text("utf-8")) | {"vocabulary": VOCABULARY}
ABILITIES = abilities(str(CONFIG), DATA)
