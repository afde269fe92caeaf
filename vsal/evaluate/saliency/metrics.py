"""How well a saliency map agrees with what people attended to.

All take maps of shape [..., h, w] and give one figure a map, [...]: every leading axis is a batch. The definitions are
those of Bylinskii et al., "What do different evaluation metrics tell us about saliency models?" (TPAMI 2019), which are
the MIT/Tuebingen benchmark's. A map that is the same everywhere says nothing: its CC and NSS are 0, its AUC 0.5. Where
there is nothing to compare with (no fixation, a density of zero), the figure is nan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.floating]  # [..., h, w]
Counts = npt.NDArray[np.integer]  # [..., h, w]
Figures = npt.NDArray[np.float64]  # [...]

_PIXELS = (-2, -1)
_EPSILON = 2.2204e-16  # MATLAB's eps, as in the benchmark's KLdiv.m
BLOCK_THRESHOLD = 0.5
LAPSE = 0.01  # of looks, that lie where nobody would have thought


def cc(predicted: Maps, density: Maps) -> Figures:
    """Pearson's correlation of two maps, -1..1 (Jost et al. 2005).

    Args:
        predicted: of any scale.
        density: of fixations, of any scale.
    """
    p, q = _centred(predicted), _centred(density)
    scale = np.sqrt((p * p).sum(_PIXELS) * (q * q).sum(_PIXELS))
    return _ratio((p * q).sum(_PIXELS), scale, 0.0)


def nss(predicted: Maps, fixations: Counts) -> Figures:
    """Normalised scanpath saliency: the map's mean at the fixations, in its standard deviations (Peters et al. 2005).

    Args:
        predicted: of any scale.
        fixations: how many there are at each pixel; each one counts.
    """
    p = _centred(predicted)
    deviation = np.sqrt((p * p).mean(_PIXELS))
    count = fixations.sum(_PIXELS).astype(np.float64)
    total = (p * fixations).sum(_PIXELS)
    flat = deviation <= 1e-12 * np.abs(np.asarray(predicted, np.float64)).max(_PIXELS)
    values = np.divide(total, count * deviation, out=np.zeros_like(total), where=~flat & (count > 0))
    return np.where(count > 0, values, np.nan)


def auc_judd(predicted: Maps, fixations: Counts) -> Figures:
    """Area under the ROC curve of fixated against other pixels, 0..1 (Judd et al., ICCV 2009).

    Thresholds are the map's values at the fixations: at each, the hit rate is the share of fixated pixels at or above
    it, the false alarm rate that of the other pixels. Judd's code breaks ties by random jitter; here equal values are
    one threshold, which is what the jitter gives on average, so the figure is the same each time.

    Args:
        predicted: of any scale.
        fixations: pixels with at least one are fixated.
    """
    lead = predicted.shape[:-2]
    values = np.asarray(predicted, np.float64).reshape(-1, predicted.shape[-2] * predicted.shape[-1])
    fixated = fixations.reshape(values.shape) > 0
    figures = [_area(v[f], v[~f]) for v, f in zip(values, fixated, strict=True)]
    return np.array(figures, np.float64).reshape(lead)


def sim(predicted: Maps, density: Maps) -> Figures:
    """Similarity: what two distributions have in common, 0..1 (Judd et al. 2012).

    As in the benchmark's similarity.m, both are stretched to begin at 0 before they are divided by their sums: what a
    map has everywhere does not count.

    Args:
        predicted: of any scale.
        density: of fixations, of any scale.
    """
    shared: Figures = np.minimum(_distribution(_from_zero(predicted)), _distribution(_from_zero(density))).sum(_PIXELS)
    return shared


def kl(predicted: Maps, density: Maps) -> Figures:
    """Kullback-Leibler divergence of the fixations' distribution from the map's, in nats; 0 is best, no upper bound.

    Args:
        predicted: not negative.
        density: of fixations, not negative.
    """
    p, q = _distribution(predicted), _distribution(density)
    divergence: Figures = (q * np.log(_EPSILON + q / (p + _EPSILON))).sum(_PIXELS)
    return divergence


def shuffled_auc(predicted: Maps, fixations: Counts, elsewhere: Counts) -> Figures:
    """Area under the ROC curve of looks at this picture against looks at others, 0..1 (Tatler et al. 2005).

    A map that only knows where people look in any picture has 0.5. All looks at others are taken, so no dice are
    rolled: the figure is the share of pairs of looks of which the map has the one here higher, ties counting half.

    Args:
        predicted: of any scale.
        fixations: how many there are at each pixel.
        elsewhere: [h, w], how many looks at other pictures lie at each pixel.
    """
    lead = predicted.shape[:-2]
    values = np.asarray(predicted, np.float64).reshape(-1, predicted.shape[-2] * predicted.shape[-1])
    here, there = fixations.reshape(values.shape), elsewhere.ravel()
    figures = [
        _pairs_won(v[h > 0], h[h > 0], v[there > 0], there[there > 0]) for v, h in zip(values, here, strict=True)
    ]
    return np.array(figures, np.float64).reshape(lead)


def information_gain(predicted: Maps, prior: Maps, fixations: Counts, lapse: float = LAPSE) -> Figures:
    """How much likelier fixations are under a map than under a prior, in bits a fixation (Kuemmerer et al. 2015).

    Args:
        predicted: not negative; divided by its sum it is the probability of a look at each pixel.
        prior: [h, w], the same of the prior, everywhere above 0.
        fixations: how many there are at each pixel.
        lapse: share of the looks that may lie anywhere: a map that is 0 at a look is wrong, not infinitely so.
    """
    p, q = _distribution(predicted), _distribution(prior)
    cells = p.shape[-2] * p.shape[-1]
    p = np.where(np.isnan(p), 1 / cells, p)  # a map that is 0 everywhere says nothing
    with np.errstate(divide="ignore"):  # without lapses what a map excludes is infinitely unlikely
        gain = np.log2((1 - lapse) * p + lapse / cells) - np.log2(q)
    count = fixations.sum(_PIXELS).astype(np.float64)
    won = np.multiply(gain, fixations, out=np.zeros_like(gain), where=fixations > 0)
    return _ratio(won.sum(_PIXELS), count, np.nan)


def block_iou(predicted: Maps, truth: Maps, threshold: float = BLOCK_THRESHOLD) -> Figures:
    """Intersection over union of two block grids, cut at a threshold, 0..1; 1 where both are empty.

    Args:
        predicted: [..., rows, cols] in 0..1, as `vsal.roi.grid.block_means` reduces a mask 16 to 1.
        truth: the same of the true mask: the share of each block that it covers.
        threshold: from which value on a block belongs to the subject.
    """
    a, b = np.asarray(predicted) >= threshold, np.asarray(truth) >= threshold
    both, either = (a & b).sum(_PIXELS).astype(np.float64), (a | b).sum(_PIXELS)
    return _ratio(both, either, 1.0)


def flicker(grids: Maps, truth: Maps, still: float = 0.02) -> Figures:
    """Mean absolute change from one map to the next, over the blocks in which the truth does not change.

    Args:
        grids: [n, rows, cols] in 0..1, the maps in force at n moments of one shot.
        truth: [n, rows, cols], the true coverage of each block at these moments.
        still: up to which change of coverage a block counts as unchanged.

    Returns:
        [n - 1]; nan where every block changes.
    """
    change = np.abs(np.diff(np.asarray(grids, np.float64), axis=0))
    unchanged = np.abs(np.diff(np.asarray(truth, np.float64), axis=0)) <= still
    count = unchanged.sum(_PIXELS)
    total = np.where(unchanged, change, 0.0).sum(_PIXELS)
    return _ratio(total, count, np.nan)


def _centred(maps: Maps) -> npt.NDArray[np.float64]:
    exact = np.asarray(maps, np.float64)
    centred: npt.NDArray[np.float64] = exact - exact.mean(_PIXELS, keepdims=True)
    return centred


def _distribution(maps: Maps) -> npt.NDArray[np.float64]:
    """Each map divided by its sum; nan where that is not above 0."""
    exact = np.asarray(maps, np.float64)
    total = exact.sum(_PIXELS, keepdims=True)
    return _ratio(exact, np.broadcast_to(total, exact.shape), np.nan)


def _from_zero(maps: Maps) -> npt.NDArray[np.float64]:
    exact = np.asarray(maps, np.float64)
    shifted: npt.NDArray[np.float64] = exact - exact.min(_PIXELS, keepdims=True)
    return shifted


def _ratio(part: npt.NDArray[np.float64], whole: npt.NDArray[Any], otherwise: float) -> npt.NDArray[np.float64]:
    """part / whole where the whole is above 0."""
    ratio: npt.NDArray[np.float64] = np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0)
    return ratio


def _area(hits: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float:
    if len(hits) == 0 or len(others) == 0:
        return float("nan")
    thresholds = np.unique(hits)
    hit_rate = 1 - np.searchsorted(np.sort(hits), thresholds) / len(hits)
    false_alarms = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    x, y = np.concatenate([[1.0], false_alarms, [0.0]]), np.concatenate([[1.0], hit_rate, [0.0]])
    return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum())


def _pairs_won(
    here: npt.NDArray[np.float64],
    count_here: npt.NDArray[np.integer],
    there: npt.NDArray[np.float64],
    count_there: npt.NDArray[np.integer],
) -> float:
    """Share of pairs of which the value here is the higher; half for a tie."""
    if len(here) == 0 or len(there) == 0:
        return float("nan")
    order = np.argsort(there, kind="stable")
    below = np.concatenate([[0], np.cumsum(count_there[order])])
    low = below[np.searchsorted(there[order], here, side="left")]
    high = below[np.searchsorted(there[order], here, side="right")]
    return float((count_here * (low + high)).sum() / (2.0 * count_here.sum() * count_there.sum()))
