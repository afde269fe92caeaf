"""Training of a student as a Ray task: the options of `python -m model.train`, on a node with what it asks for.

ray job submit --working-dir . -- python -m jobs.train_student --num-cpus 8 -- video --data /shared/DUTS \
    --out /shared/runs/video --steps 20000

`--data` and `--out` must mean the same place on every node. The run is one task; when its worker or node is lost it is
started anew, on another node if need be, and goes on from OUT/last.pt: the same weights come out as from a run that
nothing disturbed. What the training prints is shown here as it comes.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from collections.abc import Sequence

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from vsal.errors import SettingsError


class TrainingFailed(RuntimeError):
    """The training said no or broke; the text says why. It is not tried again: it would break again."""


@ray.remote(max_retries=0)
def train(given: Sequence[str]) -> None:
    """Run `python -m model.train GIVEN` in this worker, whose output Ray takes to the one who waits.

    Raises:
        TrainingFailed: torch is missing on this node, or the training said no: for want of a GPU, say.
    """
    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if importlib.util.find_spec("torch") is None:
        raise TrainingFailed(f"torch is not installed on node {node}: training takes `pip install vsal[train]`")
    from model.train import main as train_here  # after the check: it imports torch

    try:
        train_here(given)
    except SystemExit as left:  # would end the worker, and Ray would take it for lost and try again
        if left.code not in (None, 0):
            raise TrainingFailed(f"on node {node}: python -m model.train {' '.join(given)}: {left.code}") from None


def command_line(given: Sequence[str], num_cpus: float, num_gpus: float) -> list[str]:
    """The options of the training: those given, on the cores and the device that the task has.

    Raises:
        SettingsError: they would not give the same run when it is started anew.
    """
    if any(word == "--minutes" or word.startswith("--minutes=") for word in given):
        raise SettingsError(
            "--minutes measures the machine anew after a lost worker and would change the run: give --steps"
        )
    names = {word.split("=")[0] for word in given}
    threads = [] if "--threads" in names else ["--threads", str(max(1, int(num_cpus)))]
    device = [] if "--device" in names else ["--device", "cuda" if num_gpus > 0 else "cpu"]
    return [*given, *threads, *device]


def check_resources(num_cpus: float, num_gpus: float) -> None:
    """Check that one node of the cluster can ever hold the task; Ray would wait for such a node without end.

    Raises:
        SettingsError: none can; the text has the numbers.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if not any(node.get("CPU", 0) >= num_cpus and node.get("GPU", 0) >= num_gpus for node in nodes):
        cpus, gpus = (max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        raise SettingsError(
            f"the training asks for {num_cpus:g} CPUs and {num_gpus:g} GPUs on one node, and no node has both: the "
            f"most are {cpus:g} CPUs and {gpus:g} GPUs. Ask for less with --num-cpus and --num-gpus, or add a node"
        )


def run(given: Sequence[str], num_cpus: float, num_gpus: float, max_retries: int) -> None:
    """Train on the cluster that Ray is connected to, and wait for the end.

    Raises:
        SettingsError: no node can hold the task, or the options do not fit a run that can be started anew.
        TrainingFailed: the training failed, or its worker was lost more often than `max_retries` times.
    """
    words = command_line(given, num_cpus, num_gpus)
    check_resources(num_cpus, num_gpus)
    task = train.options(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=max_retries, name="train_student")
    try:
        ray.get(task.remote(words))
    except RayTaskError as error:
        raise TrainingFailed(str(error.cause)) from error
    except WorkerCrashedError as error:
        raise TrainingFailed(
            f"the worker of the training was lost {max_retries + 1} times; what is done lies in OUT/last.pt, and the "
            "same command goes on from there. Its end may be for lack of memory: see the logs of its node"
        ) from error


def main(words: Sequence[str]) -> int:
    """Parse the command line, train, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-cpus", type=float, default=1, help="cores of the task, and threads of the training")
    parser.add_argument("--num-gpus", type=float, default=0, help="1 to train on a GPU")
    parser.add_argument("--max-retries", type=int, default=5, help="how often a lost worker is replaced")
    parser.add_argument("--address", default="auto", help="the Ray cluster; `local` starts one on this machine")
    parser.add_argument("training", nargs=argparse.REMAINDER, help="-- and the options of `python -m model.train`")
    args = parser.parse_args(words)
    given = args.training[1:] if args.training[:1] == ["--"] else args.training
    if not given:
        parser.error("say what to train after --: video --data ... --out ... --steps ...")
    try:
        if not ray.is_initialized():
            ray.init(address=args.address, logging_level=logging.WARNING)
        run(given, args.num_cpus, args.num_gpus, args.max_retries)
    except ConnectionError as error:
        print(f"no Ray cluster at {args.address!r}: {error}. Use --address local to train here", file=sys.stderr)
        return 2
    except (SettingsError, TrainingFailed) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
