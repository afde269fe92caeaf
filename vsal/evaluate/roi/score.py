"""The figures of one pair of files, made by whatever encoder, under weights that move."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsal import storage
from vsal.encode.source import frames
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.errors import Reason, TitleFailed
from vsal.evaluate.roi.account import GazeAccount, to_one
from vsal.evaluate.roi.full import FullMetrics
from vsal.evaluate.roi.measure import Measured, Measuring, pooled
from vsal.evaluate.roi.points import Metrics
from vsal.evaluate.saliency.foretold import EVEN_SHARE
from vsal.evaluate.saliency.items import video_planes
from vsal.manifest import TitleManifest
from vsal.quality.decoded import Decoded, decoded_from, in_step, mismatches, time_of
from vsal.quality.psnr import luma, psnr_db
from vsal.quality.weights import Pooled
from vsal.roi.grid import block_means
from vsal.video.probe import VideoInfo, probe

EQUAL_SIZE = 0.01  # of two encodes: nearer than that they are called so
BlockWeights = npt.NDArray[np.float32]
Weigh = Callable[[int, float], BlockWeights]  # frame and its time in seconds -> float32 [rows, cols] in 0..1
OnFrame = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """A pair of files.

    Attributes:
        reference: URI of the source.
        encoded: URI of the encode.
        bytes: of the encode's file.
        numbers: int64 [n], of the source's frames that the encode shows.
        measured: of these frames.
        missing: frames of the source in whose place the encode shows none.
        warnings: what makes the figures mislead, a sentence each.
    """

    reference: str
    encoded: str
    bytes: int
    numbers: npt.NDArray[np.int64]
    measured: Measured
    missing: int
    warnings: tuple[str, ...] = field(default=())

    @property
    def pooled(self) -> dict[str, float]:
        """Figures of the whole, see `measure.pooled`; with weights also those inside and outside of what they mark."""
        return pooled([self.measured]) | inside_outside(self.measured)

    def rows(self) -> list[dict[str, Any]]:
        """Plain values of each frame."""
        m = self.measured
        columns: dict[str, Any] = {"n": self.numbers, "time_s": m.time_s}
        columns["psnr"], columns["ssim"] = _db(m.error, np.full(len(m.error), m.pixels)), m.ssim / m.pixels
        if m.weight is not None and m.weighted_error is not None and m.weighted_ssim is not None:
            even = EVEN_SHARE * m.pixels + (1 - EVEN_SHARE) * m.weight
            columns["psnr_alone"] = _db(m.weighted_error, m.weight)
            columns["psnr_even"] = _db(EVEN_SHARE * m.error + (1 - EVEN_SHARE) * m.weighted_error, even)
            columns["ssim_alone"] = _over(m.weighted_ssim, m.weight)
            columns["ssim_even"] = _over(EVEN_SHARE * m.ssim + (1 - EVEN_SHARE) * m.weighted_ssim, even)
        columns |= m.more
        names = list(columns)
        return [dict(zip(names, map(_plain, values), strict=True)) for values in zip(*columns.values(), strict=True)]


def score_pair(
    reference: str,
    encoded: str,
    weigh: Weigh | None = None,
    metrics: Metrics | None = None,
    seconds: float | None = None,
    on_frame: OnFrame = lambda done: None,
) -> Score:
    """Measure an encode against its source, frame by frame, paired by their times.

    Args:
        reference: URI of the source.
        encoded: URI of the encode.
        weigh: the weights of a frame's blocks; None for plain figures.
        metrics: that are measured.
        seconds: of the source, from its beginning; None for all.
        on_frame: told how many frames are measured.

    Raises:
        TitleFailed: one of the two cannot be read, their pictures differ in size, or no frame of one is shown by the
            other.
    """
    facts, shown = read_source_facts(reference), probe(encoded)
    found = mismatches(facts.info, shown)
    for odd in found:
        if odd.kind == "size":
            raise TitleFailed(Reason.UNSUPPORTED, f"{encoded} cannot be held against {reference}: {odd.detail}")
    warnings = [f"{odd.kind}: {odd.detail}" for odd in found]
    metrics, info = metrics or Metrics(), facts.info
    numbers, missing = [], 0
    with ExitStack() as undo:
        full = None
        if metrics.full:
            deepest = max(info.bit_depth, shown.bit_depth)
            depth = 8 if deepest <= 8 else 10 if deepest <= 10 else 12
            weighted = weigh is not None
            full = undo.enter_context(FullMetrics(info.width, info.height, depth, weighted, every=metrics.every))
        measuring = Measuring(info.width, info.height, weigh is not None, full)
        for number, (time_s, source, of_encode) in enumerate(_pairs(facts, encoded, seconds)):
            if of_encode is None:
                missing += 1
                continue
            now = None if weigh is None else weigh(number, time_s)
            measuring.add(time_s, luma(source), luma(of_encode.frame), now)
            numbers.append(number)
            on_frame(len(numbers))
        if not numbers:
            raise TitleFailed(
                Reason.UNSUPPORTED, f"{encoded} shows no frame at a time at which {reference} has one: not its encode"
            )
        measured = measuring.done()
    if missing:
        told = f"{missing} of {missing + len(numbers)} frames of the source have none in the encode"
        warnings.append(f"frames: {told}, and are left out")
    size = storage.stat(encoded).size
    return Score(reference, encoded, size, np.array(numbers, np.int64), measured, missing, tuple(warnings))


def difference(score: Score, twin: Score) -> dict[str, Any]:
    """What one encode has over its twin: inside what the weights mark, outside, and over the whole picture.

    Returns:
        Differences of all figures, the sizes, and in `equal_size` whether these are within 1 % of each other: where
        they are not, `note` says what that does to the differences.
    """
    one, other = score.pooled, twin.pooled
    ratio = score.bytes / twin.bytes - 1
    note = ""
    if abs(ratio) > EQUAL_SIZE:
        larger = "larger" if ratio > 0 else "smaller"
        note = f"it is {abs(ratio):.1%} {larger} than its twin: differences are not at equal size; encode one again"
    return {
        "bytes": score.bytes,
        "twin_bytes": twin.bytes,
        "equal_size": not note,
        "note": note,
        "differences": {name: one[name] - other[name] for name in one if name in other},
    }


def inside_outside(m: Measured) -> dict[str, float]:
    """PSNR and SSIM under the weights w (inside) and under 1 - w (outside); nothing without weights."""
    if m.weight is None or m.weighted_error is None or m.weighted_ssim is None:
        return {}
    pixels, weight = float(m.pixels * len(m.error)), float(m.weight.sum())
    error, ssim = float(m.weighted_error.sum()), float(m.weighted_ssim.sum())
    return {
        "psnr_inside": psnr_db(Pooled(error, weight)),
        "psnr_outside": psnr_db(Pooled(float(m.error.sum()) - error, pixels - weight)),
        "ssim_inside": Pooled(ssim, weight).mean,
        "ssim_outside": Pooled(float(m.ssim.sum()) - ssim, pixels - weight).mean,
    }


def weigh_by_maps(title: TitleManifest) -> Weigh:
    """The saliency of a manifest's maps, each map's maximum brought to 1; frames are asked for in order."""
    rows = title.iter_maps()
    held = next(rows)

    def weigh(number: int, time_s: float) -> BlockWeights:
        nonlocal held
        while number >= held.frame_end:
            following = next(rows, None)
            if following is None:
                told = f"the maps of {title.title_id} end at frame {held.frame_end}, and the source goes on"
                raise TitleFailed(Reason.UNSUPPORTED, f"{told}: prepare the title again, or give --seconds")
            held = following
        return to_one(held.saliency)

    return weigh


def weigh_by_masks(file: str, info: VideoInfo) -> Weigh:
    """A video of masks, frame by frame, 0 to 255 for 0 to 1; frames are asked for in order."""
    planes = enumerate(video_planes(Path(file), "gray"))

    def weigh(number: int, time_s: float) -> BlockWeights:
        for at, plane in planes:
            if at == number:
                cover = plane().astype(np.float32) / np.float32(255)
                return block_means(cover, info.width, info.height).clip(0, 1)
        raise TitleFailed(Reason.UNSUPPORTED, f"{file} ends before frame {number} of the source: not its masks")

    return weigh


def weigh_by_gaze(account: GazeAccount, title_id: str, info: VideoInfo) -> Weigh:
    """The density of the odd observers' looks, as of `GazeAccount`."""
    account.digest(title_id)  # fails here where nobody looked

    def weigh(number: int, time_s: float) -> BlockWeights:
        now: BlockWeights = account.density(info, title_id, np.array([time_s]), odd=True)[0]
        return now

    return weigh


