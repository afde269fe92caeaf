"""The loop itself, under a made-up kind of work: what is dealt, what a failure costs, what is awaited."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.made_up import PIECE, SumWork
from vsal.distributed.credit import Credit
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Outcome, Progress
from vsal.distributed.run import Run
from vsal.distributed.tally import Tally
from vsal.distributed.watch import Watch
from vsal.errors import Reason
from vsal.settings import RunSettings

pytestmark = pytest.mark.usefixtures("local_ray")
CPUS = 2


class Dealt(Credit):
    """Credit that remembers to whom it was given, and how much was out at most."""

    most_out = 0.0

    def __init__(self, cpus: float, held_bytes: float) -> None:
        super().__init__(cpus, held_bytes)
        self.given: dict[str, None] = {}

    def take(self, title_id: str, step: Any) -> None:
        super().take(title_id, step)
        self.given[title_id] = None
        self.most_out = max(self.most_out, self.used_cpus)


def run(
    titles: dict[str, list[int]], folder: Path, mishaps: dict[str, list[str]] | None = None, **settings: Any
) -> tuple[dict[str, Outcome], Dealt, list[Progress]]:
    tally, credit, watch, seen = Tally(len(titles), time.perf_counter()), Dealt(CPUS, 0), Watch(), []
    work = SumWork(titles, folder, mishaps or {})
    Run(work, RunSettings(**settings), tally, credit, watch, RunMetrics("sum"), seen.append).work()
    watch.close()
    assert credit.used_cpus == 0, "credit was lost"
    return {outcome.title_id: outcome for outcome in tally.in_order(list(titles))}, credit, seen


def tries(folder: Path, title_id: str, step: str) -> int:
    return len(list(folder.glob(f"{title_id}-{step}.*")))


def test_a_third_kind_needs_no_loop_of_its_own(tmp_path: Path) -> None:
    titles = {f"t{i}": list(range(10 * i + 1)) for i in range(12)}
    outcomes, credit, seen = run(titles, tmp_path)
    assert {name: outcome.figures["sum"] for name, outcome in outcomes.items()} == {
        name: sum(numbers) for name, numbers in titles.items()
    }
    assert credit.most_out <= CPUS + 2, "steps queue up in Ray"
    ended = [progress.finished.title_id for progress in seen if progress.finished]
    assert sorted(ended) == sorted(titles)
    assert list(credit.given) == sorted(titles, key=lambda name: -len(titles[name])), "the largest come first"
    assert max(progress.in_flight for progress in seen) <= CPUS + 2


def test_deaths_are_counted_by_step(tmp_path: Path) -> None:
    numbers = list(range(4 * PIECE))
    once = {f"unlucky/piece {i}": ["die"] for i in range(3)}
    outcomes, _, _ = run({"unlucky": numbers, "poison": numbers}, tmp_path, {**once, "poison/piece 2": ["die", "die"]})
    assert (outcomes["unlucky"].status, outcomes["unlucky"].attempts) == ("done", 2)
    poison = outcomes["poison"]
    assert (poison.status, poison.reason, poison.attempts) == ("failed", Reason.WORKER_DIED, 2)
    assert poison.detail.startswith("poison: piece 2 killed 2 workers")
    assert tries(tmp_path, "unlucky", "piece 3") == 1, "a death in another step did it again"


def test_each_fault_costs_what_the_table_says(tmp_path: Path) -> None:
    titles = {name: [1, 2, 3] for name in ("bug", "store", "title", "full")}
    mishaps = {
        "bug/piece 0": ["raise ZeroDivisionError('oops')"],
        "store/piece 0": ["raise ConnectionResetError(104, 'reset')"] * 2,
        "title/piece 0": ["raise FileNotFoundError(2, 'none')"],
        "full/piece 0": ["raise OSError(28, 'full')"],
    }
    outcomes, _, _ = run(titles, tmp_path, mishaps, attempts=2)
    told = {name: (o.status, o.reason, o.attempts, tries(tmp_path, name, "piece 0")) for name, o in outcomes.items()}
    assert told == {
        "bug": ("failed", Reason.INTERNAL, 1, 1),
        "store": ("done", None, 1, 3),
        "title": ("failed", Reason.SOURCE_NOT_FOUND, 1, 1),
        "full": ("done", None, 1, 2),
    }
    assert "made_up.py" in outcomes["bug"].trace
    assert "ZeroDivisionError" in outcomes["bug"].trace
    assert not outcomes["title"].trace


def test_what_a_failed_title_leaves_is_cleared_away_before_it_is_settled(tmp_path: Path) -> None:
    cleared_at_end: list[int] = []

    class Looking(Tally):
        def settle(self, outcome: Outcome) -> None:
            cleared_at_end.append(tries(tmp_path, outcome.title_id, "clear"))
            super().settle(outcome)

    numbers = list(range(3 * PIECE))
    mishaps = {"t/piece 0": ["raise KeyError()"], "t/piece 1": ["work"], "t/piece 2": ["work"]}
    watch, tally = Watch(), Looking(1, time.perf_counter())
    begun = time.monotonic()
    Run(
        SumWork({"t": numbers}, tmp_path, mishaps), RunSettings(), tally, Credit(CPUS, 0), watch, RunMetrics("s")
    ).work()
    watch.close()
    assert cleared_at_end == [1]
    assert tries(tmp_path, "t", "piece 1") <= 1, "a forced cancel was taken for a death"
    assert time.monotonic() - begun < 5, "a step of a title that has failed was not cancelled"


def test_a_hung_step_is_tried_once_more_and_one_that_moves_is_left_alone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("vsal.distributed.run.GIVE_UP_S", 0.5)
    mishaps = {"slow/piece 0": ["work"], "unlucky/piece 0": ["hang"], "hung/piece 0": ["hang"] * 2}
    outcomes, _, _ = run({"slow": [1], "unlucky": [1], "hung": [1]}, tmp_path, mishaps, stall_s=2)
    assert outcomes["slow"].status == outcomes["unlucky"].status == "done"
    hung = outcomes["hung"]
    assert (hung.status, hung.reason, hung.attempts) == ("failed", Reason.TIMEOUT, 2)
    assert hung.detail == "piece 0 made no progress for 2 s (--stall-s)"


def test_only_time_in_which_a_step_ran_counts_for_a_title(tmp_path: Path) -> None:
    # Each works for 3 s, two at a time: the last waits for 6 s, which is more than it may be worked on.
    titles = {f"t{i}": [i] for i in range(6)}
    outcomes, _, _ = run(titles, tmp_path, {f"{name}/piece 0": ["work"] for name in titles}, title_timeout_s=5)
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    outcomes, _, _ = run({"long": [1]}, tmp_path, {"long/piece 0": ["work"]}, title_timeout_s=1)
    assert outcomes["long"].reason is Reason.TIMEOUT
    assert "1 s are allowed (--title-timeout-s)" in outcomes["long"].detail


def test_a_fault_in_the_works_own_words_costs_one_title(tmp_path: Path) -> None:
    class Faulty(SumWork):
        def then(self, item: Any, step: Any, value: Any) -> Any:
            if item.title_id == "bad":
                raise IndexError("a fault")
            return super().then(item, step, value) if item.title_id != "mute" else []

    titles = {"bad": [1], "good": [2], "mute": [3]}
    tally, watch = Tally(3, time.perf_counter()), Watch()
    Run(Faulty(titles, tmp_path, {}), RunSettings(), tally, Credit(CPUS, 0), watch, RunMetrics("sum")).work()
    watch.close()
    told = [(outcome.status, outcome.reason) for outcome in tally.in_order(list(titles))]
    assert told == [("failed", Reason.INTERNAL), ("done", None), ("failed", Reason.INTERNAL)]
