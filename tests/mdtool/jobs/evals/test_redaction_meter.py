"""`mdtool eval redact` against an independent meter: the pixels of what `mdtool redact` wrote beside its input's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cli_runner import run
from make_media import SAMPLES
from PIL import Image

from mdtool.jobs.bench.recipe import loop_clip

BLACK_LUMA = 16  # of a solid black mask, in limited range
FRAMES = 29  # more would end between a frame and those that are shown before it


def luma_of(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            yield np.frombuffer(bytes(plane), np.uint8).reshape(frame.height, plane.line_size)[:, : frame.width]


def metered(masks: list[np.ndarray], frames: list[dict[str, Any]]) -> dict[str, Any]:
    """Count pixel by pixel what is not masked in each box, and what else is masked."""
    bare = area = extra = 0
    exposed = []
    for number, (mask, frame) in enumerate(zip(masks, frames, strict=True)):
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
        wanted = np.zeros(mask.shape, int)
        for box in frame["boxes"]:
            left, top, right, bottom = (round(side) for side in box["xyxy"])
            inside = (left <= x) & (x < right) & (top <= y) & (y < bottom)
            pixels, visible = int(inside.sum()), int((inside & (mask == 0)).sum())
            wanted += inside
            area += pixels
            bare += visible
            if visible > 0.05 * pixels:
                exposed.append({"object": box["id"], "frame": number, "bare": round(visible / pixels, 4)})
        extra += int((mask & (wanted == 0)).sum())
    return {"leak": round(bare / area, 6), "over_redaction": round(extra / area, 4), "exposed": exposed}


def test_pixels_of_an_image(tmp_path: Path) -> None:
    """Of the four people, one has a box that is wider than the face, and one a box beside it."""
    truth = json.loads((SAMPLES / "group.png.gt.json").read_text())
    first, second = truth["frames"][0]["boxes"][:2]
    first["xyxy"][0] -= 60
    second["xyxy"] = [side + 200 * (place % 2) for place, side in enumerate(second["xyxy"])]
    (tmp_path / "group.png").write_bytes((SAMPLES / "group.png").read_bytes())
    (tmp_path / "group.png.gt.json").write_text(json.dumps(truth))
    redacted = tmp_path / "out.png"
    outcome = run("redact", tmp_path / "group.png", "-o", redacted, "--style", "solid", "--color", "#ff00ff")
    assert outcome.code == 0, outcome.err
    before, after = (np.asarray(Image.open(path).convert("RGB")) for path in (tmp_path / "group.png", redacted))
    mask = (before != after).any(axis=2)
    assert (after[mask] == (255, 0, 255)).all()
    expected = metered([mask], truth["frames"])
    [found] = run("eval", "redact", tmp_path / "group.png", "--json").json
    assert {name: found[name] for name in expected} == expected
    assert [one["object"] for one in expected["exposed"]] == [first["id"], second["id"]]
    assert (found["frames"], found["looks"], found["model_calls"], found["longest_exposure_ms"]) == (1, 1, 1, 0)


@pytest.mark.slow
def test_pixels_of_a_video(tmp_path: Path) -> None:
    """Without a margin, parts of faces are left; x264 without loss keeps the luma of every pixel."""
    clip, redacted = tmp_path / "clip.mp4", tmp_path / "out.mkv"
    loop_clip(SAMPLES / "busy.mp4", clip, FRAMES)
    truth = json.loads((SAMPLES / "busy.mp4.gt.json").read_text())
    truth["frames"] = truth["frames"][: sum(1 for _ in luma_of(clip))]
    (tmp_path / "clip.mp4.gt.json").write_text(json.dumps(truth))
    options = ("--margin", "0")
    outcome = run(
        "redact", clip, "-o", redacted, "--style", "solid", "--crf", "0", "--preset", "ultrafast", *options
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    masks = [
        (after == BLACK_LUMA) & (before != after)
        for before, after in zip(luma_of(clip), luma_of(redacted), strict=True)
    ]
    expected = metered(masks, truth["frames"])
    outcome = run("eval", "redact", clip, "--json", *options)
    assert outcome.code == 0, outcome.err
    [found] = outcome.json
    assert expected["leak"] > 0.005
    assert found["leak"] == pytest.approx(expected["leak"], abs=1e-3)
    assert found["over_redaction"] == pytest.approx(expected["over_redaction"], abs=1e-2)
    assert {(one["object"], one["frame"]) for one in found["exposed"]} == {
        (one["object"], one["frame"]) for one in expected["exposed"]
    }
    for ours, theirs in zip(found["exposed"], expected["exposed"], strict=True):
        assert ours["bare"] == pytest.approx(theirs["bare"], abs=0.02)
