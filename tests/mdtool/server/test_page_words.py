"""The page's texts: each of its languages has all of them, and none that nothing shows."""

import re

from mdtool.server.page_files import FOLDER

WORDS = (FOLDER / "words.js").read_text()
USERS = "\n".join(file.read_text() for file in FOLDER.iterdir() if file.name != "words.js")


def texts(language: str) -> dict[str, str]:
    [body] = re.findall(rf"const {language} = {{(.*?)\n}};", WORDS, re.DOTALL)
    return {quoted or plain: text for quoted, plain, text in re.findall(r'(?:"([\w-]+)"|\b(\w+)): "([^"]*)"', body)}


def test_both_languages_have_the_same_texts_with_the_same_values_in_them() -> None:
    english, chinese = texts("ENGLISH"), texts("CHINESE")
    assert len(english) > 80
    assert english.keys() == chinese.keys()
    for name, text in english.items():
        values, other = (set(re.findall(r"{(\w+)}", each)) for each in (text, chinese[name]))
        assert values == other, name


def test_every_text_is_shown_somewhere() -> None:
    used = {word for pair in re.findall(r'"([\w-]+)"|=(\w+)', USERS) for word in pair}
    assert not texts("ENGLISH").keys() - used
