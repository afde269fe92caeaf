"""Where a run stands: what has ended, what is open, what was lost on the way; one copy of it goes to the journal."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vsal.distributed.failures import Failure
from vsal.distributed.outcomes import LISTED, Outcome, Progress, Sums

if TYPE_CHECKING:
    from vsal.distributed.in_flight import TitleInFlight
    from vsal.distributed.journal import Journal
    from vsal.distributed.output import Outlet

RECENT_S = 60.0  # over which the rate is told
SLOWEST = 10  # open titles that are told of
STATE_S = 1.0  # between two states for the journal


class Tally:
    """Outcomes of the titles of one run, and where it stands.

    Args:
        titles: how many there are.
        began: when the run began, by `time.perf_counter`.
        journal: to which outcomes and the state go.
        outlet: that is told what was written and what was not.

    Attributes:
        sums: of the outcomes so far.
        open_frames: frames done so far of each title in flight.
    """

    def __init__(self, titles: int, began: float, journal: Journal | None = None, outlet: Outlet | None = None) -> None:
        self._titles = titles
        self._began = began
        self._journal, self._outlet = journal, outlet
        self._kept: dict[str, Outcome] = {}
        self._made: set[str] = set()
        self._failures: Counter[str] = Counter()  # by rule
        self._lost_s = 0.0
        self._lost_frames = 0
        self._stages: dict[str, float] = {}
        self._recent: deque[tuple[float, int, int]] = deque()  # (time, frames, titles ended)
        self._state_at = self._cpu_at = 0.0
        self._cpu_s = self._busy = 0.0
        self._facts: dict[str, Any] = {}
        self.sums = Sums()
        self.open_frames: dict[str, int] = {}

    def settle(self, outcome: Outcome, journaled: bool = True) -> None:
        """Notes how a title ended; each ends once.

        Args:
            outcome: of the title.
            journaled: whether it is news to the journal.
        """
        self.open_frames.pop(outcome.title_id, None)
        if outcome.status == "done" and self._outlet is not None:
            self._outlet.written()
        # Running sums: what is shown of a run must not take longer the more titles it has, nor more memory.
        self.sums.add(outcome)
        if outcome.status != "failed":
            self._made.add(outcome.title_id)
        few = self._titles <= LISTED
        if few or (len(self._kept) < LISTED and (outcome.status == "failed" or outcome.detail)):
            self._kept[outcome.title_id] = outcome
        if self._journal is not None and journaled:
            self._journal.add(outcome)

    def opened(self, title_id: str, uri: str) -> None:
        """A title is begun."""
        if self._journal is not None:
            self._journal.opened(title_id, uri)

    def failure(self, title_id: str, failure: Failure) -> None:
        """A step has failed; whether it is tried again, the table says."""
        self._failures[failure.rule.name] += 1
        if self._outlet is not None:
            self._outlet.failed(title_id, failure)

    def lost(self, seconds: float, frames: int) -> None:
        """What a step, or a title, had done is lost."""
        self._lost_s += seconds
        self._lost_frames += frames

    def tell(self, **facts: Any) -> None:
        """More for `vsal status`, as plain values: `sick` nodes, what the run `waits_for`; until they are told anew."""
        self._facts |= facts

    def made(self, title_id: str) -> bool:
        """Whether the title's result is there, from this run or an earlier one."""
        return title_id in self._made

    @property
    def left(self) -> int:
        """Titles that have not ended."""
        return self._titles - sum(self.sums.ended.values())

    def in_order(self, title_ids: Sequence[str]) -> list[Outcome]:
        """The outcomes that were kept, in the order of the titles: all of them in runs of up to LISTED titles."""
        return [self._kept[title_id] for title_id in title_ids if title_id in self._kept]

    def progress(self, in_flight: int, finished: Outcome | None) -> Progress:
        """Where the run stands now."""
        done, skipped, failed = (self.sums.count(status) for status in ("done", "skipped", "failed"))
        elapsed_s = time.perf_counter() - self._began
        worked = done + failed
        left = self._titles - worked - skipped
        open_frames = sum(self.open_frames.values())
        frames, video_s = self.sums.figures["frames"], float(self.sums.figures["duration_s"])
        per_frame_s = video_s / frames if frames else 1 / 25
        return Progress(
            titles=self._titles,
            done=done,
            skipped=skipped,
            failed=failed,
            in_flight=in_flight,
            frames=frames + open_frames,
            video_s=video_s + open_frames * per_frame_s,
            elapsed_s=elapsed_s,
            eta_s=elapsed_s / worked * left if worked else None,
            finished=finished,
        )

    # --- For the journal

    def look(self, titles: Iterable[TitleInFlight], stages: Counter[str], cpus: float, used_cpus: float) -> None:
        """Gives the journal the state of the run; called by the driver's thread, about twice a second.

        Args:
            titles: that are open.
            stages: what steps were at since the last look, by how often they were seen at it.
            cpus: of the cluster.
            used_cpus: of all steps that are submitted.
        """
        now = time.monotonic()
        for stage, count in stages.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + count
        if self._journal is None or now - self._state_at < STATE_S:
            return
        self._state_at = now
        self._stages = {stage: 0.97 * n for stage, n in self._stages.items()}  # half is forgotten in 23 s
        titles = list(titles)
        progress = self.progress(len(titles), None)
        self._measure(now, progress)
        slowest = sorted(titles, key=lambda title: -title.seconds)[:SLOWEST]
        self._journal.show(
            {
                **self.state(),
                "in_flight": len(titles),
                "frames": progress.frames,
                "video_s": round(progress.video_s, 1),
                "elapsed_s": round(progress.elapsed_s, 1),
                **self._rates(progress),
                "slowest": [_told(title, self.open_frames.get(title.item.title_id, 0)) for title in slowest],
                "cpus": cpus,
                "used_cpus": used_cpus,
                "stages": self._shares(),
                "limited_by": self._limit(cpus, used_cpus, waiting=progress.in_flight < self.left),
                "driver_busy": round(self._busy, 3),
                **self._facts,
            }
        )

    def state(self) -> dict[str, Any]:
        """What holds at the end of a run too."""
        return {
            "titles": self._titles,
            **self.sums.counts(),
            "reasons": self.sums.reasons(),
            "left": self.left,
            "frames": self.sums.figures["frames"],
            "video_s": round(float(self.sums.figures["duration_s"]), 1),
            "elapsed_s": round(time.perf_counter() - self._began, 1),
            "failures": dict(self._failures),
            "lost_s": round(self._lost_s, 1),
            "lost_frames": self._lost_frames,
        }

    def _measure(self, now: float, progress: Progress) -> None:
        self._recent.append((now, progress.frames, progress.done + progress.failed))
        while len(self._recent) > 2 and now - self._recent[0][0] > RECENT_S:
            self._recent.popleft()
        cpu_s = time.thread_time()
        if self._cpu_at:
            self._busy = 0.8 * self._busy + 0.2 * (cpu_s - self._cpu_s) / (now - self._cpu_at)
        self._cpu_s, self._cpu_at = cpu_s, now

    def _rates(self, progress: Progress) -> dict[str, float | None]:
        first, last = self._recent[0], self._recent[-1]
        passed_s = max(last[0] - first[0], 1e-9)
        known = passed_s >= STATE_S / 2
        titles_per_s = (last[2] - first[2]) / passed_s if known else 0.0
        left = progress.titles - progress.done - progress.failed - progress.skipped
        return {
            "frames_per_s": round(max(0, last[1] - first[1]) / passed_s, 2) if known else None,
            "titles_per_s": round(titles_per_s, 4) if known else None,
            "eta_s": round(left / titles_per_s, 1) if titles_per_s else progress.eta_s,
        }

    def _shares(self) -> dict[str, float]:
        seen = sum(self._stages.values())
        return {stage: round(count / seen, 3) for stage, count in sorted(self._stages.items()) if seen}

    def _limit(self, cpus: float, used_cpus: float, waiting: bool) -> str | None:
        """The stage that the run waits for: at which most steps are seen, or the driver where it leaves CPUs idle."""
        if cpus == 0:
            return "cpus"
        if waiting and (self._busy > 0.8 or used_cpus < 0.8 * cpus):
            return "driver"
        return max(self._stages, key=lambda stage: self._stages[stage]) if self._stages else None


def _told(title: TitleInFlight, frames: int) -> dict[str, Any]:
    return {
        "title_id": title.item.title_id,
        "seconds": round(title.seconds, 1),
        "worked_s": round(title.worked_s, 1),
        "frames": frames,
        "steps": [submitted.step.what or submitted.step.name for submitted in list(title.running.values())[:4]],
        "running": len(title.running),
        "waiting": len(title.ready) + len(title.later),
    }
