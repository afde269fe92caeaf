"""Files by a pattern, in any place, as Python's glob reads it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from vsal.errors import SettingsError
from vsal.storage.files import list_files
from vsal.storage.places import parse

_WILDCARD = re.compile(r"[*?\[]")


def is_pattern(uri: str) -> bool:
    """Whether a URI holds a wildcard: `*`, `?` or `[`."""
    return _WILDCARD.search(parse(uri).path) is not None


def match_files(pattern: str) -> list[str]:
    """URIs of the files that fit a pattern, sorted.

    `*`, `?` and `[...]` stay within a folder, `**` as a whole component stands for any number of folders, and names
    that begin with a dot fit only where the pattern has that dot.

    Raises:
        SettingsError: the wildcard is in a bucket's name.
        OSError: a folder cannot be read.
    """
    place = parse(pattern)
    if place.scheme == "file":
        return sorted(path for path in glob.iglob(place.path, recursive=True) if not os.path.isdir(path))
    parts = place.path.split("/")
    fixed = next(i for i, part in enumerate(parts) if _WILDCARD.search(part))
    if fixed == 0:
        raise SettingsError(f"{pattern}: a wildcard cannot stand for a bucket")
    folder = place.at("/".join(parts[:fixed])).uri
    return [info.uri for info in list_files(folder) if _fits(parse(info.uri).path.split("/"), parts)]


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if not parts:
        return False
    here, rest = pattern[0], pattern[1:]
    hidden = parts[0].startswith(".")
    if here == "**":
        deeper = not hidden and (_fits(parts[1:], pattern) or (not rest and len(parts) == 1))
        return deeper or (bool(rest) and _fits(parts, rest))
    return fnmatchcase(parts[0], here) and (not hidden or here.startswith(".")) and _fits(parts[1:], rest)
