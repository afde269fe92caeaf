from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

from tests.saliency.conftest import build_step
from vsal.saliency import GpuUnavailable, ModelRefused, SaliencySession, load_model
from vsal.saliency import session as module
from vsal.temporal import Fold, make_aggregator


def _noise(n: int, h: int = 32, w: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, 3), np.uint8)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 33])
def test_every_frame_of_any_batch_gets_its_own_mask_in_order(build: Callable[..., bytes], n: int) -> None:
    frames = _noise(n)
    masks = SaliencySession(build()).run(frames)
    assert masks.gate is None
    assert masks.saliency.dtype == np.float32
    np.testing.assert_allclose(masks.saliency, frames.mean(3) / 255, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_graph_with_a_fixed_batch_runs_on_any_number_of_frames(build: Callable[..., bytes], batch: int) -> None:
    frames = _noise(7)
    masks = SaliencySession(build(frames=(batch, 32, 48, 3))).run(frames)
    np.testing.assert_allclose(masks.saliency, frames.mean(3) / 255, atol=1e-5)


def test_motion_reaches_the_frames_it_belongs_to(build: Callable[..., bytes]) -> None:
    frames = _noise(5)
    motion = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 48), np.uint8)
    masks = SaliencySession(build(kind="video")).run(frames, motion)
    assert masks.gate is not None
    np.testing.assert_allclose(masks.gate, motion / 255, atol=1e-6)


@pytest.mark.parametrize("free", [True, False])
def test_a_graph_whose_mask_is_its_state_does_what_the_learned_aggregator_does(
    build: Callable[..., bytes], free: bool
) -> None:
    frames, motion = _noise(64), np.random.default_rng(1).integers(0, 256, (64, 32, 48), np.uint8)
    motion[0] = 0  # nothing moves in the first frame, whose mask is taken whole all the same
    step, parallel = SaliencySession(build_step(free)), SaliencySession(build(kind="video"))
    assert step.input.ordered
    assert step.input.motion
    together, fold = parallel.run(frames, motion), Fold(make_aggregator("learned", 0.5))
    assert together.gate is not None
    over_time = step.run_sequence(frames, motion)
    assert over_time.gate is None
    for t in range(64):
        fold.add(together.saliency[t], 0.0, together.gate[t])
        np.testing.assert_allclose(over_time.saliency[t], fold.mask(), atol=1e-4)
    assert step.run_sequence(frames[:0], motion[:0]).saliency.shape == (0, 32, 48)
    with pytest.raises(ValueError, match="takes motion"):
        step.run_sequence(frames)


def test_a_graph_whose_mask_is_its_state_says_how_large_it_is() -> None:
    with pytest.raises(ModelRefused, match=r"vsal\.mask_stride"):
        SaliencySession(build_step(stride=""))
    with pytest.raises(ModelRefused, match="failed on frames"):
        SaliencySession(build_step(stride="3"))


def test_frames_that_are_views_need_no_copy_by_the_caller(build: Callable[..., bytes]) -> None:
    frames = _noise(4, 64, 96)[:, ::2, ::2, ::-1]
    masks = SaliencySession(build()).run(frames)
    np.testing.assert_allclose(masks.saliency, frames.mean(3) / 255, atol=1e-5)


