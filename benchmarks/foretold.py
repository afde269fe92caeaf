"""Does the rate that is foretold without encoding order maps as their measured BD-rate does?

    python -m benchmarks.foretold --clips ../shared/data/gaze_clips --out foretold.csv

Encodes the first seconds of the cheapest clip of each group with x264 (`veryfast`) at CRF 24, 29, 34 and 39, plain
and under each map, weighs luma errors by the density of the odd observers' looks, and writes a line for each clip and
map: BD-rate (Akima) and what was foretold of the same frames. A run that is broken off goes on where it stopped. Then
it prints means over clips and Spearman's rank correlation of every figure with BD-rate, over maps; with a CSV that is
whole it prints at once, so figures of another sweep may be put in their place.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType

from vsal.encode.maps.regions import FrameShape, QpUnit, RoiMarker
from vsal.evaluate.roi.bdrate import Curve, bd_rate
from vsal.evaluate.saliency.arms import ELSEWHERE, OBSERVERS, PRIOR, Arm
from vsal.evaluate.saliency.clip_scores import by_blocks
from vsal.evaluate.saliency.foretold import EVEN_SHARE, foretell
from vsal.evaluate.saliency.kept import Kept, default_folder
from vsal.evaluate.saliency.observed import ACCOUNT_S, Floats, judged_size, looks_at, observers
from vsal.evaluate.saliency.prepared import Scanned, masks_of, moments_of, rows_of, scan
from vsal.evaluate.saliency.protocol import ANY_INPUT, another_clips_looks
from vsal.evaluate.saliency.sets.gaze import GazeClip, open_gaze_clips
from vsal.evaluate.saliency.status_quo import TEACHER_FILE, status_quo
from vsal.manifest import MapRow
from vsal.quality.psnr import block_mse, luma, psnr_db
from vsal.quality.weights import Pooled
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping, qp_offsets
from vsal.saliency.prior import FIXED_PRIOR
from vsal.settings import PrepareSettings
from vsal.video.clock import SampleClock
from vsal.video.decode import SegmentReader
from vsal.video.probe import probe
from vsal.video.segments import WHOLE

CRFS = (24, 29, 34, 39)
MAX_RECTANGLES = 300
PRESET = "veryfast"  # a sweep of nine clips in a quarter of an hour on one core
RATE_HZ = 12.0
MAPPING = QpMapping("rd", floor=0.2, limit=6)  # one for all maps, controls too
COLUMNS = ("clip", "map", "bd_rate", "bd_rate_even", "bd_rate_plain", "qp_gain", "rate", "rate_even")


@dataclass(frozen=True, slots=True)
class Account:
    """Of a clip: the judged frames, the weight of each block at them, and the frames encoded."""

    at: npt.NDArray[np.int64]
    weight: Floats  # [n, rows, cols], each with a maximum of 1
    frames: list[av.VideoFrame]


@dataclass(frozen=True, slots=True)
class Point:
    """An encode: its size, and its PSNR in dB under the density alone, with a tenth spread evenly, and plain."""

    size: int
    weighted: float
    even: float
    plain: float


def difference(reference: Curve, tested: Curve) -> float:
    """BD-rate as a share; negative where the tested curve needs less.

    Raises:
        ValueError: the curves cannot be compared, or overlap by less than half of the shorter.
    """
    found = bd_rate(reference, tested, least_overlap=0.5)
    if found.akima is None:
        raise ValueError(found.refused)
    return found.akima


def rank_correlation(foretold: Sequence[float], measured: Sequence[float]) -> float:
    """Spearman's: Pearson's correlation of ranks, ties sharing theirs."""
    from scipy.stats import spearmanr

    return float(spearmanr(foretold, measured).statistic)


def account_of(clip: GazeClip, scanned: Scanned, seconds: float) -> Account:
    """The first seconds of a clip and the odd observers' looks at them."""
    info = scanned.info
    clock = SampleClock(RATE_HZ, info.time_base, info.zero_pts)
    count = int((clock.seconds_of(scanned.pts) < seconds).sum())
    at = moments_of(scanned, RATE_HZ)
    at = at[at < count]
    moments_s = clock.seconds_of(scanned.pts[at])
    odd = observers(clip.fixations, odd=True)
    density = looks_at(clip.fixations, odd, moments_s, judged_size(info.display_aspect), ACCOUNT_S).density
    blocks = by_blocks(density, (info.width, info.height), info.orientation)
    weight = blocks / np.maximum(blocks.max(axis=(1, 2), keepdims=True), 1e-12)
    reader = SegmentReader(info, WHOLE, exact=True).frames()
    frames = [frame for _, (_, frame) in zip(range(count), reader, strict=False)]
    reader.close()
    return Account(at, weight, frames)


