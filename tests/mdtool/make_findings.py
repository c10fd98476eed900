"""Findings for tests."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

from mdtool.records.findings import FindingsWriter, FrameFindings, FrameInfo
from recipes.regions import GazeEstimate, Region

SIZE = (64, 48)
RATE = 30


def region(
    x_min: float,
    y_min: float,
    x_max: float,
    y_max: float,
    label: str = "face",
    track: int = 1,
    score: float | None = 0.9,
    gaze: GazeEstimate | None = None,
) -> Region:
    return Region(x_min, y_min, x_max, y_max, label, track, score, seen=True, gaze=gaze)


def findings_jsonl(
    source: str | Path,
    frame_findings: Sequence[FrameFindings],
    size: tuple[int, int] = SIZE,
    rate: float = RATE,
    start: float = 0.0,
    prompts: Sequence[str] = ("face",),
    still: bool = False,
    stream: int = 0,
) -> str:
    """Return findings as JSON Lines, one record per frame at this frame rate; still: images, which have no duration."""
    file = io.StringIO()
    findings = FindingsWriter(file, str(source), "centerface", prompts)
    for number, one in enumerate(frame_findings):
        duration = 0.0 if still else 1 / rate
        findings.write(FrameInfo(stream, number, start + number / rate, duration, size), one)
    return file.getvalue()


def with_sha256(lines: str, sha256: str) -> str:
    """Return the findings with the SHA-256 of this content."""
    return "".join(json.dumps({**json.loads(line), "sha256": sha256}) + "\n" for line in lines.splitlines())
