"""The actor that holds one ONNX session and turns windows of frames into masks."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import ray

import vsal
from vsal.distributed.prepare.job import SessionDevice
from vsal.distributed.pulse import Attendance, Ticket, failures_told
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.saliency import Masks
from vsal.vitals import vitals

if TYPE_CHECKING:
    from vsal.saliency.ordered import Memory, Motion, Run
    from vsal.saliency.session import SaliencySession
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ActorReport:
    """What an actor says when it is ready."""

    version: str
    node_id: str
    providers: tuple[str, ...] = ()


def report(providers: tuple[str, ...] = ()) -> ActorReport:
    """The report of the actor in which it is called."""
    return ActorReport(vsal.__version__, str(ray.get_runtime_context().get_node_id()), providers)


class SaliencyActor:
    """One ONNX session.

    Its model comes with every call, as a list that holds the reference of the graph's bytes: an actor that Ray has
    restarted makes its session anew from the next window.

    Args:
        device: cpu or gpu; a GPU that is asked for and not active is an error, never a silent CPU.
        threads: of a CPU session.
        gpu_fraction: share of a GPU's memory that the session may take.
        ticket: under which it reports for as long as it lives.
    """

    def __init__(self, device: SessionDevice, threads: int, gpu_fraction: float, ticket: Ticket) -> None:
        if device == "cpu":
            # Ray leaves every GPU visible to a worker that asked for none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._device, self._threads, self._gpu_fraction = device, threads, gpu_fraction
        self._made: SaliencySession | None = None
        self._attendance = Attendance(ticket)

    def ready(self, model: list[Any]) -> ActorReport:
        """Answers once the session is made."""
        return report(tuple(self._session(model).providers))

    def infer(self, model: list[Any], frames: npt.NDArray[np.uint8], motion: Motion | None) -> Masks:
        """Masks of a window.

        Args:
            model: as above.
            frames: uint8 [n, h, w, 3] RGB, upright.
            motion: uint8 [n, h, w] or int8 [n, 2, h, w], or None for models that do not ask for it.

        Returns:
            The masks, and the gates of a video model, as float16: half the bytes on the way, and an eighth of a level
            of 255 exact.

        Raises:
            StepFailed: the model does not take the window, in a fresh session either.
        """
        with self._attendance.busy(), failures_told():
            masks = self._twice(model, frames, lambda session: session.run(frames, motion))
            gates = None if masks.gate is None else masks.gate.astype(np.float16)
            return Masks(masks.saliency.astype(np.float16), gates)

    def infer_in_order(self, model: list[Any], run: Run, memory: Memory | None) -> tuple[Masks, Memory | None]:
        """Masks of a run of a model that needs its frames in order, and its memory for the next run of the title.

        Raises:
            StepFailed: the model does not take the run, in a fresh session either.
        """
        from vsal.saliency.ordered import run_in_order

        with self._attendance.busy(), failures_told():
            masks, after = self._twice(model, run.frames, lambda session: run_in_order(session, run, memory))
            return Masks(masks.astype(np.float16), None), after

    def _twice(
        self, model: list[Any], frames: npt.NDArray[np.uint8], work: Callable[[SaliencySession], Result]
    ) -> Result:
        """The work of a session; where one fails, that of a fresh one: only what that repeats is the model's fault."""
        try:
            result = work(self._session(model))
        except Exception as error:
            logging.getLogger(__name__).warning("a session failed and is made anew: %s", error)
            self._made = None
            try:
                result = work(self._session(model))
            except Exception as again:
                detail = f"the model failed on frames of shape {frames.shape}, in a fresh session too: {again}"
                raise TitleFailed(Reason.MODEL_ERROR, detail) from again
        vitals.frames += len(frames)
        return result

    def _session(self, model: list[Any]) -> SaliencySession:
        if self._made is None:
            from vsal.saliency.session import SaliencySession

            share = self._gpu_fraction if self._device == "gpu" else 1.0
            limit = gpu_memory_limit(share) if share < 1 else None
            self._made = SaliencySession(
                ray.get(model[0]), device=self._device, threads=self._threads, gpu_mem_limit_bytes=limit
            )
        return self._made


def gpu_memory_limit(fraction: float) -> int:
    """Bytes of the first visible GPU that a session may take, by its driver's word.

    Raises:
        SettingsError: there is no driver to ask.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible:
        command.append(f"--id={visible.split(',')[0]}")
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        return int(float(answer.split()[0]) * 2**20 * fraction)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise SettingsError(
            f"a share of {fraction:g} of a GPU was asked for, and nvidia-smi does not tell its memory ({error}): "
            "install the NVIDIA driver on that node, or run with --device cpu"
        ) from error
