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

__all__ = ["Aggregator", "AnyAggregator", "Ema", "Fold", "Learned", "Mask", "make_aggregator"]

AnyAggregator = Mean | MotionMean | Maximum | Ema | Learned


def make_aggregator(name: str, alpha: float) -> AnyAggregator:
    """The aggregator of that name.

    Args:
        name: mean, ema, max, motion or learned.
        alpha: weight of a new mask; ema only.

    Raises:
        ValueError: there is none of that name.
    """
    makers: dict[str, Callable[[], AnyAggregator]] = {
        "mean": Mean,
        "motion": MotionMean,
        "max": Maximum,
        "ema": lambda: Ema(alpha),
        "learned": Learned,
    }
    if name not in makers:
        raise ValueError(f"aggregator is one of {', '.join(makers)}, not {name!r}")
    return makers[name]()
