"""Evaluating as a kind of work: a title's maps are made, then its plain encodes, then those under maps, then its table.

A steered encode waits for its plain twin, whose errors say what its maps changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vsal.distributed.evaluate.tasks import clip_task, maps_task, row_task, table_task
from vsal.distributed.failures import Failure
from vsal.distributed.outcomes import Outcome
from vsal.distributed.work import Item, Step
from vsal.evaluate.roi.arms import Arm
from vsal.evaluate.roi.clip import Clip
from vsal.evaluate.roi.ladder import Judged, Ladder, Rates, Row, arms_of, sources_needed


@dataclass(slots=True)
class _Open:
    """A title under way: maps that are still made, its frames, its rows."""

    maps_left: int = 0
    clip: Clip | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class _Encode:
    """What a step encodes."""

    rates: Rates
    crf: float
    arm: Arm


class EvaluateWork:
    """As `vsal.distributed.work.Work` says.

    Args:
        ladder: what is done with every title.
        shared: the same as a reference in the object store.
        titles: what is evaluated.
        items: the same for the loop, by title id.
    """

    kind = "evaluate"

    def __init__(self, ladder: Ladder, shared: Any, titles: Sequence[Judged], items: Sequence[Item]) -> None:
        self._ladder, self._shared, self._items = ladder, shared, items
        self._titles = {title.title_id: title for title in titles}
        self._open: dict[str, _Open] = {}

    def actors(self) -> Mapping[str, Any]:
        """None: encoders live as long as their step."""
        return {}

    def todo(self) -> Iterator[Item]:
        """All titles: what is kept of their encodes is found by each."""
        return iter(self._items)

    def first(self, item: Item) -> Sequence[Step]:
        """The maps of its arms; the frames at once where none are needed."""
        title = self._titles[item.title_id]
        needed = sources_needed(self._ladder, title)
        self._open[item.title_id] = _Open(maps_left=len(needed))
        if not needed:
            return [self._clip(title)]
        steps = []
        for source, uri, title_id in needed:
            asked = (source, uri, title_id, self._ladder.saliency_out(source))
            start = _starter(maps_task, asked, f"maps_task {title_id}")
            steps.append(Step(f"maps {source.key} {title_id}", start, what=f"making maps by {source.model}"))
        return steps

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        """Frames follow from maps, plain encodes from frames, steered ones each from its twin, the table from all."""
        title, now = self._titles[item.title_id], self._open[item.title_id]
        if step.name.startswith("maps "):
            now.maps_left -= 1
            return [] if now.maps_left else [self._clip(title)]
        if isinstance(value, Clip):
            now.clip = value
            arms = arms_of(self._ladder, title)
            now.wanted = len(arms) * sum(len(rates.crfs) for rates in self._ladder.rates)
            plain = [arm for arm in arms if arm.kind == "plain"]
            every = [_Encode(rates, crf, arm) for rates in self._ladder.rates for crf in rates.crfs for arm in plain]
            return [self._encode(title, value, encode) for encode in every]
        if step.name == "table":
            del self._open[item.title_id]
            return _outcome(item, now, value)
        now.rows[step.name] = value
        if len(now.rows) == now.wanted:
            return [self._table(item.title_id, now)]
        made: _Encode = step.content
        if made.arm.name != self._ladder.arms[0].name:
            return []
        steered = [arm for arm in arms_of(self._ladder, title) if arm.kind != "plain"]
        assert now.clip is not None
        return [self._encode(title, now.clip, _Encode(made.rates, made.crf, arm)) for arm in steered]

    def failed(self, item: Item, step: Step, failure: Failure) -> Outcome:
        """The title has failed; its encodes that were made are kept for the next run."""
        self._open.pop(item.title_id, None)
        detail = f"{step.what or step.name}: {failure.detail}"
        return Outcome(item.title_id, item.uri, "failed", failure.reason, detail, trace=failure.trace)

    def _clip(self, title: Judged) -> Step:
        start = _starter(clip_task, (self._shared, title), f"clip_task {title.title_id}")
        return Step("frames", start, what="finding its frames")

    def _encode(self, title: Judged, clip: Clip, encode: _Encode) -> Step:
        name = f"{encode.rates.codec} {encode.crf:g} {encode.arm.name}"
        asked = (self._shared, title, clip, encode.rates, encode.crf, encode.arm)
        what = f"{encode.rates.codec} at {encode.crf:g} under {encode.arm.name}"
        return Step(name, _starter(row_task, asked, f"row_task {name}"), what=what, content=encode)

    def _table(self, title_id: str, now: _Open) -> Step:
        order = {arm.name: i for i, arm in enumerate(self._ladder.arms)}
        codecs = {rates.codec: i for i, rates in enumerate(self._ladder.rates)}
        rows = sorted(now.rows.values(), key=lambda row: (codecs[row["codec"]], order[row["arm"]], row["crf"]))
        start = _starter(table_task, (self._shared, title_id, rows), f"table_task {title_id}")
        return Step("table", start, what="writing its table")


def _starter(task: Any, asked: tuple[Any, ...], name: str) -> Any:
    named = task.options(name=name)
    return lambda ticket: named.remote(ticket, *asked)


def _outcome(item: Item, now: _Open, uri: str) -> Outcome:
    rows, clip = list(now.rows.values()), now.clip
    assert clip is not None
    return Outcome(
        item.title_id,
        item.uri,
        "done",
        path=uri.rpartition("/titles/")[2],
        frames=sum(row["frames"] for row in rows),
        duration_s=clip.duration_s,
        figures={
            "encodes": len(rows),
            "encode_s": round(sum(row["encode_s"] for row in rows), 1),
            "measure_s": round(sum(row["measure_s"] for row in rows), 1),
        },
    )
