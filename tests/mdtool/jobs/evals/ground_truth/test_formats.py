"""Ground truth in the formats of MOTChallenge, CVAT and WIDER FACE."""

from pathlib import Path

import pytest

from mdtool.errors import InputError, NoInputFound
from mdtool.jobs.evals.ground_truth.clips import find_clips, left_out
from mdtool.jobs.evals.ground_truth.cvat import read_cvat, read_cvat_images
from mdtool.jobs.evals.ground_truth.mot import frame_rate, read_mot
from mdtool.jobs.evals.ground_truth.own_json import read_own_json
from mdtool.jobs.evals.ground_truth.truth import GroundTruth, TrueObject
from mdtool.jobs.evals.ground_truth.wider_face import read_wider_face


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def boxes(truth: GroundTruth) -> list[dict[int, tuple[float, ...]]]:
    """The boxes on each frame, by number of the object."""
    return [{one.number: one.box for one in frame.objects} for frame in truth.frames]


MOT = """\
1,1,10,20,30,40,1,1,1
1,2,100,20,30,40,1,1,0.25
3,1,12,20,30,40,1,1,0.5

3, 7, 50, 50, 10, 10, 0, 8, 1
"""


def test_mot_next_to_a_clip(tmp_path: Path) -> None:
    truth = read_mot(written(tmp_path / "clip.mp4.gt.txt", MOT))
    assert not truth.complete
    assert boxes(truth) == [
        {1: (10, 20, 40, 60), 2: (100, 20, 130, 60)},
        {},
        {1: (12, 20, 42, 60), 7: (50, 50, 60, 60)},
    ]
    first, _, third = truth.frames
    assert [one.visible for one in first.objects] == [1, 0.25]
    assert [(one.label, one.ignored) for one in third.objects] == [(None, False), (None, True)]
    assert first.time is None


def test_mot_sequence(tmp_path: Path) -> None:
    """MOTChallenge's own count pixels from 1, and say how many frames there are."""
    written(tmp_path / "seqinfo.ini", "[Sequence]\nname=S\nframeRate=14\nseqLength=5\n")
    truth = read_mot(written(tmp_path / "gt" / "gt.txt", MOT))
    assert truth.complete
    assert len(truth.frames) == 5
    assert boxes(truth)[0][1] == (9, 19, 39, 59)
    assert boxes(truth)[4] == {}
    assert frame_rate(tmp_path) == 14


def test_mot_of_cvat_has_labels(tmp_path: Path) -> None:
    written(tmp_path / "gt" / "labels.txt", "face\nplate\n")
    truth = read_mot(written(tmp_path / "gt" / "gt.txt", "1,1,0,0,9,9,1,2,1\n1,2,0,0,9,9,1,1,1\n"))
    assert [one.label for one in truth.frames[0].objects] == ["plate", "face"]
    assert [one.label for one in truth.of_prompts(["Face "]).frames[0].objects] == ["face"]
    with pytest.raises(InputError, match="has no box of dog, only of face, plate"):
        truth.of_prompts(["dog"])


def test_short_mot_lines(tmp_path: Path) -> None:
    truth = read_mot(written(tmp_path / "gt.txt", "2,5,1.5,2,3,4\n"))
    assert truth.frames[1].objects == (TrueObject(5, (1.5, 2, 4.5, 6)),)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1,2,3", "line 1: has less than six values"),
        ("0,1,1,1,5,5", "line 1: frame 0: frames count from 1"),
        ("99999999,1,1,1,5,5", "line 1: frame 99999999"),
        ("1,1,1,1,0,5", "line 1: a box can't be"),
        ("1,1,nan,1,5,5", "line 1: a box can't be"),
        ("1,1,1,1,inf,5", "line 1: a box can't be"),
        ("inf,1,1,1,5,5", "line 1: "),
        ("1,1,a,1,5,5", "line 1: could not convert"),
        ("1,1,1,1,5,5,1,1,nan", "line 1: the visible part can't be nan"),
    ],
)
def test_what_is_no_mot(tmp_path: Path, line: str, fault: str) -> None:
    path = written(tmp_path / "gt.txt", line)
    with pytest.raises(InputError) as error:
        read_mot(path)
    assert str(error.value).startswith(f"{path}: not a MOT ground truth: {fault}")


