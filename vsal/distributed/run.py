"""The loop of a run, for any kind of work: deal, watch, try again, cancel, settle.

Items come from the work, largest first; their steps are submitted as far as the credit goes; an answer leads to the
next steps or to the title's outcome, a failure by the table to another try or back to the work, which decides.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray

from vsal.distributed.cluster import cluster_size, idle_cpus
from vsal.distributed.credit import Credit
from vsal.distributed.drain import FORCE_S, Drain
from vsal.distributed.failures import Failure, classify
from vsal.distributed.in_flight import Submitted, TitleInFlight, in_words, largest_first
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import OnProgress, Outcome, interrupted
from vsal.distributed.pulse import stalled
from vsal.distributed.starts import Starts
from vsal.distributed.tally import Tally
from vsal.distributed.watch import Watch
from vsal.distributed.work import Answer, Item, Step, Work
from vsal.errors import Reason
from vsal.settings import RunSettings

POLL_S = 0.5  # between two looks at what is in flight
SIZE_S = 5.0  # between two looks at how large the cluster is
STOP_S = 10.0  # for a step to end once it was cancelled; what takes longer is left behind
GIVE_UP_S = 15.0  # on top of the limit: a worker that notices it by itself clears away what killing it would leave
RESTART_S = 20.0  # that an actor is given at least: starting anew it says nothing for a while

log = logging.getLogger(__name__)


class Run:
    """One run.

    Args:
        work: what is done.
        settings: how.
        tally: where outcomes go.
        credit: what may be under way at a time.
        watch: to which workers report.
        metrics: of the run.
        on_progress: called about twice a second, and once for each title that ends.
        drain: tells when the run is to stop.
    """

    def __init__(
        self,
        work: Work,
        settings: RunSettings,
        tally: Tally,
        credit: Credit,
        watch: Watch,
        metrics: RunMetrics,
        on_progress: OnProgress | None = None,
        drain: Drain | None = None,
    ) -> None:
        self._work, self._settings, self._tally, self._drain = work, settings, tally, drain
        self._credit, self._watch, self._metrics, self._on_progress = credit, watch, metrics, on_progress
        self._waiting = largest_first(work.todo())
        self._next: Item | None = next(self._waiting, None)
        self._open: dict[str, TitleInFlight] = {}
        self._submitted: dict[Any, Submitted] = {}
        self._serial = itertools.count()
        self._starts = Starts()
        self._looked_at = self._sized_at = time.monotonic()
        self._most_open = 0
        self._resize()

    def work(self) -> None:
        """Runs until every title has an outcome."""
        try:
            while self._next is not None or self._open:
                if self._drain is not None and self._drain.signal:
                    self._leave(self._drain)
                self._deal()
                for reference in self._ended():
                    self._take(self._submitted.pop(reference), reference)
                if time.monotonic() - self._looked_at > POLL_S:
                    self._look()
        except BaseException:
            for submitted in self._submitted.values():
                submitted.cancel()
            raise

    def _leave(self, drain: Drain) -> None:
        """The run is to stop: no title is begun any more, and what is open when the grace is over is cancelled."""
        self._next = None
        for title in list(self._open.values()) if drain.grace_over else ():
            if drain.over:
                for submitted in title.running.values():
                    del self._submitted[submitted.reference]
                title.running.clear()
                self._settle(title, interrupted(title.item.title_id, title.item.uri, drain.signal))
            elif not title.stopped and title.ending is None:
                title.stopped = True
                self._close(title, Step("stop", lambda ticket: None), drain.failure())

    # --- Dealing

    def _deal(self) -> None:
        """Submits what the credit allows: steps of open titles first, of the largest titles before others."""
        for title in list(self._open.values()):
            if not self._deal_to(title):
                return
        while self._next is not None and len(self._open) < self._most_open and self._credit.has_cpus(1.0):
            item, self._next = self._next, next(self._waiting, None)
            title = self._open[item.title_id] = TitleInFlight(item)
            self._tally.opened(item.title_id, item.uri)
            self._go_on(title, lambda item=item: self._work.first(item))  # type: ignore[misc]
            if not self._deal_to(title):
                return

    def _deal_to(self, title: TitleInFlight) -> bool:
        """Submits steps of a title; False where CPUs are lacking: nobody smaller overtakes then."""
        while (step := title.due()) is not None:
            if not self._credit.has_cpus(step.cpus):
                return False
            if not self._credit.may_hold(title.item.title_id, step):
                return True
            title.begin(step)
            self._submit(title, step)
        return True

    def _submit(self, title: TitleInFlight, step: Step) -> None:
        key = f"{title.item.title_id}/{step.name}/{next(self._serial)}"
        limit_s = step.stall_s or self._settings.stall_s
        try:
            reference = step.start(self._watch.ticket(key, limit_s))
        except Exception as error:
            self._watch.forget(key)
            self._failed(title, step, classify(error))
            return
        self._submitted[reference] = title.running[step.name] = Submitted(title, step, key, reference, limit_s)
        self._credit.take(title.item.title_id, step)
        self._starts.given(key, step.cpus, limit_s, time.monotonic())

    def _ended(self) -> list[Any]:
        """Steps that have ended; waits for one, but not for long."""
        wait_s = min((POLL_S, *(pause_s for title in self._open.values() if (pause_s := title.wait_s()) > 0)))
        if not self._submitted:
            time.sleep(wait_s if self._open else 0.0)
            return []
        ready, rest = ray.wait(list(self._submitted), num_returns=1, timeout=wait_s)
        if ready and rest:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0)
            ready += more
        return ready

    # --- Answers and failures

    def _take(self, submitted: Submitted, reference: Any | None) -> None:
        """A step has ended, or was cancelled and did not (no reference)."""
        title, step = submitted.title, submitted.step
        answer, failure = (None, None) if reference is None else submitted.answer()
        frames = self._watch.frames(submitted.key)
        self._watch.forget(submitted.key)
        self._starts.over(submitted.key, step.cpus)
        del title.running[step.name]
        if submitted.cancelled is not None:
            failure = submitted.cancelled  # whatever its end looks like: it was asked for
        self._credit.give_back(title.item.title_id, step, ended=failure is None)
        if failure is not None:
            self._tally.lost(submitted.ran_s, frames)
        if title.ending is not None:
            self._end(title)
        elif failure is not None:
            self._failed(title, step, failure)
        else:
            answer = answer if isinstance(answer, Answer) else Answer(answer)
            title.frames += answer.frames
            if answer.seconds:
                title.worked(time.monotonic() - answer.seconds)
            value = answer.value
            self._go_on(title, lambda: self._work.then(title.item, step, value))

    def _failed(self, title: TitleInFlight, step: Step, failure: Failure) -> None:
        """By the table: another try of the step, or the word to the work."""
        rule = failure.rule
        self._metrics.failure(rule)
        self._tally.failure(title.item.title_id, failure)
        failures, attempts = title.charge(step, rule)
        log.info("%s, %s: %s", title.item.title_id, step.what or step.name, failure.detail)
        tries = rule.tries or self._settings.attempts
        if failures < tries and (not rule.attempt or attempts < self._settings.attempts):
            title.again(step, time.monotonic() + rule.pause(failures), free=not rule.attempt)
            return
        self._close(title, step, in_words(step, failure, failures))

    def _close(self, title: TitleInFlight, step: Step, failure: Failure) -> None:
        """The title cannot go on as it did: what runs of it is cancelled, and awaited, before anything follows."""
        title.stop(step, failure)
        for submitted in title.running.values():
            if submitted.cancelled is None:
                submitted.give_up(failure, force=not title.stopped)
        self._end(title)

    def _end(self, title: TitleInFlight) -> None:
        if title.running or title.ending is None:
            return
        step, failure = title.ending
        title.ending = None
        self._credit.forget(title.item.title_id)
        self._tally.lost(0.0, title.frames)
        title.frames = 0
        self._go_on(title, lambda: self._work.failed(title.item, step, failure))

    def _go_on(self, title: TitleInFlight, decide: Callable[[], Sequence[Step] | Outcome]) -> None:
        """What the work decides; where that fails it is vsal's own fault, and costs one title."""
        item = title.item
        try:
            following = decide()
        except Exception as error:
            log.exception("deciding on %s", item.title_id)
            failure = classify(error)
            following = Outcome(item.title_id, item.uri, "failed", failure.reason, failure.detail, trace=failure.trace)
        if not isinstance(following, Outcome):
            title.ready.extend(following)
            if not title.idle:
                return
            text = "a fault of vsal: nothing follows, and the title has not ended"
            following = Outcome(item.title_id, item.uri, "failed", Reason.INTERNAL, text)
        self._settle(title, following)

    def _settle(self, title: TitleInFlight, outcome: Outcome) -> None:
        self._credit.forget(outcome.title_id)
        del self._open[outcome.title_id]
        assert not title.running, f"{outcome.title_id} ends while {list(title.running)} run"
        if outcome.status != "skipped":
            outcome = replace(outcome, seconds=round(title.seconds, 3), attempts=title.attempts)
        self._tally.settle(outcome)
        self._metrics.ended(outcome)
        self._show(outcome)

    # --- Watching

    def _look(self) -> None:
        """What happens by the clock: limits, sizes, the display."""
        now = time.monotonic()
        self._looked_at = now
        self._watch.poll()
        self._watch.restart_hung(self._work.actors(), max(self._settings.stall_s, RESTART_S))
        late = dict(self._starts.late(self._watch.begun, self._cpus, idle_cpus, now))
        for submitted in list(self._submitted.values()):
            self._judge(submitted, late.get(submitted.key), now)
        for title in list(self._open.values()):
            self._time(title, now)
        if now - self._sized_at > SIZE_S:
            self._resize()
        stages = Counter(self._watch.stage(s.key) for s in self._submitted.values() if self._watch.begun(s.key))
        self._tally.look(self._open.values(), stages, self._cpus, self._credit.used_cpus)
        self._show(None)

    def _judge(self, submitted: Submitted, late: Failure | None, now: float) -> None:
        if submitted.reference not in self._submitted:  # its title has ended meanwhile
            return
        if submitted.cancelled is not None:
            if submitted.title.stopped and now - submitted.cancelled_at > FORCE_S:
                submitted.cancel()
            if now - submitted.cancelled_at > STOP_S:
                log.warning("%s does not end though it was cancelled; left behind", submitted.key)
                del self._submitted[submitted.reference]
                self._take(submitted, None)
        elif self._watch.still_s(submitted.key) > submitted.limit_s + GIVE_UP_S:
            submitted.give_up(stalled(submitted.limit_s))
        elif late is not None:
            submitted.give_up(late)

    def _time(self, title: TitleInFlight, now: float) -> None:
        """Counts the time in which a step of the title ran, and its frames."""
        begun = [s for s in title.running.values() if self._watch.begun(s.key)]
        frames = title.frames + sum(self._watch.frames(s.key) for s in begun)
        self._tally.open_frames[title.item.title_id] = frames
        if not title.running or title.ending is not None:
            return
        title.worked_by(begun, now)
        failure = title.too_long(self._settings.title_timeout_s)
        if failure is not None:
            self._close(title, next(iter(title.running.values())).step, failure)

    def _resize(self) -> None:
        self._sized_at = time.monotonic()
        self._cpus = cluster_size().cpus
        self._credit.resize(self._cpus)
        self._most_open = self._settings.titles_in_flight or int(self._cpus) + 2

    def _show(self, finished: Outcome | None) -> None:
        self._metrics.in_flight(len(self._open))
        if self._on_progress is not None:
            self._on_progress(self._tally.progress(len(self._open), finished))
