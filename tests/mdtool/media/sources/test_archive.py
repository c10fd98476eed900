"""Members of archives: in and out of order, from threads, encrypted, damaged and hostile ones."""

import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mdtool.errors import InputError
from mdtool.media.sources import archive
from mdtool.media.sources.archive import MAX_MEMBER_BYTES, members, read_member
from mdtool.media.sources.inputs import Member

CONTENTS = {f"{number}.jpg": random.Random(number).randbytes(number * 1000) for number in range(40)}


def tar_of(contents: dict[str, bytes], path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, data in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            made.addfile(header, io.BytesIO(data))
    return path


def zip_of(contents: dict[str, bytes], path: Path, packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as made:
        for name, data in contents.items():
            made.writestr(name, data)
    return path


def of(path: Path) -> dict[str, bytes]:
    return {member.name: read_member(path, member) for member in members(path)}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("look_back", [0, 100_000, archive.SEEK_BACK_BYTES])
def test_a_tar_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, look_back: int) -> None:
    """Also where almost nothing of what was read is kept."""
    monkeypatch.setattr(archive, "SEEK_BACK_BYTES", look_back)
    monkeypatch.setattr(archive, "BLOCK_BYTES", 5000)
    path = tar_of(CONTENTS, tmp_path / "a.tar", mode)
    assert of(path) == CONTENTS
    shuffled = random.Random(1).sample(list(members(path)), len(CONTENTS))
    assert all(read_member(path, member) == CONTENTS[member.name] for member in shuffled)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda member: read_member(path, member), shuffled))
    assert read == [CONTENTS[member.name] for member in shuffled]


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_in_any_order(tmp_path: Path, packing: int) -> None:
    path = zip_of(CONTENTS, tmp_path / "a.zip", packing)
    shuffled = random.Random(1).sample(list(members(path)), len(CONTENTS))
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda member: read_member(path, member), shuffled))
    assert read == [CONTENTS[member.name] for member in shuffled]
    assert of(zip_of({"new.jpg": b"new"}, path)) == {"new.jpg": b"new"}
    with pytest.raises(InputError, match="no longer"):
        read_member(path, shuffled[0])


def test_names_of_tars_and_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as made:
        for name in ("./a.jpg", "b\udcff.jpg", "long/" * 60 + "c.jpg"):
            made.addfile(tarfile.TarInfo(name))
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            header = tarfile.TarInfo("x.jpg")
            header.type, header.linkname = kind, "a.jpg"
            made.addfile(header)
    assert list(of(path)) == ["a.jpg", "b\udcff.jpg", "long/" * 60 + "c.jpg"]


def test_of_names_that_come_again_in_a_zip_the_last_counts(tmp_path: Path) -> None:
    path = zip_of({"a.jpg": b"old"}, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("a.jpg", b"new")
    assert of(path) == {"a.jpg": b"new"}


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = zip_of({"a.jpg": b"secret"}, tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.find(magic) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="encrypted; unpack the archive first"):
        of(path)


def test_too_large_a_member_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("a.jpg", "w", force_zip64=True) as file:
        for _ in range((MAX_MEMBER_BYTES >> 20) + 1):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match="larger than 256 MB"):
        of(path)
    lying = bytearray(path.read_bytes())  # a size that the index says is too small: no more than that is unpacked
    at = lying.find(b"PK\1\2")
    lying[at + 24 : at + 28] = struct.pack("<I", 5000)
    path.write_bytes(lying)
    with pytest.raises(InputError, match="damaged"):
        of(path)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_packed_tar_with_a_huge_header_is_not_unpacked(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        for size in (1 << 33, -512, -(1 << 40)):
            header = tarfile.TarInfo("a.jpg")
            header.type = kind
            block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
            block[124:136] = b"\xff" + (size % (1 << 88)).to_bytes(11, "big") if size < 0 else b"%011o\0" % size
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
            path = tmp_path / "bomb.tar.gz"
            path.write_bytes(gzip.compress(bytes(block) + bytes(1 << 22)))
            with pytest.raises(InputError, match="damaged"):
                of(path)


def test_a_file_of_negative_size_ends_the_list(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a.jpg")
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 10 + b"\xfc\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "round.tar"
    path.write_bytes(bytes(block) * 8)
    with pytest.raises(InputError, match="damaged"):
        of(path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.9])
def test_a_tar_that_is_cut_short(tmp_path: Path, mode: str, share: float) -> None:
    whole = tar_of(CONTENTS, tmp_path / "a.tar", mode).read_bytes()
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[: int(len(whole) * share)])
    came: list[bytes] = []
    with pytest.raises(InputError, match=r"^damaged: [^\n]+$"):
        came.extend(read_member(path, member) for member in members(path))
    assert came == list(CONTENTS.values())[: len(came)]
    if mode != "w:bz2":  # whose blocks are larger than all of this
        assert len(came) > 40 * share - 5


