"""From the rows of all titles to BD-rates of each, and to what they say together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vsal.evaluate.roi.arms import ELSEWHERE, PLAIN, PRIOR, TRUTH, UNIFORM, Arm
from vsal.evaluate.roi.bdrate import BdRate, bd_rate
from vsal.evaluate.roi.ladder import Row
from vsal.evaluate.roi.statistics import Estimate, estimate, holm

ALONE, EVEN, WHOLE = "psnr_alone", "psnr_even", "psnr"
METRICS = (
    ALONE, EVEN, WHOLE, "ssim_alone", "ssim_even", "ssim", "psnr_worst", "vmaf", "vmaf_harmonic", "vmaf_5", "vmaf_neg",
    "vmaf_neg_harmonic", "vmaf_neg_5", "vmaf_alone", "vmaf_even", "xpsnr",
)  # fmt: skip
LATER = "later_"  # the same without the first second
LEAST_MAPS = 6  # for a rank correlation


@dataclass(frozen=True, slots=True)
class TitleRate:
    """A BD-rate of one title, or why there is none."""

    title_id: str
    group: str
    codec: str
    arm: str
    against: str
    metric: str
    rate: BdRate

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return {**{k: getattr(self, k) for k in ("title_id", "group", "codec", "arm", "against", "metric")},
                **asdict(self.rate)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summed:
    """An arm against another over all titles, by one metric; `estimate` is None where no title has a figure."""

    codec: str
    arm: str
    against: str
    metric: str
    estimate: Estimate | None
    refused: tuple[str, ...]  # "title: reason"
    warned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoiTable:
    """All figures of an evaluation.

    Attributes:
        account: its name and whose it is.
        arms: with controls.
        rows: one an encode.
        rates: of each title.
        sums: over titles.
    """

    account: tuple[str, str]
    arms: tuple[Arm, ...]
    rows: list[Row]
    rates: list[TitleRate]
    sums: list[Summed]

    @property
    def codecs(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(row["codec"] for row in self.rows))

    @property
    def candidates(self) -> list[Arm]:
        """Arms that are no controls."""
        return [arm for arm in self.arms if not arm.control]

    def of(self, codec: str, arm: str, metric: str = ALONE, against: str = PLAIN) -> Estimate | None:
        """An arm's figure over all titles."""
        found = self.summed(codec, arm, metric, against)
        return None if found is None else found.estimate

    def summed(self, codec: str, arm: str, metric: str = ALONE, against: str = PLAIN) -> Summed | None:
        """The same with what was refused."""
        asked = (codec, arm, metric, against)
        return next((s for s in self.sums if (s.codec, s.arm, s.metric, s.against) == asked), None)

    def best_prior(self, codec: str, metric: str = ALONE) -> str | None:
        """The fixed prior at the strength at which it gains most: chosen on these very titles, in its favour."""
        found = {a.name: self.of(codec, a.name, metric) for a in self.arms if a.control and a.kind == "prior"}
        known = {name: e.mean for name, e in found.items() if e is not None and "@" not in name}
        return min(known, key=lambda name: known[name]) if known else None

    def mean_of(self, codec: str, arm: str, figure: str) -> float | None:
        """Mean of a column over the encodes of an arm."""
        values = [row[figure] for row in self.rows if row["codec"] == codec and row["arm"] == arm and row.get(figure)
                  is not None]  # fmt: skip
        return float(np.mean(values)) if values else None

    def foretold(self, codec: str) -> dict[str, float | int | None]:
        """Spearman's rank correlation of the rates foretold without encoding with those measured, over maps."""
        names = [arm.name for arm in self.arms if arm.kind not in ("plain", "uniform")]
        found: dict[str, float | int | None] = {"maps": len(names)}
        for column, metric in (("foretold_rate", ALONE), ("foretold_rate_even", EVEN)):
            pairs = [
                (told, measured.mean)
                for name in names
                if (told := self.mean_of(codec, name, column)) is not None
                and (measured := self.of(codec, name, metric)) is not None
            ]
            found[metric] = _spearman(pairs) if len(pairs) >= LEAST_MAPS else None
        return found


