"""What the benchmarks say of their numbers."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import report
from benchmarks.measure import Result, back_to_back, in_turn

FASTER = Result(
    "start", "A start", "ms", {"coso": [10.0, 12.0, 11.0], "other": [20.0, 22.0, 24.0]}, targets={"other": 0.6}
)


def test_a_ratio_is_that_of_medians_and_lies_in_its_interval() -> None:
    assert FASTER.ratio("other") == 0.5
    low, high = FASTER.interval("other")
    assert low <= 0.5 <= high
    assert FASTER.holds("other")


def test_what_is_better_elsewhere_is_said() -> None:
    slower = Result("start", "A start", "ms", {"coso": [3.0], "other": [1.0]}, targets={"other": 1})
    assert "Better than coso here: other." in report.table(slower)
    assert "**missed**" in report.targets([slower])
    assert "Better" not in report.table(FASTER)
    many = Result("rate", "A rate", "a second", {"coso": [3.0], "other": [1.0]}, more_is_better=True)
    assert "Better" not in report.table(many)


def test_every_way_is_measured_as_often_in_turn_and_back_to_back() -> None:
    calls: list[str] = []
    ways = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = in_turn(ways, 5, warm_up=1)
    assert {name: len(found) for name, found in times.items()} == {"a": 5, "b": 5}
    calls.clear()
    assert len(back_to_back(ways, 4, block=2)["a"]) == 4
    assert calls[0] == calls[1] == calls[2]
    # A way that returns a number has measured itself.
    assert in_turn({"a": lambda: 7.0}, 2)["a"] == [7.0, 7.0]


def test_a_report_has_its_numbers_beside_it(tmp_path: Path) -> None:
    report.write([FASTER], {"kernel": "6.1", "versions": {"crun": "1.8"}}, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "crun 1.8" in page and "| coso | 11.0 | 10.5–11.5 |" in page
    known = json.loads((tmp_path / "results.json").read_text())
    assert known["results"][0]["values"]["coso"] == [10.0, 12.0, 11.0]
