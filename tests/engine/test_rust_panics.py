"""Panics of packages in Rust become errors; what others write to stderr meanwhile is kept."""

import os

import pytest
from tokenizers import models

from engine.rust_panics import panics_as_errors


def panic() -> None:
    models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], continuing_subword_prefix="####")


def test_a_panic_is_an_error_without_its_trace(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="range"), panics_as_errors():
        panic()
    assert capfd.readouterr().err == ""


def test_other_messages_and_errors_pass(capfd: pytest.CaptureFixture[str]) -> None:
    with panics_as_errors():
        os.write(2, b"a message\n")

    @panics_as_errors()
    def interrupted() -> None:
        os.write(2, b"another\n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capfd.readouterr().err == "a message\nanother\n"