def test_the_shipped_model_gives_the_same_masks_in_any_batch_and_with_any_threads() -> None:
    data = load_model().data
    frames = _noise(5, 144, 256)
    together = SaliencySession(data, threads=2).run(frames).saliency
    alone = SaliencySession(data)
    for frame, mask in zip(frames, together, strict=True):
        np.testing.assert_allclose(alone.run(frame[None]).saliency[0], mask, atol=1e-5)


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 1.0, 9 / 16, 2.39, 0.01, 100.0])
def test_the_shipped_model_takes_every_size_it_asks_for(aspect: float) -> None:
    session = SaliencySession(load_model().data)
    width, height = session.input.size_for(aspect)
    masks = session.run(_noise(2, height, width)).saliency
    assert masks.shape == (2, height // 8, width // 8)
    assert masks.min() >= 0
    assert masks.max() <= 1


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (np.zeros((1, 32, 48, 3), np.float32), "uint8"),
        (np.zeros((32, 48, 3), np.uint8), r"\[n, h, w, 3\]"),
        (np.zeros((1, 3, 32, 48), np.uint8), r"\[n, h, w, 3\]"),
        (np.zeros((1, 33, 48, 3), np.uint8), "48x33, must be multiples of 16"),
        (np.zeros((1, 0, 48, 3), np.uint8), "48x0"),
    ],
)
def test_frames_that_do_not_fit_are_an_error(build: Callable[..., bytes], frames: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SaliencySession(build()).run(frames)


def test_motion_that_is_missing_or_of_another_size_is_an_error(build: Callable[..., bytes]) -> None:
    session = SaliencySession(build(kind="video"))
    with pytest.raises(ValueError, match="takes motion"):
        session.run(_noise(2))
    with pytest.raises(ValueError, match="motion must be"):
        session.run(_noise(2), np.zeros((2, 16, 48), np.uint8))


def test_another_size_than_the_fixed_one_is_an_error(build: Callable[..., bytes]) -> None:
    with pytest.raises(ValueError, match=r"\(48, 32\)"):
        SaliencySession(build(frames=("n", 32, 48, 3))).run(_noise(1, 64, 96))


def test_a_graph_whose_saliency_leaves_0_to_1_is_refused_before_any_work(build: Callable[..., bytes]) -> None:
    with pytest.raises(ModelRefused, match=r"leaves 0\.\.1"):
        SaliencySession(build(scale=1.0))


def test_a_graph_that_onnx_runtime_does_not_load_is_refused(build: Callable[..., bytes]) -> None:
    with pytest.raises(ModelRefused, match="does not load"):
        SaliencySession(build(batch_norm_op="NoSuchOperator"))


def test_gpu_without_a_cuda_build_says_what_to_install(
    build: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(GpuUnavailable, match=r"vsal\[cuda\]"):
        SaliencySession(build(), device="gpu")


@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="ONNX Runtime without CUDA")
@pytest.mark.parametrize(
    ("missing", "says"), [("libcuda.so.1", "driver"), ("libonnxruntime_providers_cuda.so", "libcudnn.so.9")]
)
def test_gpu_without_driver_or_libraries_names_what_is_missing(
    build: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, missing: str, says: str
) -> None:
    def load(name: str, mode: int = 0) -> object:
        if name.endswith(missing):
            raise OSError("libcudnn.so.9: cannot open shared object file: No such file or directory")
        return object()

    monkeypatch.setattr(module.ctypes, "CDLL", load)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(GpuUnavailable, match=says):
        SaliencySession(build(), device="gpu")


def test_gpu_never_falls_back_in_silence(build: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    # ONNX Runtime makes a CPU session, with a warning, where the CUDA provider fails to start.
    monkeypatch.setattr(module, "require_cuda", lambda: None)
    monkeypatch.setattr(module, "_providers", lambda device, limit: ["CPUExecutionProvider"])
    with pytest.raises(GpuUnavailable, match="CPUExecutionProvider"):
        SaliencySession(build(), device="gpu")


def test_the_memory_limit_reaches_the_cuda_provider() -> None:
    name, options = module._providers("gpu", 3 << 30)[0]
    assert name == "CUDAExecutionProvider"
    assert options["gpu_mem_limit"] == 3 << 30


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"device": "tpu"}])
def test_settings_out_of_range_are_an_error(build: Callable[..., bytes], wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        SaliencySession(build(), **wrong)  # type: ignore[arg-type]


def test_signed_motion_reaches_the_frames_it_belongs_to(build: Callable[..., bytes]) -> None:
    session = SaliencySession(build(kind="video", signed=2))
    assert session.input.signed
    assert session.input.gives_gate
    motion = np.zeros((5, 2, 32, 48), np.int8)
    motion[:, 1] = -np.arange(5)[:, None, None]
    motion[:, 0] = -100
    masks = session.run(_noise(5), motion)
    assert masks.gate is not None
    np.testing.assert_allclose(masks.gate[:, 0, 0], np.arange(5) / 255, atol=1e-6)
    assert session.run(_noise(0), motion[:0]).saliency.shape == (0, 32, 48)
    with pytest.raises(ValueError, match=r"motion must be int8 \[5, 2, 32, 48\]"):
        session.run(_noise(5), motion[:, 0].astype(np.uint8))


def test_a_recurrent_graph_that_asks_is_told_how_long_ago_the_frame_before_was() -> None:
    frames = np.full((3, 32, 48, 3), 255, np.uint8)
    frames[0] = 51
    motion = np.full((3, 32, 48), 255, np.uint8)
    session = SaliencySession(build_step(elapsed=1))
    for period_s in (0.5, 0.25):
        over_time = session.run_sequence(frames, motion, period_s).saliency.mean((1, 2))
        np.testing.assert_allclose(over_time, 1 - 0.8 * (1 - period_s) ** np.arange(3), atol=1e-5)
