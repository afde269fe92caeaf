"""What is dear to make and judged again and again: kept on disk by what made it.

The key holds the digest of the code that makes it, so whoever changes the code makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import vsal

T = TypeVar("T")


def default_folder() -> Path:
    """`vsal/judged` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsal" / "judged"


class Kept:
    """A folder of results.

    Args:
        folder: made when it is needed; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, what: str, key: Sequence[object], rooms: Sequence[str], make: Callable[[], T]) -> T:
        """What `make` gives, from the disk where it was made before.

        Args:
            what: a word for the file's name.
            key: all that it depends on, each with a `repr` that says it whole.
            rooms: packages and modules below vsal whose code makes it ("video", "temporal.py").
            make: makes it.
        """
        if self._folder is None:
            return make()
        digest = hashlib.sha256(repr((*key, code_digest(tuple(rooms)))).encode()).hexdigest()[:32]
        file = self._folder / f"{what}-{digest}.pickle"
        if file.is_file():
            try:
                found: T = pickle.loads(file.read_bytes())  # written below, by this user
                return found
            except (EOFError, pickle.UnpicklingError, AttributeError, ImportError):
                pass  # torn by a full disk: made anew
        made = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(pickle.dumps(made, protocol=5))
        part.replace(file)
        return made


@lru_cache(maxsize=32)
def code_digest(rooms: tuple[str, ...]) -> str:
    """A digest of all source files of some rooms of vsal."""
    root = Path(vsal.__file__).parent
    state = hashlib.sha256()
    for room in rooms:
        place = root / room
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            state.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return state.hexdigest()
