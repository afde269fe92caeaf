"""Models and aggregators held against a data set: what `vsal evaluate saliency` prints."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import cv2
import numpy as np

from vsal.assembly.masks import GATE_S, gate_after
from vsal.evaluate.saliency import metrics
from vsal.evaluate.saliency.items import Dataset, Floats, Item
from vsal.evaluate.saliency.moments import Key, Moments, Seen, mean_truth, read_moments
from vsal.roi.grid import block_means
from vsal.saliency import Masks, SaliencySession
from vsal.saliency.prior import FIXED_PRIOR
from vsal.settings import PrepareSettings
from vsal.temporal import Fold, Smooth, make_aggregator
from vsal.temporal.smooth import LogSum

UNSEEN = 128 / 255  # a map of no sample, as prepare writes it

OnItem = Callable[[int, int], None]
_PRIOR = FIXED_PRIOR.density(72, 128) / FIXED_PRIOR.density(72, 128).max()  # in 0..1, as masks are


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        model: its name; of a baseline "fixed prior" or "shuffled".
        aggregator: None for baselines and for photographs, of which each is one sample.
        figures: by name; the mean over items of the mean over their frames. None where there is nothing to measure.
    """

    model: str
    aggregator: str | None
    figures: dict[str, float | None]


@dataclass(slots=True)
class Evaluation:
    """A table over a data set."""

    dataset: str
    part: str  # of the set, in words
    truth: str
    items: int
    frames: int  # judged
    columns: list[str]
    rows: list[Row] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)  # model and aggregator that do not go together
    by_item: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        rows = [{"model": row.model, "aggregator": row.aggregator, **row.figures} for row in self.rows]
        return {
            "dataset": self.dataset,
            "part": self.part,
            "truth": self.truth,
            "items": self.items,
            "frames_judged": self.frames,
            "rows": rows,
            "left_out": [{"model": model, "aggregator": aggregator} for model, aggregator in self.left_out],
            "by_item": self.by_item,
        }


def evaluate(
    dataset: Dataset,
    models: Sequence[tuple[str, SaliencySession]],
    aggregators: Sequence[str],
    settings: PrepareSettings,
    *,
    judge_rate_hz: float = 12.0,
    limit: int | None = None,
    on_item: OnItem | None = None,
) -> Evaluation:
    """The table of models x aggregators over a data set, with the fixed prior and a shuffled baseline.

    Maps are made as `prepare` makes them: samples on the clock, one map a span, the aggregator and models with a memory
    restarted at each shot that the data set knows. Every judged frame is held against the map that is in force at it.
    The aggregator `learned` goes with models that give a gate; with others it is left out, and `left_out` says so.

    Args:
        dataset: see `open_dataset`.
        models: names and sessions.
        aggregators: names, as `make_aggregator` takes them.
        settings: sample rate, map interval, and what the moving averages weigh.
        judge_rate_hz: frames a second that are judged.
        limit: of items, evenly spread over the data set; all if not given.
        on_item: called with the number of items done and of all.
    """
    items = _spread(dataset.items, limit)
    clips = any(item.fps is not None for item in items)
    columns = ["iou", "cc"] if dataset.truth == "mask" else ["cc", "nss", "auc_judd", "sim", "kl"]
    columns += ["flicker"] if clips else []
    figures: dict[tuple[str, str | None], list[dict[str, float]]] = defaultdict(list)
    result = Evaluation(dataset.name, dataset.part, dataset.truth, len(items), 0, columns)
    if clips:
        result.left_out = [(n, "learned") for n, s in models if "learned" in aggregators and not s.input.gives_gate]
    for number, item in enumerate(items):
        moments = read_moments(item, dataset.truth, [s.input for _, s in models], settings, judge_rate_hz)
        if on_item is not None:
            on_item(number + 1, len(items))
        if not moments.judged_keys:
            continue
        result.frames += len(moments.judged_keys)
        other = items[(number + 1) % len(items)]
        shuffled = mean_truth(other, dataset.truth, judge_rate_hz) if other is not item else None
        scored = dict(_scores(moments, models, aggregators if item.fps is not None else [None], settings))
        scored["fixed prior", None] = _judge(moments, lambda key: _PRIOR)
        if shuffled is not None:
            scored["shuffled", None] = _judge(moments, lambda key, other=shuffled: other)  # type: ignore[misc]
        for name, values in scored.items():
            figures[name].append(values)
        result.by_item[item.name] = {
            " ".join(filter(None, name)): {c: _known(values.get(c, math.nan)) for c in columns}
            for name, values in scored.items()
        }
    for (model, aggregator), several in figures.items():
        mean = {c: _known(_mean([values.get(c, math.nan) for values in several])) for c in columns}
        result.rows.append(Row(model, aggregator, mean))
    result.rows.sort(key=lambda row: row.model in ("fixed prior", "shuffled"))
    return result


def aggregated(masks: Masks, moments: Moments, aggregator: str, settings: PrepareSettings) -> dict[Key, Floats]:
    """The mask of each map, as `vsal.assembly` makes it.

    Args:
        masks: of the m samples in order, with their gates where the aggregator is learned.
        moments: which map each sample goes into, and when.
        aggregator: its name.
        settings: whether there is one map a shot, and what the moving averages weigh.
    """
    rule = make_aggregator(aggregator, settings.alpha, settings.smooth_s)
    chosen = _chosen(moments.sample_keys, settings)
    if isinstance(rule, Smooth):
        return _smoothed(rule, masks, moments, chosen, 1.0 / settings.sample_rate)
    maps: dict[Key, Floats] = {}
    fold: Fold[Any] = Fold(rule)
    shot, last_s = None, None
    for key, samples in chosen.items():
        if key[0] != shot or not rule.carries:
            fold.restart()
        last_s = last_s if key[0] == shot else None
        shot = key[0]
        for i in samples:
            apart_s = GATE_S if last_s is None else moments.sample_s[i] - last_s
            last_s = moments.sample_s[i]
            gate = None if masks.gate is None else gate_after(masks.gate[i], apart_s)
            fold.add(masks.saliency[i], moments.sample_motion[i], gate)
        maps[key] = fold.mask()
    return maps


