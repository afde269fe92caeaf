"""What is tried again, and how often: the same for every kind of work."""

from __future__ import annotations

from vsal.errors import Reason

# Worth another try: the title itself is not at fault, or may not be.
RETRIED = {Reason.WORKER_DIED, Reason.WRITE_FAILED}
POISON_DEATHS = 2  # what has killed so many workers would kill the next
POLL_S = 0.5  # between two looks at what is in flight
