"""What maps cost an encoder, and what chunks gain: the figures of docs/encoders.md.

python -m benchmarks.encode maps [--pairs 5] [--seconds 20]    ROI against its plain twin at equal output size
python -m benchmarks.encode chunks [--pairs 3] [--seconds 120] chunked x264 on Ray against one ffmpeg process
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vsal import storage
from vsal.encode.codecs import encoder_of
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import encode_title
from vsal.manifest import ManifestWriter, MapRow, file_metadata, maps_uri
from vsal.roi.grid import block_grid_shape, block_means
from vsal.roi.qp import qp_offsets
from vsal.settings import PrepareSettings
from vsal.video.ffmpeg import find_ffmpeg
from vsal.video.probe import probe
from vsal.video.synthetic import SyntheticTitle, render_title, synthetic_title

ENCODERS = (("x264", "medium"), ("x265", "fast"))
SIZES = ((1280, 720), (1920, 1080))
SIZE_TOLERANCE = 0.01


def main() -> None:
    """Run one of the two and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("maps", "chunks"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sizes", nargs="*", default=[f"{w}x{h}" for w, h in SIZES])
    parser.add_argument("--codecs", nargs="*", default=[str(codec) for codec, _ in ENCODERS])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sizes = [tuple(int(v) for v in text.split("x")) for text in given.sizes]
    with tempfile.TemporaryDirectory(prefix="vsal-bench-") as folder:
        for width, height in sizes:
            source = prepare(Path(folder), width, height, given.seconds)
            runs = maps_cost if given.what == "maps" else chunks_gain
            for figures in runs(Path(folder), source, given):
                print(
                    json.dumps(figures) if given.json else "  ".join(f"{k}={v}" for k, v in figures.items()), flush=True
                )


def prepare(folder: Path, width: int, height: int, seconds: float) -> Path:
    """A synthetic title and the manifest of its true subject, a map every 8 frames."""
    source = folder / f"{width}x{height}.mp4"
    title = synthetic_title(width, height, seconds=seconds, shots=max(2, round(seconds / 4)))
    render_title(str(source), title, options={"crf": "14"})
    write_manifest(folder / "out", source, title)
    return source


def write_manifest(out: Path, source: Path, title: SyntheticTitle) -> None:
    """Maps from the subject's mask, blurred as a saliency model blurs it."""
    info, title_id = probe(str(source)), source.stem
    tick = info.frame_duration
    uri = maps_uri(str(out), title_id)
    local = storage.staging_file(uri)
    metadata = file_metadata(storage.stat(str(source)), "truth", "0" * 64, PrepareSettings().shaping(), info.to_json())
    with ManifestWriter(local, metadata) as writer:
        number = 0
        for shot in title.shots:
            for start in range(shot.start, shot.end, 8):
                end = min(start + 8, shot.end)
                saliency = block_means(_soft(title.mask((start + end) // 2)), info.width, info.height)
                whole = (saliency * 255).round().astype(np.uint8)
                times = start * tick, end * tick
                row = MapRow(title_id, shot.index, number, start, end, *times, info.time_base, info.width, info.height,
                             1, 0.0, whole, qp_offsets(saliency))  # fmt: skip
                assert saliency.shape == block_grid_shape(info.width, info.height)
                writer.append([row])
                number += 1
    storage.publish(local, uri)


def _soft(mask: np.ndarray) -> np.ndarray:
    import cv2

    small = cv2.resize(mask.astype(np.float32) / max(1.0, float(mask.max())), (256, 144), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 6).clip(0, 1)


def maps_cost(folder: Path, source: Path, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    """ROI over plain, in wall time, in pairs that take turns at going first; sizes are made equal by the CRF first."""
    for codec, preset in ENCODERS:
        if str(codec) not in given.codecs:
            continue
        roi = EncodeSettings(codec, preset=preset, chunked=False)
        target = timed(folder, source, roi)[1]
        plain = equal_size(folder, source, roi.plain(), target)
        ratios, sizes = [], []
        for number in range(given.pairs):
            order = (roi, plain) if number % 2 else (plain, roi)
            found = {settings.roi: timed(folder, source, settings) for settings in order}
            ratios.append(found[True][0] / found[False][0])
            sizes.append(found[True][1] / found[False][1])
        yield {
            "what": "maps", "codec": str(codec), "preset": preset, "source": source.stem, "pairs": given.pairs,
            "time_ratio": round(statistics.median(ratios), 3), "least": round(min(ratios), 3),
            "most": round(max(ratios), 3), "size_ratio": round(statistics.median(sizes), 3), "plain_crf": plain.crf,
        }  # fmt: skip


def equal_size(folder: Path, source: Path, plain: EncodeSettings, target: int) -> EncodeSettings:
    """The plain twin at the CRF that makes its size the target's."""
    crf = encoder_of(plain.codec).crf(plain)
    low, high = crf - 8, crf + 8
    for _ in range(7):
        crf = round((low + high) / 2, 2)
        plain = replace(plain, crf=crf)
        size = timed(folder, source, plain)[1]
        if abs(size / target - 1) < SIZE_TOLERANCE:
            break
        low, high = (crf, high) if size > target else (low, crf)
    return plain


def timed(folder: Path, source: Path, settings: EncodeSettings) -> tuple[float, int]:
    """Seconds and video bytes of an encode in this process, joining included."""
    begun = time.perf_counter()
    record = encode_title(str(folder / "out"), source.stem, settings, str(folder / "dest"), force=True)
    return time.perf_counter() - begun, int(record["video_bytes"])


def chunks_gain(folder: Path, source: Path, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Plain chunked x264 on all cores against one ffmpeg process, same preset and CRF."""
    import ray

    from vsal.distributed.encode import encode_catalogue
    from vsal.settings import RunSettings

    cores = os.cpu_count() or 1
    ray.init("local", num_cpus=cores, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
    ratios = []
    for number in range(given.pairs):
        settings = EncodeSettings("x264", roi=False, chunked=True, chunk_s=given.seconds / (4 * cores), crf=23)
        times: dict[str, float] = {}
        for what in ("vsal", "ffmpeg") if number % 2 else ("ffmpeg", "vsal"):
            begun = time.perf_counter()
            if what == "vsal":
                run = RunSettings(force=True)
                summary = encode_catalogue(
                    str(folder / "out"), str(folder / "dest"), settings, run, title_ids=[source.stem]
                )
                assert summary.exit_code == 0, summary.document()
            else:
                coder = ["-c:v", "libx264", "-preset", "medium", "-crf", "23", "-c:a", "copy"]
                subprocess.run(
                    [find_ffmpeg(), "-v", "error", "-y", "-i", str(source), *coder, str(folder / "one.mp4")], check=True
                )
            times[what] = time.perf_counter() - begun
        ratios.append(times["vsal"] / times["ffmpeg"])
    ray.shutdown()
    yield {"what": "chunks", "source": source.stem, "pairs": given.pairs, "cores": cores,
           "time_ratio": round(statistics.median(ratios), 3), "least": round(min(ratios), 3),
           "most": round(max(ratios), 3)}  # fmt: skip


if __name__ == "__main__":
    main()
