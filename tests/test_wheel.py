"""The wheel: every module and data file of the packages is in it, and what it unpacks to runs outside the clone, with
our CPU kernels where there is a C++ compiler and without them where there is none. The sdist has their sources."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from golden import needs_compiler

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("mdtool", "recipes", "engine", "configs")
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", ".*", "*.egg-info", "build", "dist", "demo", "tests", "docs", "_native.so"
)
NATIVE = "engine/kernels/native"
LIBRARY = "engine/kernels/_native.so"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, so that the build leaves nothing in it, and finds nothing of an earlier one."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "mdtool", ignore=LEFT_OUT))


@pytest.fixture(scope="module", params=[pytest.param(True, marks=needs_compiler), False], ids=["C++", "no C++"])
def compiler(request: pytest.FixtureRequest) -> bool:
    """Whether there is a C++ compiler when the wheel is built."""
    return bool(request.param)


@pytest.fixture(scope="module")
def wheel(source: Path, compiler: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(source / "build", ignore_errors=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w"]
    env = os.environ if compiler else os.environ | {"CC": "false", "CXX": "false"}
    subprocess.run([*build, str(folder), str(source)], env=env, check=True, timeout=600)
    [wheel] = folder.glob("mdtool-*.whl")
    return wheel


def files_of(source: Path) -> set[str]:
    paths = (path for package in PACKAGES for path in (source / package).rglob("*") if path.is_file())
    return {path.relative_to(source).as_posix() for path in paths}


def test_every_file_of_the_packages_is_in_it(source: Path, wheel: Path, compiler: bool) -> None:
    """But for what the library of kernels is compiled from."""
    built = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    needed = {name for name in files_of(source) if not name.startswith(NATIVE)}
    assert built == (needed | {LIBRARY} if compiler else needed)


# What kinds of files each package may have in a wheel; another one is an oversight until it is listed here.
KINDS = {
    "configs": {".json", ".toml"},
    "engine": {".py", ".typed", ".safetensors", ".json", ".so"},
    "mdtool": {".py", ".typed", ".html", ".css", ".js", ".svg"},
    "recipes": {".py", ".typed"},
}


def test_nothing_else_is_in_it(wheel: Path) -> None:
    found: dict[str, set[str]] = {}
    for name in map(Path, zipfile.ZipFile(wheel).namelist()):
        if not name.parts[0].endswith(".dist-info"):
            found.setdefault(name.parts[0], set()).add(name.suffix)
    assert found.keys() == KINDS.keys()
    assert [kinds - KINDS[package] for package, kinds in found.items()] == [set()] * len(KINDS)


def test_it_is_for_any_python_of_its_platform(wheel: Path) -> None:
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")


def test_the_sdist_has_what_the_library_is_compiled_from(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, timeout=120)
    [sdist] = tmp_path.glob("mdtool-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files_of(source) | {"setup.py", "pyproject.toml"} <= names
    assert LIBRARY not in names


def test_it_installs_and_says_which_kernels_serve(wheel: Path, compiler: bool, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(tmp_path), str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    show = "from engine.kernels.library import kernels; print(kernels().summary)"
    env = {name: value for name, value in os.environ.items() if not name.startswith("MDTOOL_")}
    run = [sys.executable, "-c", show]
    summary = subprocess.run(
        run,
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert ("ours were not built" in summary) == (not compiler)


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