def control_rows(
    clip: GazeClip, clips: Sequence[GazeClip], scanned: Scanned, at: Iterable[int]
) -> dict[str, list[MapRow]]:
    """Rows of the controls: the even observers' looks, the fixed prior, and looks at another clip."""
    info, starts = scanned.info, [int(frame) for frame in at]
    moments_s = SampleClock(RATE_HZ, info.time_base, info.zero_pts).seconds_of(scanned.pts[starts])
    size = judged_size(info.display_aspect)
    even = looks_at(clip.fixations, observers(clip.fixations, odd=False), moments_s, size, ACCOUNT_S).density
    still = {PRIOR: FIXED_PRIOR.density(*size[::-1]), ELSEWHERE: another_clips_looks(clip, clips, size)}
    densities = {OBSERVERS: even} | {name: np.broadcast_to(one, even.shape) for name, one in still.items()}
    rows = {}
    for name, density in densities.items():
        saliency = density / np.maximum(density.max(axis=(1, 2), keepdims=True), 1e-12)
        grids = by_blocks(saliency.astype(np.float32), (info.width, info.height), info.orientation).clip(0, 1)
        ends = [*starts[1:], len(scanned.pts)]
        rows[name] = [
            MapRow("clip", 0, i, start, end, 0, 0, info.time_base, info.width, info.height, 1, 0.0,
                   np.rint(grid * 255).astype(np.uint8), qp_offsets(grid, MAPPING))
            for i, (start, end, grid) in enumerate(zip(starts, ends, grids, strict=True))
        ]  # fmt: skip
    return rows


