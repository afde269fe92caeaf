"""What maps give SVT-AV1, under the gaze of people: the figures of docs/encoders.md.

python -m benchmarks.svtav1 GAZE_CLIPS [--half choose|report] [--arms NAME ...] [--seconds 2] [--preset 8]

GAZE_CLIPS is a folder of clips and `fixations.parquet` (clip, observer, start_ms, duration_ms, x, y as fractions). The
map is made of the gaze of observers of even number, luma errors are weighted by that of the odd ones: fixations in
force within 0.25 s of a frame, Gaussian of a twentieth of the width, each frame's density to a maximum of 1. BD-rates
by Akima against the plain encode, the mean over clips and the 95 % interval of a bootstrap over groups of like clips.
Arms are chosen on one half of the clips and reported on the other. Encodes are kept in the benchmarks' cache by what
made them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.clips import CACHE
from vsal.encode.codecs.base import FrameRun
from vsal.encode.codecs.svtav1 import CHOSEN, Segments, SvtAv1
from vsal.encode.settings import EncodeSettings
from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.evaluate.roi.bdrate import bd_rate
from vsal.manifest import MapRow
from vsal.quality.decoded import decoded_from
from vsal.quality.psnr import block_mse, luma
from vsal.roi.grid import MACROBLOCK, block_means
from vsal.roi.qp import qp_offsets

Floats = NDArray[np.float64]

# Like clips are one group, and on one side.
CHOOSE = (("BasketballDrill", "BasketballDrive"), ("Female", "Male", "Simo", "Yan"), ("ParkScene",), ("Traffic",))
REPORT = (("Vidyo1", "Vidyo3", "Vidyo4"), ("ChinaSpeed",), ("Keiba",), ("SlideEditing",))
CRFS = (32, 40, 48, 56)
FORMER = Segments(levels=8, below=1.0, key_step=1.0, raised=0.0)  # offsets on both sides of the base that is asked for
ARMS: dict[str, tuple[Segments, dict[str, str]]] = {
    "former": (FORMER, {}),
    "chosen": (CHOSEN, {}),
    "above-8": (replace(CHOSEN, levels=8, below=0.0), {}),
    "above-4": (replace(CHOSEN, levels=4, below=0.0), {}),
    "above-2": (replace(CHOSEN, levels=2, below=0.0), {}),
    "half-8": (replace(CHOSEN, levels=8, below=0.5), {}),
    "half-4": (replace(CHOSEN, levels=4, below=0.5), {}),
    "guarded-4": (replace(CHOSEN, levels=4, below=1.0), {}),
    "chosen, aq-mode 0": (CHOSEN, {"aq-mode": "0"}),
    "chosen, variance boost": (CHOSEN, {"enable-variance-boost": "1"}),
}
MAPS_A_SECOND = 3
SLACK_S, SIGMA = 0.25, 1 / 20  # of an account of gaze: seconds around a frame, and share of the width
EVENLY = 0.1  # share of the weight that the second account spreads over the picture
COLUMNS = ("density", "0.1 + 0.9 density", "plain PSNR")


@dataclass(frozen=True)
class Clip:
    """The first seconds of a clip with the maps of one half of its observers and the weights of the other.

    Attributes:
        luma: of each frame, float32 [height, width].
        weights: for each frame float64 per 16x16 block, 0..1.
    """

    facts: SourceFacts
    luma: list[NDArray[np.float32]]
    maps: list[MapRow]
    weights: list[Floats]


def main() -> None:
    """Print a line an arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--arms", nargs="*", default=["former", "chosen"], choices=list(ARMS))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--preset", default="8")
    parser.add_argument("--clips", nargs="*", help="of that half, these alone")
    parser.add_argument("--per-clip", action="store_true")
    given = parser.parse_args()
    halves = CHOOSE if given.half == "choose" else REPORT
    groups = [group for names in halves if (group := [name for name in names if name in (given.clips or names)])]
    for arm in given.arms:
        rows = [[_against_plain(given, name, arm) for name in group] for group in groups]
        print(f"{arm:24s} " + "  ".join(_with_interval(rows, i, what) for i, what in enumerate(COLUMNS)), end="  ")
        print(_with_interval(rows, 3, "rate at equal --crf"), flush=True)
        if given.per_clip:
            for name, row in zip(chain(*groups), chain(*rows), strict=True):
                print(f"    {name:20s} " + " ".join(f"{value:+7.1f}" for value in row))


def _against_plain(given: argparse.Namespace, name: str, arm: str) -> list[float]:
    """BD-rates of an arm by the three accounts, and its mean rate over plain's at the same `--crf`, all in percent."""
    plain = [_point(given, name, crf, None) for crf in CRFS]
    steered = [_point(given, name, crf, arm) for crf in CRFS]
    rates = [np.log(one[0] / other[0]) for one, other in zip(steered, plain, strict=True)]
    return [*(difference(plain, steered, 1 + i) for i in range(3)), 100.0 * float(np.expm1(np.mean(rates)))]


def difference(plain: list[list[float]], other: list[list[float]], column: int) -> float:
    """BD-rate at equal quality, in percent; not a number where the curves cannot be compared."""
    found = bd_rate(*([(point[0], point[column]) for point in points] for points in (plain, other)))
    return float("nan") if found.akima is None else 100.0 * found.akima


