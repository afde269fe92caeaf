"""Aggregators: how the masks of some frames become one mask.

Every aggregator is a monoid over frames in display order: `combine` is associative and `identity` changes nothing, so
masks combine in any grouping with the same result. That is what lets a title be scanned in parallel segments and a lost
one be redone.
"""

from __future__ import annotations

from collections.abc import Callable

from vsal.temporal.means import Maximum, Mean, MotionMean
from vsal.temporal.monoid import Aggregator, Fold, Mask
from vsal.temporal.recurrences import Ema, Learned
from vsal.temporal.smooth import Smooth

__all__ = ["Aggregator", "AnyAggregator", "Ema", "Fold", "Learned", "Mask", "Smooth", "make_aggregator"]

AnyAggregator = Mean | MotionMean | Maximum | Ema | Learned | Smooth


def make_aggregator(name: str, alpha: float, smooth_s: float | None = None) -> AnyAggregator:
    """The aggregator of that name.

    Args:
        name: mean, ema, max, motion, learned or smooth.
        alpha: weight of a new mask; ema only.
        smooth_s: seconds to either side of a map's middle; smooth only, which needs it.

    Raises:
        ValueError: there is none of that name, or what it needs is missing or out of range.
    """
    if name == "smooth":
        if smooth_s is None:
            raise ValueError("the aggregator smooth needs smooth_s, the seconds to either side of a map's middle")
        return Smooth(smooth_s)
    makers: dict[str, Callable[[], AnyAggregator]] = {
        "mean": Mean,
        "motion": MotionMean,
        "max": Maximum,
        "ema": lambda: Ema(alpha),
        "learned": Learned,
    }
    if name not in makers:
        raise ValueError(f"aggregator is one of {', '.join(makers)} or smooth, not {name!r}")
    return makers[name]()
