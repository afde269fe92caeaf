"""The long-lived actors: sessions that turn windows into masks, and aggregators that turn masks into manifests.

An actor takes 0.6 s to start and a task a millisecond, so both are small pools and titles are dealt to them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

import vsal
from vsal.distributed.cluster import ClusterSize
from vsal.distributed.job import JobBox, unboxed
from vsal.distributed.sessions import ActorReport, SaliencyActor, SessionDevice, report
from vsal.errors import SettingsError
from vsal.saliency import Masks
from vsal.settings import RunSettings

MODEL_ATTEMPTS = 3  # of one window, while Ray restarts a saliency actor that died

if TYPE_CHECKING:
    from vsal.distributed.open_title import OpenTitle
    from vsal.planning import WorkItem
    from vsal.video.probe import VideoInfo


class StaleTitle(RuntimeError):
    """An aggregator was asked about a title that it does not hold: it was restarted, or the attempt was given up."""


class _Aggregator:
    """Holds the open titles that were dealt to it."""

    def __init__(self) -> None:
        from vsal.distributed.open_title import OpenTitle

        self._make = OpenTitle
        self._open: dict[str, OpenTitle] = {}

    def ready(self) -> ActorReport:
        """Answers once the actor is up."""
        return report()

    def begin(self, box: JobBox, attempt_id: str, item: WorkItem, info: VideoInfo, segments: int) -> None:
        """Opens a title; an earlier attempt at it is given up.

        Args:
            box: the job.
            attempt_id: names this attempt in all further calls.
            item: the title.
            info: what the probe found.
            segments: how many segments the title was cut into.
        """
        for other, title in list(self._open.items()):
            if title.title_id == item.title.title_id:
                self.abandon(other)
        self._open[attempt_id] = self._make(unboxed(box), item, info, segments)

    def add(self, attempt_id: str, chunk: Any, masks: Masks | None) -> int:
        """Takes in a chunk of a scan with its masks; answering is the acknowledgement.

        Raises:
            StaleTitle: the actor does not hold that attempt.
            JoinBroken: two segments do not fit together.
            TitleFailed: rows could not be written.
        """
        return self._title(attempt_id).add(chunk, masks)

    def finish(self, attempt_id: str) -> Mapping[str, int | str]:
        """Writes the last rows and commits the manifest file; returns the title's counts.

        Raises:
            StaleTitle, TitleFailed: as above; nothing is committed then.
        """
        title = self._title(attempt_id)
        try:
            return title.commit()
        finally:
            self.abandon(attempt_id)

    def abandon(self, attempt_id: str) -> None:
        """Forgets an attempt and what it had written."""
        title = self._open.pop(attempt_id, None)
        if title is not None:
            title.abandon()

    def progress(self) -> dict[str, int]:
        """Frames received of each open attempt."""
        return {attempt_id: title.frames_received for attempt_id, title in self._open.items()}

    def _title(self, attempt_id: str) -> OpenTitle:
        if attempt_id not in self._open:
            raise StaleTitle(f"attempt {attempt_id} is not open here")
        return self._open[attempt_id]


@dataclass(frozen=True, slots=True)
class Pools:
    """The actors of a run: each saliency actor with its node, and the model in its list."""

    saliency: tuple[tuple[str, Any], ...]
    aggregators: tuple[Any, ...]
    device: SessionDevice
    model: list[Any]

    def aggregator_of(self, title_id: str) -> Any:
        """The aggregator that a title is dealt to, the same in every process."""
        return self.aggregators[zlib.crc32(title_id.encode()) % len(self.aggregators)]

    def saliency_near(self, node_id: str) -> list[Any]:
        """The sessions on that node, or all where it has none: pixels stay on their node."""
        near = [actor for node, actor in self.saliency if node == node_id]
        return near or [actor for _, actor in self.saliency]


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


def start_pools(model: bytes, run: RunSettings, size: ClusterSize) -> Pools:
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
    aggregator_class = ray.remote(_Aggregator).options(max_restarts=-1, max_task_retries=0, num_cpus=0)
    saliency: list[Any] = [saliency_class.remote(device, threads, run.gpu_fraction) for _ in range(count)]
    aggregators: list[Any] = [aggregator_class.remote() for _ in range(max(1, round(size.cpus / 8)))]
    reports = _ready([actor.ready.remote(boxed) for actor in saliency] + [a.ready.remote() for a in aggregators])
    return Pools(
        tuple((report.node_id, actor) for report, actor in zip(reports, saliency, strict=False)),
        tuple(aggregators),
        device,
        boxed,
    )


def _ready(answers: list[Any]) -> list[ActorReport]:
    try:
        reports: list[ActorReport] = ray.get(answers, timeout=300)
    except ray.exceptions.RayTaskError as error:
        raise SettingsError(str(error.cause)) from error
    except ray.exceptions.ActorDiedError as error:
        cause = getattr(error, "cause", None) or error
        raise SettingsError(_innermost(str(cause))) from error
    except ray.exceptions.GetTimeoutError:
        raise SettingsError(
            f"{len(answers)} actors did not start within 300 s: the cluster has no room for them. Ask for fewer with "
            "--saliency-actors, or look at `ray status`"
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
