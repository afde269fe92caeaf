"""The actor that holds one ONNX session and turns windows of frames into masks."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import ray

import vsal
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.saliency import Masks

if TYPE_CHECKING:
    from vsal.saliency.ordered import Memory, Run
    from vsal.saliency.session import SaliencySession

SessionDevice = Literal["cpu", "gpu"]


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
    """

    def __init__(self, device: SessionDevice, threads: int, gpu_fraction: float) -> None:
        if device == "cpu":
            # Ray leaves every GPU visible to a worker that asked for none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._device, self._threads, self._gpu_fraction = device, threads, gpu_fraction
        self._made: SaliencySession | None = None

    def ready(self, model: list[Any]) -> ActorReport:
        """Answers once the session is made."""
        return report(tuple(self._session(model).providers))

    def infer(self, model: list[Any], frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.uint8] | None) -> Masks:
        """Masks of a window.

        Args:
            model: as above.
            frames: uint8 [n, h, w, 3] RGB, upright.
            motion: uint8 [n, h, w], or None for models that do not ask for it.

        Returns:
            The masks, and the gates of a video model, as float16: half the bytes on the way, and an eighth of a level
            of 255 exact.

        Raises:
            TitleFailed: the model does not take the window.
        """
        session = self._session(model)
        try:
            masks = session.run(frames, motion)
            gates = None if masks.gate is None else masks.gate.astype(np.float16)
            return Masks(masks.saliency.astype(np.float16), gates)
        except Exception as error:
            raise _model_error(frames, error) from error

    def infer_in_order(self, model: list[Any], run: Run, memory: Memory | None) -> tuple[Masks, Memory | None]:
        """Masks of a run of a model that needs its frames in order, and its memory for the next run of the title.

        Raises:
            TitleFailed: the model does not take the run.
        """
        from vsal.saliency.ordered import run_in_order

        session = self._session(model)
        try:
            masks, memory = run_in_order(session, run, memory)
        except Exception as error:
            raise _model_error(run.frames, error) from error
        return Masks(masks.astype(np.float16), None), memory

    def _session(self, model: list[Any]) -> SaliencySession:
        if self._made is None:
            from vsal.saliency.session import SaliencySession

            share = self._gpu_fraction if self._device == "gpu" else 1.0
            limit = gpu_memory_limit(share) if share < 1 else None
            self._made = SaliencySession(
                ray.get(model[0]), device=self._device, threads=self._threads, gpu_mem_limit_bytes=limit
            )
        return self._made


def _model_error(frames: npt.NDArray[np.uint8], error: Exception) -> TitleFailed:
    return TitleFailed(Reason.MODEL_ERROR, f"the model failed on frames of shape {frames.shape}: {error}")


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
