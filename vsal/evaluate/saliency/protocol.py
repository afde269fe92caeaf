"""Maps against the gaze of many observers on clips: the protocol that models and aggregators are chosen by.

Maps are those that prepare writes, block grids in levels, at prepare's settings or others (`prepared`). They are judged
12 times a second on the clip's own aspect. A look is in force at a moment if it lasts within 0.1 s of it; its density
is a Gaussian of a twentieth of the picture's width. The odd observers score, for every row; the even ones' density is
the row `observers`, the most that a map can be expected to reach. Figures are means over moments, then over clips;
intervals and tests draw groups of clips that are like each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency.arms import ELSEWHERE, OBSERVERS, PRIOR, Arm, Scores, score_arm, score_density
from vsal.evaluate.saliency.clip_scores import Judged, by_blocks
from vsal.evaluate.saliency.groups import group_means, interval, sign_flip
from vsal.evaluate.saliency.kept import Kept
from vsal.evaluate.saliency.observed import (
    ACCOUNT_S,
    Counts,
    Floats,
    judged_size,
    looks_at,
    observers,
)
from vsal.evaluate.saliency.prepared import Scanned, Session, moments_of, scan
from vsal.evaluate.saliency.sets.gaze import GazeClip
from vsal.roi.qp import QpMapping
from vsal.saliency import ModelInput
from vsal.saliency.prior import FIXED_PRIOR
from vsal.settings import PrepareSettings
from vsal.video.clock import SampleClock

JUDGE_RATE_HZ = 12.0
ANY_INPUT = ModelInput(pixels=36_864, multiple=16, fixed=None, motion=False)  # to read a clip's times without a model

OnClip = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """An arm or a control.

    Attributes:
        model: its name.
        aggregator: None of controls that need none.
        by_clip: figures of each clip, by its name.
    """

    model: str
    aggregator: str | None
    by_clip: dict[str, Scores]

    @property
    def name(self) -> str:
        """Model and aggregator."""
        return " ".join(filter(None, (self.model, self.aggregator)))

    def of(self, figure: str) -> npt.NDArray[np.float64]:
        """A figure of every clip: float64 [clips]."""
        return np.array([scores[figure] for scores in self.by_clip.values()])


@dataclass(frozen=True, slots=True)
class Difference:
    """NSS of a row less that of another, over the clips."""

    mean: float
    low: float
    high: float
    p: float  # sign-flip by groups, two-sided


@dataclass(slots=True)
class GazeTable:
    """Rows over the clips of a set; controls come first."""

    dataset: str
    groups: dict[str, str]  # of each clip
    moments: int
    rows: list[Row] = field(default_factory=list)

    def row(self, model: str) -> Row | None:
        """The first row of a model."""
        return next((row for row in self.rows if row.model == model), None)

    def mean(self, row: Row, figure: str) -> float:
        """Mean of a figure over the clips."""
        values = row.of(figure)
        return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan

    def interval(self, row: Row, figure: str = "nss") -> tuple[float, float]:
        """95 % interval of that mean, groups drawn."""
        return interval(*self._of_clips_judged(row.of(figure)))

    def share(self, row: Row) -> float:
        """NSS as a share of the observers'."""
        seen = self.row(OBSERVERS)
        assert seen is not None
        return self.mean(row, "nss") / self.mean(seen, "nss")

    def against(self, row: Row, other: Row) -> Difference:
        """How far a row is ahead of another."""
        difference, groups = self._of_clips_judged(row.of("nss") - other.of("nss"))
        return Difference(float(difference.mean()), *interval(difference, groups), sign_flip(difference, groups))

    def groups_below(self, row: Row, other: Row) -> list[str]:
        """Groups in which a row has less NSS than another."""
        means = group_means(*self._of_clips_judged(row.of("nss") - other.of("nss")))
        return [group for group, difference in means.items() if difference < 0]

    def _of_clips_judged(self, values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], list[str]]:
        """The values of clips at which somebody looked, and their groups."""
        known = ~np.isnan(values)
        return values[known], [group for group, is_known in zip(self.groups.values(), known, strict=True) if is_known]


def judge_gaze(
    dataset: str,
    clips: Sequence[GazeClip],
    arms: Sequence[Arm],
    settings: PrepareSettings,
    kept: Kept,
    *,
    judge_rate_hz: float = JUDGE_RATE_HZ,
    on_clip: OnClip | None = None,
) -> GazeTable:
    """The table of arms over a set of gaze clips; observers, fixed prior and another clip's looks are always in it.

    Args:
        dataset: its name.
        clips: see `open_gaze_clips`.
        arms: models under aggregators.
        settings: sample rate, map interval, mapping: as of prepare. The arm names its aggregator.
        kept: where scans, masks and scores are kept.
        judge_rate_hz: moments a second.
        on_clip: called with the number of clips done and of all.
    """
    sessions: dict[str, Session] = {}
    for arm in arms:
        if arm.identity not in sessions:
            sessions[arm.identity] = arm.open()
    table = GazeTable(dataset, {clip.name: clip.group for clip in clips}, 0)
    rows: dict[tuple[str, str | None], dict[str, Scores]] = {}
    for number, clip in enumerate(clips):
        wants = next(iter(sessions.values())).input if sessions else ANY_INPUT
        scanned = scan(clip.path, wants, settings, kept)
        judged, controls = _judged(clip, clips, scanned, settings, judge_rate_hz)
        table.moments += int(judged.looks.counts.any(axis=(1, 2)).sum())
        for name, scores in controls.items():
            rows.setdefault((name, None), {})[clip.name] = scores
        for arm in arms:
            session = sessions[arm.identity]
            seen = scan(clip.path, session.input, settings, kept)
            scores = score_arm(arm, session, seen, judged, settings, kept)
            rows.setdefault((arm.model, arm.aggregator), {})[clip.name] = scores
        if on_clip is not None:
            on_clip(number + 1, len(clips))
    table.rows = [Row(model, aggregator, by_clip) for (model, aggregator), by_clip in rows.items()]
    return table


