"""Where a model has what it knows from: its teachers, and the models that it grew out of.

Two models that share any of these see the same things and miss the same things. One of them cannot judge the other.
"""

from __future__ import annotations

from vsal.saliency.graph import ModelRefused
from vsal.saliency.registry import Entry, list_models


def lineage(entry: Entry) -> frozenset[str]:
    """A model's own name and sha256, its teachers and ancestors, and theirs as far as they are registered.

    Raises:
        ModelRefused: the registry does not say.
    """
    known = {other.name: other for other in list_models()}
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        one = waiting.pop()
        if one.teachers is None or one.ancestors is None:
            raise ModelRefused(
                f"the registry does not say what {one.name} has learned from: register it with --teacher and "
                "--ancestor, or --no-lineage where it has neither"
            )
        found |= {one.name, f"sha256:{one.sha256}"}
        for name in (*one.teachers, *one.ancestors):
            if name not in found:
                found.add(name)
                waiting += [known[name]] if name in known else []
    return frozenset(found)


def shared(one: Entry, other: Entry) -> list[str]:
    """What two models have in common; nothing where each may judge the other.

    Raises:
        ModelRefused: the registry does not say of one of them.
    """
    return sorted(lineage(one) & lineage(other))
