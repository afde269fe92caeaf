"""The Ray task of a verification."""

from __future__ import annotations

import ray

from vsal.distributed.pulse import Ticket, working
from vsal.distributed.work import Answer
from vsal.encode.proof.titles import Verification, verify_encode


@ray.remote(num_cpus=1, max_retries=0)
def verify_task(ticket: Ticket, asked: Verification, title_id: str) -> Answer:
    """The proof of one title."""
    with working(ticket) as beat:
        return Answer(verify_encode(asked, title_id), seconds=beat.seconds)
