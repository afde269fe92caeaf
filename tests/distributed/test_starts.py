"""A worker that freezes before its first word is noticed; a step that only waits for a CPU is left alone."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.distributed.killing import processes
from tests.distributed.test_run import run, tries
from vsal.distributed.failures import LOST
from vsal.distributed.starts import ROUNDS, START_S, Starts

CPUS = 8.0


def looked(starts: Starts, until: float, idle: float, begun: set[str] = frozenset(), since: float = 0.0) -> list[str]:  # type: ignore[assignment]
    """Keys of the steps that are late until then, with a look each half second."""
    found, now = [], since
    while now < until:
        now += 0.5
        found += [key for key, _ in starts.late(begun.__contains__, CPUS, lambda: idle, now)]
    return found


def test_a_step_that_waits_for_a_cpu_is_never_late() -> None:
    starts = Starts()
    for number in range(10):
        starts.given(f"s{number}", 1.0, 5.0, 0.0)
    assert looked(starts, 3600, idle=0.0) == []
    starts.over("s0", 1.0)
    assert looked(starts, 7200, idle=0.0, since=3600) == []


def test_one_that_does_not_begin_beside_idle_cpus_is_late_once() -> None:
    starts = Starts()
    starts.given("frozen", 1.0, 5.0, 0.0)
    starts.given("begun", 1.0, 5.0, 0.0)
    assert looked(starts, START_S - 1, idle=7.0, begun={"begun"}) == []
    assert looked(starts, 4 * START_S, idle=7.0, since=START_S - 1) == ["frozen"]


def test_one_of_several_cpus_may_find_no_node_with_so_many() -> None:
    starts = Starts()
    starts.given("wide", 4.0, 5.0, 0.0)
    assert looked(starts, 3600, idle=3.0) == []
    assert looked(starts, 7200, idle=4.0, since=3600) == ["wide"]


def test_one_that_is_overtaken_many_times_over_is_late() -> None:
    starts = Starts()
    starts.given("frozen", 1.0, 5.0, 0.0)
    for number in range(int(ROUNDS * CPUS)):
        assert looked(starts, START_S + 2 * number + 2, idle=0.0, since=START_S + 2 * number) == []
        starts.over(f"s{number}", 1.0)
    assert looked(starts, 1000, idle=0.0, since=900) == ["frozen"]


def test_calls_of_actors_are_left_to_their_own_watch() -> None:
    starts = Starts()
    starts.given("call", 0.0, 5.0, 0.0)
    assert looked(starts, 3600, idle=8.0) == []


def test_what_is_late_is_the_infrastructures_fault() -> None:
    starts = Starts()
    starts.given("frozen", 1.0, 5.0, 0.0)
    looks = (5.0 * number for number in range(1, 30))
    found = [failure for now in looks for _, failure in starts.late(set().__contains__, CPUS, lambda: 8.0, now)]
    (failure,) = found
    assert failure.rule is LOST
    assert failure.detail.endswith("s while CPUs were idle: its worker is frozen, or its node gone")


@pytest.mark.faults
@pytest.mark.usefixtures("local_ray")
def test_a_worker_that_freezes_before_its_first_word_costs_no_title(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("vsal.distributed.starts.START_S", 8.0)
    for name in ("warm", "run"):
        (tmp_path / name).mkdir()
    run({"warm0": [1], "warm1": [1]}, tmp_path / "warm", {f"warm{i}/piece 0": ["work"] for i in range(2)})
    idle = processes("IDLE")
    assert idle, "no worker waits for work"
    stopped: list[psutil.Process] = idle[:1]
    stopped[0].send_signal(signal.SIGSTOP)
    try:
        titles = {f"t{number}": [number] for number in range(6)}
        began = time.monotonic()
        outcomes, _, _ = run(titles, tmp_path / "run", stall_s=4)
        took_s = time.monotonic() - began
    finally:
        for process in stopped:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert {outcome.attempts for outcome in outcomes.values()} == {1}, "it was counted against the title"
    assert all(tries(tmp_path / "run", name, "piece 0") == 1 for name in titles)
    assert took_s > 8.0, "no step was given to the frozen worker: the test has shown nothing"
