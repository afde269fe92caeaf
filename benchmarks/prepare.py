"""How long `vsal prepare` takes, against a bare decode and against a shot detector, measured in turn in one run.

    python -m benchmarks.prepare                 the table of README
    python -m benchmarks.prepare --what memory   peak memory from a 1-minute to a 60-minute title, and its manifest
    python -m benchmarks.prepare --what titles   2,000 titles of one second

Clips are rendered once into ~/.cache/vsal/benchmarks (VSAL_BENCHMARK_CACHE).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from imageio_ffmpeg import get_ffmpeg_exe

from benchmarks.clips import main_clip, small_titles

PUBLISHED = ["--map-interval", "shot", "--samples-per-map", "8", "--aggregator", "mean", "--qp-mapping", "linear"]
CORES = os.cpu_count() or 1


@dataclass
class Prepared:
    """One run of `vsal prepare`."""

    work_s: float  # without the start of Ray and of the actors
    startup_s: float
    document: dict[str, Any]
    peak_rss: dict[str, int] = field(default_factory=dict)  # bytes, by kind of process
    object_store_peak: int = 0


def bare_decode(clip: Path) -> float:
    """Seconds that ffmpeg takes to decode the clip with all cores and throw it away."""
    return _timed(
        [get_ffmpeg_exe(), "-v", "error", "-threads", str(CORES), "-i", str(clip), "-map", "0:v", "-f", "null", "-"]
    )


def detect_adaptive(clip: Path) -> float:
    """Seconds that PySceneDetect takes to find the cuts."""
    return _timed([sys.executable, "-m", "scenedetect", "-q", "-i", str(clip), "detect-adaptive"])


def prepare(catalog: Path, options: list[str], watch: bool = False) -> Prepared:
    """Runs `vsal prepare` as a user does, into an empty folder."""
    out = tempfile.mkdtemp(prefix="vsal-bench-")
    command = [sys.executable, "-m", "vsal", "prepare", str(catalog), "--out", out, "--json", *options]
    watcher = _Watcher() if watch else None
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            if watcher:
                watcher.follow(process.pid)
            printed, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{said}")
        document = json.loads(printed)
        document["manifest_bytes"] = sum(f.stat().st_size for f in Path(out, "maps").iterdir())
    finally:
        if watcher:
            watcher.stop()
        shutil.rmtree(out)
    made = Prepared(document["seconds"] - document["startup_seconds"], document["startup_seconds"], document)
    if watcher:
        made.peak_rss, made.object_store_peak = watcher.peaks, watcher.object_store_peak
    return made


class _Watcher:
    """Highest resident memory of a process's descendants, by what they are, looked at ten times a second."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.object_store_peak = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._look, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()

    def _look(self, root: psutil.Process) -> None:
        before = _shared_memory()
        while not self._done.wait(0.1):
            self.object_store_peak = max(self.object_store_peak, _shared_memory() - before)
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in family:
                try:
                    line, memory = process.cmdline(), process.memory_info()
                except psutil.Error:
                    continue
                kind = _kind(line, process is root)
                if kind is None:
                    continue
                self.peaks[kind] = max(self.peaks.get(kind, 0), memory.rss)


def _shared_memory() -> int:
    """Bytes that are in use where Ray keeps its object store."""
    place = os.statvfs("/dev/shm")
    return (place.f_blocks - place.f_bfree) * place.f_frsize


