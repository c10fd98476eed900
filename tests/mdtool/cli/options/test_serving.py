"""Who may use a server: keys that a client can send, and origins that a browser sends."""

from pathlib import Path

import pytest

from mdtool.cli.options.serving import AccessOptions
from mdtool.errors import UsageError


@pytest.mark.parametrize(
    "origin", ["*", "https://example.com", "http://localhost:5173", "http://[::1]:80", "app://-", "http://127.0.0.1"]
)
def test_origins(origin: str) -> None:
    assert AccessOptions(cors=[origin]).origins == (origin,)


def test_an_origin_is_matched_as_browsers_send_it() -> None:
    assert AccessOptions(cors=["HTTPS://Example.com"]).origins == ("https://example.com",)


@pytest.mark.parametrize(
    "text",
    ["nonsense", "", "null", "example.com", "https://", "https://a.example/", "https://a.example/page", "//a.example",
     "https://me@a.example", "https://a.example:http", "https://*.a.example", "https://bücher.example"],
)  # fmt: skip
def test_what_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no origin; give \* or scheme://host\[:port\]"):
        AccessOptions(cors=["https://a.example", text]).origins  # noqa: B018  a property that raises


@pytest.mark.parametrize("key", ["schlüssel", "鍵", "a\tb"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"good\n{key}\n", "utf-8")
    for options in (AccessOptions(api_key=[key]), AccessOptions(api_key_file=file)):
        with pytest.raises(UsageError, match="other characters than ASCII") as raised:
            options.keys  # noqa: B018  a property that raises
        assert key not in str(raised.value)
