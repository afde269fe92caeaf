"""The clips that benchmarks run on: rendered once, kept in a cache."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from vsal.video.synthetic import render_title, synthetic_title

CACHE = Path(os.environ.get("VSAL_BENCHMARK_CACHE", Path.home() / ".cache" / "vsal" / "benchmarks"))
FPS = 25
SHOT_S = 3.0  # on average; shots last 2 to 4 s
RENDERED_MINUTES = 2.0  # forty shots; a longer clip shows them again, since rendering takes as long as encoding


def main_clip(minutes: float = 10) -> Path:
    """A title of 1080p H.264: B-frames, about 4 Mb/s, cuts every 2 to 4 s."""
    if minutes > RENDERED_MINUTES:
        return looped_clip(minutes, main_clip(RENDERED_MINUTES))
    path = CACHE / f"1080p-{minutes:g}min.mp4"
    if not path.exists():
        seconds = minutes * 60
        title = synthetic_title(1920, 1080, FPS, shots=round(seconds / SHOT_S), seconds=seconds, seed=1)
        _render(path, title, bit_rate=4_000_000)
    return path


def looped_clip(minutes: float, base: Path) -> Path:
    """`base` again and again without encoding it anew, until it lasts so long."""
    path = CACHE / f"{base.stem}-looped-{minutes:g}min.mp4"
    if not path.exists():
        part = path.with_suffix(".part.mp4")
        command = [get_ffmpeg_exe(), "-v", "error", "-y", "-stream_loop", "-1", "-i", str(base)]
        subprocess.run([*command, "-t", str(minutes * 60), "-c", "copy", str(part)], check=True)
        part.replace(path)
    return path


def small_titles(count: int, seconds: float = 1.0, distinct: int = 20) -> Path:
    """A folder of `count` short titles, of which `distinct` differ; the others are links to them."""
    folder = CACHE / f"small-{count}x{seconds:g}s"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = folder / f"title-{i:05d}.mp4"
        if path.exists():
            continue
        if i < distinct:
            _render(path, synthetic_title(640, 360, FPS, shots=1, seconds=seconds, seed=i), bit_rate=600_000)
        else:
            os.link(folder / f"title-{i % distinct:05d}.mp4", path)
    return folder


def _render(path: Path, title: object, bit_rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{path.suffix}")
    render_title(str(part), title, bit_rate=bit_rate)  # type: ignore[arg-type]
    part.replace(path)
