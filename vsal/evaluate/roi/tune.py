"""Strength, chosen on some titles and reported on others.

A coarse grid, for a fine one would follow noise: first mapping, floor and limit, then the encoder's own adaptive
quantisation at the best of them. Groups are dealt into two halves; what is chosen on one is reported on the other, and
the reverse, so the figure that stands beside a setting was never chosen by its own titles. The setting itself is chosen
on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from vsal.errors import SettingsError
from vsal.evaluate.roi.arms import PLAIN, Arm, strength
from vsal.evaluate.roi.statistics import Estimate, estimate
from vsal.evaluate.roi.table import ALONE, EVEN, WHOLE, RoiTable
from vsal.roi.qp import QpMapping

FLOORS, LIMITS = (0.05, 0.1, 0.2, 0.4), (6, 10)
LEAST_TITLES = 6
LEAST_SHARE = 0.75  # of the titles that an arm must have figures of, to be chosen among
GUARD, MILD_GUARD = 0.05, 0.01  # of rate at equal plain PSNR, and at equal VMAF for the mild settings
# x264 adds a map to its adaptive quantisation, and its tree's strength is 5 (1 - qcomp): both meet the map.
AQ: dict[str, tuple[dict[str, str], ...]] = {
    "x264": tuple(
        {"aq-strength": aq, "qcomp": qcomp} for aq, qcomp in product(("0.4", "1.0"), ("0.6", "0.8"))
    ),
    "x265": ({"aq-strength": "0.4"}, {"aq-strength": "1.0"}),
    "svtav1": ({"aq-mode": "0"}, {"aq-mode": "2"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Half:
    """What one half of the groups has chosen, and how it fares on the other."""

    groups: tuple[str, ...]
    chosen: str
    here: float  # under the density alone, on the titles that chose
    there: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """A setting that was chosen.

    Attributes:
        codec: it is for.
        arm: the choice of all titles.
        halves: the two that were crossed.
        held_out: figures of titles, each under what the other half chose, by metric.
        guard: metric that may not get worse by more than `limit`.
        limit: share of rate.
        steady: whether both halves have chosen what all did.
        dropped: arms that were not chosen among, for too many of their curves are refused.
    """

    codec: str
    arm: Arm
    halves: tuple[Half, Half]
    held_out: dict[str, Estimate]
    guard: str
    limit: float
    steady: bool
    dropped: tuple[str, ...] = ()


def mappings_round(arm: Arm) -> list[Arm]:
    """An arm under every mapping of the grid."""
    return [_under(arm, QpMapping("rd", floor=floor, limit=limit)) for floor, limit in product(FLOORS, LIMITS)]


def aq_round(best: Arm, codec: str) -> list[Arm]:
    """The best mapping under the encoder's own settings of adaptive quantisation, as they are by default among them."""
    found = [best]
    for options in AQ.get(codec, ()):
        told = ", ".join(f"{key} {value}" for key, value in options.items())
        pairs = dict(best.encoder_options) | {f"{codec}.{key}": value for key, value in options.items()}
        found.append(replace(best, name=f"{best.name}, {told}", encoder_options=tuple(sorted(pairs.items()))))
    return found


def cross_fit(
    table: RoiTable, codec: str, arms: Sequence[Arm], guard: str = WHOLE, limit: float = GUARD
) -> Tuned | None:
    """Choose among arms.

    Args:
        table: that holds them.
        codec: for which.
        arms: among which is chosen.
        guard: metric whose mean rate may rise by no more than `limit`.
        limit: share of rate.

    Returns:
        The choice; None where no arm keeps the guard, on all titles or on one of the halves.

    Raises:
        SettingsError: there are fewer than six titles with figures, or one group alone.
    """
    titles, known = _figures(table, codec, [arm.name for arm in arms], guard)
    dropped = tuple(arm.name for arm in arms if arm.name not in known)
    arms = [arm for arm in arms if arm.name in known]
    if len(titles) < LEAST_TITLES:
        raise SettingsError(
            f"--tune has {len(titles)} titles with figures under every setting, and {LEAST_TITLES} are the least: what "
            "is chosen on fewer is chance"
        )
    halves = split([group for group, _ in titles.values()])
    if not halves[1]:
        raise SettingsError("--tune needs titles of two groups at least, to choose on one half and report on another")
    chosen_by_all = _best(titles, arms, limit)
    crossed: list[Half] = []
    of_title: dict[str, str] = {}
    for mine, others in (halves, halves[::-1]):
        here, there = ({t: v for t, v in titles.items() if v[0] in side} for side in (mine, others))
        best = _best(here, arms, limit)
        if best is None:
            return None
        gains = [float(np.mean([v[1][best.name][0] for v in side.values()])) for side in (here, there)]
        crossed.append(Half(tuple(sorted(mine)), best.name, gains[0], gains[1]))
        of_title |= dict.fromkeys(there, best.name)
    if chosen_by_all is None:
        return None
    held_out = {}
    for metric in dict.fromkeys((ALONE, EVEN, WHOLE, guard, "vmaf_neg")):
        found = _estimate(table, codec, metric, of_title)
        if found is not None:
            held_out[metric] = found
    steady = {half.chosen for half in crossed} == {chosen_by_all.name}
    return Tuned(codec, chosen_by_all, (crossed[0], crossed[1]), held_out, guard, limit, steady, dropped)


