"""The Ray tasks of an encode: a title's plan, its chunks, their join. Failures travel as values, not as exceptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

from vsal.encode.chunks import ChunkDone, ChunkSpec, encode_chunk
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import EncodePlan, finish, plan_title
from vsal.errors import Reason, TitleFailed, VsalError

Result = TypeVar("Result")


class WorkerKilled(TitleFailed):
    """The process that did the work is gone: the work itself may have killed it."""


def _told(work: Callable[[], Result], unreachable: Reason) -> Result | TitleFailed:
    """What the work returns, or its failure; `unreachable` is the reason where a place cannot be read or written."""
    try:
        return work()
    except TitleFailed as failure:
        return failure
    except VsalError as error:
        return TitleFailed(Reason.UNSUPPORTED, str(error))
    except OSError as error:
        return TitleFailed(unreachable, str(error))


@ray.remote(num_cpus=1, max_retries=0)
def plan_task(
    out: str, title_id: str, settings: EncodeSettings, dest: str, whole: bool, force: bool
) -> EncodePlan | TitleFailed:
    """How a title will be encoded; trial encodes for a share of the bits are made here."""
    return _told(lambda: plan_title(out, title_id, settings, dest, whole=whole, force=force), Reason.UNREADABLE)


@ray.remote(max_retries=0)
def chunk_task(spec: ChunkSpec) -> ChunkDone | TitleFailed:
    """Encodes one chunk and publishes it."""
    return _told(lambda: encode_chunk(spec), Reason.WRITE_FAILED)


@ray.remote(num_cpus=1, max_retries=0)
def join_task(plan: EncodePlan, done: list[ChunkDone]) -> dict[str, Any] | TitleFailed:
    """Joins a title's chunks and publishes the finished file; returns its record."""
    return _told(lambda: finish(plan, done), Reason.WRITE_FAILED)


def answer_of(task: Any) -> Any:
    """What a task returned; a worker's death, a node's, or a fault of vsal's own as the failure of one title."""
    try:
        return ray.get(task)
    except WorkerCrashedError:
        return WorkerKilled(Reason.WORKER_DIED, "the worker that encoded it died")
    except RayTaskError as error:
        return TitleFailed(
            Reason.WORKER_DIED, f"a fault of vsal: {type(error.cause).__name__}: {str(error.cause)[:300]}"
        )
    except RayError as error:
        return TitleFailed(Reason.WORKER_DIED, f"{type(error).__name__} under the title: {str(error)[:300]}")
