"""Starting the long-lived actors: sessions that turn windows into masks, aggregators that turn masks into manifests.

An actor takes 0.6 s to start and a task a millisecond, so both are small pools and titles are dealt to them.
"""

from __future__ import annotations

from typing import Any

import ray

import vsal
from vsal.distributed.cluster import ClusterSize
from vsal.distributed.prepare.aggregator import Aggregator
from vsal.distributed.prepare.job import Pools, SessionDevice
from vsal.distributed.prepare.sessions import ActorReport, SaliencyActor
from vsal.distributed.watch import Watch
from vsal.errors import SettingsError
from vsal.settings import RunSettings

MODEL_ATTEMPTS = 3  # of one window, while Ray restarts a saliency actor that died
READY_S = 300.0  # for all actors to start and make their sessions


def choose_device(run: RunSettings, size: ClusterSize) -> SessionDevice:
    """The device that sessions run on: GPU when the cluster has one.

    Raises:
        SettingsError: a GPU was asked for that can never be had.
    """
    if run.device == "gpu" and size.gpus < run.gpu_fraction:
        raise SettingsError(
            f"--device gpu: a saliency actor asks for {run.gpu_fraction:g} GPUs but the cluster's {size.nodes} nodes "
            f"offer {size.gpus:g}. Add a GPU node (ray start --num-gpus), or run with --device cpu"
        )
    if run.device == "auto":
        return "gpu" if size.gpus >= run.gpu_fraction else "cpu"
    return run.device


def start_pools(model: bytes, run: RunSettings, size: ClusterSize, watch: Watch) -> Pools:
    """Starts the actors and waits until every one is ready.

    Raises:
        SettingsError: a session could not be made, or a node runs another version of vsal.
    """
    device = choose_device(run, size)
    boxed = [ray.put(model)]
    if device == "gpu":
        places = int(size.gpus) * int(1 / run.gpu_fraction + 1e-9)
        count, threads = run.saliency_actors or places, 1
        if count > places:
            raise SettingsError(
                f"{count} saliency actors of {run.gpu_fraction:g} GPUs each need {count * run.gpu_fraction:g}, and the "
                f"cluster has {size.gpus:g}: use --saliency-actors {places} or a smaller --gpu-fraction"
            )
        needed = {"num_cpus": 0, "num_gpus": run.gpu_fraction}
    else:
        # Decoding takes about six times what the shipped model does: one thread of inference feeds many decoders.
        count = run.saliency_actors or max(size.nodes, round(size.cpus / 4), 1)
        threads, needed = run.saliency_threads or 1, {"num_cpus": 0}
    saliency_class = ray.remote(SaliencyActor).options(
        max_restarts=-1, max_task_retries=MODEL_ATTEMPTS, scheduling_strategy="SPREAD", **needed
    )
    aggregator_class = ray.remote(Aggregator).options(max_restarts=-1, max_task_retries=0, num_cpus=0)
    saliency: list[Any] = [
        saliency_class.remote(device, threads, run.gpu_fraction, watch.ticket(f"session {i}", run.stall_s))
        for i in range(count)
    ]
    aggregators: list[Any] = [
        aggregator_class.remote(watch.ticket(f"aggregator {i}", run.stall_s))
        for i in range(max(1, round(size.cpus / 8)))
    ]
    reports = _ready([actor.ready.remote(boxed) for actor in saliency] + [a.ready.remote() for a in aggregators])
    return Pools(
        tuple((report.node_id, actor) for report, actor in zip(reports, saliency, strict=False)),
        tuple(aggregators),
        device,
        boxed,
    )


def _ready(answers: list[Any]) -> list[ActorReport]:
    try:
        reports: list[ActorReport] = ray.get(answers, timeout=READY_S)
    except ray.exceptions.RayTaskError as error:
        raise SettingsError(str(error.cause)) from error
    except ray.exceptions.ActorDiedError as error:
        cause = getattr(error, "cause", None) or error
        raise SettingsError(_innermost(str(cause))) from error
    except ray.exceptions.GetTimeoutError:
        raise SettingsError(
            f"{len(answers)} actors did not start within {READY_S:.0f} s: the cluster has no room for them. Ask for "
            "fewer with --saliency-actors, or look at `ray status`"
        ) from None
    foreign = {report.version for report in reports} - {vsal.__version__}
    if foreign:
        raise SettingsError(
            f"nodes of the cluster run vsal {', '.join(sorted(foreign))}, this is {vsal.__version__}: install the same "
            "version on every node"
        )
    return reports


def _innermost(text: str) -> str:
    """The last line of a remote traceback: what was raised, without where."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else text