def split(groups: Sequence[str]) -> tuple[set[str], set[str]]:
    """Groups dealt into two halves of about as many titles, the largest first; the same each time.

    Args:
        groups: of each title.
    """
    counts = {group: groups.count(group) for group in groups}
    halves: tuple[set[str], set[str]] = (set(), set())
    sizes = [0, 0]
    for group in sorted(counts, key=lambda group: (-counts[group], group)):
        smaller = int(sizes[1] < sizes[0])
        halves[smaller].add(group)
        sizes[smaller] += counts[group]
    return halves


def told_of(tuned: Tuned) -> str:
    """The choice in a paragraph."""
    words = [f"{tuned.codec}: {tuned.arm.name}, chosen on all titles."]
    for half in tuned.halves:
        words.append(
            f"{half.chosen} was best on {', '.join(half.groups)} ({half.here:+.1%}), elsewhere {half.there:+.1%}."
        )
    for metric, found in tuned.held_out.items():
        words.append(f"Held out, {metric}: {found.words}.")
    if tuned.dropped:
        words.append(f"Not chosen among, for their curves are refused: {'; '.join(tuned.dropped)}.")
    if not tuned.steady:
        words.append("The halves do not agree with all titles on one setting: take the figures as those of the search.")
    return " ".join(words)


def _under(arm: Arm, mapping: QpMapping) -> Arm:
    return replace(arm, name=f"{arm.name}, {strength(mapping)}", mapping=mapping, gain=None, spread=None)


Figures = dict[str, tuple[str, dict[str, tuple[float, float]]]]  # title -> group, arm -> (gain, guard)


def _figures(table: RoiTable, codec: str, names: Sequence[str], guard: str) -> tuple[Figures, list[str]]:
    """Of titles that have both figures under every arm that is left: all are chosen among by the same titles.

    An arm whose curves are refused on more than a quarter of the titles is left out, lest it take the titles with it.
    """
    found: dict[str, tuple[str, dict[str, dict[str, float]]]] = {}
    for rate in table.rates:
        akima = rate.rate.akima
        if rate.codec == codec and rate.against == PLAIN and rate.metric in (ALONE, guard):
            of_title = found.setdefault(rate.title_id, (rate.group, {}))[1]
            if akima is not None:
                of_title.setdefault(rate.arm, {})[rate.metric] = akima
    both = {ALONE, guard}
    have = {name: sum(both <= set(arms.get(name, ())) for _, arms in found.values()) for name in names}
    left = [name for name in names if have[name] >= LEAST_SHARE * len(found)]
    whole = {}
    for title, (group, arms) in found.items():
        if left and all(both <= set(arms.get(name, ())) for name in left):
            whole[title] = group, {name: (arms[name][ALONE], arms[name][guard]) for name in left}
    return whole, left


def _best(titles: Figures, arms: Sequence[Arm], limit: float) -> Arm | None:
    """The arm that gains most of those that keep the guard on the mean."""
    if not titles:
        return None
    means = {arm.name: tuple(np.mean([of[arm.name] for _, of in titles.values()], axis=0).tolist()) for arm in arms}
    kept = [arm for arm in arms if means[arm.name][1] <= limit]
    return min(kept, key=lambda arm: means[arm.name][0]) if kept else None


def _estimate(table: RoiTable, codec: str, metric: str, of_title: dict[str, str]) -> Estimate | None:
    values = [
        (rate.rate.akima, rate.group)
        for rate in table.rates
        if (rate.codec, rate.against, rate.metric) == (codec, PLAIN, metric)
        and of_title.get(rate.title_id) == rate.arm
        and rate.rate.akima is not None
    ]
    return estimate([value for value, _ in values], [group for _, group in values])
