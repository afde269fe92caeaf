"""Signs of life of this process: how much it has got through, whatever it is at work on.

A limit on time would have to know how long the work takes; a limit on the lack of progress need not. So the loops that
decode, read and write count here, and who watches a process asks whether the sum still grows.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Vitals:
    """Counters that only grow. An increment is not atomic: between threads one may be lost, which does no harm."""

    frames: int = 0  # decoded, or taken by an encoder
    moved_bytes: int = 0  # read from or written to a place
    rows: int = 0  # of maps, made
    in_storage: int = 0  # calls that wait for a remote place now
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)  # that the process waits for now

    @property
    def total(self) -> int:
        """A figure that changes whenever there is progress of any kind."""
        return self.frames + self.moved_bytes + self.rows

    @contextmanager
    def waiting_for(self, program: subprocess.Popen[bytes]) -> Iterator[None]:
        """While a program does the work: what it reads and writes is progress, and ending it ends the wait."""
        self.programs.append(program)
        try:
            yield
        finally:
            self.programs.remove(program)

    @contextmanager
    def storage(self) -> Iterator[None]:
        """While a remote place is read or written."""
        self.in_storage += 1
        try:
            yield
        finally:
            self.in_storage -= 1


vitals = Vitals()
"""Of this process."""