def test_damaged_sequence_information(tmp_path: Path) -> None:
    written(tmp_path / "gt" / "gt.txt", "")
    for text, fault in (("frameRate=3", "it has no section"), ("[Sequence]\nseqLength=many\n", "'many' is no number")):
        written(tmp_path / "seqinfo.ini", text)
        with pytest.raises(InputError, match=fault):
            read_mot(tmp_path / "gt" / "gt.txt")


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><size>6</size><frame_filter></frame_filter></task></meta>
  <track id="0" label="face">
    <box frame="0" outside="0" occluded="0" keyframe="1" xtl="0" ytl="10" xbr="20" ybr="30"/>
    <box frame="2" outside="0" occluded="1" keyframe="1" xtl="10" ytl="10" xbr="30" ybr="40">
      <attribute name="pose">profile</attribute>
    </box>
    <box frame="4" outside="1" occluded="0" keyframe="1" xtl="10" ytl="10" xbr="30" ybr="40"/>
  </track>
  <track id="1" label="plate">
    <box frame="4" outside="0" occluded="0" keyframe="1" xtl="1" ytl="2" xbr="3" ybr="4"/>
  </track>
</annotations>
"""


def test_cvat_tracks_are_interpolated_until_they_end(tmp_path: Path) -> None:
    truth = read_cvat(written(tmp_path / "clip.xml", CVAT))
    assert truth.complete
    assert boxes(truth) == [
        {0: (0, 10, 20, 30)},
        {0: (5, 10, 25, 35)},
        {0: (10, 10, 30, 40)},
        {0: (10, 10, 30, 40)},
        {1: (1, 2, 3, 4)},
        {1: (1, 2, 3, 4)},
    ]
    assert [frame.objects[0].attributes for frame in truth.frames[1:3]] == [
        {"occluded": "no"},
        {"occluded": "yes", "pose": "profile"},
    ]
    assert [frame.objects[0].label for frame in truth.frames[3:5]] == ["face", "plate"]


def test_cvat_without_the_tasks_size_ends_with_its_last_box(tmp_path: Path) -> None:
    truth = read_cvat(written(tmp_path / "clip.xml", CVAT.replace("<size>6</size>", "")))
    assert not truth.complete
    assert len(truth.frames) == 5


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<annotations>", "not a CVAT ground truth: not valid XML"),
        ("", "not a CVAT ground truth: not valid XML"),
        ("<annotations><image id='0'/></annotations>", "has no boxes in tracks; export the task from CVAT as"),
        (CVAT.replace('xtl="1"', 'xtl="9"'), "not a CVAT ground truth: a box can't be"),
        (CVAT.replace('xtl="1"', ""), "not a CVAT ground truth: an element lacks 'xtl'"),
        (CVAT.replace('ytl="2"', 'ytl="two"'), "not a CVAT ground truth: could not convert"),
        (CVAT.replace('frame="2"', 'frame="-2"'), "not a CVAT ground truth: frame -2"),
        (CVAT.replace("<size>6", "<size>3"), "has a box on frame 4 of a task of 3 frames"),
        (CVAT.replace("<frame_filter>", "<frame_filter>step=5"), "has annotations of one frame in 5"),
        (
            CVAT.replace("</track>", "<polygon/></track>"),
            "not a CVAT ground truth: it has a shape that is no box (polygon)",
        ),
        ('<?xml version="1.0" encoding="klingon"?><annotations/>', "not a CVAT ground truth: not valid XML"),
        (CVAT.replace("<size>6", "<size>six"), "not a CVAT ground truth: invalid literal"),
    ],
)
def test_what_is_no_cvat(tmp_path: Path, text: str, fault: str) -> None:
    path = written(tmp_path / "clip.xml", text)
    with pytest.raises(InputError) as error:
        read_cvat(path)
    assert str(error.value).startswith(f"{path}: {fault}")


CVAT_IMAGES = """<annotations>
  <version>1.1</version>
  <image id="0" name="sub/a.png" width="64" height="48">
    <box label="face" occluded="1" xtl="1" ytl="2" xbr="11" ybr="22"><attribute name="pose">profile</attribute></box>
    <box label="plate" occluded="0" xtl="10" ytl="10" xbr="20" ybr="14" rotation="270.0"/>
    <tag label="street"/>
  </image>
  <image id="1" name="b.png" width="64" height="48"/>