def _pairs(facts: SourceFacts, encoded: str, seconds: float | None) -> Iterator[tuple[float, Any, Decoded | None]]:
    """Time on the title's clock, the source's frame, and the encode's."""
    source, first_of_encode = frames(facts), next(decoded_from(encoded), None)
    first = next(source, None)
    if first is None or first_of_encode is None:
        raise TitleFailed(Reason.DECODE_ERROR, f"no frame of {encoded if first else facts.info.uri} decodes")
    begin_s = time_of(first)
    whole = itertools.chain([first], source)
    for pair in in_step(whole, decoded_from(encoded), first_of_encode.time_s - begin_s):
        time_s = pair.time_s - begin_s
        if seconds is not None and time_s >= seconds - 1e-9:
            return
        yield time_s, pair.source, pair.encoded


def _db(error: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([psnr_db(Pooled(e, w)) for e, w in zip(error.tolist(), weight.tolist(), strict=True)])


def _over(total: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    over: npt.NDArray[np.float64] = np.full(len(total), np.nan)
    np.divide(total, weight, out=over, where=weight > 0)
    return over


def _plain(value: Any) -> Any:
    """A number that JSON and people know: no NaN, no infinity."""
    number = value.item()
    return number if isinstance(number, int) or np.isfinite(number) else None
