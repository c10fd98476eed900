"""Writes the lock file of CI, .ci/constraints.txt: what is installed here of what the tests need, name==version.

    .venv/bin/python .ci/pin.py      after an update of what is installed, by a run of all tests that passes

It names no index and no hashes, so that it holds on any mirror, and for torch with CUDA and without. Its versions are
for the Python that is named in its first line; other Pythons take the newest releases.
"""

import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
EXTRAS = ("dev", "heic", "parquet")
WITHOUT_DEPENDENCIES = {"moondream"}  # the Makefile installs its client, without what else it asks for


def pinned() -> dict[str, str]:
    """Return the versions of what is installed of what the tests need, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for extra in EXTRAS for one in project["optional-dependencies"][extra]]
    found: dict[str, str] = {}
    waiting = list(map(Requirement, [*project["dependencies"], *extras, *WITHOUT_DEPENDENCIES]))
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:  # what an extra of another platform needs
            continue
        found[key[0]] = Version(installed.version).public
        if key[0] not in WITHOUT_DEPENDENCIES:
            waiting += needed(installed, requirement.extras)
    return found


def needed(installed: Distribution, extras: set[str]) -> list[Requirement]:
    """Return what a distribution with these extras needs on this machine."""
    requirements = map(Requirement, installed.requires or [])
    return [
        one
        for one in requirements
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


if __name__ == "__main__":
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [f"# Python {python}; made by .ci/pin.py"]
    lines += [f"{name}=={version}" for name, version in sorted(pinned().items())]
    Path(__file__).with_name("constraints.txt").write_text("\n".join(lines) + "\n")