</annotations>
"""


def test_cvat_boxes_of_images(tmp_path: Path) -> None:
    found = read_cvat_images(written(tmp_path / "annotations.xml", CVAT_IMAGES))
    assert list(found) == ["sub/a.png", "b.png"]
    face, plate = found["sub/a.png"].frames[0].objects
    assert (face.box, face.label, face.attributes) == ((1, 2, 11, 22), "face", {"pose": "profile", "occluded": "yes"})
    assert plate.box == pytest.approx((13, 7, 17, 17))  # upright
    assert found["b.png"].frames[0].objects == ()
    assert read_cvat_images(written(tmp_path / "clip.xml", CVAT)) == {}


def test_images_of_a_project_that_cvat_exported(tmp_path: Path) -> None:
    """In folders of its subsets, or put together by hand; an image alone is told by its folder."""
    images = "".join(
        f'<image name="a.png" subset="{subset}"><box label="{subset}" xtl="1" ytl="2" xbr="3" ybr="4"/></image>'
        for subset in ("train", "val")
    )
    listing = written(tmp_path / "annotations.xml", f"<annotations>{images}</annotations>")
    expected = [written(tmp_path / f"images/{name}/a.png", "").with_name("a.png") for name in ("train", "val")]
    assert [clip.media for clip in find_clips(tmp_path)] == expected
    assert left_out(tmp_path, None, find_clips(tmp_path)).clips == []
    [one] = find_clips(expected[1], listing)
    assert one.read_truth().frames[0].objects[0].label == "val"
    [unclear] = find_clips(written(tmp_path / "a.png", ""), listing)
    with pytest.raises(InputError, match=r"annotations.xml: has several images a.png"):
        unclear.read_truth()
    one_subset = listing.read_text().replace('name="a.png" subset="val"', 'name="b.png" subset="val"')
    together = written(tmp_path / "photos" / "b.png", "").parent
    found = find_clips(together, written(tmp_path / "one.xml", one_subset))
    assert [clip.media for clip in found] == [together / "a.png", together / "b.png"]


def test_the_size_that_a_format_states(tmp_path: Path) -> None:
    sequence = written(tmp_path / "seqinfo.ini", "[Sequence]\nimWidth=640\nimHeight=480\n")
    mot = written(tmp_path / "gt" / "gt.txt", MOT)
    assert read_mot(mot).size == (640, 480)
    assert read_cvat_images(written(tmp_path / "a.xml", CVAT_IMAGES))["b.png"].size == (64, 48)
    stated = "<size>6</size><original_size><width>{}</width><height>{}</height></original_size>"
    for size, expected in (((640, 480), (640, 480)), ((0, 0), None)):  # of a video that CVAT could not measure
        video = written(tmp_path / "b.xml", CVAT.replace("<size>6</size>", stated.format(*size)))
        assert read_cvat(video).size == expected
    assert read_cvat(written(tmp_path / "c.xml", CVAT)).size is None
    written(sequence, "[Sequence]\nimWidth=wide\nimHeight=480\n")
    with pytest.raises(InputError, match=r"seqinfo.ini: imWidth and imHeight are no whole numbers"):
        read_mot(mot)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CVAT_IMAGES.replace('width="64" height="48"', 'width="wide" height="48"'), "invalid literal"),
        (CVAT_IMAGES.replace('"b.png"', '"sub/a.png"'), "it has the image sub/a.png twice"),
        (CVAT_IMAGES.replace('name="b.png"', ""), "an element lacks 'name'"),
        (
            CVAT_IMAGES.replace('<tag label="street"/>', '<ellipse label="face"/>'),
            "it has a shape that is no box (ellipse)",
        ),
        (CVAT_IMAGES.replace('xtl="1"', 'xtl="nan"'), "a box can't be"),
        (CVAT_IMAGES.replace('"270.0"', '"nan"'), "a box can't be"),
        (CVAT_IMAGES.replace('"270.0"', '"inf"'), "math domain error"),
    ],
)
def test_what_is_no_cvat_of_images(tmp_path: Path, text: str, fault: str) -> None:
    path = written(tmp_path / "annotations.xml", text)
    with pytest.raises(InputError) as error:
        read_cvat_images(path)
    assert str(error.value).startswith(f"{path}: not a CVAT ground truth: {fault}")


def test_images_that_cvat_exported(tmp_path: Path) -> None:
    """With their file, beside it, and each by itself."""
    for name in ("images/sub/a.png", "images/b.png"):
        written(tmp_path / name, "")
    listing = written(tmp_path / "annotations.xml", CVAT_IMAGES)
    expected = [tmp_path / "images/sub/a.png", tmp_path / "images/b.png"]
    assert [clip.media for clip in find_clips(tmp_path)] == expected
    assert [clip.media for clip in find_clips(tmp_path / "images", listing)] == expected
    [one] = find_clips(expected[0], listing)
    assert len(one.read_truth().frames[0].objects) == 2
    [other] = find_clips(written(tmp_path / "c.mp4", ""), listing)
    with pytest.raises(InputError, match=r"annotations.xml: has no image c.mp4; of a video, export the task from CVAT"):
        other.read_truth()
    written(listing, CVAT_IMAGES.replace("b.png", "../../b.png"))
    with pytest.raises(InputError, match="names an image outside of the folder"):
        find_clips(tmp_path)


WIDER = """\
0--Parade/a.jpg
2
10 20 30 40 0 0 0 0 0 0
50 20 8 9 2 1 1 1 2 1
1--Handshaking/none.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/b.jpg
1
5 5 0 9 0 0 0 0 0 0
2--Demo/none.jpg
0
2--Demo/c.jpg
1
1 2 3 4
"""


def test_wider_face(tmp_path: Path) -> None:
    found = dict(read_wider_face(written(tmp_path / "val_bbx_gt.txt", WIDER)))
    assert list(found) == [
        "0--Parade/a.jpg", "1--Handshaking/none.jpg", "1--Handshaking/b.jpg", "2--Demo/none.jpg", "2--Demo/c.jpg",
    ]  # fmt: skip
    assert [boxes(truth) for truth in found.values()] == [
        [{1: (10, 20, 40, 60), 2: (50, 20, 58, 29)}], [{}], [{}], [{}], [{1: (1, 2, 4, 6)}],
    ]  # fmt: skip
    plain, hard = found["0--Parade/a.jpg"].frames[0].objects
    assert plain.attributes == {
        "blur": "clear", "expression": "typical", "illumination": "normal", "occlusion": "none", "pose": "typical",
    }  # fmt: skip
    assert hard.attributes == {
        "blur": "heavy", "expression": "exaggerated", "illumination": "extreme", "occlusion": "heavy",
        "pose": "atypical",
    }  # fmt: skip
    assert (plain.ignored, hard.ignored) == (False, True)


@pytest.mark.parametrize("text", ["a.jpg\n", "a.jpg\ntwo\n", "a.jpg\n2\n1 1 2 2\n", "a.jpg\n1\n1 1 2\n", "a.jpg\n-1\n"])
def test_what_is_no_wider_face(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="not a WIDER FACE list: at line 1"):
        list(read_wider_face(written(tmp_path / "val_bbx_gt.txt", text)))


def test_attributes_in_our_own_format(tmp_path: Path) -> None:
    box = '{"id": 1, "xyxy": [1, 2, 3, 4], "visible": 0.5, "attributes": {"pose": "profile"}}'
    path = written(tmp_path / "a.gt.json", f'{{"frames": [{{"time": 0, "boxes": [{box}]}}]}}')
    assert read_own_json(path).frames[0].objects == (
        TrueObject(1, (1, 2, 3, 4), None, 0.5, {"pose": "profile"}),
    )  # fmt: skip


def test_clips_of_a_folder(tmp_path: Path) -> None:
    """Videos and images with ground truth next to them, and sequences, at any depth; none of others."""
    for name in ("a.mp4", "b.mkv", "sub/c.png", "sub/without.mp4", "S/img1/000001.jpg"):
        written(tmp_path / name, "")
    truths = ("a.mp4.gt.json", "b.mkv.gt.xml", "sub/c.png.gt.txt", "S/gt/gt.txt")
    for name in truths:
        written(tmp_path / name, "")
    clips = find_clips(tmp_path)
    assert [(clip.name, clip.truth) for clip in clips] == [
        ("S", tmp_path / "S/gt/gt.txt"),
        ("a.mp4", tmp_path / "a.mp4.gt.json"),
        ("b.mkv", tmp_path / "b.mkv.gt.xml"),
        ("sub/c.png", tmp_path / "sub/c.png.gt.txt"),
    ]
    assert left_out(tmp_path, None, clips).clips == ["sub/without.mp4"]
    for name in ("T/img1/000001.jpg", "gone.mp4.gt.json"):
        written(tmp_path / name, "")
    without = left_out(tmp_path, None, clips)
    assert (without.clips, without.truths) == (["T", "sub/without.mp4"], ["gone.mp4.gt.json"])
    assert [clip.name for clip in find_clips(tmp_path / "S")] == ["S"]
    with pytest.raises(NoInputFound, match="no clip with ground truth next to it"):
        find_clips(tmp_path / "S" / "img1")


def test_a_clip_that_is_not_there_is_told(tmp_path: Path) -> None:
    for truth in (None, tmp_path):
        with pytest.raises(InputError, match=r"NOPE: there is no such file or folder"):
            find_clips(tmp_path / "NOPE", truth)


def test_ground_truth_in_a_folder_of_its_own(tmp_path: Path) -> None:
    for name in ("clips/a.mp4", "clips/b.mp4", "truth/a.xml", "truth/b.mp4.json"):
        written(tmp_path / name, "")
    clips = find_clips(tmp_path / "clips", tmp_path / "truth")
    assert [clip.truth for clip in clips] == [tmp_path / "truth/a.xml", tmp_path / "truth/b.mp4.json"]
    for name in ("clips/c.mp4", "truth/d.txt", "truth/notes.md"):
        written(tmp_path / name, "")
    without = left_out(tmp_path / "clips", tmp_path / "truth", clips)
    assert (without.clips, without.truths) == (["c.mp4"], ["d.txt"])
    [one] = find_clips(tmp_path / "clips" / "a.mp4", tmp_path / "truth")
    assert one.truth == tmp_path / "truth/a.xml"


def test_images_of_wider_face(tmp_path: Path) -> None:
    for split in ("train", "val"):
        written(tmp_path / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt", WIDER)
    images = tmp_path / "WIDER_val" / "images"
    images.mkdir(parents=True)
    clips = find_clips(tmp_path)
    assert [clip.media for clip in clips[:2]] == [images / "0--Parade/a.jpg", images / "1--Handshaking/none.jpg"]
    assert len(clips) == 5
    faces = tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    assert [clip.media for clip in find_clips(images, faces)] == [clip.media for clip in clips]


def test_a_list_may_name_what_can_be_no_image(tmp_path: Path) -> None:
    faces = written(tmp_path / "x_bbx_gt.txt", "a\0b.jpg\n0\n")
    with pytest.raises(InputError, match="names an image that can't be one: 'a"):
        find_clips(tmp_path, faces)


def test_a_list_can_not_name_an_image_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names an image twice: a"):
        find_clips(tmp_path, written(tmp_path / "x_bbx_gt.txt", "a.jpg\n0\na.jpg\n0\n"))


def test_a_list_can_not_name_images_elsewhere(tmp_path: Path) -> None:
    faces = written(tmp_path / "x_bbx_gt.txt", "../../secret.jpg\n0\n")
    with pytest.raises(InputError, match="names an image outside of the folder"):
        find_clips(tmp_path, faces)
