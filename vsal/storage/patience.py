"""Waiting for a store that is busy or out of reach, where that is met."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from vsal.storage.passing import is_passing
from vsal.storage.places import parse

PATIENCE_S = 30.0  # on top of what the store's own client tries, which is 4 to 13 s of S3's; a tenth of --stall-s
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0

T = TypeVar("T")
_in_vain: set[str] = set()  # stores that this process has waited for and that have not answered since


def patiently(uri: str, access: Callable[[], T]) -> T:
    """What the access gives; where it meets with what passes by itself (`is_passing`) it is made again for a while.

    So a video that is being decoded goes on in the middle of its file, and no step is lost. A store that did not come
    back in that time is not waited for again until it has answered: else each title of a catalogue would cost as much.

    Args:
        uri: of what is accessed. In a local file system nothing is tried again.
        access: has no effect where it fails, or the same when it is made again.

    Raises:
        OSError: of the access, at last.
    """
    place = parse(uri)
    if place.scheme == "file":
        return access()
    store = f"{place.scheme}://{place.bucket}?{place.query}"
    until, pause_s = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
    while True:
        try:
            answer = access()
        except OSError as error:
            if not is_passing(error) or store in _in_vain:
                raise
            if time.monotonic() + pause_s > until:
                _in_vain.add(store)
                raise
        else:
            _in_vain.discard(store)
            return answer
        time.sleep(pause_s * random.uniform(0.5, 1.0))  # those who failed together do not come back together
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
