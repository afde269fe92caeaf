"""Kills in a row, at random times and of whatever runs then, each run resumed: the manifest is the undisturbed one."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from tests.distributed.conftest import rendered
from tests.distributed.counted import CountedRun
from tests.distributed.killing import processes
from vsal.video.synthetic import synthetic_title

SEGMENTS = ("--segment-s", "5")
VICTIMS = {"driver": 10, "scan_task": 5, "Aggregator": 4, "SaliencyActor": 1}  # each with its share of the kills
PATIENCE_S = 300.0


def catalogue(folder: Path, titles: int, minutes: int) -> Path:
    """Titles of two different films, shown again and again."""
    (folder / "videos").mkdir()
    for number in range(2):
        base = rendered(folder / f"{number}.mp4", synthetic_title(320, 180, 24, 20, 60, seed=11 + number), gop=24)
        loop = ["-stream_loop", str(minutes - 1), "-i", str(base), "-c", "copy"]
        for title in range(number, titles, 2):
            subprocess.run([get_ffmpeg_exe(), "-v", "error", *loop, f"{folder}/videos/t{title}.mp4"], check=True)
    return folder / "videos"


def kill(driver: subprocess.Popen[str], victim: str) -> bool:
    """Whether there was such a process, which is no more."""
    if victim == "driver":
        driver.kill()
        driver.communicate()
        return True
    for process in processes(victim, driver.pid):
        process.send_signal(signal.SIGKILL)
        return True
    return False


def disturbed(run: CountedRun, at: list[int], chance: random.Random) -> tuple[list[str], dict[str, Any]]:
    """Runs to the end, with a kill at each number of decoded frames; what was killed, and the last summary."""
    driver, killed = run.start(*SEGMENTS), []
    for frames in at:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, f"no kill since {killed}"
            assert driver.poll() is None, f"the run ended by itself after {killed}"
            if run.frames >= frames:
                (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
                if kill(driver, victim):
                    break
            time.sleep(0.02)
        killed.append(victim)
        if victim == "driver":
            driver = run.start(*SEGMENTS)
    return killed, run.ended(driver)


@pytest.mark.parametrize(
    ("titles", "minutes", "kills", "share"),
    [
        pytest.param(2, 8, 4, 0.25, marks=[pytest.mark.faults, pytest.mark.timeout(900)], id="a-few"),
        pytest.param(10, 20, 20, 0.05, marks=[pytest.mark.long, pytest.mark.timeout(3600)], id="twenty"),
    ],
)
def test_kills_at_random_times_cost_little_and_change_nothing(
    titles: int, minutes: int, kills: int, share: float, tmp_path: Path
) -> None:
    videos = catalogue(tmp_path, titles, minutes)
    undisturbed = CountedRun(tmp_path / "undisturbed", videos)
    assert undisturbed.whole(*SEGMENTS)["titles"] == {"done": titles, "skipped": 0, "failed": 0}
    chance = random.Random(kills)
    # The last at 85 %: what is decoded twice until then does not bring it past the end.
    at = sorted(chance.randrange(round(0.85 * undisturbed.frames)) for _ in range(kills))
    run = CountedRun(tmp_path / "disturbed", videos)
    killed, summary = disturbed(run, at, chance)
    assert len(killed) == kills
    assert summary["titles"]["failed"] == 0, killed
    for title in range(titles):
        one, other = (r.out / "maps" / f"t{title}.parquet" for r in (run, undisturbed))
        assert one.read_bytes() == other.read_bytes(), f"t{title} differs after {killed}"
    assert not run.left_over()
    twice = run.frames - undisturbed.frames
    assert twice <= share * undisturbed.frames, f"{twice} of {undisturbed.frames} frames were decoded twice: {killed}"
