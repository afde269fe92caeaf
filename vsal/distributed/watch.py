"""The driver's side of the pulse: what has begun, how far it is, and how long it has stood still."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from vsal.distributed.pulse import BEAT_S, WORK, Note, Pulse, Ticket

log = logging.getLogger(__name__)
_PATIENCE_S = 30.0  # for the pulse's answer, before it is restarted


@dataclass(slots=True)
class _Seen:
    note: Note
    still_s: float = 0.0


class Watch:
    """Starts the pulse of a run and asks it, without ever waiting for its answer."""

    def __init__(self) -> None:
        self._pulse: Any = ray.remote(Pulse).options(num_cpus=0, max_restarts=-1, max_task_retries=0).remote()
        self._pickled: bytes = ray.cloudpickle.dumps(self._pulse)  # type: ignore[no-untyped-call]
        self._open: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._forget: list[str] = []
        self._asked: tuple[Any, float] | None = None
        self._heard_at = time.monotonic()

    def ticket(self, key: str, stall_s: float) -> Ticket:
        """For a step that is about to be submitted, or an actor."""
        self._open.add(key)
        return Ticket(self._pickled, key, stall_s)

    def poll(self) -> None:
        """Takes in what has been told, and asks again. Returns at once."""
        now = time.monotonic()
        if self._asked is not None:
            answer, asked_at = self._asked
            if not ray.wait([answer], timeout=0)[0]:
                if now - asked_at > _PATIENCE_S:
                    ray.kill(self._pulse, no_restart=False)
                    self._asked = None
                return
            with contextlib.suppress(ray.exceptions.RayError):
                self._take(ray.get(answer, timeout=BEAT_S), now)
        self._asked = (self._pulse.read.remote(self._forget), now)
        self._forget = []

    def _take(self, notes: dict[str, Note], now: float) -> None:
        # Only time that was watched counts: a driver or a pulse that was held up must not make others look hung.
        passed_s = min(now - self._heard_at, 2 * BEAT_S)
        self._heard_at = now
        for key, note in notes.items():
            seen = self._seen.get(key)
            if key not in self._open:  # a word that came after the step's end
                self._forget.append(key)
            elif seen is None or seen.note[:2] != note[:2]:
                self._seen[key] = _Seen(note)
            else:
                seen.note = note  # what it is at may have changed without any progress
                seen.still_s += passed_s

    def begun(self, key: str) -> bool:
        """Whether the step has begun."""
        return key in self._seen

    def still_s(self, key: str) -> float:
        """Seconds for which what has begun has made no progress; 0 for what has not begun."""
        seen = self._seen.get(key)
        return 0.0 if seen is None else seen.still_s

    def frames(self, key: str) -> int:
        """Frames of the title, done in the step so far."""
        seen = self._seen.get(key)
        return 0 if seen is None else seen.note.frames

    def stage(self, key: str) -> str:
        """What the step was at when it was last heard of: storage, model, or its own work."""
        seen = self._seen.get(key)
        return WORK if seen is None else seen.note.stage

    def forget(self, key: str) -> None:
        """The step has ended."""
        self._seen.pop(key, None)
        self._open.discard(key)
        self._forget.append(key)

    def restart_hung(self, actors: Mapping[str, Any], limit_s: float) -> None:
        """Restarts those that have made no progress for so long.

        Args:
            actors: by the key under which each reports.
            limit_s: without progress.
        """
        for key, actor in actors.items():
            still_s = self.still_s(key)
            if still_s > limit_s:
                log.warning("%s has made no progress for %.0f s: it is restarted", key, still_s)
                ray.kill(actor, no_restart=False)
                self.excuse(key)

    def excuse(self, key: str) -> None:
        """Starts its clock anew."""
        if key in self._seen:
            self._seen[key].still_s = 0.0

    def close(self) -> None:
        """Ends the pulse."""
        ray.kill(self._pulse)
