"""What a catalogue needs on a cluster: constants measured here, and what follows for N nodes.

python -m benchmarks.sizing [--minutes 3] [--titles 1200]     measures, and prints the model of docs/performance.md
python -m benchmarks.sizing --catalogue 100000 --hours 1.5 --nodes 1 8 32 128
python -m benchmarks.sizing --device gpu                             on a node with a GPU: what one GPU takes of samples

CPU time is measured and not wall time, so other work on the machine disturbs little; it takes a few minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.clips import FPS, looped_clip, main_clip, small_titles
from vsal.saliency.registry import load_model
from vsal.saliency.session import SaliencySession
from vsal.settings import PrepareSettings, RunSettings
from vsal.video.ffmpeg import find_ffmpeg

CORES = 15  # that a worker of cluster/kuberay offers
SAMPLED_S = 0.1


@dataclass(frozen=True)
class Constants:
    """What one machine says of vsal, in CPU time of one of its cores.

    Attributes:
        frame_ms: of all processes of a run for a frame of 1080p, the driver left out.
        scan_ms: of it, in tasks that decode.
        model_ms: one sample in the model, alone in one process.
        driver_step_ms: of the driver for a step.
        bytes_frame: of the video.
        manifest_bytes_hour: of the manifest for an hour.
        encode_ms: of x264 medium for a frame.
    """

    frame_ms: float
    scan_ms: float
    model_ms: float
    driver_step_ms: float
    bytes_frame: float
    manifest_bytes_hour: float
    encode_ms: float


class Shares:
    """CPU seconds of a process and its descendants, by what they were doing when they were looked at."""

    def __init__(self, pid: int) -> None:
        self.seconds: Counter[str] = Counter()
        self._seen: dict[int, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> Counter[str]:
        """The seconds, once the process has ended."""
        self._done.set()
        self._thread.join()
        return self.seconds

    def _look(self, root: psutil.Process) -> None:
        while not self._done.wait(SAMPLED_S):
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in family:
                try:
                    times, line = process.cpu_times(), process.cmdline()
                except psutil.Error:
                    continue
                spent = times.user + times.system
                self.seconds[_kind(line, process is root)] += spent - self._seen.get(process.pid, 0.0)
                self._seen[process.pid] = spent


def _kind(line: list[str], root: bool) -> str:
    if root:
        return "driver"
    name = line[0] if line else ""
    return re.match(r"\w*", name.removeprefix("ray::"))[0] if name.startswith("ray::") else "ray"  # type: ignore[index]


def prepared(catalogue: Path) -> tuple[Counter[str], dict[str, float]]:
    """CPU seconds of a run by kind of process, and its figures."""
    out = tempfile.mkdtemp(prefix="vsal-bench-")
    command = [sys.executable, "-m", "vsal", "prepare", str(catalogue), "--out", out, "--json"]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            shares = Shares(process.pid)
            printed, said = process.communicate()
            seconds = shares.stop()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{said}")
        document = json.loads(printed)
        size = sum(file.stat().st_size for file in Path(out, "maps").iterdir())
        return seconds, {"frames": document["frames"], "manifest_bytes": size}
    finally:
        shutil.rmtree(out)


def sample_ms(device: str) -> float:
    """One sample of the default model: CPU time on the CPU, wall time on a GPU."""
    session = SaliencySession(load_model().data, device="gpu" if device == "gpu" else "cpu")
    width, height = session.input.size_for(16 / 9)
    frames = np.random.default_rng(1).integers(0, 256, (256, height, width, 3), dtype=np.uint8)
    clock = time.perf_counter if device == "gpu" else time.process_time
    session.run(frames[:32])

    def once() -> float:
        began = clock()
        session.run(frames)
        return (clock() - began) / len(frames)

    return 1e3 * min(once() for _ in range(3))


def encode_ms(clip: Path, seconds: float = 10) -> float:
    """CPU time of x264 medium for a frame, decoding included; maps cost 0.94 to 1.00 of it (docs/encoders.md)."""
    command = [find_ffmpeg(), "-v", "error", "-threads", "1", "-i", str(clip), "-t", str(seconds), "-c:v", "libx264"]
    command += ["-threads", "1", "-preset", "medium", "-crf", "23", "-f", "null", "-"]
    process = subprocess.Popen(command)
    spent = 0.0
    while process.poll() is None:
        try:
            times = psutil.Process(process.pid).cpu_times()
        except psutil.Error:
            break
        spent = times.user + times.system
        time.sleep(SAMPLED_S)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    return 1e3 * spent / (seconds * FPS)


def measure(minutes: float, titles: int) -> Constants:
    """Runs vsal on 1080p of two lengths and on two numbers of short titles: the differences are frames and steps."""
    short = main_clip(0.5)
    long = looped_clip(minutes, short)
    (before, less), (after, more) = prepared(short), prepared(long)
    (few, _), (many, _) = prepared(small_titles(titles // 3)), prepared(small_titles(titles))
    frames = more["frames"] - less["frames"]
    spent = after - before  # what the start takes is in both

    def frame_ms(*kinds: str) -> float:
        return 1e3 * sum(spent[kind] for kind in kinds) / frames

    return Constants(
        frame_ms=frame_ms(*(spent.keys() - {"driver"})),
        scan_ms=frame_ms("scan_task"),
        model_ms=sample_ms("cpu"),
        driver_step_ms=1e3 * (many["driver"] - few["driver"]) / (titles - titles // 3),
        bytes_frame=long.stat().st_size / more["frames"],
        manifest_bytes_hour=(more["manifest_bytes"] - less["manifest_bytes"]) / frames * FPS * 3600,
        encode_ms=encode_ms(short),
    )


def tell(told: Constants, titles: int, hours: float, nodes: list[int]) -> None:
    """What follows from the constants."""
    rate = PrepareSettings().sample_rate
    frames, steps = titles * hours * 3600 * FPS, titles * (hours * 3600 / RunSettings().segment_s + 3)
    work_h, driver_h = frames * told.frame_ms / 3.6e6, steps * told.driver_step_ms / 3.6e6
    samples = 1e3 / told.scan_ms / FPS * rate  # a second, of one core that decodes
    print(f"constants: {json.dumps({name: round(value, 3) for name, value in asdict(told).items()})}")
    print(f"one core decodes {1e3 / told.scan_ms / FPS:.1f} x real time and makes {samples:.1f} samples a second")
    print(f"one core of the model serves {1e3 / told.model_ms / samples:.1f} cores that decode")
    print(f"{titles:,} titles x {hours:g} h: {work_h:,.0f} core hours, driver {driver_h:.1f} h, {steps:,.0f} steps")
    written = titles * hours * told.manifest_bytes_hour
    print(f"reads {frames * told.bytes_frame / 1e12:,.1f} TB, writes {written / 1e12:.2f} TB")
    print(f"encode, x264 medium: {frames * told.encode_ms / 3.6e6:,.0f} core hours")
    print(f"\n| nodes of {CORES} cores | hours | driver busy | Gb/s read by all |\n|---|---|---|---|")
    for count in nodes:
        took_h = max(work_h / (count * CORES), driver_h)
        read = frames * told.bytes_frame * 8 / (took_h * 3600) / 1e9
        print(f"| {count} | {took_h:,.1f} | {driver_h / took_h:.0%} | {read:.1f} |")
    print(f"the driver is busy all the time from {work_h / driver_h / CORES:,.0f} nodes on")


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3, help="of the longer title; the shorter has half a minute")
    parser.add_argument("--titles", type=int, default=1200, help="short ones, for the driver's share")
    parser.add_argument("--catalogue", type=int, default=100_000, help="titles of the model")
    parser.add_argument("--hours", type=float, default=1.5, help="of each")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    given = parser.parse_args()
    if given.device == "gpu":
        print(f"{1e3 / sample_ms('gpu'):,.0f} samples a second on the GPU")
        return
    tell(measure(given.minutes, given.titles), given.catalogue, given.hours, given.nodes)


if __name__ == "__main__":
    main()
