"""`mdtool bench serve`: a real server, in all parts; the numbers themselves are not judged."""

import pytest
from cli_runner import run

pytestmark = pytest.mark.posix("the resource usage that bench reads")

SMALL = ("--device", "cpu", "--clients", "2", "--rounds", "1", "--pictures", "8", "--requests", "40", "--size", "64")


def test_answers_are_right_and_nothing_is_lost() -> None:
    done = run("bench", "serve", "--model", "pocket", *SMALL, "--parts", "faults,memory,drain", "--json")
    assert done.code == 0, done.err
    [report] = done.json
    found = {each["name"]: each["value"] for each in report["measurements"]}
    counts = {name: value for name, value in found.items() if name.startswith("of 40 requests: ")}
    assert sum(counts.values()) == 40
    assert counts["of 40 requests: right"] > 25
    assert {name.removeprefix("of 40 requests: ") for name in counts} <= {"right", "broken", "cancelled"}
    assert found["places that were not freed"] == found["lost"] == found["exit code"] == 0
    assert found["memory after 16 pictures"] > 50


def test_speed_is_a_table() -> None:
    done = run("bench", "serve", "--model", "pocket", *SMALL, "--parts", "questions,gap,throughput,disconnect")
    assert done.code == 0, done.err
    rows = [line for line in done.out.decode().splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 2 + 3 + 1 + 2
    assert all(row.split("|")[2].strip() for row in rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --model NAME|PATH, or --config NAME"),
        (("--model", "pocket", "--config", "moondream2"), "give --model NAME|PATH, or --config NAME"),
        (("--model", "pocket", "--parts", "gap,speed"), "'speed' is no part; give some of gap, overhead"),
    ],
)
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], said: str) -> None:
    done = run("bench", "serve", *options)
    assert done.code == 2
    assert said in done.err
