"""A kind of work that does nothing, or only sleeps, and the same tasks on bare Ray: what is left is the run engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray

from vsal.distributed import pulse
from vsal.distributed.cluster import cluster_size
from vsal.distributed.credit import AHEAD, LEAST_AHEAD, Credit
from vsal.distributed.failures import Failure
from vsal.distributed.journal import Journal
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Outcome, Progress, new_run_id
from vsal.distributed.pulse import Ticket, working
from vsal.distributed.run import Run
from vsal.distributed.tally import Tally
from vsal.distributed.warm import warm_workers
from vsal.distributed.watch import Watch
from vsal.distributed.work import Answer, Item, Step
from vsal.settings import RunSettings

WARM_S = 0.5  # of a task, while the workers start
Interval = tuple[float, float]  # when a stub began and ended, by the clock of the machine


@ray.remote(num_cpus=1, max_retries=0)
def stub_task(ticket: Ticket, seconds: float) -> Answer:
    """A step as all are: it says that it begins, and how long it took."""
    with working(ticket) as beat:
        return Answer(_slept(seconds), seconds=beat.seconds)


@ray.remote(num_cpus=1, max_retries=0)
def bare_task(seconds: float) -> Interval:
    """The same without vsal."""
    return _slept(seconds)


def _slept(seconds: float) -> Interval:
    began = time.time()
    if seconds:
        time.sleep(seconds)
    return began, time.time()


class StubWork:
    """As `vsal.distributed.work.Work` says: titles of one step.

    Args:
        titles: how many.
        seconds: that a step sleeps.
        intervals: where those of the steps go; None to forget them.
    """

    kind = "stub"

    def __init__(self, titles: int, seconds: float, intervals: list[Interval] | None = None) -> None:
        self._titles, self._seconds, self._intervals = titles, seconds, intervals

    def actors(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def todo(self) -> Iterator[Item]:
        """Titles of one size, made as they are asked for."""
        return (Item(f"title-{number:06d}", f"title-{number:06d}.mp4", 1) for number in range(self._titles))

    def first(self, item: Item) -> Sequence[Step]:
        """The one step."""
        return [Step("stub", lambda ticket: stub_task.remote(ticket, self._seconds))]

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        """It is done."""
        if self._intervals is not None:
            self._intervals.append(value)
        return Outcome(item.title_id, item.uri, "done", figures={"shots": 1, "maps": 1})

    def failed(self, item: Item, step: Step, failure: Failure) -> Sequence[Step] | Outcome:
        """It has failed."""
        return Outcome(item.title_id, item.uri, "failed", failure.reason, failure.detail)


@dataclass
class Spent:
    """What a run took.

    Attributes:
        wall_s: from the first title to the last.
        cpu_s: of the driver's process, with the threads that Ray has in it.
        rss: of the driver, in bytes, when so many titles had ended.
        intervals: of the stubs.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    rss: dict[int, int] = field(default_factory=dict)
    intervals: list[Interval] = field(default_factory=list)

    def busy(self, cpus: float) -> float:
        """Share of the CPUs that were busy between a tenth and nine tenths of the run."""
        first, last = min(a for a, _ in self.intervals), max(b for _, b in self.intervals)
        since, until = (first + share * (last - first) for share in (0.1, 0.9))
        worked = sum(max(0.0, min(b, until) - max(a, since)) for a, b in self.intervals)
        return worked / (cpus * (until - since))


def engine(titles: int, seconds: float, place: Path, looks: Sequence[int] = (), keep: bool = False) -> Spent:
    """A run of vsal's over stubs, with its journal.

    Args:
        titles: how many.
        seconds: that each sleeps.
        place: of the journal.
        looks: after how many titles the driver's memory is looked at.
        keep: the intervals of the stubs.
    """
    spent, look = Spent(), _Look(looks)
    journal = Journal(str(place), new_run_id(), StubWork.kind, {})
    tally, watch = Tally(titles, time.perf_counter(), journal), Watch()
    work = StubWork(titles, seconds, spent.intervals if keep else None)
    credit = Credit(cluster_size().cpus, 0)

    def show(progress: Progress) -> None:
        look.at(progress.done)

    run = Run(work, RunSettings(), tally, credit, watch, RunMetrics(work.kind), show)
    _timed(spent, run.work)
    watch.close()
    journal.close("ended", tally.state())
    progress = tally.progress(0, None)
    if progress.done != titles:
        raise SystemExit(f"{titles - progress.done} stubs of {titles} did not end done")
    spent.rss = look.found
    return spent


def bare(titles: int, seconds: float, looks: Sequence[int] = (), keep: bool = False) -> Spent:
    """The same tasks on bare Ray, as many ahead as vsal has, without a clock, a journal or another try."""
    spent, look = Spent(), _Look(looks)
    cpus = cluster_size().cpus
    ahead = max(AHEAD * cpus, cpus + LEAST_AHEAD)

    def work() -> None:
        pending: list[Any] = []
        submitted = done = 0
        while done < titles:
            while submitted < titles and len(pending) + 1 <= ahead:
                pending.append(bare_task.remote(seconds))
                submitted += 1
            ready, pending = ray.wait(pending, num_returns=1)
            more, pending = ray.wait(pending, num_returns=len(pending), timeout=0) if pending else ([], [])
            for interval in ray.get(ready + more):
                done += 1
                look.at(done)
                if keep:
                    spent.intervals.append(interval)

    _timed(spent, work)
    spent.rss = look.found
    return spent


def warm(workers: int) -> None:
    """Starts so many workers and has them import what stubs need, as a run does before it counts."""
    ray.get(warm_workers(workers, pulse.__name__))
    ray.get([bare_task.remote(WARM_S) for _ in range(workers)])


def _timed(spent: Spent, work: Callable[[], None]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    spent.wall_s, spent.cpu_s = time.perf_counter() - began, time.process_time() - cpu


class _Look:
    """The driver's memory after given numbers of titles."""

    def __init__(self, at: Sequence[int]) -> None:
        self._next = sorted(at)
        self._process = psutil.Process()
        self.found: dict[int, int] = {}

    def at(self, done: int) -> None:
        while self._next and done >= self._next[0]:
            self.found[self._next.pop(0)] = self._process.memory_info().rss
