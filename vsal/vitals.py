"""Signs of life of this process: how much it has got through, whatever it is at work on.

A limit on time would have to know how long the work takes; a limit on the lack of progress need not. So the loops that
decode, read and write count here, and who watches a process asks whether the sum still grows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Vitals:
    """Counters that only grow. An increment is not atomic: between threads one may be lost, which does no harm."""

    frames: int = 0  # decoded, or taken by an encoder
    bytes: int = 0  # read from or written to a place
    rows: int = 0  # of maps, made

    @property
    def total(self) -> int:
        """A figure that changes whenever there is progress of any kind."""
        return self.frames + self.bytes + self.rows


vitals = Vitals()
"""Of this process."""
