"""Means over titles with what is known of their error: groups are drawn, signs of groups flipped, p held by Holm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vsal.evaluate.saliency.groups import group_means, interval, sign_flip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over titles.

    Attributes:
        mean: over the titles that have a figure.
        low, high: 95 % interval, groups drawn.
        p: sign-flip by groups, two-sided.
        p_holm: the same, held against all arms that were considered; None where an arm is not one of them.
        titles: with a figure.
        groups: mean of each group of like titles.
    """

    mean: float
    low: float
    high: float
    p: float
    titles: int
    groups: Mapping[str, float]
    p_holm: float | None = None

    @property
    def below(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high < 0

    @property
    def above(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    @property
    def words(self) -> str:
        """The mean with its interval; one group alone has none."""
        spread = f" [{self.low:+.1%}, {self.high:+.1%}]" if len(self.groups) > 1 else " (one group)"
        return f"{self.mean:+.1%}{spread}"


def estimate(values: Sequence[float], groups: Sequence[str]) -> Estimate | None:
    """Of one figure a title; None where no title has one."""
    if not values:
        return None
    found = np.array(values, np.float64)
    return Estimate(
        float(found.mean()),
        *interval(found, groups),
        sign_flip(found, groups),
        len(found),
        group_means(found, groups),
    )


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment of the p of several arms (Scandinavian Journal of Statistics 6, 1979)."""
    adjusted, least = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        least = max(least, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = least
    return adjusted
