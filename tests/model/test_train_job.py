from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from jobs import train_student
from tests.model.discs import write_shards
from vsal.errors import SettingsError

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed (pip install -e .[train])")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, which claims to have a GPU."""
    ray.init(
        address="local", num_cpus=1, num_gpus=1, include_dashboard=False, object_store_memory=80_000_000,
        logging_level="ERROR", log_to_driver=False, _temp_dir="/tmp/ray",
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards", train=16, val=4)


def options(shards: Path, out: Path) -> list[str]:
    return ["video", "--data", str(shards), "--out", str(out), "--cache", str(out.parent / "cache"), "--steps", "6",
            "--save-every", "2", "--batch", "6", "--samples", "3", "--small-steps", "6"]  # fmt: skip


def test_a_run_that_cannot_be_started_anew_is_refused() -> None:
    with pytest.raises(SettingsError, match="give --steps"):
        train_student.command_line(["image", "--minutes", "5"], 1, 0)
    with pytest.raises(SettingsError, match="give --steps"):
        train_student.command_line(["image", "--minutes=5"], 1, 0)


def test_the_training_uses_what_the_task_has() -> None:
    assert train_student.command_line(["image"], 4, 0) == ["image", "--threads", "4", "--device", "cpu"]
    assert train_student.command_line(["image"], 0.5, 1) == ["image", "--threads", "1", "--device", "cuda"]
    kept = ["image", "--threads=2", "--device", "cpu"]
    assert train_student.command_line(kept, 4, 1) == kept


def test_more_than_any_node_has_is_refused_with_the_numbers(cluster: None) -> None:
    with pytest.raises(SettingsError, match=r"asks for 99 CPUs and 0 GPUs.*most are 1 CPUs and 1 GPUs"):
        train_student.run(["image", "--steps", "1"], 99, 0, 0)
    with pytest.raises(SettingsError, match=r"1 CPUs and 3 GPUs on one node"):
        train_student.run(["image", "--steps", "1"], 1, 3, 0)


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed: nothing is missing")
def test_a_node_without_torch_says_so(cluster: None) -> None:
    with pytest.raises(train_student.TrainingFailed, match=r"torch is not installed on node .*vsal\[train\]"):
        train_student.run(["image", "--steps", "1"], 1, 0, 2)


@needs_torch
def test_a_gpu_that_is_not_there_is_no_silent_cpu(cluster: None, shards: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(train_student.TrainingFailed, match="no usable CUDA device"):
        train_student.run(options(shards, tmp_path / "out"), 1, 1, 2)
    assert not (tmp_path / "out").exists()


@needs_torch
def test_what_the_training_refuses_is_told_and_not_tried_again(cluster: None, tmp_path: Path) -> None:
    wrong = ["image", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "1"]
    with pytest.raises(train_student.TrainingFailed, match="--data"):
        train_student.run(wrong, 1, 0, 2)
    with pytest.raises(train_student.TrainingFailed, match=r"python -m model\.train neither"):
        train_student.run(["neither"], 1, 0, 2)


def kill_the_worker_at(checkpoint: Path, killed: list[int]) -> None:
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    for process in psutil.Process().children(recursive=True):
        if "ray::train_student" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)


@needs_torch
def test_a_lost_worker_is_replaced_and_the_run_ends_as_if_it_had_not_been(
    cluster: None, shards: Path, tmp_path: Path
) -> None:
    import torch

    train_student.run(options(shards, tmp_path / "straight"), 1, 0, 0)
    killed: list[int] = []
    killer = threading.Thread(target=kill_the_worker_at, args=(tmp_path / "out" / "last.pt", killed))
    killer.start()
    train_student.run(options(shards, tmp_path / "out"), 1, 0, 2)
    killer.join()
    assert killed, "no worker was killed: the test proves nothing"
    straight, resumed = (torch.load(tmp_path / d / "last.pt", weights_only=True) for d in ("straight", "out"))
    assert straight["step"] == resumed["step"] == 6
    for name, tensor in straight["ema"].items():
        torch.testing.assert_close(resumed["ema"][name], tensor, rtol=0, atol=0, msg=name)


@needs_torch
def test_a_worker_that_is_always_lost_is_told_of(cluster: None, shards: Path, tmp_path: Path) -> None:
    killer = threading.Thread(target=kill_the_worker_at, args=(tmp_path / "out" / "last.pt", []))
    killer.start()
    with pytest.raises(train_student.TrainingFailed, match="lost 1 times"):
        train_student.run(options(shards, tmp_path / "out"), 1, 0, 0)
    killer.join()
