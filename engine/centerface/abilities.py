"""The prompts that CenterFace supports: faces, and their five landmarks, in several languages."""

from engine.contract import Abilities, UnsupportedPrompt, normalize_prompt

FACE = "face"
SUMMARY = "faces and their landmarks, by the CenterFace network"

_ENGLISH = {
    f"{which}{whose}{noun}"
    for which in ("", "a ", "the ", "any ", "all ", "all the ", "every ", "each ")
    for whose in ("", "human ", "person's ", "person’s ", "people's ", "people’s ")
    for noun in ("face", "faces")
}
# fmt: off
_FACE = _ENGLISH | {
    "人脸", "人臉", "脸", "臉", "脸部", "臉部", "面部", "人的脸", "顔", "人の顔", "얼굴", "visage", "visages",
    "gesicht", "gesichter", "cara", "caras", "rostro", "rostros", "rosto", "rostos", "viso", "visi", "volto", "volti",
    "faccia", "facce", "gezicht", "gezichten", "ansikte", "ansikten", "ansigt", "ansigter", "ansikt", "kasvot",
    "twarz", "twarze", "лицо", "лица", "обличчя", "yüz", "yüzler", "πρόσωπο", "πρόσωπα", "פנים", "وجه", "وجوه",
    "चेहरा", "चेहरे", "wajah", "khuôn mặt", "사람 얼굴",
}
# fmt: on

# Part -> its prompts. Left and right are those of the image of an upright face.
_PARTS = {
    FACE: _FACE,
    "left eye": {"left eye", "the left eye", "左眼"},
    "right eye": {"right eye", "the right eye", "右眼"},
    "eye": {"eye", "eyes", "an eye", "the eyes", "both eyes", "human eye", "human eyes", "眼睛", "眼", "目", "눈"}
    | {"œil", "yeux", "auge", "augen", "ojo", "ojos", "глаз", "глаза"},
    "nose": {"nose", "noses", "a nose", "the nose", "鼻子", "鼻", "코", "nez", "nase", "nasen", "nariz", "нос"},
    "mouth": {"mouth", "mouths", "a mouth", "the mouth", "嘴", "嘴巴", "口", "입", "bouche", "mund", "boca", "рот"},
    "mouth corner": {"mouth corner", "mouth corners", "corner of the mouth", "corners of the mouth", "嘴角"},
}
PARTS = {normalize_prompt(word): part for part, words in _PARTS.items() for word in words}

ABILITIES = Abilities(
    {
        "detect": frozenset(word for word, part in PARTS.items() if part == FACE),
        "point": frozenset(PARTS),
    }
)

_EXAMPLES = {
    "detect": "face, faces, human face, 人脸, 顔, visage, gesicht, cara, лицо",
    "point": "face, eye, left eye, right eye, nose, mouth, mouth corner",
}


def part(skill: str, prompt: str) -> str:
    """Return the part of the face that a prompt names.

    Args:
        skill: "detect" or "point".
        prompt: In any wording of `PARTS`.

    Raises:
        UnsupportedPrompt: The prompt names none.
    """
    if not ABILITIES.supports(skill, prompt):
        raise UnsupportedPrompt(
            f"centerface can't {skill} {normalize_prompt(prompt)!r}; it supports only faces ({_EXAMPLES[skill]}, ...). "
            "For other prompts use a model that takes any, with --model NAME or --model PATH; "
            "`mdtool models list` lists them"
        )
    return PARTS[normalize_prompt(prompt)]
