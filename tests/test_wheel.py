"""The wheel: every module and data file of the packages is in it, and what it unpacks to runs outside the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("mdtool", "recipes", "engine", "configs")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build", "dist", "demo", "tests", "docs")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, so that the build leaves nothing in it, and finds nothing of an earlier one."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "mdtool", ignore=LEFT_OUT))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w"]
    subprocess.run([*build, str(folder), str(source)], check=True, timeout=120)
    [wheel] = folder.glob("mdtool-*.whl")
    return wheel


def test_every_file_of_the_packages_is_in_it(source: Path, wheel: Path) -> None:
    files = (path for package in PACKAGES for path in (source / package).rglob("*") if path.is_file())
    built = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert built == {path.relative_to(source).as_posix() for path in files}


def test_it_runs_outside_the_clone(wheel: Path, tmp_path: Path) -> None:
    unpacked, here = tmp_path / "unpacked", tmp_path / "here"
    zipfile.ZipFile(wheel).extractall(unpacked)
    here.mkdir()
    shutil.copy(ROOT / "sample_media" / "scenes" / "one.png", here)
    shutil.copy(ROOT / "sample_media" / "portrait.jpg", here)
    env = {name: value for name, value in os.environ.items() if not name.startswith("MDTOOL_")}
    env |= {"PYTHONPATH": str(unpacked), "XDG_CONFIG_HOME": str(tmp_path / "no-settings")}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=here, env=env, check=True, capture_output=True, text=True, timeout=60).stdout

    assert python("-c", "import mdtool; print(mdtool.__file__)").strip() == str(unpacked / "mdtool" / "__init__.py")
    python("-m", "mdtool", "redact", "portrait.jpg")
    assert (here / "portrait.redacted.jpg").exists()
    caption = python("-m", "mdtool", "caption", "one.png", "--model", "pocket")
    assert caption == python("-c", "import mdtool; print(mdtool.load('pocket').caption('one.png'))") != ""
