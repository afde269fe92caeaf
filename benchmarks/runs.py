"""What the run engine costs, each line beside what bare Ray takes for the same tasks.

    python -m benchmarks.runs titles    100,000 titles of one empty step: the driver's CPU time and memory a title
    python -m benchmarks.runs busy      64 logical CPUs, 5,000 titles that sleep half a second: how busy the CPUs are
    python -m benchmarks.runs scaling   the same for each node, from 1 to 16 logical nodes
    python -m benchmarks.runs all       all of it; --small for a try of minutes

What a resume costs is another benchmark: `python -m benchmarks.resume`.

Nothing else should be running. Logical CPUs and nodes are those of Ray: stubs that sleep need no more.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from benchmarks.stubs import Spent, bare, engine, warm

STORE_BYTES = 100_000_000  # of Ray's object store, on each node
SLEEP_S = 0.5
NODE_CPUS = 4


@dataclass(frozen=True)
class Size:
    """How much of it is done."""

    titles: int = 100_000
    from_titles: int = 10_000  # from which on memory is counted
    cpus: int = 64
    sleepers: int = 5_000
    nodes: tuple[int, ...] = (1, 2, 4, 8, 16)
    sleepers_a_node: int = 320
    runs: int = 3


SMALL = Size(2_000, 200, 8, 200, (1, 2), 32, 1)


def titles(size: Size) -> None:
    """The driver's cost of a title in CPU time and memory, of empty steps on as many CPUs as there are cores."""
    looks = (size.from_titles, size.titles)
    ours, rays = _in_turn(
        size.runs,
        lambda place: _alone(size.titles, looks, place),
        lambda: _alone(size.titles, looks, None),
    )
    print(f"\n{size.titles} titles of one empty step, {os.cpu_count()} cores, medians of {size.runs} runs\n")
    print("| | driver's CPU, ms a title | wall, ms a title | driver's memory, bytes a title |\n|---|---|---|---|")
    told = {}
    for name, runs in (("vsal", ours), ("bare Ray", rays)):
        cpu, wall = (statistics.median(values) * 1e3 / size.titles for values in zip(*map(_times, runs), strict=True))
        grown = statistics.median(_grown(spent, looks) for spent in runs)
        told[name] = (cpu, wall, grown)
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {grown:.0f} |")
    beyond = [a - b for a, b in zip(told["vsal"], told["bare Ray"], strict=True)]
    print(f"| beyond | {beyond[0]:.2f} | {beyond[1]:.2f} | {beyond[2]:.0f} |")


def _alone(titles: int, looks: tuple[int, int], place: Path | None) -> Spent:
    """One run in a process of its own: memory that a run before has freed would hide how much this one takes."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_empty_steps, titles, looks, place).result()


def _empty_steps(titles: int, looks: tuple[int, int], place: Path | None) -> Spent:
    cores = os.cpu_count() or 1
    _local(cores)
    warm(cores)
    spent = bare(titles, 0.0, looks) if place is None else engine(titles, 0.0, place, looks)
    ray.shutdown()
    return spent


def _times(spent: Spent) -> tuple[float, float]:
    return spent.cpu_s, spent.wall_s


def _grown(spent: Spent, looks: tuple[int, int]) -> float:
    return (spent.rss[looks[1]] - spent.rss[looks[0]]) / (looks[1] - looks[0])


def busy(size: Size) -> None:
    """How busy logical CPUs are in the middle of a run."""
    _local(size.cpus)
    try:
        warm(size.cpus)
        ours, rays = _in_turn(
            size.runs,
            lambda place: engine(size.sleepers, SLEEP_S, place, keep=True),
            lambda: bare(size.sleepers, SLEEP_S, keep=True),
        )
    finally:
        ray.shutdown()
    print(f"\n{size.sleepers} titles that sleep {SLEEP_S} s, {size.cpus} logical CPUs, medians of {size.runs} runs\n")
    print("| | busy between 10 and 90 % of the run | wall, s |\n|---|---|---|")
    for name, runs in (("vsal", ours), ("bare Ray", rays)):
        share = statistics.median(spent.busy(size.cpus) for spent in runs)
        print(f"| {name} | {share:.1%} | {statistics.median(spent.wall_s for spent in runs):.1f} |")
    print(f"| nothing lost | 100 % | {size.sleepers * SLEEP_S / size.cpus:.1f} |")


def scaling(size: Size) -> None:
    """Weak scaling: as many titles for each node, on more and more nodes."""
    found: dict[int, tuple[float, float]] = {}
    for nodes in size.nodes:
        cluster = Cluster()
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=STORE_BYTES, include_dashboard=False)
            ray.init(cluster.address, log_to_driver=False, logging_level="warning")
            warm(nodes * NODE_CPUS)
            count = nodes * size.sleepers_a_node
            ours, rays = _in_turn(
                size.runs,
                lambda place, count=count: engine(count, SLEEP_S, place),  # type: ignore[misc]
                lambda count=count: bare(count, SLEEP_S),  # type: ignore[misc]
            )
            found[nodes] = (
                statistics.median(spent.wall_s for spent in ours), statistics.median(spent.wall_s for spent in rays),
            )  # fmt: skip
        finally:
            ray.shutdown()
            cluster.shutdown()
    print(
        f"\n{size.sleepers_a_node} titles that sleep {SLEEP_S} s for each node of {NODE_CPUS} logical CPUs, "
        f"medians of {size.runs} runs\n"
    )
    print("| nodes | vsal, s | bare Ray, s | scaling of vsal | of bare Ray |\n|---|---|---|---|---|")
    first = found[size.nodes[0]]
    for nodes, (vsal_s, ray_s) in found.items():
        print(f"| {nodes} | {vsal_s:.1f} | {ray_s:.1f} | {first[0] / vsal_s:.3f} | {first[1] / ray_s:.3f} |")


def _local(cpus: int) -> None:
    ray.init(
        "local", num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES, log_to_driver=False,
        logging_level="warning",
    )  # fmt: skip


def _in_turn(
    runs: int, ours: Callable[[Path], Spent], rays: Callable[[], Spent]
) -> tuple[list[Spent], list[Spent]]:  # fmt: skip
    """Both by turns, so that what the machine does besides hits both; the first of each is thrown away."""
    kept: tuple[list[Spent], list[Spent]] = ([], [])
    for number in range(runs + (runs > 1)):
        place = Path(tempfile.mkdtemp(prefix="vsal-bench-"))
        try:
            spent = (rays(), ours(place))
        finally:
            shutil.rmtree(place)
        gc.collect()
        if number or runs == 1:
            kept[0].append(spent[1])
            kept[1].append(spent[0])
    return kept


def main() -> None:
    """Reads the command line and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["titles", "busy", "scaling", "all"])
    parser.add_argument("--small", action="store_true", help="a try, whose figures say little")
    parser.add_argument("--runs", type=int, help="of each, by turns")
    asked = parser.parse_args()
    size = SMALL if asked.small else Size()
    if asked.runs:
        size = Size(**{**vars(size), "runs": asked.runs})
    for name, work in (("titles", titles), ("busy", busy), ("scaling", scaling)):
        if asked.what in (name, "all"):
            work(size)


if __name__ == "__main__":
    main()
