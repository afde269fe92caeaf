"""One ONNX Runtime session, on the CPU or the GPU that was asked for and on nothing else."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vsal.errors import SettingsError
from vsal.saliency.contract import MOTION_LAYERS, read_contract
from vsal.saliency.graph import ModelRefused
from vsal.saliency.ordered import Frames, MaskBatch, Motion, Run, run_in_order, window

CPU_BATCH = (
    1  # frames a call: the activations of one frame stay in the core's cache, of eight they do not (10 % slower)
)
GPU_BATCH = 64  # bounds the memory of a call
_CUDA = "CUDAExecutionProvider"


class GpuUnavailable(SettingsError):
    """The GPU was asked for and cannot be used; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Masks:
    """What a model says about n frames.

    saliency: [n, h', w'] in 0..1. gate: the same shape in 0..1 from a video model, the weight of each pixel in time,
    else None. Both float32 from a session, float16 on the way between processes.
    """

    saliency: NDArray[np.floating[Any]]
    gate: NDArray[np.floating[Any]] | None


class SaliencySession:
    """A model, loaded and tried, ready to run.

    Args:
        model_bytes: a whole .onnx file that keeps the contract.
        device: "cpu" or "gpu". There is no falling back from one to the other.
        threads: cores that one call uses on the CPU, at least 1.
        gpu_mem_limit_bytes: the most GPU memory that ONNX Runtime's arena takes; None for no limit.

    Attributes:
        input: what the model wants to see.
        providers: ONNX Runtime's execution providers, as active in this session.

    Raises:
        ModelRefused: the model does not keep the contract, or fails on a first frame.
        GpuUnavailable: device is "gpu" and CUDA is not active.
        ValueError: threads is less than 1, or device is neither.
    """

    def __init__(
        self,
        model_bytes: bytes,
        device: Literal["cpu", "gpu"] = "cpu",
        threads: int = 1,
        gpu_mem_limit_bytes: int | None = None,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if device not in ("cpu", "gpu"):
            raise ValueError(f"device must be 'cpu' or 'gpu', not {device!r}")
        self.input = read_contract(model_bytes)
        if device == "gpu":
            require_cuda()
        try:
            self._session = ort.InferenceSession(
                model_bytes, _options(threads), providers=_providers(device, gpu_mem_limit_bytes)
            )
        except Exception as error:  # ONNX Runtime raises a dozen classes without a common base
            raise ModelRefused(
                f"ONNX Runtime {ort.__version__} does not load the model: {_first_line(error)}"
            ) from error
        self.providers: list[str] = self._session.get_providers()
        if device == "gpu" and _CUDA not in self.providers:
            raise GpuUnavailable(
                f"the GPU was asked for, but ONNX Runtime only activated {self.providers}: no usable CUDA device. "
                "Check `nvidia-smi` on this machine, or run with the CPU"
            )
        self._batch = self.input.batch or (GPU_BATCH if device == "gpu" else CPU_BATCH)
        self._try_out()

    def run(self, frames: Frames, motion: Motion | None = None) -> Masks:
        """Masks of n frames, n any number, 0 too.

        Args:
            frames: uint8 [n, h, w, 3], RGB, upright, h and w as `input.size_for` gives them.
            motion: uint8 [n, h, w], or int8 [n, 2, h, w] where `input.signed`, as `vsal.saliency.contract` says; needed
                by models with `input.motion`, ignored by others.

        Returns:
            Masks of the n frames, in order.

        Raises:
            ValueError: shapes or types are other than these, or the model's frames must come in order.
            RuntimeError: ONNX Runtime failed (out of memory, a lost GPU).
        """
        if self.input.ordered:
            raise ValueError("masks of this model depend on the frames before: give whole sequences to run_sequence")
        self.check(frames, motion)
        n = len(frames)
        if n == 0:
            shape = (1, *frames.shape[1:])
            some = self.run(np.zeros(shape, np.uint8), self.no_motion(1, *frames.shape[1:3]))
            return Masks(some.saliency[:0], None if some.gate is None else some.gate[:0])
        size = self._batch
        parts = [self._call(frames[i : i + size], motion, i) for i in range(0, n, size)]
        joined = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Masks(joined[0], joined[1] if self.input.motion else None)

    def run_sequence(self, frames: Frames, motion: Motion | None = None, period_s: float = 1 / 3) -> Masks:
        """Masks of the n frames of one scene or clip from its beginning to its end, whatever the model's kind.

        A recurrent model starts from zeros. A clip model sees a window around each frame; at the ends of the sequence
        the window is filled by its mirror image, as TASED-Net and ViNet fill it, so what moves goes on moving.

        Args:
            frames: uint8 [n, h, w, 3], as in `run`; in order, evenly spaced in time.
            motion: as in `run`.
            period_s: from one frame to the next, for models that ask for it.

        Returns:
            Masks of the n frames, in order.

        Raises:
            ValueError, RuntimeError: as `run`.
        """
        if not self.input.ordered:
            return self.run(frames, motion)
        self.check(frames, motion)
        if len(frames) == 0:
            one = np.zeros((1, *frames.shape[1:]), np.uint8)
            return Masks(self.run_sequence(one, self.no_motion(1, *frames.shape[1:3])).saliency[:0], None)
        n, begins = len(frames), np.arange(len(frames)) == 0
        elapsed = np.where(begins, 0.0, period_s).astype(np.float32)
        windows = None
        if self.input.mask_frame is not None and self.input.batch is not None:
            size, at = self.input.batch, self.input.mask_frame
            windows = np.stack([window(i, n, size, at) for i in range(n)])
        return Masks(run_in_order(self, Run(frames, motion, begins, windows, elapsed), None)[0], None)

    def _call(self, frames: Frames, motion: Motion | None, first: int) -> list[MaskBatch]:
        count = len(frames)
        short = (self.input.batch or count) - count  # frames missing from a graph's fixed batch
        feed = {"frames": _padded(frames, short)}
        if self.input.motion and motion is not None:
            feed["motion"] = _padded(motion[first : first + count], short)
        names = ["saliency", "gate"] if self.input.motion else ["saliency"]
        outputs = self.infer(names, feed)
        return [mask[:count] for mask in outputs] if short else outputs

    def infer(self, names: list[str], feed: dict[str, Any]) -> list[MaskBatch]:
        """The outputs of those names, for inputs as the graph takes them.

        Raises:
            RuntimeError: ONNX Runtime failed (out of memory, a lost GPU).
        """
        try:
            outputs: list[MaskBatch] = self._session.run(names, feed)
        except Exception as error:  # as above: no common base
            shape = list(feed["frames"].shape)
            raise RuntimeError(f"the model failed on frames {shape}: {_first_line(error)}") from error
        return outputs

    def check(self, frames: Frames, motion: Motion | None) -> None:
        """Check that the model takes these frames.

        Raises:
            ValueError: it does not; the text says what differs.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"frames must be uint8 [n, h, w, 3], are {frames.dtype} {list(frames.shape)}")
        height, width = frames.shape[1:3]
        if self.input.fixed not in (None, (width, height)):
            raise ValueError(f"the model takes {self.input.fixed} (width, height), frames are {(width, height)}")
        free, multiple = self.input.fixed is None, self.input.multiple
        if free and (min(height, width) < 1 or height % multiple or width % multiple):
            raise ValueError(f"frames are {width}x{height}, must be multiples of {multiple}: use input.size_for")
        if self.input.motion:
            like = self.no_motion(len(frames), height, width)
            wanted = f"{like.dtype} {list(like.shape)}"
            if motion is None:
                raise ValueError(f"the model takes motion: give {wanted} beside the frames")
            if motion.dtype != like.dtype or motion.shape != like.shape:
                raise ValueError(f"motion must be {wanted}, is {motion.dtype} {list(motion.shape)}")

    def no_motion(self, n: int, height: int, width: int) -> Motion:
        """Motion of n frames in which nothing moves, of the type and shape that the model takes."""
        if self.input.signed:
            return np.zeros((n, MOTION_LAYERS, height, width), np.int8)
        return np.zeros((n, height, width), np.uint8)

    def _try_out(self) -> None:
        """Run one frame of noise: what fails, fails before any work, and the first real frame finds memory mapped."""
        width, height = self.input.size_for(16 / 9)
        noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        try:
            masks = self.run_sequence(noise, self.no_motion(1, height, width))
        except RuntimeError as error:
            raise ModelRefused(f"{error}. Check vsal.size_multiple and the shapes in the graph") from error
        for name, mask in (("saliency", masks.saliency), ("gate", masks.gate)):
            if mask is None:
                continue
            if mask.ndim != 3 or mask.shape[0] != 1 or mask.size == 0:
                raise ModelRefused(f"`{name}` of one frame has the shape {list(mask.shape)}, must be [1, h', w']")
            if not (np.isfinite(mask).all() and mask.min() >= -1e-4 and mask.max() <= 1 + 1e-4):
                raise ModelRefused(
                    f"`{name}` leaves 0..1 ({mask.min():.3g}..{mask.max():.3g}): end the graph with a Sigmoid, or "
                    "say what it gives with `vsal models add --output`"
                )


def require_cuda() -> None:
    """Check that ONNX Runtime's CUDA provider and all it links to can be loaded on this machine.

    Raises:
        GpuUnavailable: naming the first thing that is missing.
    """
    if _CUDA not in ort.get_available_providers():
        raise GpuUnavailable(
            f"the GPU was asked for, but the installed ONNX Runtime {ort.__version__} is built without CUDA. "
            "Install vsal[cuda] on Linux x86-64 (and remove the package `onnxruntime`), or run with the CPU"
        )
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise GpuUnavailable(
            "the GPU was asked for, but this machine has no NVIDIA driver (libcuda.so.1 is missing). "
            "Install the driver, give the container a GPU (--gpus all), or run with the CPU"
        ) from None
    preload: Any = getattr(ort, "preload_dlls", None)
    if preload is not None:
        preload()  # CUDA and cuDNN from the wheels of vsal[cuda], which lie outside the loader's path
    provider = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(provider.with_name("libonnxruntime_providers_shared.so")), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(provider))
    except OSError as error:
        raise GpuUnavailable(
            f"the GPU was asked for, but a CUDA library is missing: {_first_line(error)}. "
            "`pip install vsal[cuda]` brings CUDA and cuDNN, or run with the CPU"
        ) from None


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors come as exceptions; the rest is not for the user's screen
    for key in ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning"):
        options.add_session_config_entry(key, "0")  # a thread that spins takes a core from a decoder
    return options


def _providers(device: str, gpu_mem_limit_bytes: int | None) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    cuda: dict[str, Any] = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    if gpu_mem_limit_bytes is not None:
        cuda["gpu_mem_limit"] = gpu_mem_limit_bytes
    return [(_CUDA, cuda), "CPUExecutionProvider"]


def _padded(batch: Any, short: int) -> Any:
    return np.concatenate([batch, np.repeat(batch[-1:], short, axis=0)]) if short > 0 else batch


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