def make_table(account: tuple[str, str], arms: Sequence[Arm], rows: Sequence[Row]) -> RoiTable:
    """Every BD-rate of every title: each arm against plain, and against each control under the main metrics.

    Args:
        account: its name and whose it is.
        arms: with controls.
        rows: of all titles, see `vsal.evaluate.roi.ladder`.
    """
    curves: dict[tuple[str, str, str], list[Row]] = {}
    groups: dict[str, str] = {}
    for row in rows:
        curves.setdefault((row["title_id"], row["codec"], row["arm"]), []).append(row)
        groups[row["title_id"]] = row["group"]
    controls = [arm.name for arm in arms if arm.control]
    rates = []
    for (title_id, codec, arm), points in curves.items():
        for against in controls:
            reference = curves.get((title_id, codec, against))
            if against == arm or reference is None:
                continue
            for metric in _metrics(points, against == PLAIN):
                rate = bd_rate(_curve(reference, metric), _curve(points, metric))
                rates.append(TitleRate(title_id, groups[title_id], codec, arm, against, metric, rate))
    table = RoiTable(account, tuple(arms), list(rows), rates, _summed(rates))
    return replace(table, sums=_with_holm(table))


def is_candidate(arms: Iterable[Arm], name: str) -> bool:
    """Whether an arm is considered for a default."""
    return any(arm.name == name and not arm.control for arm in arms)


def is_control(name: str, kind: str) -> bool:
    """Whether a name is that of a control of a kind, at whatever strength."""
    return name.startswith({"prior": PRIOR, "truth": TRUTH, "elsewhere": ELSEWHERE, "uniform": UNIFORM}[kind])


def _metrics(points: Sequence[Row], against_plain: bool) -> list[str]:
    """Those that the points have; against controls the two columns, plain PSNR, and the first without the beginning."""
    known = [metric for metric in METRICS if all(point.get(metric) is not None for point in points)]
    later = [LATER + metric for metric in known if all(point.get(LATER + metric) is not None for point in points)]
    if against_plain:
        return [*known, *(name for name in later if name.removeprefix(LATER) in (ALONE, EVEN, WHOLE))]
    return [metric for metric in known if metric in (ALONE, EVEN, WHOLE, "vmaf_alone")]


def _curve(points: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    size = "later_bytes" if metric.startswith(LATER) else "bytes"
    scale: Callable[[float], float] = _as_db if "ssim" in metric else float
    return [(float(point[size]), scale(point[metric])) for point in points]


def _as_db(ssim: float) -> float:
    """-10 log10(1 - SSIM): near 1 SSIM is too even to be interpolated."""
    return float(-10.0 * np.log10(max(1.0 - ssim, 1e-12)))


def _summed(rates: Sequence[TitleRate]) -> list[Summed]:
    parts: dict[tuple[str, str, str, str], list[TitleRate]] = {}
    for rate in rates:
        parts.setdefault((rate.codec, rate.arm, rate.against, rate.metric), []).append(rate)
    sums = []
    for (codec, arm, against, metric), of in parts.items():
        known = [(r.rate.akima, r.group) for r in of if r.rate.akima is not None]
        found = estimate([value for value, _ in known], [group for _, group in known])
        refused = tuple(f"{r.title_id}: {r.rate.refused}" for r in of if r.rate.refused)
        warned = tuple(f"{r.title_id}: {r.rate.warning}" for r in of if r.rate.warning)
        sums.append(Summed(codec, arm, against, metric, found, refused, warned))
    return sums


def _with_holm(table: RoiTable) -> list[Summed]:
    """Sums with p held against all candidates, separately for each codec, metric and what they are compared with."""
    families: dict[tuple[str, str, str], dict[str, float]] = {}
    for s in table.sums:
        if s.estimate is not None and is_candidate(table.arms, s.arm):
            families.setdefault((s.codec, s.metric, s.against), {})[s.arm] = s.estimate.p
    held = {family: holm(p) for family, p in families.items()}
    found = []
    for s in table.sums:
        p_holm = held.get((s.codec, s.metric, s.against), {}).get(s.arm)
        found.append(s if s.estimate is None else replace(s, estimate=replace(s.estimate, p_holm=p_holm)))
    return found


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    from scipy.stats import spearmanr

    found = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    return None if np.isnan(found) else found
