"""What a selection lists: order, patterns, overlaps, lists of names, archives, what can't be read, memory."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from make_images import encode_image, smooth

from mdtool.errors import InputError, NoInputFound, UsageError
from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.inputs import find_inputs
from mdtool.media.sources.open_media import open_image

TREE = (
    "b.jpg", "a.PNG", "a.txt", "z.mp4", "a.redacted.png", ".hidden.jpg", ".cache/c.jpg", "sub/c.webp", "sub/d.tga",
    "sub/deep/e.jpg", "raw/f.jpg", "raw/g.bmp", "notes/h.md",
)  # fmt: skip
LISTED = ["a.PNG", "b.jpg", "z.mp4", "raw/f.jpg", "raw/g.bmp", "sub/c.webp", "sub/d.tga", "sub/deep/e.jpg"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path / "tree")
    return tmp_path / "tree"


def names(*named: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    return [source.name for source in discover(Selection(named, include=include, exclude=exclude))]


def from_list(content: bytes, folder: Path, nul: bool = False) -> list[str]:
    (folder / "list").write_bytes(content)
    return [source.name for source in discover(Selection(files_from=folder / "list", nul=nul))]


def test_a_folder_comes_in_order_without_what_is_none_of_ours(tree: Path) -> None:
    assert names(".") == LISTED
    found = list(discover(Selection([str(tree)])))
    assert [source.relative.as_posix() for source in found] == LISTED
    assert [source.path for source in found] == [tree / name for name in LISTED]


def test_it_lists_what_find_inputs_finds(tree: Path) -> None:
    for name in ("sub/d.tga", "raw/g.bmp"):  # of the kinds that only asking reads
        os.remove(name)
    for named in (
        ["."],
        ["sub", "b.jpg", "sub/deep", "b.jpg"],
        ["**/*.jpg"],
        ["*.jpg", "nowhere.jpg", "http://x/y.jpg"],
    ):
        assert set(names(*named)) == {source.name for source in find_inputs(named)}


@pytest.mark.parametrize(
    ("include", "exclude", "left"),
    [
        (["*.jpg"], [], ["b.jpg", "raw/f.jpg", "sub/deep/e.jpg"]),
        (["*.jpg", "*.bmp"], ["raw/**"], ["b.jpg", "sub/deep/e.jpg"]),
        ([], ["raw", "/sub/deep", "*.mp4"], ["a.PNG", "b.jpg", "sub/c.webp", "sub/d.tga"]),
        (["sub/*.*"], [], ["sub/c.webp", "sub/d.tga"]),
    ],
)
def test_patterns_are_of_the_named_folder(tree: Path, include: list[str], exclude: list[str], left: list[str]) -> None:
    assert names(".", include=tuple(include), exclude=tuple(exclude)) == left
    os.chdir(tree.parent)
    assert names("tree", include=tuple(include), exclude=tuple(exclude)) == [f"tree/{name}" for name in left]


def test_what_is_named_itself_comes_whatever_it_is(tree: Path) -> None:
    assert names("a.txt", "b.jpg", ".hidden.jpg", "gone.jpg", include=("*.png",)) == [
        "a.txt", "b.jpg", ".hidden.jpg", "gone.jpg",
    ]  # fmt: skip
    assert names(".", "b.jpg", exclude=("*.jpg",))[-1] == "b.jpg"
    assert names(".cache") == [".cache/c.jpg"]
    with pytest.raises(InputError, match="no such file"):
        open_image(next(discover(Selection(["gone.jpg"]))))


@pytest.mark.posix("symbolic links")
@pytest.mark.parametrize(
    "named",
    [
        (".", "sub", "sub/deep", "b.jpg"),
        ("b.jpg", "./b.jpg", "sub", ".", "sub/"),
        ("*.jpg", ".", "**/*"),
        ("**/*.jpg", "**/?.jpg", "*.PNG", "*", "sub", "raw/*", "raw/f.*"),
        ("**/*", "*/*.webp", "./sub/../sub/*", "link"),
    ],
)
def test_each_file_comes_once(tree: Path, named: tuple[str, ...]) -> None:
    (tree / "link").symlink_to(tree / "sub", target_is_directory=True)
    real = [os.path.realpath(name) for name in names(*named)]
    assert sorted(real) == sorted(str(tree / name) for name in LISTED)


def test_an_earlier_glob_whose_matches_were_left_out_takes_nothing_away(tree: Path) -> None:
    assert names("*/f.jpg", "raw/*.jpg", include=("/f.jpg",)) == ["raw/f.jpg"]


@pytest.mark.posix("symbolic links")
def test_links_to_folders_are_not_followed_unless_named(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "round.jpg").symlink_to("round.jpg")
    (tree / "other.jpg").symlink_to("b.jpg")
    assert names("sub") == ["sub/c.webp", "sub/d.tga", "sub/deep/e.jpg"]
    assert names("sub/up/raw", "sub/up/o*") == ["sub/up/raw/f.jpg", "sub/up/raw/g.bmp", "sub/up/other.jpg"]
    assert "round.jpg" in names(".")
    with pytest.raises(InputError, match="can't be read"):
        open_image(next(discover(Selection(["round.jpg"]))))


def test_names_that_look_like_globs(tree: Path) -> None:
    (tree / "x[1].jpg").touch()
    assert names("x[1].jpg") == ["x[1].jpg"]
    assert from_list(b"x[1].jpg\n*.jpg\n", tree) == ["x[1].jpg", "*.jpg"]


def test_a_glob_without_a_match_fails_by_name_where_others_match(tree: Path) -> None:
    named = ("b.jpg", "typo*.mp4", "*.jpg")
    assert [source.name for source in discover(Selection(named))] == ["b.jpg", "typo*.mp4"]
    assert [source.name for source in find_inputs(named)] == ["b.jpg", "typo*.mp4"]
    with pytest.raises(InputError, match="no such file"):
        open_image(find_inputs(named)[1])
    with pytest.raises(NoInputFound):
        list(discover(Selection(("typo*.mp4", "nowhere/*.jpg"))))


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\0"])
def test_a_list_of_names(tree: Path, ends: bytes) -> None:
    written = [b"b.jpg", b"", b"gone.jpg", b"  ", b"a.txt", b" c\xff\xfe.jpg", b"sub", b"http://host/p.jpg?a=[1]"]
    wanted = ["b.jpg", "gone.jpg", "a.txt", " c\udcff\udcfe.jpg", "sub/c.webp", "sub/d.tga", "sub/deep/e.jpg"]
    assert from_list(ends.join(written), tree, nul=ends == b"\0") == [*wanted, "http://host/p.jpg?a=[1]"]
    assert from_list(ends.join(written) + ends, tree, nul=ends == b"\0")[:3] == wanted[:3]
    if ends == b"\0":
        assert from_list(b"new\nline.jpg\0", tree, nul=True) == ["new\nline.jpg"]


def test_a_list_without_names_is_no_input_and_a_wrong_one_fails_by_name(tree: Path) -> None:
    with pytest.raises(NoInputFound, match="the list of files"):
        from_list(b"\n \n\n", tree)
    with pytest.raises(UsageError, match="can't be read as a list: no such file"):
        discover(Selection(files_from=tree / "gone"))
    with pytest.raises(UsageError, match="is a directory"):
        discover(Selection(files_from=tree))
    (tree / "list").write_bytes(b"b.jpg\0a.PNG\n" + b"x" * 5000)
    for source in discover(Selection(files_from=tree / "list")):
        with pytest.raises(InputError, match=r"NUL byte|name too long"):
            open_image(source)


def test_where_outputs_of_a_list_go_is_inside(tree: Path) -> None:
    (tree / "list").write_text("sub/c.webp\n/data/d.jpg\n../../up.jpg\n")
    found = [source.relative.as_posix() for source in discover(Selection(files_from=tree / "list"))]
    assert found == ["sub/c.webp", "data/d.jpg", "up.jpg"]


def test_names_are_read_as_they_are_piped_in(tree: Path) -> None:
    """The first comes before the second is written."""
    code = (
        "from mdtool.media.sources.discover import *\n"
        "for source in discover(Selection(files_from=Path('-'), nul=True)): print(source.name, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in (b"b.jpg", b"a.PNG"):
            process.stdin.write(name + b"\0")
            process.stdin.flush()
            assert process.stdout.readline() == name + b"\n"
        process.stdin.close()
        assert process.wait() == 0


def test_stdin_and_wrong_selections(tree: Path) -> None:
    assert names("-") == ["-"]
    with pytest.raises(UsageError, match="can't be mixed"):
        discover(Selection(["-", "b.jpg"]))
    with pytest.raises(UsageError, match="can't be mixed"):
        discover(Selection(["-"], files_from=Path("-")))
    with pytest.raises(UsageError, match="matches nothing"):
        discover(Selection(["."], include=["/"]))
    for named in (("notes",), ("*.gif",), ("nowhere/*.jpg",), ()):
        with pytest.raises(NoInputFound):
            names(*named)


@pytest.mark.posix("file permissions")
def test_a_folder_that_may_not_be_read_is_one_failure(tree: Path) -> None:
    code = (
        "from mdtool.media.sources.discover import *\n"
        "if os.getuid() == 0: os.setuid(65534)  # root may read every folder\n"
        "for source in discover(Selection(['.', 'raw/**/*.jpg'])): print(source.name, source.failed)"
    )
    (tree / "raw").chmod(0)
    try:
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    finally:
        (tree / "raw").chmod(0o700)
    lines = process.stdout.decode().splitlines()
    assert lines[3] == "raw can't be read: permission denied"
    assert lines[:3] + lines[4:] == [f"{name} None" for name in LISTED if not name.startswith("raw")]


def test_a_folder_that_goes_while_it_is_listed_is_one_failure(tree: Path) -> None:
    found = discover(Selection(["."]))
    assert next(found).name == "a.PNG"
    for name in ("f.jpg", "g.bmp"):
        (tree / "raw" / name).unlink()
    (tree / "raw").rmdir()
    rest = list(found)
    (failed,) = [source for source in rest if source.failed]
    assert failed.name == "raw"
    assert [source.name for source in rest][-1] == "sub/deep/e.jpg"
    with pytest.raises(InputError, match="can't be read: no such file"):
        open_image(failed)


def pack(path: Path, contents: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in contents.items():
                archive.writestr(name, data)
        return
    mode: Any = "w:" + path.suffix[1:].replace("tar", "").replace("tgz", "gz")
    with tarfile.open(path, mode) as archive:
        for name, data in contents.items():
            (path.parent / "part").write_bytes(data)
            archive.add(path.parent / "part", name)
    (path.parent / "part").unlink()


@pytest.mark.parametrize("end", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_the_pictures_in_archives_are_listed_and_read(tree: Path, end: str) -> None:
    picture = encode_image(smooth(), "PNG")
    contents = ["b/2.png", "a/1.png", "words.txt", ".a/3.png", "__MACOSX/b/._2.png", "../../4.png", "/5.png", "x.mp4"]
    archive = tree / "sub" / f"p.{end}"
    pack(archive, dict.fromkeys(contents, picture))
    found = list(discover(Selection([f"sub/p.{end}"])))
    shown = [source.name.removeprefix(f"sub/p.{end}/") for source in found]
    assert shown == ["b/2.png", "a/1.png", "../../4.png", shown[3]]
    assert [source.relative.as_posix() for source in found] == [f"p.{end}/{n}.png" for n in ("b/2", "a/1", "4", "5")]
    for source in (*found, *reversed(found)):
        assert (open_image(source) == smooth()).all()

    by_folder = [source.name for source in discover(Selection(["sub"], include=["a/1.png", f"p.{end}/b/*", "*.tga"]))]
    assert by_folder == ["sub/d.tga", f"sub/p.{end}/b/2.png"]
    assert names(f"sub/p.{end}", include=("a/*",)) == [f"sub/p.{end}/a/1.png"]
    assert names("sub", exclude=(f"*.{end}", "*.webp")) == ["sub/d.tga", "sub/deep/e.jpg"]
    assert names(f"sub/*.{end}", include=("1.png",)) == [f"sub/p.{end}/a/1.png"]


def test_what_is_in_an_archive_comes_once(tree: Path) -> None:
    pack(tree / "sub" / "p.zip", {"1.png": b"", "2.png": b""})
    for named in (["*/*.zip", "sub/p*"], ["sub/p.zip", "sub", "sub/./p.zip", "**/*.zip"], ["sub", "*/*.zip"]):
        assert names(*named, include=("1.png",)) == ["sub/p.zip/1.png"]


def test_a_damaged_archive_fails_once_and_the_others_go_on(tree: Path) -> None:
    picture = encode_image(smooth(), "PNG")
    pack(tree / "cut.tar.gz", {f"{n}.png": os.urandom(40000) + picture for n in range(20)})
    whole = (tree / "cut.tar.gz").read_bytes()
    (tree / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tree / "none.zip").write_bytes(b"PK\3\4 but no zip")
    (tree / "none.tar").write_bytes(b"no tar" * 500)
    found = list(discover(Selection(["cut.tar.gz", "none.zip", "none.tar", "gone.zip", "b.jpg"])))
    failed = {source.name: source.failed for source in found if source.failed}
    assert list(failed) == ["cut.tar.gz", "none.zip", "none.tar", "gone.zip"]
    assert all(reason and reason.startswith("damaged: ") for reason in list(failed.values())[:3])
    assert failed["gone.zip"] == "there is no such file"
    assert 8 <= len(found) - 5 <= 10
    assert found[-1].name == "b.jpg"


PEAK = """
import resource, sys
from mdtool.media.sources.discover import *
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in discover(Selection(sys.argv[1:])))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.posix("the memory that a process took")
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """Of 20,000 in 20 folders, and in a tar: an Input of each would take 10 MB."""
    with tarfile.open(tmp_path / "many.tar", "w") as archive:
        for number in range(20000):
            path = tmp_path / "many" / f"{number // 1000}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            archive.addfile(tarfile.TarInfo(f"{number}.jpg"))
    for name in ("many", "many.tar"):
        command = [sys.executable, "-c", PEAK, str(tmp_path / name)]
        process = subprocess.run(command, capture_output=True, check=True)
        count, grown = map(int, process.stdout.split())
        assert count == 20000
        assert grown < 4000  # KiB
