"""Loads policies: presets by name, and TOML files."""

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from mdtool.errors import UsageError, read_error_message

if TYPE_CHECKING:
    from recipes.policy import Policy

PRESETS = Path(__file__).parents[3] / "configs" / "policies"
MAX_CHARACTERS = 1_000_000  # a device may have no end


def presets() -> list[str]:
    """Return the names of the presets, the files `configs/policies/NAME.toml`."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_policy(name_or_path: str) -> "Policy":
    """Load a preset or a TOML file.

    Raises:
        UsageError: There is none, or it is not a valid policy; in one line.
    """
    from recipes.policy_parser import parse_policy  # not at the top: shell completion needs the names only

    path = PRESETS / f"{name_or_path}.toml" if name_or_path in presets() else Path(name_or_path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_CHARACTERS + 1)
        if len(text) > MAX_CHARACTERS:
            raise UsageError(f"--policy {name_or_path}: is larger than any policy, {MAX_CHARACTERS:,} characters")
        return parse_policy(text, name_or_path)
    except FileNotFoundError as error:
        close = get_close_matches(name_or_path, presets(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"presets: {', '.join(presets())}"
        raise UsageError(f"--policy {name_or_path}: there is no such file or preset; {hint}") from error
    except OSError as error:
        raise UsageError(f"--policy {name_or_path}: {read_error_message(error)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--policy {name_or_path}: not UTF-8 text") from error
    except ValueError as error:
        raise UsageError(f"--policy {error}") from error