def encoded(account: Account, scanned: Scanned, rows: Sequence[MapRow] | None, crf: int, path: Path) -> Point:
    """One encode with x264, and its errors."""
    info = scanned.info
    shape = FrameShape(info.width, info.height, info.pix_fmt, info.time_base)
    marker = None if rows is None else RoiMarker(rows, shape, QpUnit.at_depth(8), MAX_RECTANGLES)
    with av.open(str(path), "w", format="mp4") as output, marker or nullcontext():
        options = {"crf": str(crf), "preset": PRESET, "threads": "1"}
        stream = output.add_stream("libx264", rate=info.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, info.pix_fmt
        stream.codec_context.time_base = info.time_base
        for frame, pts in zip(account.frames, scanned.pts, strict=False):
            frame.pts, frame.time_base, frame.pict_type = int(pts), info.time_base, PictureType.NONE
            output.mux(stream.encode(frame if marker is None else marker.mark(frame)))
        output.mux(stream.encode(None))
    with av.open(str(path)) as container:
        size = sum(packet.size for packet in container.demux(video=0))
    nearest = np.searchsorted(account.at, np.arange(len(account.frames)), side="right") - 1
    weighted = even = plain = total = total_even = 0.0
    with av.open(str(path)) as container:
        for number, decoded in enumerate(container.decode(video=0)):
            errors = block_mse(luma(account.frames[number]), luma(decoded), MACROBLOCK)
            weight = account.weight[nearest[number]]
            some = EVEN_SHARE + (1 - EVEN_SHARE) * weight
            weighted, total = weighted + float((weight * errors).sum()), total + float(weight.sum())
            even, total_even = even + float((some * errors).sum()), total_even + float(some.sum())
            plain += float(errors.mean())
    assert number + 1 == len(account.frames)
    return Point(size, *(_psnr(mse) for mse in (weighted / total, even / total_even, plain / (number + 1))))


def _psnr(mse: float) -> float:
    return psnr_db(Pooled(max(mse, 1e-9), 1.0))


def sweep_clip(
    clip: GazeClip, clips: Sequence[GazeClip], arms: Sequence[Arm], seconds: float
) -> list[dict[str, object]]:
    """A line of the CSV for each map of one clip."""
    settings, kept = PrepareSettings(qp_floor=MAPPING.floor, qp_limit=MAPPING.limit), Kept(default_folder())
    base = scan(clip.path, ANY_INPUT, settings, kept)
    account = account_of(clip, base, seconds)
    maps = control_rows(clip, clips, base, account.at)
    for arm in arms:
        session = arm.open()
        seen = scan(clip.path, session.input, settings, kept)
        own = settings.model_copy(update={"aggregator": arm.aggregator})
        maps[f"{arm.model} {arm.aggregator}"] = rows_of(seen, masks_of(session, seen, own), own)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encode.mp4"
        plain = [encoded(account, base, None, crf, file) for crf in CRFS]
        for name, rows in maps.items():
            points = [encoded(account, base, rows, crf, file) for crf in CRFS]
            at = np.searchsorted([row.frame_end for row in rows], account.at, side="right")
            foretold = asdict(foretell([rows[i].qp_offset for i in at], account.weight))
            measured = {
                column: difference(*([(p.size, getattr(p, what)) for p in curve] for curve in (plain, points)))
                for column, what in (("bd_rate", "weighted"), ("bd_rate_even", "even"), ("bd_rate_plain", "plain"))
            }
            lines.append({"clip": clip.name, "map": name, **measured, **foretold})
    return lines


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def report(lines: Sequence[dict[str, str]]) -> str:
    """Means over clips and rank correlations over maps, as Markdown."""
    names = list(dict.fromkeys(line["map"] for line in lines))
    figures = COLUMNS[2:]
    means = {n: {f: float(np.mean([float(x[f]) for x in lines if x["map"] == n])) for f in figures} for n in names}
    rows = ["| map | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for name in sorted(names, key=lambda name: means[name]["bd_rate"]):
        cells = [f"{v:.2f}" if f == "qp_gain" else f"{v:+.1%}" for f, v in means[name].items()]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    clips = len({line["clip"] for line in lines})
    rows += ["", f"Spearman's rank correlation over {len(names)} maps, of means over {clips} clips:", ""]
    for foretold in ("qp_gain", "rate", "rate_even"):
        for measured in ("bd_rate", "bd_rate_even"):
            over = [[means[name][column] for name in names] for column in (foretold, measured)]
            rows.append(f"- {foretold} and {measured}: {rank_correlation(*over):+.2f}")
    return "\n".join(rows)


def _pixels(path: Path) -> float:
    """Of a second of a clip."""
    info = probe(str(path))
    return float(info.width * info.height * (info.fps or 25))


def main() -> None:
    """Sweep what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of a gaze set; not needed where the CSV is whole")
    parser.add_argument("--out", type=Path, required=True, help="CSV file, taken up where it stopped")
    parser.add_argument("--seconds", type=float, default=2.5, help="of each clip")
    parser.add_argument("--all", action="store_true", help="all clips; else the cheapest of each group")
    args = parser.parse_args()
    if args.clips:
        clips = open_gaze_clips(str(args.clips))
        by_cost = sorted(clips, key=lambda clip: _pixels(clip.path))
        chosen = by_cost if args.all else list({clip.group: clip for clip in reversed(by_cost)}.values())[::-1]
        teacher = args.clips.resolve().parent / TEACHER_FILE
        arms = status_quo(teacher if teacher.is_file() else None)
        own = {arm.model: arm for arm in arms if not arm.model.endswith("int8")}  # one aggregator each, the last
        for clip in chosen:
            lines = read_lines(args.out)
            if any(line["clip"] == clip.name for line in lines):
                continue
            made = sweep_clip(clip, clips, list(own.values()), args.seconds)
            with args.out.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if not lines:
                    writer.writeheader()
                writer.writerows(made)
            print(clip.name, flush=True)
    print(report(read_lines(args.out)))


if __name__ == "__main__":
    main()