def _with_interval(rows: list[list[list[float]]], column: int, what: str) -> str:
    groups = [np.array([row[column] for row in group]) for group in rows]
    random = np.random.default_rng(0)
    drawn = [np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))]) for _ in range(2000)]
    low, high = np.percentile([values.mean() for values in drawn], [2.5, 97.5])
    return f"{what} {np.concatenate(groups).mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def _point(given: argparse.Namespace, name: str, crf: int, arm: str | None) -> list[float]:
    """kb/s and the three PSNRs of one encode, from the cache if it is there."""
    segments, options = (None, {}) if arm is None else ARMS[arm]
    settings = EncodeSettings(
        "svtav1", crf=float(crf), preset=given.preset, encoder_options=options, roi=arm is not None, threads=1
    )
    encoder = SvtAv1(segments or CHOSEN)
    what = [name, given.seconds, settings.to_json(), None if segments is None else asdict(segments)]
    key = hashlib.sha256(json.dumps([what, encoder.version(settings)], sort_keys=True).encode()).hexdigest()[:20]
    kept = CACHE / "svtav1" / f"{key}.json"
    if kept.exists():
        found: list[float] = json.loads(kept.read_text())
        return found
    point = _measure(encoder, settings, _clip(given.folder, name, given.seconds))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(point))
    return point


def _measure(encoder: SvtAv1, settings: EncodeSettings, clip: Clip) -> list[float]:
    count = len(clip.luma)
    with tempfile.TemporaryDirectory(prefix="vsal-svtav1-") as folder:
        path = os.path.join(folder, "made.ivf")
        shown = frames(clip.facts, FrameRange(0, count))
        encoder.encode(FrameRun(shown, clip.facts, clip.maps if settings.roi else None, settings), path)
        size = os.path.getsize(path)
        errors, weights = np.zeros(3), np.zeros(3)
        for truth, weight, seen in zip(clip.luma, clip.weights, decoded_from(path, 0.0, 1.0), strict=True):
            squares = block_mse(truth, luma(seen.frame), MACROBLOCK)
            for i, account in enumerate((weight, EVENLY + (1 - EVENLY) * weight, np.ones_like(weight))):
                errors[i] += (account * squares).sum()
                weights[i] += account.sum()
    kbps = size * 8 / 1000 / (count / float(clip.facts.fps))
    return [kbps, *(10.0 * np.log10(255.0**2 * weights / errors)).tolist()]


@lru_cache(maxsize=1)
def _clip(folder: Path, name: str, seconds: float) -> Clip:
    facts = read_source_facts(str(folder / f"{name}.mp4"))
    count = round(seconds * float(facts.fps))
    truth = [luma(frame) for frame in frames(facts, FrameRange(0, count))]
    info = facts.info
    size = info.width, info.height
    odd, even = ([_density(folder, name, (i + 0.5) / float(facts.fps), side, *size) for i in range(count)]
                 for side in (1, 0))  # fmt: skip
    weights = [block_means(density, *size).astype(np.float64) for density in odd]
    return Clip(facts, truth, list(_maps(even, facts)), weights)


def _maps(densities: list[NDArray[np.float32]], facts: SourceFacts) -> Iterator[MapRow]:
    info = facts.info
    each = max(1, round(float(facts.fps) / MAPS_A_SECOND))
    for number, start in enumerate(range(0, len(densities), each)):
        end = min(start + each, len(densities))
        mean = np.mean(densities[start:end], axis=0)
        saliency = block_means((mean / max(mean.max(), 1e-9)).astype(np.float32), info.width, info.height).clip(0, 1)
        yield MapRow(
            "gaze", 0, number, start, end, start * info.frame_duration, end * info.frame_duration, info.time_base,
            info.width, info.height, each, 0.0, np.rint(saliency * 255).astype(np.uint8), qp_offsets(saliency),
        )  # fmt: skip


@lru_cache(maxsize=1)
def _fixations(folder: Path, name: str) -> Floats:
    """float64 [fixations, 5]: observer, start and end in seconds, x and y as fractions."""
    table = pq.read_table(folder / "fixations.parquet", filters=[("clip", "=", name)])
    observer, start, length, x, y = (
        table[column].to_numpy().astype(np.float64) for column in ("observer", "start_ms", "duration_ms", "x", "y")
    )
    return np.stack([observer, start / 1000, (start + length) / 1000, x, y], axis=1)


def _density(folder: Path, name: str, at_s: float, odd: int, width: int, height: int) -> NDArray[np.float32]:
    """Gaze density at a quarter of the picture's size, to a maximum of 1."""
    known = _fixations(folder, name)
    held = (known[:, 0] % 2 == odd) & (known[:, 1] - SLACK_S <= at_s) & (known[:, 2] + SLACK_S >= at_s)
    grid = np.zeros((-(-height // 4), -(-width // 4)), dtype=np.float32)
    rows, cols = grid.shape
    at = (known[held][:, [4, 3]].clip(0, 1 - 1e-6) * (rows, cols)).astype(np.int64)
    np.add.at(grid, (at[:, 0], at[:, 1]), 1.0)
    blurred = cv2.GaussianBlur(grid, (0, 0), cols * SIGMA)
    return (blurred / max(float(blurred.max()), 1e-9)).astype(np.float32)


if __name__ == "__main__":
    main()
