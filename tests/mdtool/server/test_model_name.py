"""Names of models as clients write them."""

import pytest

from mdtool.server.model_name import served_name

NAMES = ("moondream2", "org/model", "qwen")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ("moondream2", None)),
        ("", ("moondream2", None)),
        ("qwen", ("qwen", None)),
        ("qwen:latest", ("qwen", None)),
        ("org/model", ("org/model", None)),
        ("moondream/qwen", ("qwen", None)),
        ("moondream3-preview", ("moondream2", None)),
        ("moondream2/ft_1@20", ("moondream2", "ft_1/20")),
        ("moondream2/ft_1", ("moondream2", "ft_1")),
        ("org/model/ft_1@20", ("org/model", "ft_1/20")),
        ("moondream/moondream2/ft@1", ("moondream2", "ft/1")),
        ("moondream2/../x", ("moondream2/../x", None)),
        ("moondream2/a.safetensors", ("moondream2/a.safetensors", None)),
        ("moondream2//etc/passwd", ("moondream2//etc/passwd", None)),
        ("gpt-5", ("gpt-5", None)),
    ],
)
def test_names(given: str | None, expected: tuple[str, str | None]) -> None:
    assert served_name(given, NAMES) == expected


def test_the_default_of_moondreams_client_is_a_name_like_any_other_where_it_is_served() -> None:
    assert served_name("moondream3-preview", ("qwen", "moondream3-preview")) == ("moondream3-preview", None)