def _judged(
    clip: GazeClip, clips: Sequence[GazeClip], scanned: Scanned, settings: PrepareSettings, rate_hz: float
) -> tuple[Judged, dict[str, Scores]]:
    """What a clip's maps are held against, and the figures of the controls on it."""
    info, frames = scanned.info, moments_of(scanned, rate_hz)
    moments_s = SampleClock(rate_hz, info.time_base, info.zero_pts).seconds_of(scanned.pts[frames])
    size, coded = judged_size(info.display_aspect), (info.width, info.height)
    odd, even = observers(clip.fixations, odd=True), observers(clip.fixations, odd=False)
    account = looks_at(clip.fixations, odd, moments_s, size, ACCOUNT_S).density
    elsewhere = _elsewhere(clip, clips, size)
    judged = Judged(
        frames,
        looks_at(clip.fixations, odd, moments_s, size),
        by_blocks(account, coded, info.orientation),
        elsewhere,
        info.orientation,
    )
    mapping = QpMapping(settings.qp_mapping, settings.qp_floor, settings.qp_limit, settings.qp_offset)
    n, (width, height) = len(frames), size
    prior = np.broadcast_to(FIXED_PRIOR.density(height, width), (n, height, width))
    other = np.broadcast_to(another_clips_looks(clip, clips, size), (n, height, width))
    return judged, {
        OBSERVERS: score_density(
            looks_at(clip.fixations, even, moments_s, size).density,
            looks_at(clip.fixations, even, moments_s, size, ACCOUNT_S).density,
            judged,
            scanned,
            mapping,
        ),
        PRIOR: score_density(prior, prior, judged, scanned, mapping),
        ELSEWHERE: score_density(other, other, judged, scanned, mapping),
    }


def _elsewhere(clip: GazeClip, clips: Sequence[GazeClip], size: tuple[int, int]) -> Counts:
    """Looks at the clips of other groups, at any time."""
    counts = np.zeros(size[::-1], np.int32)
    for other in clips:
        if other.group != clip.group:
            cells = np.floor(other.fixations.at * np.array(size)).astype(np.int64)
            inside = ((cells >= 0) & (cells < np.array(size))).all(axis=1)
            np.add.at(counts, (cells[inside, 1], cells[inside, 0]), 1)
    return counts


def another_clips_looks(clip: GazeClip, clips: Sequence[GazeClip], size: tuple[int, int]) -> Floats:
    """The density of all looks at the next clip of another group, at any time; nothing where there is no other."""
    at = [other.name for other in clips].index(clip.name)
    following = [*clips[at + 1 :], *clips[:at]]
    other = next((c for c in following if c.group != clip.group), None)
    if other is None:
        return np.zeros(size[::-1], np.float32)
    always = np.zeros(1)
    everyone = np.ones(len(other.fixations.observer), np.bool_)
    density: Floats = looks_at(other.fixations, everyone, always, size, within_s=math.inf).density[0]
    return density


def document_of(table: GazeTable, versus: Sequence[str] = (PRIOR,)) -> dict[str, Any]:
    """The table as `--json` prints it.

    Args:
        table: of `judge_gaze`.
        versus: models of the rows that every row is held against.
    """
    others = [row for name in versus if (row := table.row(name)) is not None]
    prior = table.row(PRIOR)
    assert prior is not None
    rows = []
    for row in table.rows:
        low, high = table.interval(row)
        figures = {name: _known(table.mean(row, name)) for name in next(iter(row.by_clip.values()))}
        ahead = {
            other.model: {
                "nss": _known(d.mean),
                "low": _known(d.low),
                "high": _known(d.high),
                "p": _known(d.p),
            }
            for other in others
            if other is not row
            for d in [table.against(row, other)]
        }
        rows.append(
            {
                "model": row.model,
                "aggregator": row.aggregator,
                **figures,
                "nss_low": _known(low),
                "nss_high": _known(high),
                "nss_share_of_observers": _known(table.share(row)),
                "ahead_of": ahead,
                "groups_below_prior": table.groups_below(row, prior),
            }
        )
    by_clip = {
        clip: {
            "group": group,
            "rows": {row.name: {k: _known(v) for k, v in row.by_clip[clip].items()} for row in table.rows},
        }
        for clip, group in table.groups.items()
    }
    return {
        "dataset": table.dataset,
        "truth": "gaze",
        "items": len(table.groups),
        "moments_judged": table.moments,
        "prior": {"source": FIXED_PRIOR.source, "sigma": FIXED_PRIOR.sigma, "uniform": FIXED_PRIOR.uniform},
        "rows": rows,
        "by_clip": by_clip,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