def _chosen(keys: Sequence[Key], settings: PrepareSettings) -> dict[Key, list[int]]:
    """The samples that make each map: all of its own, or so many of a shot, evenly spaced."""
    chosen: dict[Key, list[int]] = {}
    for key, group in groupby(range(len(keys)), key=lambda i: keys[i]):
        samples = list(group)
        if settings.samples_per_span is None:
            count = min(settings.samples_per_map, len(samples))
            samples = [samples[(2 * i + 1) * len(samples) // (2 * count)] for i in range(count)]
        chosen[key] = samples
    return chosen


def _smoothed(
    rule: Smooth, masks: Masks, moments: Moments, chosen: dict[Key, list[int]], period_s: float
) -> dict[Key, Floats]:
    lifted: dict[int, list[tuple[float, LogSum]]] = defaultdict(list)  # of each shot
    for (shot, _), samples in chosen.items():
        lifted[shot] += [(moments.sample_s[i], rule.lift(masks.saliency[i], 0.0)) for i in samples]
    return {key: rule.around(lifted[key[0]], *moments.map_s[key], period_s) for key in chosen}


def _scores(
    moments: Moments,
    models: Sequence[tuple[str, SaliencySession]],
    aggregators: Sequence[str | None],
    settings: PrepareSettings,
) -> Iterator[tuple[tuple[str, str | None], dict[str, float]]]:
    for (name, session), seen in zip(models, moments.seen, strict=True):
        masks = _run(session, seen, [shot for shot, _ in moments.sample_keys], 1.0 / settings.sample_rate)
        for aggregator in aggregators:
            if aggregator == "learned" and not session.input.gives_gate:
                continue
            maps = aggregated(masks, moments, aggregator or "mean", settings)
            yield (name, aggregator), _judge(moments, lambda key, maps=maps: _nearest(maps, key))  # type: ignore[misc]


def _run(session: SaliencySession, seen: Seen, shots: list[int], period_s: float) -> Masks:
    """Masks of an item's samples; a model that remembers begins anew with each shot, as in `prepare`."""
    if not session.input.ordered:
        return session.run(seen.frames, seen.motion)
    parts, first = [], 0
    for _, group in groupby(shots):
        end = first + len(list(group))
        motion = None if seen.motion is None else seen.motion[first:end]
        parts.append(session.run_sequence(seen.frames[first:end], motion, period_s).saliency)
        first = end
    return Masks(np.concatenate(parts), None)


def _nearest(maps: dict[Key, Floats], key: Key) -> Floats:
    """The map of a piece, or of the nearest of its shot that has samples."""
    same = [other for other in maps if other[0] == key[0]]
    if not same:
        return np.full((1, 1), UNSEEN, np.float32)
    return maps[min(same, key=lambda other: (abs(other[1] - key[1]), other[1]))]


def _judge(moments: Moments, map_of: Callable[[Key], Floats]) -> dict[str, float]:
    """Figures of one item: means over its judged frames."""
    keys = moments.judged_keys
    if not keys:
        return {}
    maps = {key: map_of(key) for key in dict.fromkeys(keys)}
    blocks = {key: block_means(mask, *moments.size) for key, mask in maps.items()}
    found = {"flicker": _flicker(moments, blocks)}
    if moments.density is None or moments.fixations is None:
        grids = np.stack([blocks[key] for key in keys])
        found["iou"] = _mean(metrics.block_iou(grids, moments.grids))
        found["cc"] = _mean(metrics.cc(grids, moments.grids))
        return found
    size = moments.density.shape[:0:-1]
    large = {key: cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) for key, mask in maps.items()}
    shown: Floats = np.stack([np.asarray(large[key], np.float32) for key in keys]).clip(0.0)
    found["cc"] = _mean(metrics.cc(shown, moments.density))
    found["nss"] = _mean(metrics.nss(shown, moments.fixations))
    found["auc_judd"] = _mean(metrics.auc_judd(shown, moments.fixations))
    found["sim"] = _mean(metrics.sim(shown, moments.density))
    found["kl"] = _mean(metrics.kl(shown, moments.density))
    return found


def _flicker(moments: Moments, blocks: dict[Key, Floats]) -> float:
    """From each map of a shot to the next, where the truth at their first judged frames is the same."""
    first = {key: i for i, key in reversed(list(enumerate(moments.judged_keys)))}
    changes: list[float] = []
    for _, shot in groupby(blocks, key=lambda key: key[0]):
        keys = list(shot)
        grids = np.stack([blocks[key] for key in keys])
        truth = np.stack([np.broadcast_to(moments.grids[first[key]], grids.shape[1:]) for key in keys])
        changes += metrics.flicker(grids, truth).tolist()
    return _mean(changes)


def _spread(items: list[Item], limit: int | None) -> list[Item]:
    if limit is None or limit >= len(items):
        return items
    return [items[(2 * i + 1) * len(items) // (2 * limit)] for i in range(limit)]


def _mean(values: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but nan
        return float(np.nanmean(values)) if len(values) else math.nan


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
