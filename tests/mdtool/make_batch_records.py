"""Batch records, for tests of the exports."""

import json
from pathlib import Path
from typing import Any

ABOUT = {"model": "pocket", "revision": "abc123", "settings": "9f2e", "milliseconds": 12.3}
SIDES = ("x_min", "y_min", "x_max", "y_max")


def record(name: str, *answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    about = {"schema": "mdtool.batch/1", "input": name, "sha256": "5a" * 32, "width": 640, "height": 400}
    return {**about, **ABOUT, **more, "answers": list(answers)}


def failed(name: str) -> dict[str, Any]:
    cause = {"code": "damaged", "cause": "damaged: it breaks off"}
    return {"schema": "mdtool.batch/1", "input": name, "settings": "9f2e", "error": cause}


def box(label: str, *sides: float, score: float | None = None) -> dict[str, Any]:
    told = {"label": label, **dict(zip(SIDES, sides, strict=True))}
    return told if score is None else told | {"score": score}


def caption_answer(text: str) -> dict[str, Any]:
    return {"length": "normal", "caption": text}


def query_answer(question: str, text: str) -> dict[str, Any]:
    return {"question": question, "answer": text}


def detect_answer(prompt: str, *objects: dict[str, Any], complete: bool = True) -> dict[str, Any]:
    return {"prompt": prompt, "objects": list(objects), "complete": complete}


def point_answer(prompt: str, *places: tuple[float, float]) -> dict[str, Any]:
    return {"prompt": prompt, "points": [{"label": prompt, "x": x, "y": y} for x, y in places], "complete": True}


def write_records(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), "utf-8", "surrogateescape")
    return path
