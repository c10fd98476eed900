"""The plug-in inside of lmms-eval: `pip install 'mdtool[lmms-eval]'`; skipped where that is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from make_media import SAMPLES

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed: pip install 'mdtool[lmms-eval]'")

FUNCTIONS = """
from PIL import Image
def to_images(doc): return [Image.open(doc["file"]).convert("RGB")]
def to_text(doc): return doc["question"]
def judge(doc, results):
    return {"right": float(results[0] == doc["answer"]), "box": float(results[0].startswith("[0."))}
"""
TASK = """
task: drawn
dataset_path: json
dataset_kwargs: {data_files: {test: DOCS}}
test_split: test
output_type: generate_until
doc_to_visual: !function drawn.to_images
doc_to_text: !function drawn.to_text
doc_to_target: answer
process_results: !function drawn.judge
generation_kwargs: {max_new_tokens: 16, temperature: 0}
metric_list:
  - {metric: right, aggregation: mean, higher_is_better: true}
  - {metric: box, aggregation: mean, higher_is_better: true}
"""
QUESTIONS = [
    ("many.png", "How many crosses are there?", "3"),
    ("one.png", "How many stars are there?", "1"),
    ("one.png", "How many circles are there?", "7"),
    (
        "one.png",
        "Bounding box coordinates are specified in the format (x, y, x, y). Please provide the bounding box coordinate "
        "of the region this sentence describes: star",
        "",
    ),
]


@pytest.mark.slow
def test_a_task_runs_from_a_plain_shell(tmp_path: Path) -> None:
    """Of four questions, two are answered right, and one with a box."""
    documents = [
        {"file": str(SAMPLES / "scenes" / name), "question": question, "answer": answer}
        for name, question, answer in QUESTIONS
    ]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (tmp_path / "drawn.py").write_text(FUNCTIONS)
    (tmp_path / "drawn.yaml").write_text(TASK.replace("DOCS", str(tmp_path / "docs.jsonl")))
    command = [sys.executable, "-m", "lmms_eval", "--model", "mdtool", "--model_args", "model=pocket,device=cpu"]
    command += [
        "--tasks",
        "drawn",
        "--include_path",
        str(tmp_path),
        "--batch_size",
        "2",
        "--output_path",
        str(tmp_path),
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    ran = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Error during evaluation" not in ran.stdout + ran.stderr, ran.stdout + ran.stderr  # whose exit code is 0 too
    [found] = tmp_path.glob("**/*_results.json")
    results = json.loads(found.read_text())["results"]["drawn"]
    assert (results["right,none"], results["box,none"]) == (0.5, 0.25)
