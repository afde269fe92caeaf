"""What may be under way at a time: never more than the cluster can run, never so little that nothing moves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.distributed.credit import AHEAD, LEAST_AHEAD, Credit
from vsal.distributed.work import Step


def step(name: str, cpus: float = 1.0, held_bytes: int = 0, join: int | None = None) -> Step:
    return Step(name, lambda ticket: None, cpus=cpus, held_bytes=held_bytes, join=join)


@pytest.mark.parametrize("cpus", [1, 2, 16, 64, 256])
def test_pending_steps_grow_with_the_cluster_and_not_with_its_square(cpus: int) -> None:
    credit, submitted = Credit(cpus, 0), 0
    while credit.has_cpus(1.0):
        credit.take(f"t{submitted}", step("s"))
        submitted += 1
    assert cpus < submitted <= max(AHEAD * cpus, cpus + LEAST_AHEAD)


def test_a_step_larger_than_the_cluster_runs_alone() -> None:
    credit = Credit(2, 0)
    large = step("large", cpus=16)
    assert credit.has_cpus(large.cpus)
    credit.take("t", large)
    assert not credit.has_cpus(1.0)
    assert credit.has_cpus(0), "a call of an actor waits for no CPU"
    credit.give_back("t", large, ended=True)
    assert credit.used_cpus == 0


def test_segments_run_a_window_ahead_of_the_join_and_no_further() -> None:
    credit = Credit(2, 1e9)
    steps = [step(f"s{i}", join=i) for i in range(100)]
    credit.take("t", steps[0])
    for ahead in steps[1 : credit.window]:
        assert credit.may_hold("t", ahead)
        credit.take("t", ahead)
        credit.give_back("t", ahead, ended=True)
    assert not credit.may_hold("t", steps[credit.window]), "behind a slow first segment all others pile up"
    credit.give_back("t", steps[0], ended=True)
    assert credit.may_hold("t", steps[2 * credit.window - 1])
    assert not credit.may_hold("t", steps[2 * credit.window])


def test_a_step_that_is_tried_again_holds_its_bytes_once() -> None:
    credit = Credit(4, 100)
    first, second = step("s0", held_bytes=60, join=0), step("s1", held_bytes=60, join=1)
    credit.take("t", first)
    credit.give_back("t", first, ended=False)
    assert credit.may_hold("t", first), "what is joined next must never be held back"
    credit.take("t", first)
    assert not credit.may_hold("t", second)
    credit.give_back("t", first, ended=True)
    assert credit.may_hold("t", second)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 50)), min_size=1, max_size=6),
    st.integers(1, 8), st.integers(0, 100), st.integers(0, 1000),
)  # fmt: skip
def test_whatever_fails_and_whatever_the_order_all_ends_and_all_is_given_back(titles, cpus, most, seed) -> None:
    chance = random.Random(seed)
    credit = Credit(cpus, most)
    waiting = {
        f"t{i}": [step(f"s{j}", held_bytes=size, join=j) for j in range(count)]
        for i, (count, size) in enumerate(titles)
    }
    running: list[tuple[str, Step]] = []
    while running or any(waiting.values()):
        for title_id, steps in waiting.items():
            while steps and credit.has_cpus(1.0) and credit.may_hold(title_id, steps[0]):
                credit.take(title_id, steps[0])
                running.append((title_id, steps.pop(0)))
        assert running, "nothing runs, and something waits"
        title_id, ended = running.pop(chance.randrange(len(running)))
        failed = chance.random() < 0.3
        credit.give_back(title_id, ended, ended=not failed)
        if failed:
            waiting[title_id].insert(0, ended)
    assert credit.used_cpus == 0
    assert credit.has_cpus(cpus)
    assert credit.may_hold("other", step("s", held_bytes=most))