def _kind(line: list[str], root: bool) -> str | None:
    if root:
        return "driver"
    name = line[0] if line else ""
    if name.startswith("ray::"):
        return name.removeprefix("ray::").split("(")[0].split(".")[0].split(" ")[0]
    return "raylet" if name.endswith("raylet/raylet") else None


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def speed(minutes: float, runs: int) -> None:
    """The table of README: medians of runs made in turn, and the medians of their ratios."""
    clip = main_clip(minutes)
    megabits = clip.stat().st_size * 8 / minutes / 60e6
    print(f"{clip.name}: {minutes:g} minutes, {megabits:.1f} Mb/s, {CORES} cores, {runs} runs")
    contestants: dict[str, Callable[[], float]] = {
        "ffmpeg, bare decode": lambda: bare_decode(clip),
        "scenedetect detect-adaptive": lambda: detect_adaptive(clip),
        "vsal prepare": lambda: prepare(clip, []).work_s,
        "vsal prepare, published baseline": lambda: prepare(clip, PUBLISHED).work_s,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, run in contestants.items():
            times[name].append(run())
    decode, detect = times["ffmpeg, bare decode"], times["scenedetect detect-adaptive"]
    print("\n| what | median s | / bare decode | / detect-adaptive |\n|---|---|---|---|")
    for name, series in times.items():
        ratios = [statistics.median(a / b for a, b in zip(series, base, strict=True)) for base in (decode, detect)]
        print(f"| {name} | {statistics.median(series):.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    last = prepare(clip, [])
    print(
        f"\nstart of Ray and actors, counted separately: {last.startup_s:.1f} s; {last.document['shots']} shots, "
        f"{last.document['maps']} maps, {last.document['frames']} frames"
    )


def memory(minutes: tuple[float, float] = (1, 60)) -> None:
    """Peak memory of every kind of process, for a short and for a long title."""
    found = {length: prepare(main_clip(length), [], watch=True) for length in minutes}
    short, long = found[minutes[0]], found[minutes[1]]
    print(f"\n| process | {minutes[0]:g} min, MB | {minutes[1]:g} min, MB | ratio |\n|---|---|---|---|")
    for kind in sorted(long.peak_rss):
        a, b = short.peak_rss.get(kind, 0), long.peak_rss[kind]
        print(f"| {kind} | {a / 1e6:.0f} | {b / 1e6:.0f} | {b / a if a else float('nan'):.2f} |")
    a, b = short.object_store_peak, long.object_store_peak
    print(f"| object store | {a / 1e6:.0f} | {b / 1e6:.0f} | |")
    size = long.document["manifest_bytes"]
    print(
        f"\nmanifest of {minutes[1]:g} minutes: {size / 1e6:.1f} MB, {long.document['maps']} maps; "
        f"prepare took {long.work_s:.0f} s"
    )


def titles(count: int) -> None:
    """Wall time of a short title beyond its decoding and inference, which are measured in one process."""
    folder = small_titles(count)
    alone = _decode_and_infer_s(sorted(folder.iterdir())[:20])
    made = prepare(folder, [])
    wall = made.work_s / count
    print(
        f"{count} titles of one second: {wall * 1e3:.1f} ms of wall time each; decoding and inference alone take "
        f"{alone * 1e3:.1f} ms of one core, {alone / CORES * 1e3:.1f} ms on {CORES}; beyond them "
        f"{(wall - alone / CORES) * 1e3:.1f} ms"
    )


def _decode_and_infer_s(clips: list[Path]) -> float:
    """Seconds a title for opening, decoding and inference in one process, without Ray and without a manifest."""
    from vsal.assembly.inputs import scan_settings
    from vsal.saliency.registry import load_model
    from vsal.saliency.session import SaliencySession
    from vsal.settings import PrepareSettings
    from vsal.video.probe import probe
    from vsal.video.scan import scan_segment
    from vsal.video.segments import WHOLE

    session = SaliencySession(load_model().data)
    asked = scan_settings(PrepareSettings(), session.input)

    def once() -> float:
        began = time.perf_counter()
        for clip in clips:
            info = probe(str(clip))
            for chunk in scan_segment(info, WHOLE, asked, session.input.size_for):
                if len(chunk.samples):
                    session.run(chunk.frames, chunk.motion_maps)
        return (time.perf_counter() - began) / len(clips)

    once()
    return min(once() for _ in range(3))


def main() -> None:
    """Reads the command line and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["speed", "memory", "titles", "all"], default="speed")
    parser.add_argument("--minutes", type=float, default=10, help="length of the clip")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--titles", type=int, default=2000)
    asked = parser.parse_args()
    if asked.what in ("speed", "all"):
        speed(asked.minutes, asked.runs)
    if asked.what in ("memory", "all"):
        memory()
    if asked.what in ("titles", "all"):
        titles(asked.titles)


if __name__ == "__main__":
    main()
