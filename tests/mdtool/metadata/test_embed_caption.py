"""A caption in a picture's own file: what other programs read there, and that all else in the file stays."""

import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from make_images import camera_exif, encode_image, icc, noise, smooth, xmp
from PIL import Image, IptcImagePlugin

from mdtool.errors import InputError, OutputError
from mdtool.media.file_types import sniff
from mdtool.media.image.exif import jpeg_with_iptc, png_chunk, png_chunks, riff_chunks
from mdtool.metadata.containers import CONTAINERS
from mdtool.metadata.embed_caption import embed_caption

TEXT = "Ein <Mädchen> & 'eine' \"猫\""
DC = "{http://purl.org/dc/elements/1.1/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
OTHERS = (
    b'<my:Struct xmlns:my="http://example.org/" rdf:parseType="Resource">'
    b'<my:a xml:lang="en">1 &#xA; 2</my:a></my:Struct>'
)


def packet(description: str) -> bytes:
    """XMP with this in it, and with much else."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:1" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating=\'4\' '
        f'xmp:Label="1 &gt; 0&#xA;>">{description}{OTHERS.decode()}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta>\n   <?xpacket end="w"?>'
    ).encode()


def old(*texts: tuple[str, str]) -> str:
    items = "".join(f'<rdf:li xml:lang="{language}">{text}</rdf:li>' for language, text in texts)
    return f"<dc:description><rdf:Alt>{items}</rdf:Alt></dc:description>"


DEEP = noise(9, 9, 1, np.uint16)
DRESSED: dict[str, Any] = {"exif": camera_exif(6), "icc_profile": icc()}
PICTURES: dict[str, bytes] = {
    "plain.jpg": encode_image(smooth(), "JPEG"),
    "dressed.jpg": encode_image(
        smooth(), "JPEG", **DRESSED, xmp=packet(old(("x-default", "Old"))), comment=b"hello", dpi=(72, 72)
    ),
    "progressive.jpg": encode_image(smooth(), "JPEG", progressive=True),
    "cmyk.jpg": encode_image(noise(9, 9, 4), "JPEG", "CMYK"),
    "trailer.jpg": encode_image(smooth(), "JPEG", exif=camera_exif()) + b"film" * 99,
    "plain.png": encode_image(smooth(), "PNG"),
    "dressed.png": encode_image(smooth(), "PNG", **DRESSED, dpi=(72, 72)),
    "deep.png": encode_image(DEEP, "PNG"),
    "plain.webp": encode_image(smooth(), "WEBP"),
    "odd.webp": encode_image(noise(7, 33, 3), "WEBP"),
    "lossless.webp": encode_image(noise(7, 33, 3), "WEBP", lossless=True),
    "alpha.webp": encode_image(noise(7, 33, 4), "WEBP", lossless=True),
    "alpha-lossy.webp": encode_image(noise(7, 33, 4), "WEBP"),
    "dressed.webp": encode_image(smooth(), "WEBP", **DRESSED, xmp=packet("")),
    "plain.tif": encode_image(smooth(), "TIFF"),
    "dressed.tiff": encode_image(smooth(), "TIFF", **DRESSED, dpi=(300, 300)),
    "lzw.tif": encode_image(smooth(), "TIFF", compression="tiff_lzw"),
    "jpeg.tif": encode_image(smooth(), "TIFF", compression="jpeg"),
    "deep.tif": encode_image(DEEP, "TIFF"),
}


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def said(path: Path) -> dict[str, str]:
    """The description in all languages, as an XML reader finds it in what Pillow takes for the XMP."""
    with Image.open(path) as picture:
        found = picture.info.get("xmp") or picture.getexif()[700]
    root = ElementTree.fromstring(found.decode() if isinstance(found, bytes) else found)
    (description,) = root.iter(DC + "description")
    return {one.attrib[LANGUAGE]: one.text or "" for one in description.iter(RDF + "li")}


def iptc(path: Path) -> dict[tuple[int, int], Any]:
    with Image.open(path) as picture:
        return IptcImagePlugin.getiptcinfo(picture) or {}


def jpeg_segments(data: bytes) -> Iterator[bytes]:
    """Those before the coded picture."""
    at = 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at:end]
        at = end


def coded(data: bytes) -> Iterator[bytes]:
    """All of a file that is neither XMP nor IPTC nor the frame for them."""
    kind = sniff(data[:64])
    if kind == "png":
        yield from (name + body for name, body in png_chunks(data) if not body.startswith(b"XML:com.adobe.xmp"))
    elif kind == "webp":
        yield from (name + body for name, body in riff_chunks(data) if name not in (b"VP8X", b"XMP "))
    elif kind == "jpeg":
        segments = list(jpeg_segments(data))
        ours = (b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0")
        yield from (segment for segment in segments if not segment[4:].startswith(ours))
        yield data[2 + sum(map(len, segments)) :]
    else:
        with Image.open(io.BytesIO(data)) as picture:
            tags = picture.tag_v2  # type: ignore[attr-defined]
            for offset, size in zip(tags[273], tags[279], strict=True):
                yield data[offset : offset + size]
            yield from (f"{tag} {tags[tag]}".encode() for tag in sorted(tags) if tag not in (700, 33723, 273))


@pytest.mark.parametrize("name", PICTURES)
def test_a_caption_is_read_back_and_all_else_stays(tmp_path: Path, name: str) -> None:
    before = PICTURES[name]
    path = write(tmp_path, name, before)
    assert embed_caption(path, TEXT)
    after = path.read_bytes()
    assert said(path) == {"x-default": TEXT}
    assert list(coded(after)) == list(coded(before))
    with Image.open(io.BytesIO(before)) as was, Image.open(path) as now:
        assert (was.mode, was.size, set(dict(was.getexif()))) == (
            now.mode,
            now.size,
            set(dict(now.getexif())) - {700, 33723},
        )
        assert was.tobytes() == now.tobytes()
        assert all(now.info[key] == was.info[key] for key in ("icc_profile", "comment", "dpi") if key in was.info)
        if path.suffix in (".jpg", ".webp", ".png"):
            assert now.info.get("exif") == was.info.get("exif")
    if CONTAINERS[sniff(before[:64]) or ""].takes_iptc:
        assert iptc(path)[2, 120] == TEXT.encode()
        assert iptc(path)[1, 90] == b"\x1b%G"
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", PICTURES)
def test_doing_it_again_changes_nothing(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, PICTURES[name])
    embed_caption(path, TEXT)
    once, state = path.read_bytes(), path.stat()
    assert not embed_caption(path, TEXT)
    assert path.read_bytes() == once
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    assert embed_caption(path, "Another")
    assert said(path) == {"x-default": "Another"}
    assert list(coded(path.read_bytes())) == list(coded(PICTURES[name]))


@pytest.mark.parametrize(
    ("description", "languages"),
    [
        ("", {}),
        (old(("x-default", "Old"), ("fr", "Vieux")), {"fr": "Vieux"}),
        (old(("fr", "Vieux &amp; beau")), {"fr": "Vieux & beau"}),
        ('<dc:description><rdf:Alt><rdf:li xml:lang="x-default"/></rdf:Alt></dc:description>', {}),
        ("<dc:description><rdf:Alt/></dc:description>", {}),
        ("<dc:description>Old</dc:description>", {}),
        ("<dc:description/>", {}),
        ("<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>T</rdf:li></rdf:Alt></dc:title>", {}),
    ],
)
def test_other_xmp_stays_to_the_byte(tmp_path: Path, description: str, languages: dict[str, str]) -> None:
    path = write(tmp_path, "a.jpg", encode_image(smooth(), "JPEG", xmp=packet(description)))
    embed_caption(path, TEXT)
    assert said(path) == {"x-default": TEXT, **languages}
    after = path.read_bytes()
    start, end = packet("\0").split(b"\0")
    assert start in after
    assert OTHERS in after
    assert end.split(OTHERS)[1].split(b"</rdf:RDF>")[1] in after
    assert "title" not in description or description.encode() in after
    with Image.open(path) as picture:
        subjects = ElementTree.fromstring(picture.info["xmp"].decode()).iter(RDF + "Description")
        assert {one.attrib[RDF + "about"] for one in subjects} == {"uuid:1"}
    assert not embed_caption(path, TEXT)


def test_pictures_in_xmp_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg", encode_image(smooth(), "JPEG", xmp=xmp()))
    embed_caption(path, TEXT)
    assert xmp().split(b"</rdf:RDF>")[0] in path.read_bytes()
    assert said(path) == {"x-default": TEXT}


def test_compressed_xmp_in_a_png(tmp_path: Path) -> None:
    plain = PICTURES["plain.png"]
    chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet(old(("de", "Alt")))))
    path = write(tmp_path, "a.png", plain[:33] + chunk + plain[33:])
    embed_caption(path, TEXT)
    assert said(path) == {"x-default": TEXT, "de": "Alt"}


def test_xmp_in_the_old_place_of_a_png(tmp_path: Path) -> None:
    plain = PICTURES["plain.png"]
    held = packet(old(("x-default", "Old"), ("de", "Alt")))
    text = f"\nxmp\n{len(held):8}\n" + "\n".join(held.hex()[at : at + 72] for at in range(0, 2 * len(held), 72)) + "\n"
    chunk = png_chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(text.encode()))
    path = write(tmp_path, "a.png", plain[:33] + chunk + plain[33:])
    embed_caption(path, TEXT)
    assert said(path) == {"x-default": TEXT, "de": "Alt"}
    assert OTHERS in path.read_bytes()
    assert chunk in path.read_bytes()
    assert not embed_caption(path, TEXT)


def test_other_iptc_stays_and_becomes_utf8(tmp_path: Path) -> None:
    records = (
        b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x5a\x00\x04K\xf6ln\x1c\x02\x19\x00\x01a\x1c\x02\x19\x00\x02\xc3\xa9"
    )
    path = write(tmp_path, "a.jpg", jpeg_with_iptc(PICTURES["dressed.jpg"], records + b"\x1c\x02\x78\x00\x03old"))
    embed_caption(path, TEXT)
    assert iptc(path) == {
        (1, 90): b"\x1b%G", (2, 0): b"\0\4", (2, 25): [b"a", "é".encode()], (2, 90): "Köln".encode(),
        (2, 120): TEXT.encode(),
    }  # fmt: skip
    assert not embed_caption(path, TEXT)


def test_other_resources_of_photoshop_stay(tmp_path: Path) -> None:
    resources = b"8BIM\x04\x21\x03abc\0\0\0\x03xyz\0" + b"8BIM\x04\x25\0\0\0\0\0\x10" + b"d" * 16
    body = b"Photoshop 3.0\0" + resources
    plain = PICTURES["plain.jpg"]
    segment = b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
    path = write(tmp_path, "a.jpg", plain[:20] + segment + plain[20:])
    embed_caption(path, TEXT)
    assert iptc(path)[2, 120] == TEXT.encode()
    with Image.open(path) as picture:
        assert picture.info["photoshop"][0x0421] == b"xyz"
        assert picture.info["photoshop"][0x0425] != b"d" * 16  # the digest of the records that are there now


def test_resources_that_are_longer_than_a_segment(tmp_path: Path) -> None:
    large = noise(1, 70_000, 1).tobytes()
    resources = b"8BIM\x04\x21\0\0" + len(large).to_bytes(4, "big") + large
    parts = [b"Photoshop 3.0\0" + resources[at : at + 50_000] for at in (0, 50_000)]
    segments = b"".join(b"\xff\xed" + (len(part) + 2).to_bytes(2, "big") + part for part in parts)
    plain = PICTURES["plain.jpg"]
    path = write(tmp_path, "a.jpg", plain[:20] + segments + plain[20:])
    embed_caption(path, TEXT)
    read = CONTAINERS["jpeg"].read(path.read_bytes())
    assert read.iptc.endswith(b"\x1c\x02\x78" + len(TEXT.encode()).to_bytes(2, "big") + TEXT.encode())
    assert list(coded(path.read_bytes())) == list(coded(plain))
    after = path.read_bytes()
    joined = b"".join(part.split(b"Photoshop 3.0\0")[1] for part in jpeg_segments(after) if b"Photoshop 3.0\0" in part)
    assert joined.startswith(resources)
    assert not embed_caption(path, TEXT)


def test_a_long_caption(tmp_path: Path) -> None:
    text = "ä" * 1500
    path = write(tmp_path, "a.jpg", PICTURES["plain.jpg"])
    embed_caption(path, text)
    assert said(path) == {"x-default": text}
    assert iptc(path)[2, 120] == ("ä" * 1000).encode()
    assert not embed_caption(path, text)
    with pytest.raises(InputError, match="too long for a JPEG"):
        embed_caption(path, "a" * 70_000)
    assert said(path) == {"x-default": text}


def test_a_caption_has_no_controls(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png", PICTURES["plain.png"])
    embed_caption(path, " a\x1b[31m\0 cat\udc80 ")
    assert said(path) == {"x-default": "a [31m  cat?"}


@pytest.mark.posix("file permissions")
def test_mode_and_times_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg", PICTURES["plain.jpg"])
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18))
    embed_caption(path, "A cat")
    state = path.stat()
    assert (stat.S_IMODE(state.st_mode), state.st_mtime_ns) == (0o640, 10**18)
    size = state.st_size
    embed_caption(path, "A dog")
    assert path.stat().st_size == size
    assert path.stat().st_mtime_ns != 10**18  # else a copier would not see that it is another


@pytest.mark.posix("symbolic links")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg", PICTURES["plain.jpg"])
    link = tmp_path / "link.jpg"
    link.symlink_to("a.jpg")
    assert embed_caption(link, TEXT)
    assert link.is_symlink()
    assert said(path) == {"x-default": TEXT}


REFUSED = {
    "a.gif": (encode_image(smooth(), "GIF"), "only JPEG, PNG, WebP and TIFF"),
    "a.avif": (encode_image(smooth(), "AVIF"), "only JPEG, PNG, WebP and TIFF"),
    "a.txt": (b"hello", "only JPEG, PNG, WebP and TIFF"),
    "empty.jpg": (b"", "only JPEG, PNG, WebP and TIFF"),
    "cut.jpg": (PICTURES["plain.jpg"][:600], "damaged"),
    "big.tif": (encode_image(smooth(), "TIFF", big_tiff=True), "BigTIFF"),
    "twice.png": (
        PICTURES["plain.png"][:33]
        + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet("")) * 2
        + PICTURES["plain.png"][33:],
        "several XMP packets",
    ),
    "xmp.jpg": (encode_image(smooth(), "JPEG", xmp=packet("<dc:description>")), "its XMP is damaged"),
    "iptc.jpg": (jpeg_with_iptc(PICTURES["plain.jpg"], b"\x1c\x02\x78\x01\x00old"), "its IPTC is damaged"),
    "mpf.jpg": (
        encode_image(smooth(), "JPEG")[:20]
        + b"\xff\xe2\0\6MPF\0"
        + encode_image(smooth(), "JPEG", xmp=packet(""))[20:]
        + b"more",
        "its further images .MPF. would be lost",
    ),
}


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("name", REFUSED)
def test_what_can_hold_none_stays_as_it_is(tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    path = write(tmp_path, name, data)
    with pytest.raises(InputError, match=reason) as caught:
        embed_caption(path, TEXT)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == data
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none\.jpg: can't be written"):
        embed_caption(tmp_path / "none.jpg", TEXT)
