"""What every title of a run shares, fetched once by each process that works on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import ray

from vsal.saliency.contract import ModelInput
from vsal.settings import PrepareSettings, RunSettings

if TYPE_CHECKING:
    from vsal.distributed.actors import Pools

# A list with one reference: a plain reference as an argument would be resolved, and the job unpickled, at every call.
# With actor handles in it that takes milliseconds, as long as a short title has.
JobBox = list[Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A run: where it writes, what shapes it, how it is run, and on which actors."""

    out: str
    settings: PrepareSettings
    run: RunSettings
    model_name: str
    model_sha256: str
    model_input: ModelInput
    shot_model: bytes | None
    workers: int  # segments that the cluster scans at a time
    pools: Pools


_held: tuple[str, Job] | None = None  # of the run that this process worked on last


def boxed(job: Job) -> JobBox:
    """The job in Ray's object store, as tasks and actors take it."""
    return [ray.put(job)]


def unboxed(box: JobBox) -> Job:
    """The job, from this process's memory if it has worked on it before."""
    global _held
    key: str = box[0].hex()
    if _held is None or _held[0] != key:
        _held = (key, cast("Job", ray.get(box[0])))
    return _held[1]
