"""A made-up kind of work: a title is a list of numbers, summed up in pieces. It shows what a kind of work must say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from vsal.distributed.failures import Failure
from vsal.distributed.outcomes import Outcome
from vsal.distributed.pulse import Ticket, working
from vsal.distributed.work import Answer, Item, Step
from vsal.vitals import vitals

PIECE = 10


@ray.remote(max_retries=0)
def sum_task(ticket: Ticket, numbers: list[int], folder: str, name: str, mishaps: list[str]) -> Answer:
    """The sum of some numbers; each try meets the next of its mishaps."""
    with working(ticket) as beat:
        Path(folder, f"{name}.{time.monotonic_ns()}").touch()
        mishap = (mishaps + [""] * 99)[len(list(Path(folder).glob(f"{name}.*"))) - 1]
        if mishap == "die":
            os.kill(os.getpid(), 9)
        for _ in range(30 if mishap == "work" else 1):  # three seconds of progress
            time.sleep(0.1 if mishap == "work" else 600 if mishap == "hang" else 0)
            vitals.rows += 1
        if mishap.startswith("raise "):
            raise eval(mishap.removeprefix("raise "))
        beat.frames = len(numbers)
        return Answer(sum(numbers), beat.frames, beat.seconds)


class SumWork:
    """As `Work` says; `mishaps` are what happens to a step, by `title/step`, one for each try."""

    kind = "sum"

    def __init__(self, titles: dict[str, list[int]], folder: Path, mishaps: dict[str, list[str]]) -> None:
        self._titles, self._folder, self._mishaps = titles, folder, mishaps
        self._sums: dict[str, list[int]] = {}
        self._failed: dict[str, Outcome] = {}

    def actors(self) -> Mapping[str, Any]:
        return {}

    def todo(self) -> Iterator[Item]:
        return (Item(name, "", len(numbers), numbers) for name, numbers in self._titles.items())

    def first(self, item: Item) -> Sequence[Step]:
        self._sums[item.title_id] = []
        pieces = [item.content[i : i + PIECE] for i in range(0, len(item.content), PIECE)]
        return [self._step(item, f"piece {i}", numbers, i) for i, numbers in enumerate(pieces)]

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        if step.name == "join":
            return Outcome(item.title_id, "", "done", frames=len(item.content), figures={"sum": value})
        if step.name == "clear":
            return self._failed[item.title_id]
        sums = self._sums[item.title_id]
        sums.append(value)
        whole = len(sums) * PIECE >= len(item.content)
        return [self._step(item, "join", sums)] if whole else []

    def failed(self, item: Item, step: Step, failure: Failure) -> Sequence[Step] | Outcome:
        outcome = Outcome(item.title_id, "", "failed", failure.reason, failure.detail, trace=failure.trace)
        if step.name == "clear":
            return outcome
        self._failed[item.title_id] = outcome
        return [self._step(item, "clear", [])]

    def _step(self, item: Item, name: str, numbers: list[int], join: int | None = None) -> Step:
        key, task = f"{item.title_id}-{name}", sum_task.options(name=f"sum_task {name}")
        mishaps = self._mishaps.get(f"{item.title_id}/{name}", [])
        return Step(name, lambda ticket: task.remote(ticket, numbers, str(self._folder), key, mishaps), join=join)