def test_flipped_bytes_give_one_error_or_other_content(tmp_path: Path) -> None:
    chance = random.Random(0)
    made = [tar_of(CONTENTS, tmp_path / f"{mode[2:]}.tar", mode) for mode in ("w", "w:gz", "w:xz")]
    for source in [*made, zip_of(CONTENTS, tmp_path / "a.zip")]:
        whole = source.read_bytes()
        for _ in range(20):
            bad = bytearray(whole)
            for _ in range(3):
                start, end = chance.choice([(0, len(bad)), (0, 600), (len(bad) - 3000, len(bad))])
                bad[chance.randrange(start, end)] ^= 255
            (tmp_path / "bad").write_bytes(bad)
            try:
                for member in members(tmp_path / "bad"):
                    read_member(tmp_path / "bad", member)
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_a_bad_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = tar_of(dict.fromkeys("abc", b"x" * 512), tmp_path / "a.tar")
    data = bytearray(path.read_bytes())
    data[1024 + 148] ^= 255
    path.write_bytes(data)
    found = members(path)
    assert next(found).name == "a"
    with pytest.raises(InputError, match="one of its headers can't be read"):
        next(found)


@pytest.mark.posix("named pipes")
def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(InputError, match="not a regular file"):
        list(members(tmp_path / "pipe.zip"))


def test_what_is_no_archive(tmp_path: Path) -> None:
    for name, said in ((".", "not a regular file"), ("gone.zip", "there is no such file")):
        with pytest.raises(InputError, match=said):
            list(members(tmp_path / name))
    with pytest.raises(InputError, match="there is no such file"):
        read_member(tmp_path / "gone.zip", Member("a.jpg", 0, 5))
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        list(members(tmp_path / "empty.tar"))
    assert of(zip_of({}, tmp_path / "a.zip")) == {}
    assert of(tar_of({}, tmp_path / "a.tar")) == {}


def test_a_file_without_a_name_is_damage_that_the_others_survive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for name in ("1.png", "x", "2.png"):
            made.writestr(name, name)
        made.filelist[1].filename = ""  # is written at the end, into the directory
    listed = members(tmp_path / "a.zip")
    assert [next(listed).name, next(listed).name] == ["1.png", "2.png"]
    with pytest.raises(InputError, match="damaged: a file in it has no name"):
        next(listed)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_damage_of_any_kind_is_an_error_of_the_archive_alone(tmp_path: Path, suffix: str) -> None:
    """Never one that a library raises."""
    rng, small = random.Random(suffix), dict.fromkeys(("a.png", "b/ä.png", "long" * 40 + ".png"), b"\x89PNG" * 40)
    whole = tmp_path / f"whole{suffix}"
    plain = zip_of(small, whole) if suffix == ".zip" else tar_of(small, whole, f"w:{suffix.removeprefix('.tar')[1:]}")
    data, damaged = plain.read_bytes(), 0
    for number in range(300):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 3))):
            changed[rng.randrange(len(changed))] = rng.choice((0, 255, rng.randrange(256)))
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(changed[: rng.choice((len(changed), rng.randrange(len(changed))))])
        try:
            of(path)
        except InputError:
            damaged += 1
    assert damaged > 100
