"""Statistics over clips of which some are like each other: intervals and tests that draw groups, not clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
EXACT_GROUPS = 14  # up to so many groups every flip of signs is tried
LEVEL = 0.95

Values = npt.NDArray[np.float64]


def interval(values: Values, groups: Sequence[str]) -> tuple[float, float]:
    """Bootstrap interval of the mean over clips; whole groups are drawn, with the clips that they have.

    Args:
        values: float64 [n], of each clip.
        groups: [n], the group of each.

    Returns:
        The bounds between which the middle 95 % of 10,000 draws lie, the same each time.
    """
    if len(values) == 0:
        return math.nan, math.nan
    sums, counts = _by_group(values, groups)
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def sign_flip(differences: Values, groups: Sequence[str]) -> float:
    """Two-sided p of paired differences of clips under the null that the sign of each group's is a coin's.

    Args:
        differences: float64 [n], of each clip.
        groups: [n], the group of each.

    Returns:
        Share of the flips of signs whose mean is at least as far from 0; exact up to 14 groups, else of 10,000 flips.
    """
    if len(differences) == 0:
        return math.nan
    sums, _ = _by_group(differences, groups)
    k = len(sums)
    if k <= EXACT_GROUPS:
        signs = np.array(list(product((1.0, -1.0), repeat=k)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (DRAWS, k))
        signs[0] = 1.0  # what was seen is one of the flips
    flipped = np.abs(signs @ sums)
    return float((flipped >= abs(sums.sum()) - 1e-12).mean())


def group_means(values: Values, groups: Sequence[str]) -> dict[str, float]:
    """The mean of each group's clips, in order of first appearance."""
    sums, counts = _by_group(values, groups)
    return {g: float(s / c) for g, s, c in zip(dict.fromkeys(groups), sums, counts, strict=True)}


def _by_group(values: Values, groups: Sequence[str]) -> tuple[Values, Values]:
    """Sum of the values and number of clips of each group."""
    names = list(dict.fromkeys(groups))
    which = np.array([names.index(group) for group in groups])
    ones = np.ones(len(values))
    sums, counts = (np.bincount(which, weights, len(names)).astype(np.float64) for weights in (values, ones))
    return sums, counts
