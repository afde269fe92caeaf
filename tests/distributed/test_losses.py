"""What a loss costs: a title goes on from its last checkpoint, and the frames that are decoded twice are counted."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from tests.distributed.counted import CountedRun
from tests.distributed.killing import processes
from vsal.distributed.prepare.checkpoints import EVERY_FRAMES

pytestmark = pytest.mark.faults

FRAMES, SEGMENT_FRAMES = 8 * 1440, 240
SEGMENTS = ("--segment-s", "10")
WORKERS = ("scan_task", "open_task", "short_title_task", "Sal", "Agg", "Pulse", "IDLE")
# What was joined since the last checkpoint, and the six segments that two CPUs may run ahead of the join.
LOSS_FRAMES = EVERY_FRAMES + SEGMENT_FRAMES + 6 * SEGMENT_FRAMES


@pytest.fixture(scope="module")
def eight_minutes(long_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "eight.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-stream_loop", "7", "-i", str(long_clip), "-c", "copy", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def undisturbed(eight_minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> CountedRun:
    run = CountedRun(tmp_path_factory.mktemp("undisturbed") / "run", eight_minutes)
    document = run.whole(*SEGMENTS)
    assert document["frames"] == FRAMES
    assert FRAMES <= run.frames < 1.02 * FRAMES
    assert not run.left_over()
    return run


def same_file(run: CountedRun, undisturbed: CountedRun) -> None:
    one, other = (r.out / "maps" / "eight.parquet" for r in (run, undisturbed))
    assert one.read_bytes() == other.read_bytes()
    assert not run.left_over()


def gone(workers: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 30
    while any(worker.is_running() and worker.status() != "zombie" for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.05)


def test_a_driver_killed_at_10_50_and_90_percent_costs_what_lay_behind_the_checkpoint(
    undisturbed: CountedRun, eight_minutes: Path, tmp_path: Path
) -> None:
    run = CountedRun(tmp_path / "run", eight_minutes)
    for number, share in enumerate((0.1, 0.5, 0.9)):
        # Each run cuts the title in its own way: the prefix is the title's, not the cut's.
        with run.start("--segment-s", ("10", "7", "10")[number]) as driver:
            run.until(driver, round(share * FRAMES))
            workers = [worker for kind in WORKERS for worker in processes(kind, driver.pid)]
            driver.kill()
            gone(workers)
    run.whole(*SEGMENTS)
    twice = run.frames - undisturbed.frames
    assert 0 < twice <= 3 * LOSS_FRAMES, f"{twice} frames were decoded twice"
    same_file(run, undisturbed)


def test_a_killed_aggregator_costs_what_lay_behind_the_checkpoint(
    undisturbed: CountedRun, eight_minutes: Path, tmp_path: Path
) -> None:
    run = CountedRun(tmp_path / "run", eight_minutes)

    def kill(driver: subprocess.Popen[str]) -> None:
        run.until(driver, FRAMES // 2)
        (aggregator,) = processes("Aggregator", driver.pid)
        aggregator.send_signal(signal.SIGKILL)

    document = run.whole(*SEGMENTS, meanwhile=kill)
    assert document["outcomes"][0]["attempts"] == 1
    twice = run.frames - undisturbed.frames
    assert 0 < twice <= LOSS_FRAMES, f"{twice} frames were decoded twice"
    same_file(run, undisturbed)
