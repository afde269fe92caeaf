"""Few levels for many values: the least-squares reduction that encoders with a bound on levels need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def fewest_loss_levels(
    values: NDArray[np.generic], count: int, keep_zero: bool = False
) -> tuple[Values, NDArray[np.intp]]:
    """The at most `count` levels that replace `values` with the least sum of squared changes.

    Args:
        values: any shape, finite; what is to be reduced.
        count: the most levels allowed, at least 1.
        keep_zero: one level is exactly 0 (VP9's segment 0 is the picture outside every region).

    Returns:
        The levels, ascending, and for each value (flattened) the number of its level.

    Exact, by dynamic programming over the distinct values: groups of an optimal reduction are intervals, and the best
    level of an interval is its mean (or 0, once, with `keep_zero`).
    """
    if count < 1:
        raise ValueError(f"levels: at least 1 is needed, asked for {count}")
    distinct, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    if len(distinct) <= count and (not keep_zero or 0.0 in distinct or len(distinct) < count):
        if keep_zero and 0.0 not in distinct:
            at = int(np.searchsorted(distinct, 0.0))
            return np.insert(distinct, at, 0.0), inverse + (inverse >= at)
        return distinct, inverse
    starts, zero_group = _partition(distinct, counts.astype(np.float64), count, keep_zero)
    ends = [*starts[1:], len(distinct)]
    levels = np.array(
        [
            0.0 if g == zero_group else float(np.average(distinct[a:b], weights=counts[a:b]))
            for g, (a, b) in enumerate(zip(starts, ends, strict=True))
        ]
    )
    index = np.repeat(np.arange(len(starts)), np.diff([*starts, len(distinct)]))[inverse]
    if keep_zero and 0.0 not in levels:
        at = int(np.searchsorted(levels, 0.0))
        return np.insert(levels, at, 0.0), index + (index >= at)
    return levels, index


def _partition(distinct: Values, counts: Values, count: int, keep_zero: bool) -> tuple[list[int], int | None]:
    """First index of each group, ascending, and which group is pinned to zero."""
    n = len(distinct)
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    first = np.concatenate([[0.0], np.cumsum(counts * distinct)])
    second = np.concatenate([[0.0], np.cumsum(counts * distinct**2)])
    # cost[pinned][a] is the loss of the group a..b-1, for one b at a time.
    best = np.full((2, count + 1, n + 1), np.inf)
    came = np.zeros((2, count + 1, n + 1), dtype=np.intp)
    pinned_here = np.zeros((count + 1, n + 1), dtype=bool)
    best[0, 0, 0] = 0.0
    for b in range(1, n + 1):
        mass = weight[b] - weight[:b]
        as_zero = second[b] - second[:b]
        as_mean = as_zero - (first[b] - first[:b]) ** 2 / mass
        for k in range(1, count + 1):
            for pinned in (0, 1) if keep_zero else (0,):
                plain = best[pinned, k - 1, :b] + as_mean
                a = int(np.argmin(plain))
                best[pinned, k, b], came[pinned, k, b] = plain[a], a
                if pinned:
                    through = best[0, k - 1, :b] + as_zero
                    a = int(np.argmin(through))
                    if through[a] < best[1, k, b]:
                        best[1, k, b], came[1, k, b], pinned_here[k, b] = through[a], a, True
    pinned, k, b = 0, int(np.argmin(best[0, :, n])), n
    if keep_zero:
        # Either a group is pinned to zero, or the zero level stays unused and costs one of the levels.
        pinned = int(best[1, :, n].min() < best[0, :count, n].min())
        k = int(np.argmin(best[pinned, : count + pinned, n]))
    starts: list[int] = []
    zero_from_end: int | None = None
    while b > 0:
        a = int(came[pinned, k, b])
        if pinned and pinned_here[k, b]:
            zero_from_end, pinned = len(starts), 0
        starts.append(a)
        k, b = k - 1, a
    zero_group = None if zero_from_end is None else len(starts) - 1 - zero_from_end
    return starts[::-1], zero_group
